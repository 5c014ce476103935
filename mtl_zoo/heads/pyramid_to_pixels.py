"""From the levels of a feature pyramid to a map with one vector for each pixel."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.bilinear import upsample


@keras.saving.register_keras_serializable(package="mtl_zoo")
class PyramidToPixels(keras.layers.Layer):
    """Sums all levels at the size of the first and maps the sum to pixels.

    Each level: 3 x 3 separable convolution, group normalisation, ReLU, bilinear
    upsampling to the first level's size. The sum: 3 x 3 separable convolution, ReLU,
    dropout, 1 x 1 convolution to `channels`, bilinear upsampling by `stride`.

    Args:
        channels: Channels of the result.
        stride: Stride of the first level in pixels. Defaults to `4`.
        width: Channels of the hidden maps. Defaults to `64`.
        dropout: Rate of the dropout. Defaults to `0.0`.

    Call arguments:
        levels: List of `(batch, height / 2^i, width / 2^i, ...)` for `i = 0, 1, ...`,
            finest first; odd sizes are rounded up from level to level.

    Returns:
        float32 `(batch, stride * height, stride * width, channels)`.

    Differences from the paper:
        The semantic branch of Panoptic FPN (section 3) upsamples by two at a time, with
        a 3 x 3 convolution before each step, and has no convolution after the sum. Here
        a level has one convolution, separable and at the level's own resolution, and
        one upsampling; the sum has one convolution, to mix the levels.

    Reference:
        - [Kirillov et al., Panoptic Feature Pyramid Networks, 2019](
          https://arxiv.org/abs/1901.02446)
    """

    def __init__(
        self,
        channels: int,
        stride: int = 4,
        width: int = 64,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.stride = stride
        self.width = width
        self.dropout = dropout

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes a branch for each level, and the part after the sum."""
        layers, dtype = keras.layers, self.dtype_policy
        self.branches = []
        for level, shape in enumerate(input_shape):
            branch = keras.Sequential(
                [
                    layers.SeparableConv2D(
                        self.width, 3, padding="same", use_bias=False, dtype=dtype
                    ),
                    layers.GroupNormalization(math.gcd(self.width, 8), dtype=dtype),
                    layers.Activation("relu", dtype=dtype),
                ],
                name=f"level_{level}",
            )
            branch.build((None, None, None, shape[-1]))
            self.branches.append(branch)
        self.head = keras.Sequential(
            [
                layers.SeparableConv2D(
                    self.width, 3, padding="same", activation="relu", dtype=dtype
                ),
                layers.Dropout(self.dropout, dtype=dtype),
                layers.Conv2D(self.channels, 1, dtype="float32"),
            ],
            name="head",
        )
        self.head.build((None, None, None, self.width))

    def call(self, levels: Sequence[Any], training: bool | None = None) -> Any:
        """Returns the map `(batch, stride * height, stride * width, channels)`."""
        height, width = ops.shape(levels[0])[1:3]
        total = 0
        for i, (branch, level) in enumerate(zip(self.branches, levels, strict=True)):
            upsampled = upsample(branch(level, training=training), 2**i)
            total = total + upsampled[:, :height, :width]
        return upsample(self.head(total, training=training), self.stride)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "channels": self.channels,
            "stride": self.stride,
            "width": self.width,
            "dropout": self.dropout,
        }
