"""F1 of entities against seqeval, and macro F1 against scikit-learn."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.entities import tag_names
from mtl_zoo.evaluation import EntityF1, MacroF1

TYPES = ("LOC", "PER")
NAMES = tag_names(TYPES)


def outputs(tags):
    """The raw output of a tagging head, without a chain, that says these tags."""
    width = tags.shape[1]
    starts = np.tile(np.arange(width) * 2, (len(tags), 1))
    return {
        "emissions": tf.one_hot(np.maximum(tags, 0), len(NAMES)) * 20.0,
        "starts": tf.constant(np.where(tags >= 0, starts, 0)),
        "ends": tf.constant(np.where(tags >= 0, starts + 1, 0)),
    }


def corpus(seed=0, batch=64, words=12):
    """True and found tags, alike in half of the places; lengths differ."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, (batch, words), p=[0.5, 0.15, 0.1, 0.15, 0.1])
    found = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 5))
    outside = np.arange(words) >= rng.integers(0, words + 1, batch)[:, None]
    return np.where(outside, -1, truth), np.where(outside, -1, found)


def named(tags):
    return [[NAMES[t] for t in row if t >= 0] for row in tags]


def test_same_as_seqeval():
    seqeval = pytest.importorskip("seqeval.metrics")
    metric = EntityF1()
    truths, founds = [], []
    for seed in range(4):
        truth, found = corpus(seed)
        labels = {"tags": truth, "scored": truth >= 0}
        metric.update_state(labels, outputs(found))
        truths += named(truth)
        founds += named(found)
    expected = seqeval.f1_score(truths, founds)
    assert 0.2 < expected < 0.9
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_only_scored_words_count():
    """A corpus word in three parts: the first one's tag stands for all."""
    truth = np.array([[1, 2, 2, 0]])
    labels = {"tags": truth, "scored": np.array([[True, False, False, True]])}
    metric = EntityF1()
    metric.update_state(labels, outputs(np.array([[1, 0, 3, 0]])))
    assert float(metric.result()) == 1.0
    metric.update_state(labels, outputs(np.array([[1, 2, 2, 3]])))
    assert float(metric.result()) == pytest.approx(2 * 2 / (3 + 2))


def test_absent_texts_do_not_count():
    truth, found = corpus()
    weight = (np.arange(64) % 2).astype("float32")
    some, alone = EntityF1(), EntityF1()
    labels = {"tags": truth, "scored": truth >= 0}
    some.update_state(labels, outputs(found), weight)
    part = {k: v[1::2] for k, v in labels.items()}
    alone.update_state(part, outputs(found[1::2]))
    assert float(some.result()) == float(alone.result())
    assert float(EntityF1().result()) == 0.0


@pytest.mark.parametrize("classes", [2, 5])
def test_macro_f1_is_that_of_scikit_learn(classes):
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(classes)
    truth = rng.integers(0, classes, 200)
    scores = rng.normal(size=(200, classes)) + 2.0 * np.eye(classes)[truth]
    scores[:, -1] -= 9.0 if classes > 2 else 0.0  # a class that is never found
    weight = (rng.random(200) < 0.6).astype("float32")
    metric = MacroF1(classes)
    for part in np.array_split(np.arange(200), 3):
        metric.update_state(truth[part], scores[part], weight[part])
    kept = weight > 0
    expected = sklearn.f1_score(
        truth[kept], scores[kept].argmax(1), average="macro", zero_division=0
    )
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    assert metric.get_config()["num_classes"] == classes


def test_macro_f1_leaves_out_classes_that_are_nowhere():
    metric = MacroF1(4)
    metric.update_state(np.array([0, 1]), np.eye(4)[[0, 1]])
    assert float(metric.result()) == 1.0
    metric.reset_state()
    assert float(metric.result()) == 0.0
