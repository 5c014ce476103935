"""UCI Adult: the published counts, and inputs that hold no label."""

import numpy as np
import pytest

from mtl_zoo.data import adult
from mtl_zoo.data.archives import DataNotFoundError


def load(*args, **kwargs):
    try:
        return adult.load(*args, **kwargs)
    except DataNotFoundError as error:
        pytest.skip(str(error))


def joined(*splits):
    parts = [load(split) for split in splits]
    inputs = np.concatenate([part.inputs for part in parts])
    labels = {
        name: np.concatenate([part.labels[name] for part in parts])
        for name in adult.TARGETS
    }
    return inputs, labels


@pytest.mark.parametrize(
    ("splits", "people", "shares", "unknown"),
    [
        (("train", "validation"), 32561, (0.241, 0.328), 2399),
        (("test",), 16281, (0.236, 0.334), 1221),
    ],
)
def test_counts_are_the_published_ones(splits, people, shares, unknown):
    inputs, labels = joined(*splits)
    columns = len(adult.NUMBERS) + len(adult.CATEGORIES)
    assert inputs.shape == (people, columns) and inputs.dtype == "float32"
    for name, share in zip(adult.TARGETS, shares, strict=True):
        assert set(np.unique(labels[name])) == {0, 1}
        assert np.mean(labels[name]) == pytest.approx(share, abs=5e-4)
    categories = inputs[:, len(adult.NUMBERS) :]
    assert np.sum((categories == 0).any(axis=1)) == unknown


def test_values_are_legal_and_marriage_is_no_input():
    inputs, _ = joined("train", "validation", "test")
    assert inputs[:, 0].min() == 17 and inputs[:, 0].max() == 90
    places = inputs[:, len(adult.NUMBERS) :].T
    for place, values in zip(places, adult.CATEGORIES.values(), strict=True):
        assert len(set(values)) == len(values)
        assert place.max() == len(values) - 1  # all occur
    names = {*adult.NUMBERS, *adult.CATEGORIES}
    assert not names & {"marital_status", "relationship", "fnlwgt", *adult.TARGETS}


def test_a_tenth_of_the_training_rows_validates():
    validation, train = load("validation"), load("train")
    share = len(validation.inputs) / (len(validation.inputs) + len(train.inputs))
    assert share == pytest.approx(0.1, abs=0.005)
    np.testing.assert_array_equal(load("train").inputs, train.inputs)


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"Expected one of.*split='dev'"):
        adult.load("dev")
    with pytest.raises(DataNotFoundError, match=r"adult\.tar\.gz"):
        adult.load(data_dir="/nowhere")
