import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from skimage import data

import mtl_zoo as mtl
from mtl_zoo.export.xla_native import (
    DepthwiseAsShifts,
    PointwiseAsDense,
    SeparableAsBoth,
    native_encode,
    native_trunk,
)
from mtl_zoo.trunks.trunk import Trunk

# Sums in another order: of the largest number of the feature.
TOLERANCE = 2e-5


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def randomise(layer):
    """Weights that tell apart rows, columns and channels; positive variances."""
    for i, weight in enumerate(layer.weights):
        value = (
            normal(*weight.shape, seed=i) / max(1, np.prod(weight.shape[:-1])) ** 0.5
        )
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)


def assert_same(received, expected, tolerance=TOLERANCE):
    assert list(received) == list(expected)
    for name, value in expected.items():
        value, other = np.asarray(value), np.asarray(received[name])
        assert other.shape == value.shape and other.dtype == value.dtype
        assert np.abs(other - value).max() <= tolerance * np.abs(value).max(), name


def assert_layer_same(layer, wrapper, x):
    layer.build(x.shape)
    randomise(layer)
    expected, received = layer(x), wrapper(layer)(x)
    assert received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def lite():
    """EfficientNet-Lite0 and a pyramid; the native form; that traced for any size."""
    trunk = mtl.trunks.efficientnet_lite0(neck=mtl.trunks.FeaturePyramid(width=16))
    trunk.build((None, 64, 64, 3))
    native = native_trunk(trunk)
    spec = tf.TensorSpec((None, None, None, 3), tf.float32)
    return trunk, native, tf.function(native, input_signature=[spec])


def operations(function, spec):
    graph = tf.function(lambda x: function(x)).get_concrete_function(spec).graph
    return [operation.type for operation in graph.get_operations()], graph


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_depthwise_equals_the_convolution(kernel, stride, padding):
    for size, multiplier in itertools.product([(7, 7), (8, 8), (9, 6)], [1, 2]):
        layer = layers.DepthwiseConv2D(
            kernel, stride, padding, depth_multiplier=multiplier, activation="relu"
        )
        assert_layer_same(layer, DepthwiseAsShifts, normal(2, *size, 3))


def test_depthwise_kernel_of_two_sizes():
    layer = layers.DepthwiseConv2D((3, 5), padding="same", use_bias=False)
    assert_layer_same(layer, DepthwiseAsShifts, normal(2, 6, 7, 3))


def test_depthwise_kernel_larger_than_the_image():
    layer = layers.DepthwiseConv2D(5, 2, "same")
    assert_layer_same(layer, DepthwiseAsShifts, normal(1, 2, 1, 3))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pointwise_equals_the_convolution(stride, padding):
    for size in [(7, 7), (8, 6)]:
        layer = layers.Conv2D(4, 1, stride, padding, activation="relu")
        assert_layer_same(layer, PointwiseAsDense, normal(2, *size, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_separable_equals_the_convolution(stride, padding):
    for size, multiplier in itertools.product([(7, 7), (8, 6)], [1, 2]):
        layer = layers.SeparableConv2D(
            4, 3, stride, padding, depth_multiplier=multiplier, activation="relu"
        )
        assert_layer_same(layer, SeparableAsBoth, normal(2, *size, 3))


def test_mixed_precision():
    layer = layers.DepthwiseConv2D(3, padding="same", dtype="mixed_bfloat16")
    layer.build((None, 5, 5, 2))
    x = normal(1, 5, 5, 2)
    received = DepthwiseAsShifts(layer)(x)
    assert received.dtype == "bfloat16"
    np.testing.assert_allclose(
        tf.cast(received, "float32"), tf.cast(layer(x), "float32"), rtol=0.1, atol=0.05
    )


def test_trunk_on_a_photograph(lite):
    trunk, _, graph = lite
    photograph = data.astronaut()[None, :224, 128:352]
    assert_same(graph(photograph.astype("float32")), trunk(photograph))


def test_pixels_may_be_integers(lite):
    trunk, native, _ = lite
    photograph = data.astronaut()[None, :32, 128:160]
    assert photograph.dtype == "uint8"
    assert_same(native(photograph), trunk(photograph))


def test_within_xla(lite):
    # Kernels of 3 and 5, strides of 1 and 2; the rest would take long to compile.
    trunk = Trunk(dict(list(lite[0].stages.items())[:3]))
    x = data.astronaut()[None, :64, 128:192].astype("float32")
    trunk.build(x.shape)
    assert_same(tf.function(native_trunk(trunk), jit_compile=True)(x), trunk(x))


def test_sizes_may_be_unknown(lite):
    trunk, _, graph = lite
    for shape in ((1, 64, 96, 3), (2, 32, 32, 3)):
        x = 255 * np.abs(normal(*shape))
        assert_same(graph(x), trunk(x))


def test_one_convolution_is_left_and_known_sizes_stay_known(lite):
    trunk, native, _ = lite
    types, graph = operations(native, tf.TensorSpec((1, 64, 64, 3), tf.float32))
    assert types.count("Conv2D") == 1  # the stem
    assert "DepthwiseConv2dNative" not in types
    assert "Shape" not in types
    assert {id(v) for v in graph.variables} == {id(v.value) for v in trunk.weights}


def test_new_values_count_at_once(lite):
    trunk, _, graph = lite
    x = 255 * np.abs(normal(1, 32, 32, 3))
    before = graph(x)["stride_32"]
    kernel = trunk.stages["stride_32"].get_layer("top_conv").kernel
    value = kernel.numpy()
    kernel.assign(2 * value)
    try:
        assert not np.allclose(graph(x)["stride_32"], before)
        assert_same(graph(x), trunk(x))
    finally:
        kernel.assign(value)


def test_the_trunk_is_left_as_it_was(lite):
    trunk, *_ = lite
    types, _ = operations(trunk, tf.TensorSpec((1, 64, 64, 3), tf.float32))
    assert types.count("DepthwiseConv2dNative") == 16 + 4  # blocks and pyramid
    config, identities = trunk.get_config(), [id(v) for v in trunk.variables]
    native_trunk(trunk)
    assert trunk.get_config() == config
    assert [id(v) for v in trunk.variables] == identities


@pytest.mark.parametrize(
    ("backbone", "convolutions"),
    [
        # The stem and one 3x3 a block stay.
        (
            lambda: keras.applications.ResNet50V2(
                input_shape=(64, 64, 3), include_top=False, weights=None
            ),
            1 + 16,
        ),
        (
            lambda: keras.applications.MobileNetV2(
                input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None
            ),
            1,
        ),
    ],
    ids=["ResNet50V2", "MobileNetV2"],
)
def test_trunks_of_keras_applications(backbone, convolutions):
    trunk = mtl.trunks.from_backbone(
        backbone(), normalization=layers.Rescaling(1 / 127.5, offset=-1)
    )
    native = native_trunk(trunk)
    types, _ = operations(native, tf.TensorSpec((1, 64, 64, 3), tf.float32))
    assert types.count("Conv2D") == convolutions
    assert "DepthwiseConv2dNative" not in types
    x = data.astronaut()[None, :64, 128:192].astype("float32")
    assert_same(native(x), trunk(x), tolerance=1e-4)


def mixed_trunk():
    """Nested models, one layer used twice, and layers that must stay."""
    inputs = keras.Input((None, None, 4))
    twice = layers.Conv2D(4, 1, name="twice")
    inner = keras.Sequential(
        [layers.DepthwiseConv2D(3, padding="same"), layers.BatchNormalization()]
    )
    x = layers.Add()([inputs, twice(inner(twice(inputs)))])
    first = keras.Model(inputs, x, name="first")
    second = keras.Sequential(
        [
            layers.Conv2D(4, 1, groups=2),
            layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
            layers.Conv2D(4, 3, padding="same"),
            layers.Dropout(0.5),
            layers.SeparableConv2D(4, 3),
        ]
    )
    features = {
        name: keras.Input((None, None, channels), name=name)
        for name, channels in {"first": 4, "second": 4, "third": 3}.items()
    }
    trunk = Trunk(
        {"first": first, "second": second, "third": layers.Conv2D(3, 1)},
        neck=keras.Model(features, {"neck": layers.Conv2D(2, 1)(features["third"])}),
    )
    trunk.build((None, 8, 8, 4))
    randomise(trunk)
    return trunk


def test_nested_models_and_layers_that_stay():
    trunk = mixed_trunk()
    native, x = native_trunk(trunk), normal(2, 8, 8, 4)
    types, graph = operations(native, tf.TensorSpec(x.shape, tf.float32))
    assert types.count("Conv2D") == 1  # 3x3; Keras wraps that in groups
    assert types.count("DepthwiseConv2dNative") == 1  # dilated
    assert {id(v) for v in graph.variables} == {id(v.value) for v in trunk.weights}
    assert_same(native(x), trunk(x))


def test_encode_of_a_model(lite):
    trunk, *_ = lite
    task = mtl.Task(
        "kind",
        mtl.heads.Classification(3, feature="stride_32"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model = mtl.architectures.HardSharing(trunk, [task])
    model.build((None, 64, 64, 3))
    encode, x = native_encode(model), 255 * np.abs(normal(1, 64, 64, 3))
    assert_same(encode(x), model.encode(x))
    assert_same(model.decode(encode(x, training=False)), model(x))
    with pytest.raises(ValueError, match="inference only"):
        encode(x, training=True)


def test_no_trunk():
    with pytest.raises(TypeError, match="must have a `trunk`"):
        native_encode(keras.Sequential([layers.Dense(2)]))
    with pytest.raises(TypeError, match="make one with"):
        native_trunk(layers.Dense(2))


def test_not_built():
    with pytest.raises(ValueError, match=r"\['conv'\] are not built"):
        native_trunk(Trunk({"conv": layers.Conv2D(2, 1, name="conv")}))


def test_nothing_to_replace():
    trunk = mtl.trunks.mlp([4])
    trunk.build((None, 2))
    with pytest.raises(ValueError, match="must have pointwise"):
        native_trunk(trunk)
