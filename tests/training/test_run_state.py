"""Nested values and arrays on disk."""

import math

import numpy as np
import pytest

from mtl_zoo.training import run_state


def test_round_trip_keeps_every_bit(tmp_path):
    array = np.random.default_rng(0).normal(size=(3, 2)).astype("float32")
    state = {
        "best": -math.inf,
        "value": 0.1 + 0.2,
        "list": [{"weight": array}, None, "text", 2**60],
        "scalar": np.float64(1 / 3),
    }
    run_state.write(state, tmp_path / "state-1")
    back = run_state.read(tmp_path / "state-1")
    assert back["list"][0]["weight"].tobytes() == array.tobytes()
    assert back["list"][1:] == state["list"][1:]
    assert (back["best"], back["value"], back["scalar"]) == (
        -math.inf,
        0.1 + 0.2,
        1 / 3,
    )


def test_other_types_are_refused(tmp_path):
    with pytest.raises(TypeError, match="set"):
        run_state.write({"a": {1}}, tmp_path / "state-1")
    assert not list(tmp_path.iterdir())
