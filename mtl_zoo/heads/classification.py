"""One label out of a fixed set for each input."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head, check_class_names
from mtl_zoo.heads.pooling import pool


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Classification(Head):
    """Class logits from one feature, pooled over the image where it is spatial.

    Args:
        num_classes: Number of classes, at least 2.
        feature: Name of the feature. Defaults to `"stride_32"`.
        dropout: Rate of the dropout before the logits. Defaults to `0.0`.
        class_names: Optional names of the classes, kept in the config.
        kernel_regularizer: Optional penalty on the kernel of the logits, as of a Keras
            layer. On the head of an adversary it is what lets training settle: see
            `Task`. Defaults to `None`.

    Call arguments:
        features: Mapping; `features[feature]` is `(batch, channels)` or
            `(batch, height, width, channels)`.

    Returns:
        Logits, float32 `(batch, num_classes)`.

    Raises:
        ValueError: If there are fewer than two classes, or `class_names` does not fit.

    Example:
        >>> head = Classification(num_classes=3, feature="last")
        >>> logits = head({"last": ops.ones((2, 4, 4, 8))})
        >>> tuple(logits.shape), tuple(head.decode(logits)["label"].shape)
        ((2, 3), (2,))
    """

    def __init__(
        self,
        num_classes: int,
        feature: str = "stride_32",
        dropout: float = 0.0,
        class_names: Sequence[str] | None = None,
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(
                "A softmax needs at least two classes; for one yes-or-no question, use "
                f"two. Received: num_classes={num_classes}"
            )
        self.num_classes = num_classes
        self.feature = feature
        self.dropout = dropout
        self.class_names = check_class_names(class_names, num_classes)
        self.drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.logits = keras.layers.Dense(
            num_classes,
            kernel_regularizer=self.kernel_regularizer,
            dtype="float32",
            name="logits",
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the logits for the feature's channels."""
        self.logits.build((None, self.select(input_shape, self.feature)[-1]))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the logits `(batch, num_classes)`."""
        pooled = pool(self.select(features, self.feature))
        return self.logits(self.drop(pooled, training=training))

    @property
    def output_kernel(self) -> keras.Variable:
        """The kernel `(channels, outputs)`."""
        return self.logits.kernel

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns labels and probabilities.

        Args:
            raw: Logits `(batch, num_classes)`.

        Returns:
            `{"label": int32 (batch,), "probabilities": float32 (batch, num_classes)}`.
        """
        return {
            "label": ops.argmax(raw, axis=-1),
            "probabilities": ops.softmax(raw, axis=-1),
        }

    def label_probabilities(self, raw: Any) -> Any:
        """Returns the probabilities of the classes, `(batch, num_classes)`."""
        return ops.softmax(raw, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        penalty = self.kernel_regularizer
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "feature": self.feature,
            "dropout": self.dropout,
            "class_names": self.class_names,
            "kernel_regularizer": penalty and keras.regularizers.serialize(penalty),
        }
