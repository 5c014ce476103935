"""What every head promises, and that no public head escapes it."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo import heads

PYRAMID = ("p2", "p3", "p4")

# Of each head: a constructor without arguments, and the shape of its raw output for
# the features below, whose image is 32 x 48 pixels.
HEADS = {
    "Classification": (
        lambda: heads.Classification(
            3, "p4", dropout=0.1, class_names=["ant", "bee", "cat"]
        ),
        (2, 3),
    ),
    "Regression": (lambda: heads.Regression(2, feature="p4"), (2, 2)),
    "Segmentation": (
        lambda: heads.Segmentation(3, PYRAMID, width=8, class_names="abc"),
        (2, 32, 48, 3),
    ),
    "DenseRegression": (
        lambda: heads.DenseRegression(1, PYRAMID, width=8, activation="softplus"),
        (2, 32, 48, 1),
    ),
    "Detection": (
        lambda: heads.Detection(
            2, PYRAMID, (4, 8, 16), width=8, max_detections=5, class_names=["x", "y"]
        ),
        (2, 8 * 12 + 4 * 6 + 2 * 3, 9),
    ),
}
every_head = pytest.mark.parametrize("name", HEADS)


def features(height=32, width=48, channels=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        f"p{level}": ops.convert_to_tensor(
            rng.normal(size=(2, height // 2**level, width // 2**level, channels)),
            "float32",
        )
        for level in (2, 3, 4)
    }


def public_heads():
    return {
        name
        for name in heads.__all__
        if inspect.isclass(getattr(heads, name)) and name != "Head"
    }


# Heads for texts are in test_tagging.py and tests/contracts/test_text_model.py.
OF_IMAGES = {
    "Classification",
    "DenseRegression",
    "Detection",
    "Regression",
    "Segmentation",
}


def test_every_image_head_is_here():
    assert set(HEADS) == OF_IMAGES
    assert public_heads() >= OF_IMAGES


@every_head
def test_raw_shape_and_decoded_batch(name):
    make, shape = HEADS[name]
    head = make()
    raw = head(features())
    assert tuple(raw.shape) == shape
    decoded = head.decode(raw)
    assert all(value.shape[0] == 2 for value in keras.tree.flatten(decoded))


@every_head
def test_config_round_trip(name):
    make, _ = HEADS[name]
    head = make()
    config = head.get_config()
    again = type(head).from_config(config)
    assert again.get_config() == config
    arguments = set(inspect.signature(type(head).__init__).parameters)
    assert arguments - {"self", "kwargs"} <= set(config)


@every_head
def test_saved_in_a_keras_model(name, tmp_path):
    make, _ = HEADS[name]
    inputs = {k: keras.Input((None, None, 4), name=k) for k in PYRAMID}
    model = keras.Model(inputs, make()(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(features()), model(features()), atol=1e-6)


@every_head
def test_every_weight_gets_a_gradient(name):
    make, _ = HEADS[name]
    head = make()
    with tf.GradientTape() as tape:
        raw = head(features(), training=True)
        target = np.random.default_rng(1).normal(size=raw.shape)
        loss = ops.sum((raw - ops.cast(target, "float32")) ** 2)
    for variable, gradient in zip(
        head.trainable_weights,
        tape.gradient(loss, head.trainable_weights),
        strict=True,
    ):
        assert gradient is not None, variable.path
        assert np.abs(gradient).max() > 0, variable.path


@every_head
def test_raw_is_float32_in_half_precision(name):
    make, _ = HEADS[name]
    keras.config.set_dtype_policy("mixed_float16")
    try:
        head = make()
    finally:
        keras.config.set_dtype_policy("float32")
    half = {k: ops.cast(v, "float16") for k, v in features().items()}
    raw = head(half)
    assert raw.dtype == "float32"
    layers = head._flatten_layers(include_self=False)
    assert name in ("Classification", "Regression") or "float16" in {
        layer.compute_dtype for layer in layers
    }
    full = make()
    full(features())
    full.set_weights(head.get_weights())
    np.testing.assert_allclose(raw, full(features()), rtol=0.02, atol=0.1)


@every_head
def test_graph_of_any_size_equals_eager(name):
    make, _ = HEADS[name]
    head = make()
    head(features())
    anything = tf.TensorSpec((None, None, None, 4))
    graph = tf.function(
        lambda f: head.decode(head(f)),
        input_signature=[dict.fromkeys(PYRAMID, anything)],
    )
    for size in ((32, 48), (64, 16)):
        inputs = features(*size)
        # Labels of nearly equal scores may differ; numbers must not.
        for got, expected in zip(
            keras.tree.flatten(graph(inputs)),
            keras.tree.flatten(head.decode(head(inputs))),
            strict=True,
        ):
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=1e-4)


@every_head
def test_a_missing_feature_is_named(name):
    make, _ = HEADS[name]
    with pytest.raises(ValueError, match=r"needs the feature 'p4'.*'p3'"):
        make()({k: v for k, v in features().items() if k != "p4"})
