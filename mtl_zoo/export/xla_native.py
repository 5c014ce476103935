"""Trunks written for XLA: the same variables, no convolution that XLA cannot fuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from mtl_zoo.trunks.pyramid import FeaturePyramid
from mtl_zoo.trunks.trunk import Trunk

Encode = Callable[..., dict[str, Any]]


def native_encode(model: Any) -> Encode:
    """Return `model.encode` with the trunk in XLA's terms, see `native_trunk`.

    Args:
        model: A built model with a `trunk`, such as `HardSharing`.

    Returns:
        `encode(inputs, training=False)`, the features that `model.decode` takes.

    Raises:
        TypeError: When the model has no `trunk` that is a `Trunk`.
        ValueError: As `native_trunk`.

    Example:
        >>> import mtl_zoo as mtl
        >>> trunk = mtl.trunks.efficientnet_lite0(weights=None)
        >>> task = mtl.Task(
        ...     "kind",
        ...     mtl.heads.Classification(3, feature="stride_32"),
        ...     keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ... )
        >>> model = mtl.architectures.HardSharing(trunk, [task])
        >>> model.build((None, 64, 64, 3))
        >>> encode = native_encode(model)
        >>> tuple(model.decode(encode(ops.zeros((1, 64, 64, 3))))["kind"].shape)
        (1, 3)
    """
    trunk = getattr(model, "trunk", None)
    if not isinstance(trunk, Trunk):
        raise TypeError(
            "The model must have a `trunk`, a mtl_zoo Trunk, as HardSharing has; other "
            "architectures run the stages of their trunks themselves and have no "
            f"XLA-native form. Received: {model!r} of type {type(model).__name__}, "
            f"with trunk={trunk!r}"
        )
    return native_trunk(trunk)


def native_trunk(trunk: Trunk) -> Encode:
    """Return the function of `trunk`, on the same variables, in operations XLA fuses.

    XLA calls a library for every convolution and can fuse nothing into it. Here
    pointwise convolutions are matrix products and depthwise ones sums of shifted
    products; other convolutions, such as a stem, and all other layers stay. Layers
    are found in functional and sequential models, nested or not, and in a
    `FeaturePyramid`; the inside of other layers is not looked into.

    Made for `tf.function(jit_compile=True)`; without XLA it is slow. It computes
    inference only. New values assigned to the trunk's variables count at once.

    Args:
        trunk: A built `Trunk`, channels last.

    Returns:
        `encode(inputs, training=False)` with the trunk's features, `{name: tensor}`.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When the trunk is not built, or nothing in it can be replaced; when
            `encode` is called with `training=True`.

    Example:
        >>> import tensorflow as tf
        >>> import mtl_zoo as mtl
        >>> trunk = mtl.trunks.efficientnet_lite0(weights=None)
        >>> encode = tf.function(native_trunk(trunk), jit_compile=True)
        >>> tuple(encode(tf.zeros((1, 32, 32, 3)))["stride_16"].shape)
        (1, 2, 2, 112)
    """
    if not isinstance(trunk, Trunk):
        raise TypeError(
            "`trunk` must be a mtl_zoo Trunk; make one with mtl_zoo.trunks. "
            f"Received: {trunk!r} of type {type(trunk).__name__}"
        )
    parts = [*trunk.stages.values(), *([] if trunk.neck is None else [trunk.neck])]
    unbuilt = [part.name for part in parts if not part.built]
    if unbuilt:
        raise ValueError(
            "The trunk must be built first: call it once, or `build` it with the shape "
            f"of its inputs. Received: {trunk.name!r}, where {unbuilt} are not built"
        )
    convert = _Converter()
    stages = {name: convert(stage) for name, stage in trunk.stages.items()}
    run_neck = None if trunk.neck is None else convert.neck(trunk.neck)
    if not convert.replaced:
        raise ValueError(
            "The trunk must have pointwise (1x1) or depthwise convolutions, channels "
            "last and not dilated, in functional or sequential stages or in a "
            "FeaturePyramid; nothing else gains here. Compile the trunk itself with "
            f"XLA. Received: {trunk.name!r} with stages {dict(trunk.stages)}"
        )

    def encode(inputs: Any, training: bool = False) -> dict[str, Any]:
        if training:
            raise ValueError(
                "An XLA-native trunk computes inference only. Train with the trunk "
                f"itself. Received: training={training}"
            )
        features, x = {}, inputs
        for name, stage in stages.items():
            features[name] = x = stage(x, training=False)
        if run_neck is None:
            return features
        return {**features, **run_neck(dict(features))}

    return encode


class _Rewritten(layers.Layer):
    """Computes what the built `layer` computes, on its variables, in another way."""

    def __init__(self, layer: layers.Layer) -> None:
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.layer = layer
        self.built = True

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer.compute_output_spec(*args, **kwargs)

    def finish(self, x: Any) -> Any:
        """Apply the bias and the activation of the convolution."""
        if self.layer.use_bias:
            x = x + self.layer.bias
        return x if self.layer.activation is None else self.layer.activation(x)


class PointwiseAsDense(_Rewritten):
    """A `Conv2D` with a 1x1 kernel, any stride, as a matrix product."""

    def call(self, inputs: Any) -> Any:
        rows, columns = self.layer.strides
        if (rows, columns) != (1, 1):
            inputs = inputs[:, ::rows, ::columns]
        return self.finish(pointwise(inputs, self.layer.kernel))


class DepthwiseAsShifts(_Rewritten):
    """A `DepthwiseConv2D` as a sum of shifted products."""

    def call(self, inputs: Any) -> Any:
        layer = self.layer
        return self.finish(
            depthwise(inputs, layer.kernel, layer.strides, layer.padding)
        )


class SeparableAsBoth(_Rewritten):
    """A `SeparableConv2D` as a sum of shifted products and a matrix product."""

    def call(self, inputs: Any) -> Any:
        layer = self.layer
        x = depthwise(inputs, layer.depthwise_kernel, layer.strides, layer.padding)
        return self.finish(pointwise(x, layer.pointwise_kernel))


def pointwise(x: Any, kernel: Any) -> Any:
    """Return the product `(..., filters)` of `x`, `(..., channels)`, and `kernel`.

    Args:
        x: `(batch, height, width, channels)`.
        kernel: `(1, 1, channels, filters)`.
    """
    return ops.matmul(x, ops.reshape(kernel, kernel.shape[2:]))


def depthwise(x: Any, kernel: Any, strides: tuple[int, int], padding: str) -> Any:
    """Return the depthwise convolution as a sum of shifted products.

    Each row of the kernel is summed over shifted columns, then these sums over shifted
    rows. So no slice takes just what was padded: XLA would replace such a slice, the
    kernel's centre, by the unpadded tensor, and compute and read that once more.

    Args:
        x: `(batch, height, width, channels)`; all but the channels may be unknown.
        kernel: `(rows, columns, channels, multiplier)`.
        strides: Along height and width.
        padding: `"same"`, as TensorFlow pads, more behind than before; or `"valid"`.

    Returns:
        `(batch, height', width', channels * multiplier)`.
    """
    rows, columns, channels, multiplier = kernel.shape
    height, above, below = _extent(ops.shape(x)[1], rows, strides[0], padding)
    width, left, right = _extent(ops.shape(x)[2], columns, strides[1], padding)
    if padding == "same":
        x = ops.pad(x, ((0, 0), (above, below), (left, right), (0, 0)))
    if multiplier > 1:
        x = ops.repeat(x, multiplier, axis=-1)
    taps = ops.unstack(ops.reshape(kernel, (rows * columns, channels * multiplier)))
    shifted = [
        x[:, :, column : column + width : strides[1]] for column in range(columns)
    ]
    total = None
    for row in range(rows):
        along = shifted[0] * taps[row * columns]
        for column in range(1, columns):
            along = along + shifted[column] * taps[row * columns + column]
        along = along[:, row : row + height : strides[0]]
        total = along if total is None else total + along
    return total


def _extent(size: Any, kernel: int, stride: int, padding: str) -> tuple[Any, Any, Any]:
    """Return what one tap reads, first to last, and the padding before and behind."""
    if padding == "valid":
        return (size - kernel) // stride * stride + 1, 0, 0
    reach = (size - 1) // stride * stride
    missing = reach + kernel - size
    missing = max(missing, 0) if isinstance(size, int) else ops.maximum(missing, 0)
    return reach + 1, missing // 2, missing - missing // 2


class _Converter:
    """Replaces what it can, once a layer, and counts."""

    def __init__(self) -> None:
        self.replaced = 0
        self._done: dict[int, Any] = {}

    def __call__(self, layer: layers.Layer) -> layers.Layer:
        """Return the layer to run in place of `layer`; itself if none is better."""
        if id(layer) not in self._done:
            self._done[id(layer)] = self._convert(layer)
        return self._done[id(layer)]

    def neck(self, neck: layers.Layer) -> Callable[[dict[str, Any]], dict[str, Any]]:
        """Return the function to run in place of `neck`."""
        if type(neck) is FeaturePyramid:
            for layer in (*neck.laterals, *neck.outputs):
                self(layer)
            return lambda features: neck.run(features, self)
        replacement = self(neck)
        return lambda features: replacement(features, training=False)

    def _convert(self, layer: layers.Layer) -> layers.Layer:
        functional = isinstance(layer, keras.Model) and hasattr(layer, "operations")
        if functional or isinstance(layer, keras.Sequential):
            return self._model(layer)
        wrapper = _wrapper_of(layer)
        if wrapper is None:
            return layer
        self.replaced += 1
        return wrapper(layer)

    def _model(self, model: keras.Model) -> keras.Model:
        before = self.replaced
        clone = keras.models.clone_model(model, clone_function=self)
        return clone if self.replaced > before else model


def _wrapper_of(layer: layers.Layer) -> Callable[[Any], layers.Layer] | None:
    """Return the class that can replace `layer`, or `None`."""
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    if type(layer) not in kinds or layer.data_format != "channels_last":
        return None  # a subclass may compute anything
    if isinstance(layer, layers.Conv2D):
        dense = layer.kernel_size == (1, 1) and layer.groups == 1
        return PointwiseAsDense if dense else None
    if layer.dilation_rate not in (1, (1, 1)):
        return None
    if isinstance(layer, layers.SeparableConv2D):
        return SeparableAsBoth
    return DepthwiseAsShifts
