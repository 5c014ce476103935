"""Numbers for each pixel: distances, offsets, depth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.pyramid_to_pixels import PyramidToPixels


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DenseRegression(Head):
    """A map of real numbers, from all levels of a feature pyramid.

    Args:
        channels: Numbers for each pixel: 1 for a distance, 2 for an offset.
        features: Names of the levels, finest first, each half the size of the one
            before. Defaults to `("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5")`.
        stride: Stride of the first level in pixels. The sides of the input are to be
            multiples of it. Defaults to `4`.
        width: Channels of the hidden maps. Defaults to `64`.
        activation: Applied to the map, such as `"sigmoid"` or `"softplus"` for numbers
            that cannot be negative. Defaults to `None`.

    Call arguments:
        features: Mapping of names to tensors `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, H, W, channels)`, with the input's height and width.

    Example:
        >>> head = DenseRegression(channels=2, features=("p2",), width=8)
        >>> raw = head({"p2": keras.ops.ones((1, 8, 8, 4))})
        >>> tuple(head.decode(raw)["value_map"].shape)
        (1, 32, 32, 2)
    """

    def __init__(
        self,
        channels: int,
        features: Sequence[str] = ("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5"),
        stride: int = 4,
        width: int = 64,
        activation: str | Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.features = tuple(features)
        self.stride = stride
        self.width = width
        self.activation = keras.activations.get(activation)
        self.pixels = PyramidToPixels(
            channels, stride, width=width, dtype=self.dtype_policy
        )

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the layers for the levels' channels."""
        self.pixels.build([self.select(input_shape, name) for name in self.features])

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the map `(batch, H, W, channels)`."""
        levels = [self.select(features, name) for name in self.features]
        return self.activation(self.pixels(levels, training=training))

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns the map as it is.

        Args:
            raw: `(batch, H, W, channels)`.

        Returns:
            `{"value_map": (batch, H, W, channels)}`.
        """
        return {"value_map": raw}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "channels": self.channels,
            "features": self.features,
            "stride": self.stride,
            "width": self.width,
            "activation": keras.activations.serialize(self.activation),
        }
