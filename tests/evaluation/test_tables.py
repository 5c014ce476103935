"""Tables of classes and of types, against the metrics and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo import evaluation
from mtl_zoo.data import text_batches
from mtl_zoo.data.text_batches import LabelledTexts
from tests.zoo import tiny_text


@pytest.fixture(scope="module")
def model():
    return tiny_text.model()


@pytest.fixture(scope="module")
def batches(model):
    """Sentences labelled for one of the tasks each."""
    rng = np.random.default_rng(0)
    words = ["jane", "oslo", "new", "york", "saw", "film"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 9))) for _ in range(40)]
    tags = [
        text_batches.joined(text.split(), rng.integers(0, 5, len(text.split())))[1]
        for text in texts[:20]
    ]
    sets = {
        "names": LabelledTexts(texts[:20], {"ner": tags}),
        "opinions": LabelledTexts(
            texts[20:], {"sentiment": rng.integers(0, 2, 20).tolist()}
        ),
    }
    return text_batches.evaluation_batches(sets, model.trunk.prepare, batch_size=7)


def test_totals_are_those_of_the_metrics(model, batches):
    found = evaluation.tables(model, batches)
    metrics = evaluation.evaluate(model, batches)
    sentiment, ner = found["sentiment"], found["ner"]
    assert list(sentiment) == ["negative", "positive"]
    assert sum(row["count"] for row in sentiment.values()) == 20
    right = sum(row["recall"] * row["count"] for row in sentiment.values())
    assert right / 20 == pytest.approx(metrics["sentiment"]["accuracy"], abs=1e-3)
    assert set(ner) <= set(tiny_text.TYPES)
    hits = sum(row["recall"] * row["count"] for row in ner.values())
    guesses = sum(
        row["recall"] * row["count"] / row["precision"]
        for row in ner.values()
        if row["precision"]
    )
    true = sum(row["count"] for row in ner.values())
    if all(row["precision"] for row in ner.values()):
        f1 = 2 * hits / (guesses + true)
        assert f1 == pytest.approx(metrics["ner"]["f1"], abs=2e-3)


def test_a_row_by_hand(model):
    sets = {
        "a": LabelledTexts(["film", "bad", "good"], {"sentiment": [0, 0, 1]}),
        "b": LabelledTexts(["jane"], {"ner": [text_batches.joined(["jane"], [1])[1]]}),
    }
    dataset = text_batches.evaluation_batches(sets, model.trunk.prepare)
    found = model.predict_tasks(tf.constant(sets["a"].texts))
    guess = np.asarray(found["sentiment"]["label"])
    row = evaluation.tables(model, dataset)["sentiment"]["negative"]
    truth = np.array([0, 0, 1])
    hits = int(((guess == 0) & (truth == 0)).sum())
    assert row["count"] == 2
    assert row["recall"] == pytest.approx(hits / 2)
    assert row["precision"] == pytest.approx(
        hits / max(1, int((guess == 0).sum())), abs=1e-4
    )
