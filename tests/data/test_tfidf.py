"""TF-IDF by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from mtl_zoo.data.tfidf import TfIdf

TEXTS = ["A film a day", "no film", "a good good day", "Good"]


@pytest.mark.parametrize("pairs", [False, True])
def test_vectors_are_those_of_scikit_learn(pairs):
    """Which has the same weights without smoothing, terms in another order."""
    theirs = TfidfVectorizer(
        token_pattern=r"\S+",
        ngram_range=(1, 1 + pairs),
        sublinear_tf=True,
        smooth_idf=False,
    ).fit(TEXTS)
    ours = TfIdf(TEXTS, size=100, pairs=pairs)
    assert set(ours.weights) == set(theirs.vocabulary_)
    new = [*TEXTS, "a film film good unknown", "unknown"]
    found = ours.rows(new).dense(np.arange(len(new))).numpy()
    order = [theirs.vocabulary_[term] for term in ours.weights]
    expected = theirs.transform(new).toarray()[:, order]
    np.testing.assert_allclose(found[:, : len(order)], expected, atol=1e-6)
    assert not found[:, len(order) :].any() and not found[-1].any()


def test_terms_are_those_of_most_texts():
    assert set(TfIdf(TEXTS, size=4, pairs=False).weights) == {
        "a",
        "film",
        "day",
        "good",
    }


def test_rows_are_chosen_by_index_and_by_mask():
    rows = TfIdf(TEXTS, size=8).rows(TEXTS)
    every = rows.dense([0, 1, 2, 3]).numpy()
    np.testing.assert_array_equal(rows.dense([3, 0, 3]).numpy(), every[[3, 0, 3]])
    kept = rows.where(np.array([False, True, False, True]))
    assert len(kept) == 2
    np.testing.assert_array_equal(kept.dense([0, 1]).numpy(), every[[1, 3]])
