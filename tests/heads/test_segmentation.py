import numpy as np
import pytest
from keras import ops

from mtl_zoo.heads import Segmentation


def test_decode_by_hand():
    logits = ops.array([[[[0.0, np.log(3.0)], [2.0, 1.0]]]])  # 1 x 2 pixels
    decoded = Segmentation(2).decode(logits)
    np.testing.assert_array_equal(decoded["label_map"], [[[1, 0]]])
    assert decoded["label_map"].dtype == "int32"
    np.testing.assert_allclose(decoded["probabilities"][0, 0, 0], [0.25, 0.75])


def test_every_level_reaches_the_output():
    names = ("a", "b", "c")
    head = Segmentation(2, names, width=8)
    rng = np.random.default_rng(0)
    levels = {
        name: rng.normal(size=(1, size, size, 4)).astype("float32")
        for name, size in zip(names, (8, 4, 2), strict=True)
    }
    base = np.array(head(levels))
    for name in names:
        changed = {**levels, name: levels[name][:, ::-1]}
        assert np.abs(np.array(head(changed)) - base).max() > 1e-4


def test_odd_levels_are_cropped():
    # 20 pixels: 5 cells of 4, 3 of 8, 2 of 16.
    head = Segmentation(2, ("a", "b", "c"), width=8)
    sizes = {"a": 5, "b": 3, "c": 2}
    raw = head({name: ops.ones((1, size, size, 4)) for name, size in sizes.items()})
    assert raw.shape == (1, 20, 20, 2)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="num_classes=1"):
        Segmentation(1)
