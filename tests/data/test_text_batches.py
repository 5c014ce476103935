"""Batches of texts: alignment, order, restarts, mixtures."""

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.data import sampling, text_batches
from mtl_zoo.data.text_batches import LabelledTexts, WordTags, joined
from mtl_zoo.trunks import WordPieces
from tests.zoo.tiny_text import VOCABULARY

PIECES = WordPieces(VOCABULARY, sequence_length=16, overlap=4)


def sets(opinions=37, names=50):
    rng = np.random.default_rng(0)
    words = ["film", "good", "oslo", "jane", "xyz", "a.b"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 12))) for _ in range(names)]
    tags = [joined(t.split(), rng.integers(0, 5, len(t.split())))[1] for t in texts]
    numbered = [f"film {i}" for i in range(opinions)]
    return {
        "opinions": LabelledTexts(numbered, {"sentiment": list(range(opinions))}),
        "names": LabelledTexts(texts, {"ner": tags}),
    }


def batches(mixed=False, seed=1, **kwargs):
    return text_batches.training_batches(
        sets(),
        PIECES,
        batch_size=4,
        seed=seed,
        sampling=sampling.Proportional({"opinions": 2, "names": 1}),
        mixed=mixed,
        **kwargs,
    )


def assert_equal(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_words_of_the_model_have_the_tags_of_the_corpus():
    words, tags = ["U.S.", "film", "@jane!", "Oslo"], [1, 0, 3, 4]
    text, labels = joined(words, tags)
    one = {"a": LabelledTexts([text], {"ner": [labels]})}
    ((inputs, found, weights),) = text_batches.evaluation_batches(one, PIECES)
    starts, ends = inputs["starts"][0].numpy(), inputs["ends"][0].numpy()
    cut = [text[s:e] for s, e in zip(starts, ends, strict=True)]
    assert cut == ["U", ".", "S", ".", "film", "@", "jane", "!", "Oslo"]
    assert found["ner"]["tags"][0].numpy().tolist() == [1, 2, 2, 2, 0, 3, 4, 4, 4]
    assert found["ner"]["scored"][0].numpy().tolist() == [
        *[True, False, False, False, True],
        *[True, False, False, True],
    ]
    assert weights["ner"].numpy().tolist() == [1.0]


def test_every_text_once_in_evaluation():
    seen, tagged = [], 0
    for _, labels, weights in text_batches.evaluation_batches(
        sets(), PIECES, batch_size=16
    ):
        labelled = weights["sentiment"].numpy() > 0
        seen += labels["sentiment"].numpy()[labelled].tolist()
        tagged += int(weights["ner"].numpy().sum())
        np.testing.assert_array_equal(weights["ner"], 1.0 - weights["sentiment"])
        tags = labels["ner"]["tags"].numpy()
        assert (tags[labelled] == -1).all()
        assert not labels["ner"]["scored"].numpy()[labelled].any()
    assert sorted(seen) == list(range(37))
    assert tagged == 50


@pytest.mark.parametrize("mixed", [False, True])
def test_a_restart_goes_on_exactly(tmp_path, mixed):
    dataset = batches(mixed)
    iterator = iter(dataset)
    for _ in range(67):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "x"))
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 10_000
    expected = [next(iterator) for _ in range(9)]
    again = iter(batches(mixed))
    tf.train.Checkpoint(iterator=again).restore(path)
    assert_equal([next(again) for _ in range(9)], expected)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_seed_decides(mixed):
    def first(seed):
        return list(batches(mixed, seed).take(5))

    assert_equal(first(1), first(1))
    with pytest.raises(AssertionError):
        assert_equal(first(1), first(2))


@pytest.mark.parametrize("mixed", [False, True])
def test_sets_come_as_often_as_asked(mixed):
    share, kinds = 0.0, set()
    for _, _, weights in batches(mixed).take(300):
        share += float(tf.reduce_mean(weights["sentiment"])) / 300
        kinds.add(len(np.unique(weights["sentiment"])))
    assert abs(share - 2 / 3) < 0.1
    assert kinds == ({1, 2} if mixed else {1})


@pytest.mark.parametrize("mixed", [False, True])
def test_an_epoch_has_every_text_once(mixed):
    one = {"opinions": sets(opinions=40)["opinions"]}
    stream = text_batches.training_batches(
        one, PIECES, batch_size=4, seed=0, mixed=mixed
    )
    epochs = [
        np.concatenate([y["sentiment"] for _, y, _ in part])
        for part in (stream.take(500), stream.skip(500).take(500))
    ]
    for epoch in epochs:  # 50 epochs
        np.testing.assert_array_equal(np.bincount(epoch), [50] * 40)
    if not mixed:
        np.testing.assert_array_equal(np.bincount(epochs[0][:40]), [1] * 40)


@pytest.mark.parametrize("mixed", [False, True])
def test_texts_of_similar_length_come_together(mixed):
    def padding(batch_size):
        stream = text_batches.training_batches(
            {"names": sets(names=400)["names"]},
            PIECES,
            batch_size=batch_size,
            seed=0,
            mixed=mixed,
        )
        widths = [x["starts"].shape[1] for x, _, _ in stream.take(50)]
        return len(set(widths))

    assert padding(8) > 4  # shuffled, nearly all batches would hold a long text


def test_bad_arguments_say_what_is_expected():
    two = sets()
    with pytest.raises(ValueError, match=r"need a `sampling`.*'opinions', 'names'"):
        text_batches.training_batches(two, PIECES, batch_size=4, seed=0)
    with pytest.raises(ValueError, match=r"one batch of 38 texts in 'opinions'.*37"):
        text_batches.training_batches(
            {"opinions": two["opinions"]}, PIECES, batch_size=38, seed=0
        )
    with pytest.raises(ValueError, match=r"one label a text for task 'a'.*1 labels"):
        LabelledTexts(["x", "y"], {"a": [0]})
    with pytest.raises(ValueError, match="at least one text"):
        LabelledTexts([], {})


def test_only_some_tasks():
    both = LabelledTexts(["x"], {"a": [1], "b": [WordTags((0,), (0,))]})
    assert list(both.only(["b"]).labels) == ["b"]
