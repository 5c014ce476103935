"""UCI Adult: who earns more than 50,000 dollars, and who never married?

48,842 people of the US census of 1994, of whom 32,561 train and 16,281 test, as the set
comes. A tenth of the training rows validates, chosen by their md5, so that equal rows
stay together. Marital status is a label; relationship (husband, wife) gives it away and
is left out, and so is `fnlwgt`, a weight of the sample. CC BY 4.0 as listed by UCI.

Reference:
    - [Kohavi, 1996](https://www.aaai.org/Papers/KDD/1996/KDD96-033.pdf)
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass

import numpy as np

from mtl_zoo.data import archives, hashing

__all__ = ["ARCHIVE", "CATEGORIES", "NUMBERS", "TARGETS", "People", "load"]

ARCHIVE = "adult"

TARGETS = ("income", "never_married")
"""Both 0 or 1."""

NUMBERS = ("age", "education_num", "capital_gain", "capital_loss", "hours_per_week")
"""The first columns of the inputs."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    name: ("?", *values.split())
    for name, values in {
        "workclass": (
            "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov "
            "Without-pay Never-worked"
        ),
        "education": (
            "Preschool 1st-4th 5th-6th 7th-8th 9th 10th 11th 12th HS-grad Some-college "
            "Assoc-voc Assoc-acdm Bachelors Masters Prof-school Doctorate"
        ),
        "occupation": (
            "Tech-support Craft-repair Other-service Sales Exec-managerial "
            "Prof-specialty Handlers-cleaners Machine-op-inspct Adm-clerical "
            "Farming-fishing Transport-moving Priv-house-serv Protective-serv "
            "Armed-Forces"
        ),
        "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
        "sex": "Female Male",
        "native_country": (
            "United-States Cambodia England Puerto-Rico Canada Germany "
            "Outlying-US(Guam-USVI-etc) India Japan Greece South China Cuba Iran "
            "Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland "
            "France Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary "
            "Guatemala Nicaragua Scotland Thailand Yugoslavia El-Salvador "
            "Trinadad&Tobago Peru Hong Holand-Netherlands"
        ),
    }.items()
}
"""The other columns, and the values of each, whose places are in the inputs; the first
one, `"?"`, is not known."""

# Of the files.
_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)


@dataclass(frozen=True)
class People:
    """The rows of a split.

    Attributes:
        inputs: float32 `(n, 11)`: `NUMBERS` as they are, then `CATEGORIES`.
        labels: Of each of `TARGETS`, int32 `(n,)`.
    """

    inputs: np.ndarray
    labels: dict[str, np.ndarray]


def load(split: str = "train", data_dir: str | os.PathLike | None = None) -> People:
    """The people of a split, in the order of the file.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        data_dir: See `archives.find`.

    Raises:
        ValueError: When there is no such split, or a value that is not known.
        DataNotFoundError: When the archive is not there.
    """
    splits = ("train", "validation", "test")
    if split not in splits:
        raise ValueError(f"Expected one of {splits}. Received: split={split!r}")
    name = "adult.test" if split == "test" else "adult.data"
    text = (archives.find(ARCHIVE, data_dir) / name).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("|")]
    if split != "test":
        held_out = split == "validation"
        lines = [
            line for line in lines if (hashing.number_of(line) % 10 == 0) == held_out
        ]
    rows = [
        dict(zip(_COLUMNS, row, strict=True))
        for row in csv.reader(lines, skipinitialspace=True)
    ]
    numbers = [[float(row[name]) for name in NUMBERS] for row in rows]
    places = [
        [values.index(row[name]) for name, values in CATEGORIES.items()] for row in rows
    ]
    labels = {
        # Those of the test file end in a full stop.
        "income": [row["income"].startswith(">50K") for row in rows],
        "never_married": [row["marital_status"] == "Never-married" for row in rows],
    }
    return People(
        np.concatenate([numbers, places], axis=1).astype("float32"),
        {name: np.array(labels[name], "int32") for name in TARGETS},
    )
