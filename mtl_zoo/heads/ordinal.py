"""One of several classes in an order, such as stars."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.heads.head import Head, check_class_names
from mtl_zoo.heads.pooling import pool


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Ordinal(Head):
    """Cumulative logits: one score, and the thresholds between ordered classes.

    `P(class > k) = sigmoid(score - threshold_k)` with `threshold_0 < threshold_1 <
    ...`, the proportional odds of McCullagh (1980, equation 2.2). The thresholds are
    learned: the first one, and the logarithms of the gaps.

    Args:
        num_classes: Number of classes, at least 2.
        feature: Name of the feature. Defaults to `"sentence"`.
        dropout: Rate of the dropout before the score. Defaults to `0.0`.
        class_names: Optional names of the classes, lowest first, kept in the config.

    Call arguments:
        features: Mapping; `features[feature]` is `(batch, channels)` or
            `(batch, height, width, channels)`.

    Returns:
        `score - threshold_k`, float32 `(batch, num_classes - 1)`, falling along each
        row.

    Raises:
        ValueError: If there are fewer than two classes, or `class_names` does not fit.

    Example:
        >>> head = Ordinal(num_classes=5, feature="last")
        >>> raw = head({"last": ops.ones((2, 8))})
        >>> tuple(raw.shape), tuple(head.decode(raw)["probabilities"].shape)
        ((2, 4), (2, 5))
    """

    def __init__(
        self,
        num_classes: int,
        feature: str = "sentence",
        dropout: float = 0.0,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(
                "An order needs at least two classes. Received: "
                f"num_classes={num_classes}"
            )
        self.num_classes = num_classes
        self.feature = feature
        self.dropout = dropout
        self.class_names = check_class_names(class_names, num_classes)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.score = keras.layers.Dense(
            1, use_bias=False, dtype="float32", name="score"
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the score for the feature's channels, and the thresholds."""
        self.score.build((None, self.select(input_shape, self.feature)[-1]))
        # At a score of 0 all classes are equally likely.
        steps = np.arange(1, self.num_classes) / self.num_classes
        thresholds = np.log(steps) - np.log1p(-steps)
        self.first = self.add_weight(
            shape=(1,),
            initializer=keras.initializers.Constant(float(thresholds[0])),
            dtype="float32",
            name="first",
        )
        gaps = np.log(np.diff(thresholds))
        self.log_gaps = self.add_weight(
            shape=(self.num_classes - 2,),
            initializer=lambda shape, dtype=None: ops.reshape(
                ops.cast(gaps, dtype), shape
            ),
            dtype="float32",
            name="log_gaps",
        )

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the cumulative logits `(batch, num_classes - 1)`."""
        pooled = pool(self.select(features, self.feature))
        rise = ops.concatenate([self.first, ops.exp(self.log_gaps)])
        return self.score(self.drop(pooled, training=training)) - ops.cumsum(rise)

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns labels, probabilities and the mean class.

        Args:
            raw: Cumulative logits `(batch, num_classes - 1)`.

        Returns:
            `{"label": int32 (batch,), "probabilities": float32 (batch, num_classes),
            "value": float32 (batch,)}`, the value being the mean of the class numbers
            under the probabilities.
        """
        above = ops.sigmoid(raw)
        edges = ops.pad(above, ((0, 0), (1, 0)), constant_values=1.0)
        chances = edges - ops.pad(above, ((0, 0), (0, 1)))
        return {
            "label": ops.argmax(chances, axis=-1),
            "probabilities": chances,
            "value": ops.sum(above, axis=-1),
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "feature": self.feature,
            "dropout": self.dropout,
            "class_names": self.class_names,
        }
