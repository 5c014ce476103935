import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_zoo.trunks import FeaturePyramid, efficientnet_lite, efficientnet_lite0

CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 1280}


@pytest.fixture(scope="module")
def classifier():
    return efficientnet_lite.imagenet_classifier()


@pytest.fixture(scope="module")
def network():
    model = efficientnet_lite.backbone()
    efficientnet_lite.assign_weights(model, efficientnet_lite.read_weights())
    return model


def photo(name):
    """The central 7/8 of a photograph, resized bicubically to 224 x 224."""
    data = pytest.importorskip("skimage.data")
    picture = Image.fromarray(getattr(data, name)())
    side = round(224 / 256 * min(picture.size))
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC))


# Probabilities by the original network: efficientnet-lite-pytorch 0.1.0 on torch 2.13.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # tabby, tiger cat, Egyptian cat
        ("chelsea", {282: 0.385, 285: 0.363, 281: 0.167}),
        # espresso, cup
        ("coffee", {967: 0.951, 968: 0.015}),
        # missile, projectile
        ("rocket", {657: 0.302, 744: 0.210}),
    ],
)
def test_labels_of_photographs_authors_code(classifier, name, expected):
    logits = classifier(photo(name)[None])
    probabilities = np.asarray(tf.nn.softmax(logits))[0]
    assert set(np.argsort(-probabilities)[: len(expected)]) == set(expected)
    for label, probability in expected.items():
        assert probabilities[label] == pytest.approx(probability, abs=0.004)


def test_parameters_and_shapes():
    trunk = efficientnet_lite0(weights=None)
    shapes = trunk.compute_output_shape((None, None, None, 3))
    assert shapes == {
        f"stride_{stride}": (None, None, None, channels)
        for stride, channels in CHANNELS.items()
    }
    features = trunk(np.zeros((1, 64, 96, 3), "uint8"))
    for stride, channels in CHANNELS.items():
        expected = (1, 64 // stride, 96 // stride, channels)
        assert tuple(features[f"stride_{stride}"].shape) == expected
    # 4,652,008 in the original with its classifier, 1280 * 1000 + 1000.
    learned = sum(w.numpy().size for w in trunk.trainable_weights)
    assert learned == 4_652_008 - 1_281_000


def test_is_keras_hubs_network(network):
    """The same weights give the same features in KerasHub's graph of it."""
    import keras_hub

    stacks = list(zip(*efficientnet_lite._STACKS, strict=True))
    repeats, kernels, strides, expansions, channels = map(list, stacks)
    other = keras_hub.models.EfficientNetBackbone(
        stackwise_kernel_sizes=kernels,
        stackwise_num_repeats=repeats,
        stackwise_input_filters=[32, *channels[:-1]],
        stackwise_output_filters=channels,
        stackwise_expansion_ratios=expansions,
        stackwise_strides=strides,
        stackwise_squeeze_and_excite_ratios=[0] * 7,
        stackwise_block_types=["v1"] + ["unfused"] * 6,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        dropout=0.0,
        include_stem_padding=False,
        stem_conv_padding="same",
        activation="relu6",
        batch_norm_epsilon=1e-3,
    )
    other.set_weights(network.get_weights())
    x = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(network(x), other(x), rtol=1e-4, atol=1e-4)


def test_pixels_are_normalised_inside(classifier, network):
    trunk = classifier.layers[1]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), "uint8")
    expected = network((pixels - np.float32(127)) / np.float32(128))
    features = trunk(pixels)
    np.testing.assert_allclose(features["stride_32"], expected, rtol=1e-4, atol=1e-4)


def test_keras_file(tmp_path):
    trunk = efficientnet_lite0(
        neck=FeaturePyramid(width=8, levels=(4, 5)),
        freeze_batch_norm=True,
        stochastic_depth=0.2,
    )
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, trunk(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    again = loaded(x)
    for name, value in model(x).items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-5)
    kernels = 1 + 2 + 15 * 3 + 1
    neck = 2 * 5
    assert len(loaded.trainable_weights) == kernels + neck


def test_stochastic_depth_falls_towards_the_first_block():
    network = efficientnet_lite.backbone(stochastic_depth=0.2)
    rates = [x.rate for x in network.layers if isinstance(x, keras.layers.Dropout)]
    # 0.2 * block / 16 for the nine blocks of sixteen with a skip
    skips = [2, 4, 6, 7, 9, 10, 12, 13, 14]
    np.testing.assert_allclose(rates, [0.2 * block / 16 for block in skips])


def test_report_describes_the_file():
    file = efficientnet_lite.WEIGHTS_FILE
    report = json.loads(file.with_suffix(".json").read_text())
    assert report["file"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.stat().st_size < 12e6
    compared = report["compared_with_the_original"]
    assert compared["float32"]["max_relative_l2_error"] < 1e-5
    assert compared["half_precision_file"]["max_relative_l2_error"] < 1e-2
    loss = report["half_precision_against_float32"]
    assert loss["same_top1"] == loss["images"]


def test_missing_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(efficientnet_lite, "WEIGHTS_FILE", tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz.*tools/README\.md"):
        efficientnet_lite0()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "coco"}, "weights='coco'"),
        ({"weights": None, "stochastic_depth": 1.0}, "stochastic_depth=1.0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        efficientnet_lite0(**arguments)
