"""Texts as vectors: how often terms are in them, weighed by how rare these are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["SparseRows", "TfIdf"]


@dataclass(frozen=True)
class SparseRows:
    """Rows of numbers that are mostly 0.

    Attributes:
        columns: int64 ragged `(rows, numbers)`, in which columns the numbers are.
        values: float32 ragged `(rows, numbers)`.
        width: Number of columns.

    Example:
        >>> rows = TfIdf(["a b", "a"], size=2, pairs=False).rows(["b", "a a", "c"])
        >>> rows.dense([2, 0]).numpy()
        array([[0., 0.],
               [0., 1.]], dtype=float32)
    """

    columns: tf.RaggedTensor
    values: tf.RaggedTensor
    width: int

    def __len__(self) -> int:
        return int(self.columns.nrows())

    def dense(self, indices: Any) -> Any:
        """Return the rows at these indices, float32 `(indices, width)`, in a graph."""
        columns = tf.gather(self.columns, indices)
        places = tf.stack([columns.value_rowids(), columns.flat_values], axis=1)
        values = tf.gather(self.values, indices).flat_values
        shape = tf.stack([tf.size(indices, tf.int64), self.width])
        return tf.ensure_shape(tf.scatter_nd(places, values, shape), [None, self.width])

    def where(self, wanted: np.ndarray) -> SparseRows:
        """Return the rows at which a mask is true."""
        return SparseRows(
            tf.ragged.boolean_mask(self.columns, wanted),
            tf.ragged.boolean_mask(self.values, wanted),
            self.width,
        )


class TfIdf:
    """Weigh terms of texts: `(1 + log n) (1 + log(N / N_t))`, vectors of length 1.

    `n` is how often a text has the term, `N_t` how many of the `N` training texts have
    it. Terms are words, which blanks separate, in lower case, and pairs of them.

    Args:
        texts: Training texts, which say what terms there are.
        size: How many terms: those that most texts have.
        pairs: Whether two words in a row are a term too. Defaults to `True`.
    """

    def __init__(self, texts: Sequence[str], size: int, pairs: bool = True) -> None:
        self.pairs = pairs
        found = Counter(chain.from_iterable(self._terms(text) for text in texts))
        self.weights = {
            term: 1 + math.log(len(texts) / number)
            for term, number in found.most_common(size)
        }
        self.size = size

    def _terms(self, text: str) -> Counter[str]:
        words = text.lower().split()
        return Counter(
            chain(words, map(" ".join, pairwise(words)) if self.pairs else ())
        )

    def rows(self, texts: Sequence[str]) -> SparseRows:
        """Return the vectors of texts; terms that are not known do not count."""
        numbers = {term: number for number, term in enumerate(self.weights)}
        columns = [np.zeros(0, int)]
        values = [np.zeros(0)]
        for text in texts:
            known = {t: n for t, n in self._terms(text).items() if t in numbers}
            vector = np.array(
                [(1 + math.log(n)) * self.weights[t] for t, n in known.items()]
            )
            values.append(vector / max(np.linalg.norm(vector), 1e-9))
            columns.append(np.array([numbers[term] for term in known], int))
        lengths = [len(one) for one in columns[1:]]
        return SparseRows(
            tf.RaggedTensor.from_row_lengths(np.concatenate(columns), lengths),
            tf.RaggedTensor.from_row_lengths(
                np.concatenate(values).astype("float32"), lengths
            ),
            self.size,
        )
