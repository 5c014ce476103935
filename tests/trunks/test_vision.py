import importlib

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from mtl_zoo.trunks import FeaturePyramid, Trunk, from_backbone, vision

DYNAMIC = (None, None, 3)


def mobilenet(shape=DYNAMIC, **kwargs):
    kwargs = {"include_top": False, "alpha": 0.35, **kwargs}
    return keras.applications.MobileNetV2(input_shape=shape, weights=None, **kwargs)


def hub_resnet(**kwargs):
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[2, 1, 2, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        **kwargs,
    )


def hub_efficientnet():
    return keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3, 5, 3],
        stackwise_num_repeats=[1, 2, 1, 1],
        stackwise_input_filters=[8, 8, 8, 16],
        stackwise_output_filters=[8, 8, 16, 24],
        stackwise_expansion_ratios=[1, 4, 4, 4],
        stackwise_strides=[2, 2, 2, 2],
        stackwise_squeeze_and_excite_ratios=[0.25] * 4,
        stackwise_block_types=["v1", "v1", "unfused", "fused"],
        width_coefficient=1.0,
        depth_coefficient=1.0,
        num_features=32,
    )


def hub_mobilenet():
    return keras_hub.models.MobileNetBackbone(
        stackwise_expansion=[[8, 16], [16, 16], [16]],
        stackwise_num_blocks=[2, 2, 1],
        stackwise_num_filters=[[8, 8], [16, 16], [16]],
        stackwise_kernel_size=[[3, 3], [5, 5], [5]],
        stackwise_num_strides=[[2, 1], [2, 1], [2]],
        stackwise_se_ratio=[[None, None], [0.25, 0.25], [0.25]],
        stackwise_activation=[["relu", "relu"], ["hard_swish"] * 2, ["hard_swish"]],
        stackwise_padding=[[1, 1], [2, 2], [2]],
        output_num_filters=32,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=32,
        input_num_filters=8,
    )


def small(name):
    """A small member of a family of keras.applications.

    Its public members are too large for a fast test; the constructors behind them are
    not exported.
    """
    family = importlib.import_module(f"keras.src.applications.{name}")
    common = {"include_top": False, "weights": None, "input_shape": DYNAMIC}
    if name == "convnext":
        return family.ConvNeXt([1, 1, 2, 1], [8, 8, 16, 16], **common)
    if name == "efficientnet":
        return family.EfficientNet(0.2, 0.4, 64, **common)

    def stacks(x):
        for i, stride in enumerate((1, 2, 2, 2), start=2):
            x = family.stack_residual_blocks_v1(x, 8, 2, stride, name=f"conv{i}")
        return x

    return family.ResNet(stacks, preact=False, use_bias=True, **common)


@pytest.fixture(scope="module")
def backbone():
    return mobilenet()


BACKBONES = {
    "hub_resnet": lambda: hub_resnet(use_pre_activation=False),
    "hub_resnet_v2": lambda: hub_resnet(use_pre_activation=True),
    "hub_efficientnet": hub_efficientnet,
    "hub_mobilenet": hub_mobilenet,
    "mobilenet_v2": mobilenet,
    "resnet": lambda: small("resnet"),
    "efficientnet": lambda: small("efficientnet"),
    "convnext": lambda: small("convnext"),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_stages_one_after_the_other_equal_the_backbone(name):
    backbone = BACKBONES[name]()
    trunk = from_backbone(backbone)
    strides = (4, 8, 16, 32) if name == "convnext" else (2, 4, 8, 16, 32)
    assert list(trunk.stages) == [f"stride_{stride}" for stride in strides]
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    features = trunk(x)
    for stride in strides:
        height, width = features[f"stride_{stride}"].shape[1:3]
        assert (height, width) == (64 // stride, 96 // stride)
    expected = backbone(x)
    np.testing.assert_allclose(features["stride_32"], expected, rtol=1e-5, atol=1e-5)
    assert {id(w) for w in trunk.weights} == {id(w) for w in backbone.weights}


@pytest.mark.parametrize("name", ["hub_efficientnet", "convnext"])
def test_keras_file_keeps_the_outputs(tmp_path, name):
    trunk = from_backbone(
        BACKBONES[name](),
        normalization=layers.Rescaling(1 / 127.5, offset=-1),
        neck=FeaturePyramid(width=8, levels=(4, 5)),
        freeze_batch_norm=True,
    )
    inputs = keras.Input(DYNAMIC)
    model = keras.Model(inputs, trunk(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    features, again = model(x), loaded(x)
    for name, value in features.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-6, atol=1e-6)
    assert len(loaded.trainable_weights) == len(model.trainable_weights)
    for layer in loaded._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            assert not layer.trainable


def brute_force_separators(tensors, output):
    """A tensor separates when without it the output cannot be reached any more."""
    children = {id(t): [] for t in tensors}
    for tensor in tensors[1:]:
        for parent in vision._parents(tensor):
            children[id(parent)].append(tensor)

    def reached_without(removed):
        seen, stack = set(), [tensors[0]]
        while stack:
            tensor = stack.pop()
            if id(tensor) not in seen and tensor is not removed:
                seen.add(id(tensor))
                stack.extend(children[id(tensor)])
        return id(output) in seen

    return [t for t in tensors[1:] if not reached_without(t)]


def test_separators_are_what_brute_force_finds():
    backbone = small("efficientnet")  # squeeze-and-excitation, skips
    source, output = vision._endpoints(backbone)
    tensors = vision._tensors_in_order(source, output)
    found = vision._separators(tensors, output)
    expected = brute_force_separators(tensors, output)
    assert [id(t) for t in found] == [id(t) for t in expected]
    assert 20 < len(found) < len(tensors) - 50


def test_a_skip_over_the_whole_network_leaves_only_the_output():
    source = keras.Input((64, 64, 3))
    x = layers.Conv2D(3, 3, padding="same")(source)
    output = layers.Add()([source, layers.Conv2D(3, 3, padding="same")(x)])
    tensors = vision._tensors_in_order(source, output)
    assert [id(t) for t in vision._separators(tensors, output)] == [id(output)]


def test_classification_top_is_left_out():
    backbone = mobilenet((64, 64, 3), include_top=True)
    trunk = from_backbone(backbone)
    x = np.random.rand(1, 64, 64, 3).astype("float32")
    assert trunk(x)["stride_32"].shape == (1, 2, 2, 1280)
    assert len(backbone.weights) - len(trunk.weights) == 2
    features = keras.Model(backbone.input, backbone.get_layer("out_relu").output)
    np.testing.assert_allclose(trunk(x)["stride_32"], features(x), rtol=1e-5, atol=1e-5)


def test_cuts_by_name(backbone):
    cuts = {"early": "block_2_add", "late": "block_12_add"}
    trunk = from_backbone(backbone, cuts)
    assert list(trunk.stages) == ["early", "late"]
    x = np.random.rand(1, 64, 64, 3).astype("float32")
    ends = [backbone.get_layer(layer).output for layer in cuts.values()]
    expected = keras.Model(backbone.input, ends)(x)
    for feature, value in zip(trunk(x).values(), expected, strict=True):
        np.testing.assert_allclose(feature, value, rtol=1e-5, atol=1e-6)


def test_a_backbone_can_be_cut_twice_and_weights_are_shared(backbone):
    first, second = from_backbone(backbone), from_backbone(backbone)
    assert [id(w) for w in first.weights] == [id(w) for w in second.weights]
    first.stages["stride_2"].weights[0].assign_add(np.ones((3, 3, 3, 16)))
    x = np.random.rand(1, 64, 64, 3).astype("float32")
    expected = backbone(x)
    for trunk in (first, second):
        np.testing.assert_allclose(
            trunk(x)["stride_32"], expected, rtol=1e-5, atol=1e-6
        )


def test_normalization_takes_pixels_also_as_uint8(backbone):
    plain = from_backbone(backbone)
    trunk = from_backbone(backbone, normalization=layers.Rescaling(1 / 127.5, -1))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3))
    expected = plain(pixels.astype("float32") / 127.5 - 1)["stride_8"]
    for dtype in ("uint8", "float32"):
        features = trunk(pixels.astype(dtype))
        np.testing.assert_allclose(features["stride_8"], expected, rtol=1e-4, atol=1e-5)


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        backbone = small("resnet")
        trunk = from_backbone(backbone, normalization=layers.Rescaling(1 / 127.5, -1))
        clone = Trunk.from_config(trunk.get_config())
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    for features in (trunk(x), clone(x)):
        assert {feature.dtype for feature in features.values()} == {tf.float16}
    assert {w.dtype for w in trunk.weights} == {"float32"}


class TestErrors:
    def test_subclassed_model(self):
        class Subclassed(keras.Model):
            pass

        with pytest.raises(TypeError, match=r"functional.*Subclassed"):
            from_backbone(Subclassed())

    @pytest.mark.parametrize(
        "shape", [(50, 64, 3), (32, 32, 3), (3, 64, 64), (64, 64), (64,)]
    )
    def test_input_shape(self, shape):
        inputs = keras.Input(shape)
        with pytest.raises(ValueError, match="input of shape"):
            from_backbone(keras.Model(inputs, layers.Dense(2)(inputs)))

    def test_two_outputs(self):
        inputs = keras.Input((64, 64, 3))
        model = keras.Model(inputs, [layers.Conv2D(1, 1)(inputs) for _ in range(2)])
        with pytest.raises(ValueError, match="1 inputs and 2 outputs"):
            from_backbone(model)

    def test_nothing_to_cut(self):
        inputs = keras.Input((64, 64, 3))
        with pytest.raises(ValueError, match="cannot be cut by stride"):
            from_backbone(keras.Model(inputs, layers.Conv2D(1, 1)(inputs)))

    def test_decoder(self):
        inputs = keras.Input((64, 64, 3))
        x = layers.Conv2D(4, 3, 2, "same")(inputs)
        x = layers.Conv2D(4, 3, 2, "same")(x)
        model = keras.Model(inputs, layers.UpSampling2D(2)(x), name="unet")
        with pytest.raises(ValueError, match="'unet' cannot be cut by stride"):
            from_backbone(model)

    def test_cut_is_crossed_by_a_skip(self, backbone):
        with pytest.raises(ValueError, match=r"'block_2_depthwise'.*crosses this cut"):
            from_backbone(backbone, {"a": "block_2_depthwise"})

    def test_cut_names_no_layer(self, backbone):
        with pytest.raises(ValueError, match=r"'nothing'.*'out_relu'"):
            from_backbone(backbone, {"a": "nothing"})

    def test_cuts_out_of_order(self, backbone):
        with pytest.raises(ValueError, match="in the order"):
            from_backbone(backbone, {"a": "block_12_add", "b": "block_2_add"})

    def test_weight_in_two_stages(self):
        inputs = keras.Input((64, 64, 3))
        shared = layers.Conv2D(3, 3, padding="same")
        x = layers.MaxPooling2D(name="half")(shared(inputs))
        x = layers.MaxPooling2D(name="quarter")(shared(x))
        cuts = {"a": "half", "b": "quarter"}
        with pytest.raises(ValueError, match="'a' and 'b' share the weight"):
            from_backbone(keras.Model(inputs, x), cuts)
