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

    With a detail map, a finer feature of the trunk, the sum's convolution is upsampled
    to its size and joined with it by one more 3 x 3 separable convolution of half the
    width, for outlines sharper than the pyramid's finest level.

    Args:
        channels: Channels of the result.
        stride: Stride of the first level in pixels. Defaults to `4`.
        detail_stride: Stride of the detail map, the last element of the input, which
            divides `stride`. Defaults to `None`: there is none.
        width: Channels of the hidden maps. Defaults to `64`.
        dropout: Rate of the dropout. Defaults to `0.0`.

    Call arguments:
        levels: List of `(batch, height / 2^i, width / 2^i, ...)` for `i = 0, 1, ...`,
            finest first; odd sizes are rounded up from level to level. Then the detail
            map, if there is one.

    Returns:
        float32 `(batch, stride * height, stride * width, channels)`.

    Differences from the paper:
        The semantic branch of Panoptic FPN (section 3) upsamples by two at a time, with
        a 3 x 3 convolution before each step, and has no convolution after the sum. Here
        a level has one convolution, separable and at the level's own resolution, and
        one upsampling; the sum has one convolution, to mix the levels. The paper has
        no detail map; U-Net does it so.

    Reference:
        - [Kirillov et al., Panoptic Feature Pyramid Networks, 2019](
          https://arxiv.org/abs/1901.02446)
        - [Ronneberger et al., U-Net, 2015](https://arxiv.org/abs/1505.04597)
    """

    def __init__(
        self,
        channels: int,
        stride: int = 4,
        *,
        detail_stride: int | None = None,
        width: int = 64,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.channels = channels
        self.stride = stride
        self.detail_stride = detail_stride
        self.width = width
        self.dropout = dropout

    def build(self, input_shape: Sequence[Any]) -> None:
        """Makes a branch for each level, and the part after the sum."""
        layers, dtype = keras.layers, self.dtype_policy
        shapes = list(input_shape)
        detail = None if self.detail_stride is None else shapes.pop()
        self.branches = []
        for level, shape in enumerate(shapes):
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
        self.mix = layers.SeparableConv2D(
            self.width, 3, padding="same", activation="relu", dtype=dtype
        )
        self.mix.build((None, None, None, self.width))
        hidden = self.width
        if detail is not None:
            hidden = self.width // 2
            self.sharpen = layers.SeparableConv2D(
                hidden, 3, padding="same", activation="relu", dtype=dtype
            )
            self.sharpen.build((None, None, None, self.width + detail[-1]))
        self.drop = layers.Dropout(self.dropout, dtype=dtype)
        self.predict = layers.Conv2D(self.channels, 1, dtype="float32")
        self.predict.build((None, None, None, hidden))

    def call(self, levels: Sequence[Any], training: bool | None = None) -> Any:
        """Returns the map `(batch, stride * height, stride * width, channels)`."""
        levels, stride = list(levels), self.stride
        detail = None if self.detail_stride is None else levels.pop()
        height, width = ops.shape(levels[0])[1:3]
        total = 0
        for i, (branch, level) in enumerate(zip(self.branches, levels, strict=True)):
            upsampled = upsample(branch(level, training=training), 2**i)
            total = total + upsampled[:, :height, :width]
        hidden = self.mix(total)
        if self.detail_stride is not None:
            hidden = upsample(hidden, stride // self.detail_stride)
            hidden = self.sharpen(ops.concatenate([hidden, detail], axis=-1))
            stride = self.detail_stride
        return upsample(self.predict(self.drop(hidden, training=training)), stride)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "channels": self.channels,
            "stride": self.stride,
            "detail_stride": self.detail_stride,
            "width": self.width,
            "dropout": self.dropout,
        }
