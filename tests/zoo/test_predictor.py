"""A saved model on one image of any size."""

import numpy as np
import pytest

import mtl_zoo as mtl
from tests.zoo import tiny
from tests.zoo.tiny import NAME


@pytest.fixture(scope="module")
def predictor(saved):
    return mtl.zoo.Predictor(saved / NAME)


def test_knows_tasks_and_classes(predictor):
    assert predictor.task_names == ("seg", "det")
    assert predictor.class_names == {"seg": ("ground", "disc"), "det": ("disc",)}


def test_equals_the_keras_model_where_nothing_is_padded(network, predictor):
    image = tiny.images(1)
    found = predictor(image[0])
    expected = network.predict_tasks(image.astype("float32"))
    np.testing.assert_array_equal(
        found["seg"]["label_map"], expected["seg"]["label_map"][0]
    )
    np.testing.assert_allclose(
        found["seg"]["probabilities"], expected["seg"]["probabilities"][0], atol=1e-5
    )
    count = int(expected["det"]["count"][0])
    np.testing.assert_allclose(
        found["det"]["boxes"], expected["det"]["boxes"][0, :count], atol=1e-3
    )


@pytest.mark.parametrize("size", [(64, 96), (33, 7), (45, 300)])
def test_any_size_in_its_own_pixels(predictor, size):
    found = predictor(tiny.images(1, *size)[0])
    assert found["seg"]["label_map"].shape == size
    assert found["seg"]["probabilities"].shape == (*size, 2)
    boxes = found["det"]["boxes"]
    assert boxes.shape == (len(found["det"]["scores"]), 4)
    assert np.all(boxes >= 0) and np.all(boxes <= [*size[::-1], *size[::-1]])


def test_max_side_bounds_what_the_network_sees(saved):
    predictor = mtl.zoo.Predictor(saved / NAME, max_side=64)
    assert predictor.preprocessing["max_side"] == 64
    assert predictor(tiny.images(1, 200, 90)[0])["seg"]["label_map"].shape == (200, 90)
