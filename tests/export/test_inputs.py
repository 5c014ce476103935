"""Wrong requests are refused with a message that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.export.inputs import checked, named_inputs
from tests import fakes
from tests.zoo import tiny


@pytest.fixture(scope="module")
def serve(exported):
    return tf.saved_model.load(str(exported / "1")).signatures["serving_default"]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 32, 32, 3), r"at least one row of images. Received: none"),
        ((1, 30, 32, 3), r"multiples of 32; .*send files to serving_bytes.* \[30 32\]"),
        ((1, 0, 32, 3), r"multiples of 32.* \[0 32\]"),
        ((1, 6400, 4000, 3), r"at most 25000000 pixels. Received:.*25600000"),
    ],
    ids=["empty", "size", "nothing", "large"],
)
def test_images(serve, shape, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(images=tf.zeros(shape, tf.uint8))


def test_no_file(exported):
    loaded = tf.saved_model.load(str(exported / "1"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="row of image_bytes"):
        loaded.signatures["serving_bytes"](image_bytes=tf.zeros([0], tf.string))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite(tmp_path, bad):
    inputs, _ = fakes.arrays(4)
    version = mtl.export.to_serving(fakes.model(), tmp_path / "m", example=inputs)
    loaded = tf.saved_model.load(str(version))
    inputs[2, 1] = bad
    for name in ("serving_default", "size", "features", "serving_default_xla"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="finite numbers in"):
            loaded.signatures[name](inputs=tf.constant(inputs))


def test_good_inputs_pass_as_they_are():
    images = tf.constant(tiny.images(2, 32, 64))
    found = tf.function(lambda x: checked({"images": x}, 32, 2048))(images)
    np.testing.assert_array_equal(found["images"], images)


def test_names_of_inputs():
    network = fakes.model()
    assert named_inputs(network)["inputs"].shape == (2, 6)
    assert set(named_inputs(network, {"a": [1], "b": [2]})) == {"a", "b"}
    made_up = named_inputs(tiny.model())["images"]
    assert made_up.shape == (2, 64, 64, 3) and made_up.dtype == np.uint8
    floats = tiny.images().astype("float32") + 0.4
    np.testing.assert_array_equal(
        named_inputs(tiny.model(), floats)["images"], tiny.images()
    )
