"""One label for each pixel."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head, check_class_names
from mtl_zoo.heads.pyramid_to_pixels import PyramidToPixels


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Segmentation(Head):
    """Class logits for each pixel, from all levels of a feature pyramid.

    Args:
        num_classes: Number of classes, background included, at least 2.
        features: Names of the levels, finest first, each half the size of the one
            before. Defaults to `("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5")`.
        stride: Stride of the first level in pixels. The sides of the input are to be
            multiples of it. Defaults to `4`.
        detail: Name of a finer feature of the trunk, for sharper outlines, such as
            `"stride_2"`. Defaults to `None`.
        detail_stride: Its stride in pixels. Defaults to `2`.
        width: Channels of the hidden maps. Defaults to `64`.
        dropout: Rate of the dropout before the logits. Defaults to `0.0`.
        class_names: Optional names of the classes, kept in the config.

    Call arguments:
        features: Mapping of names to tensors `(batch, height, width, channels)`.

    Returns:
        Logits, float32 `(batch, H, W, num_classes)`, with the input's height and width.

    Raises:
        ValueError: If there are fewer than two classes, or `class_names` does not fit.

    Example:
        >>> head = Segmentation(num_classes=3, features=("p2", "p3"), width=8)
        >>> raw = head({"p2": ops.ones((1, 8, 8, 4)), "p3": ops.ones((1, 4, 4, 4))})
        >>> tuple(raw.shape), tuple(head.decode(raw)["label_map"].shape)
        ((1, 32, 32, 3), (1, 32, 32))

    Reference:
        - [Kirillov et al., Panoptic Feature Pyramid Networks, 2019](
          https://arxiv.org/abs/1901.02446), the semantic branch; `PyramidToPixels` says
          what differs.
    """

    def __init__(
        self,
        num_classes: int,
        features: Sequence[str] = ("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5"),
        stride: int = 4,
        detail: str | None = None,
        detail_stride: int = 2,
        width: int = 64,
        dropout: float = 0.0,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 2:
            raise ValueError(
                "A softmax needs at least two classes; count the background as one. "
                f"Received: num_classes={num_classes}"
            )
        self.num_classes = num_classes
        self.features = tuple(features)
        self.stride = stride
        self.detail = detail
        self.detail_stride = detail_stride
        self.width = width
        self.dropout = dropout
        self.class_names = check_class_names(class_names, num_classes)
        self.pixels = PyramidToPixels(
            num_classes,
            stride,
            detail_stride=None if detail is None else detail_stride,
            width=width,
            dropout=dropout,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the layers for the levels' channels."""
        self.pixels.build(self._inputs(input_shape))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the logits `(batch, H, W, num_classes)`."""
        return self.pixels(self._inputs(features), training=training)

    def _inputs(self, features: Mapping[str, Any]) -> list[Any]:
        names = [*self.features, *([self.detail] if self.detail else [])]
        return [self.select(features, name) for name in names]

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns labels and probabilities.

        Args:
            raw: Logits `(batch, H, W, num_classes)`.

        Returns:
            A dict of `"label_map"`, int32 `(batch, H, W)`, and `"probabilities"`,
            float32 `(batch, H, W, num_classes)`.
        """
        return {
            "label_map": ops.argmax(raw, axis=-1),
            "probabilities": ops.softmax(raw, axis=-1),
        }

    def label_probabilities(self, raw: Any) -> Any:
        """Returns the probabilities of the classes, `(batch, H, W, num_classes)`."""
        return ops.softmax(raw, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "features": self.features,
            "stride": self.stride,
            "detail": self.detail,
            "detail_stride": self.detail_stride,
            "width": self.width,
            "dropout": self.dropout,
            "class_names": self.class_names,
        }
