"""Amazon reviews of four kinds of products, positive or negative, as counts of terms.

The 5,000 most frequent words and pairs of words of the reviews are counted, as Ganin et
al. (2016) have them for domain adaptation: every domain has 2,000 reviews to train on,
half of them positive, and some 3,600 to 5,900 to test. There is no validation split,
and the words themselves are not there. From 156 to 199 test rows of each domain equal
one of its training rows.

Reference:
    - [Blitzer et al., 2007](https://aclanthology.org/P07-1056), the reviews.
    - [Ganin et al., 2016](https://jmlr.org/papers/v17/15-239.html), the splits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import scipy.sparse

from mtl_zoo.data import archives

__all__ = ["ARCHIVE", "DOMAINS", "LABELS", "TERMS", "Reviews", "load"]

ARCHIVE = "amazon4_svmlight"
DOMAINS = ("books", "dvd", "electronics", "kitchen")
LABELS = ("negative", "positive")
TERMS = 5000
"""How many terms are counted."""


@dataclass(frozen=True)
class Reviews:
    """The reviews of one domain that are in a split.

    Attributes:
        counts: float32 `scipy.sparse.csr_array` `(n, 5000)`, how often each term is in
            the review.
        labels: int32 `(n,)`, numbers of `LABELS`.
    """

    counts: scipy.sparse.csr_array
    labels: np.ndarray


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> dict[str, Reviews]:
    """The reviews of a split, by domain, in the order of the files.

    Args:
        split: `"train"` or `"test"`.
        data_dir: See `archives.find`.

    Returns:
        `{domain: Reviews}` in the order of `DOMAINS`.

    Raises:
        ValueError: When there is no such split.
        DataNotFoundError: When the archive is not there.
    """
    if split not in ("train", "test"):
        raise ValueError(f"Expected 'train' or 'test'. Received: split={split!r}")
    folder = archives.find(ARCHIVE, data_dir)
    return {
        domain: _parse((folder / f"{domain}_{split}.svmlight").read_text())
        for domain in DOMAINS
    }


def _parse(text: str) -> Reviews:
    """Read lines `label term:count term:count ...`, terms from 0, labels -1 and 1."""
    rows = [line.split() for line in text.splitlines()]
    pairs = [pair.split(":") for row in rows for pair in row[1:]]
    terms, counts = np.array(pairs, dtype="float32").reshape(-1, 2).T
    ends = np.cumsum([0, *(len(row) - 1 for row in rows)])
    return Reviews(
        scipy.sparse.csr_array(
            (counts, terms.astype("int32"), ends), shape=(len(rows), TERMS)
        ),
        np.array([row[0] == "1" for row in rows], dtype="int32"),
    )
