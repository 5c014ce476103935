import numpy as np
import pytest
from keras import ops

from mtl_zoo.heads.pooling import pool


def test_vectors_pass_and_maps_are_averaged():
    maps = np.arange(8.0, dtype="float32").reshape(1, 2, 2, 2)
    np.testing.assert_allclose(pool(ops.array(maps)), [[3.0, 4.0]])
    np.testing.assert_allclose(pool(ops.array([[1.0, 2.0]])), [[1.0, 2.0]])


def test_half_precision_maps_are_summed_in_full():
    # 256 * 256 * 4 = 262144 is more than float16 holds.
    assert float(pool(ops.full((1, 256, 256, 1), 4.0, "float16"))[0, 0]) == 4.0


def test_sequences_are_refused():
    with pytest.raises(ValueError, match=r"Received shape: \(1, 2, 3\)"):
        pool(ops.zeros((1, 2, 3)))
