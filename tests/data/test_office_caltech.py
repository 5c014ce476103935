"""Office-Caltech10: the lists, and features that belong to their images."""

import numpy as np
import pytest

from mtl_zoo.data import office_caltech
from mtl_zoo.data.archives import DataNotFoundError

COUNTS = {
    5: ((24, 29, 10, 15), (934, 1094, 140, 265)),
    10: ((48, 57, 16, 30), (910, 1066, 140, 265)),
    20: ((96, 113, 32, 59), (862, 1010, 125, 236)),
}


def load(*args, **kwargs):
    try:
        return office_caltech.load(*args, **kwargs)
    except DataNotFoundError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("percent", office_caltech.PERCENTS)
def test_counts_are_those_of_the_lists_without_repetitions(percent):
    for split, wanted in zip(("train", "test"), COUNTS[percent], strict=True):
        found = load(split, percent)
        assert tuple(found) == office_caltech.DOMAINS
        for domain, count in zip(found.values(), wanted, strict=True):
            assert len(domain.ids) == len(set(domain.ids)) == count
            assert domain.surf.shape == (count, 800) and domain.surf.dtype == "float32"
            classes = [office_caltech.CLASSES[label] for label in domain.labels]
            assert classes == [one.split("/")[0] for one in domain.ids]


def test_folds_divide_the_training_list():
    train = load("train", 10)
    for name in office_caltech.DOMAINS:
        held_out = []
        for fold in range(office_caltech.FOLDS):
            validation = load("validation", 10, fold)[name].ids
            rest = load("train_fold", 10, fold)[name].ids
            assert sorted([*validation, *rest]) == sorted(train[name].ids)
            held_out += validation
        assert sorted(held_out) == sorted(train[name].ids)


def test_training_and_test_are_disjoint():
    for percent in office_caltech.PERCENTS:
        train, test = load("train", percent), load("test", percent)
        for name in office_caltech.DOMAINS:
            assert not set(train[name].ids) & set(test[name].ids)


def test_equal_images_have_equal_features():
    """Rows and files are in one order: no image has another one's histogram."""
    train, test = load("train", 20)["amazon"], load("test", 20)["amazon"]
    ids, surf = train.ids + test.ids, np.concatenate([train.surf, test.surf])
    pictures = office_caltech.images("amazon", ids, size=32)
    flat = pictures.reshape(len(ids), -1)
    _, first, count = np.unique(flat, axis=0, return_inverse=True, return_counts=True)
    groups = [np.flatnonzero(first.ravel() == g) for g in np.flatnonzero(count > 1)]
    assert len(groups) >= 10
    for group in groups:
        assert np.all(surf[group] == surf[group[0]])


def test_bad_arguments_say_what_is_expected():
    for wrong, message in (
        ({"split": "dev"}, "'validation'"),
        ({"percent": 50}, "percent=50"),
        ({"fold": 4}, "fold=4"),
    ):
        with pytest.raises(ValueError, match=rf"Expected.*{message}"):
            office_caltech.load(**wrong)
    with pytest.raises(DataNotFoundError, match=r"office_caltech10\.tar\.gz"):
        office_caltech.load(data_dir="/nowhere")
