"""Tox21: which of 12 assays of toxicity does a molecule disturb?

7,831 molecules as SMILES, with labels for 5,810 to 7,265 of them in each assay, of
which 186 to 942 are positive. The md5 of the SMILES divides them: of ten parts two
test (1,536), one validates (724) and the rest train (5,571). The split is random, not
by scaffold. Data of the NIH challenge by way of MoleculeNet; no licence is stated.

Reference:
    - [Huang et al., 2016](https://doi.org/10.3389/fenvs.2015.00085)
    - [Wu et al., 2018](https://arxiv.org/abs/1703.00564), MoleculeNet.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass

import numpy as np

from mtl_zoo.data import archives, hashing

__all__ = ["ARCHIVE", "TARGETS", "Molecules", "load"]

ARCHIVE = "tox21"

TARGETS = (
    "nr_ar",
    "nr_ar_lbd",
    "nr_ahr",
    "nr_aromatase",
    "nr_er",
    "nr_er_lbd",
    "nr_ppar_gamma",
    "sr_are",
    "sr_atad5",
    "sr_hse",
    "sr_mmp",
    "sr_p53",
)
"""The assays: seven of nuclear receptors, five of the response to stress."""

_PARTS = {"train": range(3, 10), "validation": range(2, 3), "test": range(2)}


@dataclass(frozen=True)
class Molecules:
    """The molecules of a split.

    Attributes:
        smiles: Their SMILES.
        labels: Of each of `TARGETS`, int32 `(n,)`, 1 for active; 0 where it is not
            known.
        weights: Of each of `TARGETS`, float32 `(n,)`, 0 where the label is not known.
    """

    smiles: list[str]
    labels: dict[str, np.ndarray]
    weights: dict[str, np.ndarray]


def load(split: str = "train", data_dir: str | os.PathLike | None = None) -> Molecules:
    """The molecules of a split, in the order of the file.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        data_dir: See `archives.find`.

    Raises:
        ValueError: When there is no such split.
        DataNotFoundError: When the archive is not there.
    """
    if split not in _PARTS:
        raise ValueError(f"Expected one of {list(_PARTS)}. Received: split={split!r}")
    path = archives.find(ARCHIVE, data_dir) / "tox21.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if hashing.number_of(row["smiles"]) % 10 in _PARTS[split]
        ]
    columns = {name.lower().replace("-", "_"): name for name in rows[0]}
    found = {name: np.array([row[columns[name]] for row in rows]) for name in TARGETS}
    return Molecules(
        [row["smiles"] for row in rows],
        {name: (values == "1").astype("int32") for name, values in found.items()},
        {name: (values != "").astype("float32") for name, values in found.items()},
    )
