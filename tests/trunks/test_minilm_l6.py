"""The converted trunk against what the original network gave."""

import json
from pathlib import Path

import numpy as np
import pytest

from mtl_zoo.trunks import minilm_l6, text

REPORT = json.loads(
    (Path(text.__file__).parent / "weights" / "minilm_l6.json").read_text()
)


@pytest.fixture(scope="module")
def trunk():
    try:
        return minilm_l6(freeze_table=True)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_similarities_are_those_of_the_original_authors_code(trunk):
    vectors = np.array(trunk(trunk.prepare(REPORT["sentences"]))["sentence"])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    # 3e-4 is KerasHub's approximation of GELU, the rest the table in half precision.
    np.testing.assert_allclose(unit @ unit.T, REPORT["similarities"], atol=1e-3)


def test_the_report_says_that_the_difference_is_the_gelu():
    compared = REPORT["compared_with_the_original"]
    assert compared["same_pieces"] is True
    same = compared["the original with KerasHub's GELU"]
    assert same["max_absolute_error_of_last_states"] < 1e-5


def test_size(trunk):
    weights = sum(int(np.prod(v.shape)) for v in trunk.weights)
    trained = sum(int(np.prod(v.shape)) for v in trunk.trainable_weights)
    assert (weights, trained) == (22_565_376, 22_565_376 - 30_522 * 384)
