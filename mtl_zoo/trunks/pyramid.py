"""The feature pyramid, the neck that dense heads read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable(package="mtl_zoo")
class FeaturePyramid(layers.Layer):
    """Give every resolution the meaning of the coarsest: a top-down pathway.

    With `C_l` the feature of stride `2 ** l` (section 3, figure 3):

        M_top = lateral(C_top)
        M_l = lateral(C_l) + upsample(M_{l + 1})
        P_l = output(M_l)

    `lateral` is a 1x1 convolution, `upsample` repeats every pixel 2x2 times (nearest
    neighbour), `output` is a 3x3 convolution that lessens the aliasing of that.

    Args:
        width: Channels of every output. Defaults to `64`.
        levels: Consecutive levels to use, from fine to coarse. Level `l` reads the
            feature `stride_{2 ** l}` and gives `pyramid_{l}`. Defaults to
            `(2, 3, 4, 5)`.
        groups: Groups of a `GroupNormalization` behind every output convolution, or
            `None` for no normalisation. Defaults to `None`.
        **kwargs: Passed to `keras.layers.Layer`.

    Inputs:
        Mapping with `stride_{2 ** l}`, `(batch, height / 2 ** l, width / 2 ** l,
        channels)`, for every level; other entries are not used. The image's height
        and width must be multiples of the coarsest stride, 32 for level 5.

    Returns:
        `{"pyramid_{l}": (batch, height / 2 ** l, width / 2 ** l, width)}`.

    Raises:
        ValueError: When an argument is out of range, a feature is missing, or known
            sizes do not halve from level to level.

    Example:
        >>> ones = keras.ops.ones
        >>> pyramid = FeaturePyramid(width=8, levels=(4, 5))
        >>> outputs = pyramid(
        ...     {"stride_16": ones((1, 4, 6, 3)), "stride_32": ones((1, 2, 3, 5))}
        ... )
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'pyramid_4': (1, 4, 6, 8), 'pyramid_5': (1, 2, 3, 8)}

    Differences from the paper:
        The 3x3 convolutions are depthwise separable, about 8 times cheaper at width
        64; width 64, not 256; optional group normalisation. KerasHub's own
        `FeaturePyramid` belongs to its RetinaNet, is not exported, and always has full
        convolutions and extra levels 6 and 7 made for anchors.

    Reference:
        - [Lin et al., 2017](https://arxiv.org/abs/1612.03144)
    """

    def __init__(
        self,
        width: int = 64,
        levels: Iterable[int] = (2, 3, 4, 5),
        groups: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        levels = tuple(levels)
        if not levels or levels != tuple(range(levels[0], levels[0] + len(levels))):
            raise ValueError(
                "`levels` must be consecutive, from fine to coarse, such as "
                f"(2, 3, 4, 5). Received: levels={levels}"
            )
        if width < 1 or (groups is not None and (groups < 1 or width % groups)):
            raise ValueError(
                "`width` must be positive and a multiple of `groups`. "
                f"Received: width={width}, groups={groups}"
            )
        self.width = width
        self.levels = levels
        self.groups = groups
        self.laterals = [
            layers.Conv2D(width, 1, dtype=self.dtype_policy, name=f"lateral_{level}")
            for level in levels
        ]
        self.upsample = layers.UpSampling2D(2, dtype=self.dtype_policy, name="upsample")
        self.outputs = [
            layers.SeparableConv2D(
                width,
                3,
                padding="same",
                # Keras' default counts all channels as inputs of a depthwise kernel
                # and starts it several times too small.
                depthwise_initializer=keras.initializers.VarianceScaling(
                    mode="fan_out"
                ),
                dtype=self.dtype_policy,
                name=f"output_{level}",
            )
            for level in levels
        ]
        self.norms = [
            layers.GroupNormalization(
                groups, dtype=self.dtype_policy, name=f"norm_{level}"
            )
            for level in (levels if groups else ())
        ]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """The pointwise kernels of the output convolutions, where trainable."""
        kernels = [convolution.pointwise_kernel for convolution in self.outputs]
        return [kernel for kernel in kernels if kernel.trainable]

    def build(self, input_shape: Mapping[str, Any]) -> None:
        shapes = [tuple(shape) for shape in self._select(input_shape)]
        self._check_sizes(shapes)
        for lateral, shape in zip(self.laterals, shapes, strict=True):
            lateral.build(shape)
        for layer, shape in zip(self.outputs, shapes, strict=True):
            layer.build((*shape[:-1], self.width))
        for layer in self.norms:
            layer.build((*shapes[0][:-1], self.width))

    def call(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return self.run(inputs, lambda layer: layer)

    def run(
        self, inputs: Mapping[str, Any], of: Callable[[layers.Layer], Any]
    ) -> dict[str, Any]:
        """Return the outputs with `of(convolution)` in place of every convolution.

        Args:
            inputs: As for a call.
            of: From one of `laterals` and `outputs` to what is to compute it.
        """
        features = self._select(inputs)
        self._check_sizes([tuple(feature.shape) for feature in features])
        merged: list[Any] = []  # from coarse to fine
        for lateral, feature in zip(
            reversed(self.laterals), reversed(features), strict=True
        ):
            x = of(lateral)(feature)
            merged.append(x + self.upsample(merged[-1]) if merged else x)
        merged.reverse()
        results = [
            of(output)(x) for output, x in zip(self.outputs, merged, strict=True)
        ]
        if self.norms:
            results = [norm(x) for norm, x in zip(self.norms, results, strict=True)]
        return dict(zip(self._names(), results, strict=True))

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> dict[str, Any]:
        shapes = [(*shape[:-1], self.width) for shape in self._select(input_shape)]
        return dict(zip(self._names(), shapes, strict=True))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "width": self.width,
            "levels": list(self.levels),
            "groups": self.groups,
        }

    def _names(self) -> list[str]:
        return [f"pyramid_{level}" for level in self.levels]

    def _select(self, features: Mapping[str, Any]) -> list[Any]:
        names = [f"stride_{2**level}" for level in self.levels]
        missing = [name for name in names if name not in features]
        if missing:
            raise ValueError(
                f"A feature pyramid of levels {self.levels} reads the features "
                f"{names}. Received: {list(features)}, without {missing}. Change "
                "`levels` or the trunk."
            )
        return [features[name] for name in names]

    def _check_sizes(self, shapes: list[tuple]) -> None:
        for level, fine, coarse in zip(self.levels, shapes, shapes[1:], strict=False):
            sizes = zip(fine[1:3], coarse[1:3], strict=True)
            if any(None not in pair and pair[0] != 2 * pair[1] for pair in sizes):
                raise ValueError(
                    f"Level {level} must be twice as large as level {level + 1}; use "
                    f"images whose sides are multiples of {2 ** self.levels[-1]}. "
                    f"Received features of shapes {fine} and {coarse}"
                )
