"""Thin trunks from wide ones."""

import keras
import numpy as np
import pytest

import mtl_zoo as mtl
from mtl_zoo.trunks.thin import matching_pursuit


def wide_conv():
    layers = keras.layers
    trunk = mtl.trunks.Trunk(
        {
            "low": keras.Sequential(
                [
                    layers.Conv2D(8, 3, padding="same"),
                    layers.BatchNormalization(),
                    layers.ReLU(),
                    layers.MaxPooling2D(),
                ]
            ),
            "high": layers.Conv2D(6, 3, padding="same", activation="relu"),
        }
    )
    trunk(keras.ops.zeros((1, 8, 8, 3)))
    return trunk


def test_pursuit_finds_the_rows_that_the_others_are_made_of():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 12))
    rows = np.concatenate([rng.normal(size=(5, 3)) @ base * 0.1, 5.0 * base])
    chosen = matching_pursuit(rows, 3)
    span, _ = np.linalg.qr(rows[chosen].T)
    np.testing.assert_allclose(rows @ span @ span.T, rows, atol=1e-9)
    assert matching_pursuit(rows, 8).tolist() == list(range(8))


def test_all_units_make_the_same_trunk():
    wide = wide_conv()
    same = mtl.trunks.thin(wide, {"low": 8, "high": 6})
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    for name, feature in wide(x).items():
        np.testing.assert_allclose(same(x)[name], feature, atol=1e-6)


def test_units_that_only_repeat_others_can_go_without_loss():
    """Unit 4 to 7 are twice unit 0 to 3: the first half spans all."""
    wide = mtl.trunks.mlp([8], activation=None)
    wide(keras.ops.zeros((1, 5)))
    kernel, bias = wide.stages["layer_1"].get_weights()
    kernel[:, 4:] = 2.0 * kernel[:, :4]
    wide.stages["layer_1"].set_weights([kernel, bias])
    narrow = mtl.trunks.thin(wide, {"layer_1": 4})
    found = narrow.stages["layer_1"].get_weights()[0]
    span, _ = np.linalg.qr(found)
    np.testing.assert_allclose(span @ span.T @ kernel, kernel, atol=1e-5)


def test_thin_convolutions_take_the_inputs_that_are_left():
    wide = wide_conv()
    narrow = mtl.trunks.thin(wide, {"low": 3, "high": 2})
    x = np.ones((2, 8, 8, 3), "float32")
    shapes = {name: tuple(y.shape) for name, y in narrow(x).items()}
    assert shapes == {"low": (2, 4, 4, 3), "high": (2, 4, 4, 2)}
    kernel = wide.stages["low"].layers[0].get_weights()[0]
    kept = narrow.stages["low"].layers[0].get_weights()[0]
    numbers = [
        next(i for i in range(8) if np.array_equal(kernel[..., i], kept[..., k]))
        for k in range(3)
    ]
    above = wide.stages["high"].get_weights()[0][:, :, numbers]
    found = narrow.stages["high"].get_weights()[0]
    for k in range(2):
        assert any(np.array_equal(found[..., k], above[..., i]) for i in range(6))


def test_errors_say_what_is_expected():
    with pytest.raises(ValueError, match="must name the stages"):
        mtl.trunks.thin(wide_conv(), {"low": 2})
    with pytest.raises(ValueError, match="1 to 8"):
        mtl.trunks.thin(wide_conv(), {"low": 9, "high": 2})
    with pytest.raises(ValueError, match="not"):
        mtl.trunks.thin(mtl.trunks.mlp([4]), {"layer_1": 2})
    layer = keras.layers.LayerNormalization()
    odd = mtl.trunks.Trunk({"norm": layer})
    odd(keras.ops.ones((1, 3)))
    with pytest.raises(ValueError, match="Only chains"):
        mtl.trunks.thin(odd, {"norm": 2})
