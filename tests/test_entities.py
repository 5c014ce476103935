"""Entities from tags, against seqeval and by hand."""

import numpy as np
import pytest
from keras import ops

from mtl_zoo import entities

TYPES = ("LOC", "PER", "ORG")
NAMES = entities.tag_names(TYPES)


def by_seqeval(row):
    get_entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    return [(t, b, e) for t, b, e in get_entities([NAMES[tag] for tag in row])]


def ours(tags):
    found = entities.runs(ops.convert_to_tensor(tags))
    begins, finishes, types = (
        ops.convert_to_numpy(x) for x in (found.begins, found.finishes, found.types)
    )
    return [
        [
            (TYPES[t[b]], int(b), int(e))
            for b, e in zip(np.flatnonzero(row), np.flatnonzero(f), strict=True)
        ]
        for row, f, t in zip(begins, finishes, types, strict=True)
    ]


def test_random_tags_as_seqeval_reads_them():
    """Any tags, `I-` behind nothing or behind another type too."""
    tags = np.random.default_rng(0).integers(0, len(NAMES), (300, 9))
    assert ours(tags) == [by_seqeval(row) for row in tags]


def test_spans_by_hand():
    tags = np.array([[1, 2, 0, 3, 3, 4], [0, 0, 0, 0, 0, 0]])
    starts = np.array([[0, 4, 9, 11, 14, 16]] * 2)
    ends = np.array([[3, 8, 10, 13, 15, 20]] * 2)
    scores = np.array([[0.5, 1.0, 0.1, 0.25, 1.0, 0.5]] * 2, "float32")
    found = entities.spans(tags, starts, ends, scores, max_entities=4)
    expected = {
        "starts": [[0, 11, 14, -1], [-1] * 4],
        "ends": [[8, 13, 20, -1], [-1] * 4],
        "labels": [[0, 1, 1, -1], [-1] * 4],
        "scores": [[0.75, 0.25, 0.75, 0.0], [0.0] * 4],
        "count": [3, 0],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name)


def test_what_does_not_fit_is_counted():
    found = entities.spans(
        np.array([[1, 1, 1]]),
        np.array([[0, 2, 4]]),
        np.array([[1, 3, 5]]),
        np.ones((1, 3), "float32"),
        max_entities=2,
    )
    assert ops.convert_to_numpy(found["starts"]).tolist() == [[0, 2]]
    assert ops.convert_to_numpy(found["ends"]).tolist() == [[1, 3]]
    assert ops.convert_to_numpy(found["count"]).tolist() == [3]
