"""School data (ILEA): the exam scores of pupils in 139 schools, one task a school.

Reference:
    - [Bakker and Heskes, 2003](https://www.jmlr.org/papers/v4/bakker03a.html)
    - [Argyriou et al., 2008](https://doi.org/10.1007/s10994-007-5040-8), the measure:
      explained variance on a quarter of each school's pupils, over random divisions.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import scipy.io

from mtl_zoo.data import archives

__all__ = ["ARCHIVE", "FEATURES", "SCHOOLS", "Pupils", "load"]

ARCHIVE = "school"
SCHOOLS = 139
FEATURES = 27
"""How many features a pupil has; the constant one of the file is left out."""

_PARTS = {"train": (0.0, 0.6), "validation": (0.6, 0.75), "test": (0.75, 1.0)}


@dataclass(frozen=True)
class Pupils:
    """The pupils of a split.

    Attributes:
        features: float32 `(n, 27)`: year, gender, ethnic group, shares of the school.
        scores: float32 `(n,)`, 1 to 70.
        schools: int32 `(n,)`, 0 to 138.
    """

    features: np.ndarray
    scores: np.ndarray
    schools: np.ndarray


def load(
    split: str = "train", seed: int = 0, data_dir: str | os.PathLike | None = None
) -> Pupils:
    """The pupils of a split of a random division.

    Of each school a quarter is the test, 15 % validate, and 60 % train;
    `"train_and_validation"` is what the literature trains on.

    Args:
        split: `"train"`, `"validation"`, `"test"` or `"train_and_validation"`.
        seed: Of the division.
        data_dir: See `archives.find`.

    Returns:
        `Pupils`, school by school.

    Raises:
        ValueError: When there is no such split.
        DataNotFoundError: When the archive is not there.
    """
    parts = {**_PARTS, "train_and_validation": (0.0, 0.75)}
    if split not in parts:
        raise ValueError(f"Expected one of {list(parts)}. Received: split={split!r}")
    table = scipy.io.loadmat(archives.find(ARCHIVE, data_dir) / "school.mat")
    first, last = parts[split]
    rng = np.random.default_rng(seed)
    features, scores, schools = [], [], []
    for number, (x, y) in enumerate(
        zip(table["X"].ravel(), table["Y"].ravel(), strict=True)
    ):
        order = rng.permutation(len(x))
        rows = order[round(first * len(x)) : round(last * len(x))]
        features.append(x[rows])
        scores.append(y[rows].ravel())
        schools.append(np.full(len(rows), number))
    everything = np.concatenate(features).astype("float32")
    return Pupils(
        everything[:, _varying(table)],
        np.concatenate(scores).astype("float32"),
        np.concatenate(schools).astype("int32"),
    )


def _varying(table: dict) -> np.ndarray:
    """Which columns are not the same for all pupils."""
    everything = np.concatenate(list(table["X"].ravel()))
    varying = np.ptp(everything, axis=0) > 0
    if np.sum(varying) != FEATURES or len(table["X"].ravel()) != SCHOOLS:
        raise ValueError(
            f"Expected {SCHOOLS} schools and {FEATURES} features that vary. Received "
            f"{len(table['X'].ravel())} and {np.sum(varying)}. Unpack the archive anew."
        )
    return varying
