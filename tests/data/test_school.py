"""School data: 139 schools, divided pupil by pupil."""

import numpy as np
import pytest

from mtl_zoo.data import school
from mtl_zoo.data.archives import DataNotFoundError


def load(*args, **kwargs):
    try:
        return school.load(*args, **kwargs)
    except DataNotFoundError as error:
        pytest.skip(str(error))


def test_every_pupil_is_in_one_split():
    parts = [load(split) for split in ("train", "validation", "test")]
    assert sum(len(part.scores) for part in parts) == 15362
    for part in parts:
        assert part.features.shape == (len(part.scores), school.FEATURES)
        assert len(np.unique(part.schools)) == school.SCHOOLS
    np.testing.assert_allclose(len(parts[2].scores) / 15362, 0.25, atol=0.005)
    both = load("train_and_validation")
    assert len(both.scores) == len(parts[0].scores) + len(parts[1].scores)


def test_seed_makes_another_division():
    one, same, other = load(seed=1), load(seed=1), load(seed=2)
    np.testing.assert_array_equal(one.scores, same.scores)
    assert np.any(one.scores[:100] != other.scores[:100])


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"Expected one of.*split='dev'"):
        school.load("dev")
    with pytest.raises(DataNotFoundError, match=r"school\.tar\.gz"):
        school.load(data_dir="/nowhere")
