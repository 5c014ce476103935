"""Tox21: the published counts of molecules and labels."""

import numpy as np
import pytest

from mtl_zoo.data import tox21
from mtl_zoo.data.archives import DataNotFoundError

SPLITS = {"train": 5571, "validation": 724, "test": 1536}


def load(*args, **kwargs):
    try:
        return tox21.load(*args, **kwargs)
    except DataNotFoundError as error:
        pytest.skip(str(error))


def test_every_molecule_is_in_one_split():
    parts = {split: load(split) for split in SPLITS}
    assert {split: len(part.smiles) for split, part in parts.items()} == SPLITS
    assert len({one for part in parts.values() for one in part.smiles}) == 7831


def test_labels_are_as_many_as_published():
    parts = [load(split) for split in SPLITS]

    def total(values):
        return {
            name: int(sum(values(part, name).sum() for part in parts))
            for name in tox21.TARGETS
        }

    known = total(lambda part, name: part.weights[name])
    active = total(lambda part, name: part.labels[name])
    assert (min(known.values()), max(known.values())) == (5810, 7265)
    assert (min(active.values()), max(active.values())) == (186, 942)
    assert active["nr_ppar_gamma"] == 186 and known["sr_mmp"] == 5810


def test_unknown_labels_have_weight_zero():
    part = load("validation")
    for name in tox21.TARGETS:
        label, weight = part.labels[name], part.weights[name]
        assert label.shape == weight.shape == (len(part.smiles),)
        assert set(np.unique(label)) == {0, 1} and set(np.unique(weight)) == {0, 1}
        assert not label[weight == 0].any()
    assert all(sum(part.weights[name][i] for name in tox21.TARGETS) for i in range(99))


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"Expected one of.*split='dev'"):
        tox21.load("dev")
    with pytest.raises(DataNotFoundError, match=r"tox21\.tar\.gz"):
        tox21.load(data_dir="/nowhere")
