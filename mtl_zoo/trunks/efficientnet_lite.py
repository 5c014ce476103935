"""EfficientNet-Lite0 with ImageNet weights that ship with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from mtl_zoo.trunks.trunk import Trunk
from mtl_zoo.trunks.vision import from_backbone

WEIGHTS_FILE = Path(__file__).parent / "weights" / "efficientnet_lite0_imagenet.npz"

# Repeats, kernel size, stride of the first block, expansion, channels.
_STACKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_CUTS = {
    "stride_2": "block1a_project_bn",
    "stride_4": "block2b_add",
    "stride_8": "block3b_add",
    "stride_16": "block5c_add",
    "stride_32": "top_activation",
}


def efficientnet_lite0(
    weights: str | None = "imagenet",
    *,
    neck: layers.Layer | None = None,
    freeze_batch_norm: bool = False,
    stochastic_depth: float = 0.0,
    name: str = "efficientnet_lite0",
) -> Trunk:
    """Return EfficientNet-Lite0 as a trunk of stages `stride_2` to `stride_32`.

    3.4 million parameters, 0.38 billion multiply-adds at 224 x 224 pixels; relu6 and
    no squeeze-and-excitation, so that it quantises well. The features have 16, 24, 40,
    112 and 1280 channels. The weights were converted from TensorFlow's by way of
    PyTorch; how exactly, and how much the half-precision file loses, is measured in
    `weights/efficientnet_lite0_imagenet.json`.

    Args:
        weights: `"imagenet"` for the weights that ship, or `None` for random ones.
            Defaults to `"imagenet"`.
        neck: Optional neck, such as `FeaturePyramid`. Defaults to `None`.
        freeze_batch_norm: Whether batch normalisation stays frozen, see `Trunk`; right
            for fine-tuning with few images a batch. Defaults to `False`.
        stochastic_depth: Share of images for which the last residual block is skipped
            while training, in `[0, 1)`, falling linearly towards the first block. The
            network was trained with 0.2. Defaults to `0.0`.
        name: Name of the trunk. Defaults to `"efficientnet_lite0"`.

    Returns:
        A `Trunk`. Inputs: RGB images `(batch, height, width, 3)` in 0..255, float or
        uint8, with sides that are multiples of 32; normalised as `(x - 127) / 128`.

    Raises:
        ValueError: When an argument is out of range.
        FileNotFoundError: When the weights did not come with the installation.

    Example:
        >>> trunk = efficientnet_lite0(weights=None)
        >>> features = trunk(keras.ops.zeros((1, 64, 64, 3)))
        >>> tuple(features["stride_16"].shape)
        (1, 4, 4, 112)

    Differences from the original:
        None in the network. It is built from stock Keras layers, for KerasHub's
        `EfficientNetBackbone` can express it only with its `MBConvBlock`, whose inner
        layers forget their dtype policy when saved and loaded.

    Reference:
        - [Tan and Le, 2019](https://arxiv.org/abs/1905.11946)
        - [EfficientNet-Lite](https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite)
    """
    if weights not in ("imagenet", None):
        raise ValueError(
            f"`weights` must be 'imagenet' or None. Received: weights={weights!r}"
        )
    if not 0 <= stochastic_depth < 1:
        raise ValueError(
            "`stochastic_depth` must be in [0, 1). "
            f"Received: stochastic_depth={stochastic_depth}"
        )
    network = backbone(stochastic_depth)
    if weights == "imagenet":
        assign_weights(network, read_weights())
    return from_backbone(
        network,
        _CUTS,
        normalization=layers.Rescaling(1 / 128, offset=-127 / 128),
        neck=neck,
        freeze_batch_norm=freeze_batch_norm,
        name=name,
    )


def imagenet_classifier() -> keras.Model:
    """Return the whole ImageNet network, from pixels to the logits of 1000 classes.

    Returns:
        A model from RGB images `(batch, height, width, 3)` in 0..255 to logits
        `(batch, 1000)`, in the usual order of classes. It was trained at 224 x 224
        pixels, evaluated on the central 7/8 of the image resized bicubically.
    """
    values = read_weights()
    trunk = efficientnet_lite0()
    images = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(trunk(images)["stride_32"])
    dense = layers.Dense(1000, name="classifier")
    model = keras.Model(images, dense(pooled), name="efficientnet_lite0_imagenet")
    assign_weights(dense, values)
    return model


def backbone(stochastic_depth: float = 0.0) -> keras.Model:
    """Return the network as one functional model, for pixels in -1..1.

    Args:
        stochastic_depth: See `efficientnet_lite0`. Defaults to `0.0`.
    """
    inputs = keras.Input((None, None, 3))
    x = layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")(inputs)
    x = _norm(x, "stem_bn")
    x = _relu6(x, "stem_activation")
    blocks = sum(stack[0] for stack in _STACKS)
    index = 0
    for stack, (repeats, kernel, stride, expansion, channels) in enumerate(_STACKS, 1):
        for repeat in range(repeats):
            x = _block(
                x,
                kernel=kernel,
                stride=stride if repeat == 0 else 1,
                expansion=expansion,
                channels=channels,
                drop=stochastic_depth * index / blocks,
                name=f"block{stack}{'abcd'[repeat]}",
            )
            index += 1
    x = layers.Conv2D(1280, 1, use_bias=False, name="top_conv")(x)
    x = _norm(x, "top_bn")
    x = _relu6(x, "top_activation")
    return keras.Model(inputs, x, name="efficientnet_lite0_backbone")


def read_weights() -> dict[str, np.ndarray]:
    """Return the shipped weights, `{"layer/variable": array}`.

    Raises:
        FileNotFoundError: When the file did not come with the installation.
    """
    if not WEIGHTS_FILE.is_file():
        raise FileNotFoundError(
            f"The ImageNet weights of EfficientNet-Lite0 should be at {WEIGHTS_FILE}, "
            "but nothing is there. Reinstall mtl_zoo with its package data, rebuild "
            "the file as tools/README.md says, or pass weights=None."
        )
    with np.load(WEIGHTS_FILE, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def assign_weights(layer: layers.Layer, values: dict[str, np.ndarray]) -> None:
    """Set every weight of `layer` from `values["layer/variable"]`."""
    for weight in layer.weights:
        weight.assign(values[weight_key(weight)].astype("float32"))


def weight_key(weight: keras.Variable) -> str:
    """Return `"layer/variable"`, the name of a weight in the file."""
    return "/".join(weight.path.split("/")[-2:])


def _block(
    inputs: Any,
    *,
    kernel: int,
    stride: int,
    expansion: int,
    channels: int,
    drop: float,
    name: str,
) -> Any:
    """Inverted residual: widen, convolve depthwise, narrow, add."""
    x = inputs
    if expansion > 1:
        x = layers.Conv2D(
            inputs.shape[-1] * expansion, 1, use_bias=False, name=f"{name}_expand_conv"
        )(x)
        x = _norm(x, f"{name}_expand_bn")
        x = _relu6(x, f"{name}_expand_activation")
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}_dwconv"
    )(x)
    x = _norm(x, f"{name}_bn")
    x = _relu6(x, f"{name}_activation")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _norm(x, f"{name}_project_bn")
    if stride > 1 or inputs.shape[-1] != channels:
        return x
    if drop:
        x = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return layers.Add(name=f"{name}_add")([inputs, x])


def _norm(x: Any, name: str) -> Any:
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


def _relu6(x: Any, name: str) -> Any:
    return layers.ReLU(6.0, name=name)(x)
