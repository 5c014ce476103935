"""Auxiliary tasks of texts: labels by hand, and a step with each of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.data import text_batches
from mtl_zoo.data.text_batches import LabelledTexts, WordClasses, WordTags, joined
from tests.zoo import tiny_text

aux = mtl.auxiliary
WORDS = ["film", "good", "oslo", "jane", "york", "the", "bad", "u.s."]


def texts(count: int = 24) -> LabelledTexts:
    rng = np.random.default_rng(0)
    made = [list(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(count)]
    named = [
        joined(words, [int(w in ("oslo", "jane")) for w in words]) for words in made
    ]
    return LabelledTexts(
        [text for text, _ in named],
        {
            "sentiment": [int("good" in words) for words in made],
            "ner": [tags for _, tags in named],
        },
    )


def batches(data: LabelledTexts, **kwargs) -> tf.data.Dataset:
    return text_batches.training_batches(
        {"all": data}, tiny_text.trunk().prepare, batch_size=6, seed=0, **kwargs
    )


OF_TEXTS = {
    "Hint": lambda: aux.Hint(["good", "oslo"]),
    "NamePresence": aux.NamePresence,
    "LogFrequency": lambda: aux.LogFrequency(texts().texts),
}


def trained(auxiliary, data):
    keras.utils.set_random_seed(0)
    main = tiny_text.tasks()[0]
    model = mtl.architectures.HardSharing(tiny_text.trunk(), [main, auxiliary.task()])
    model.build((None,))
    model.compile(keras.optimizers.Adam(0.01))
    name = f"{auxiliary.name}_loss"
    history = model.fit(data, epochs=4, steps_per_epoch=8, verbose=0).history
    assert history[name][-1] < history[name][0]
    assert set(model.predict_tasks(tf.constant(tiny_text.TEXTS))) == {"sentiment"}
    return model


@pytest.mark.parametrize("name", OF_TEXTS)
def test_trains_beside_a_main_task(name):
    auxiliary = OF_TEXTS[name]()
    labelled = auxiliary.add(texts())
    assert set(labelled.labels) == {"sentiment", "ner", auxiliary.name}
    trained(auxiliary, batches(labelled))


def test_hint_looks_for_whole_words_in_any_case():
    hint = aux.Hint(["good", "don't"])
    said = ["GOOD!", "goods", "a good-natured one", "I don't", "", "do n't"]
    assert hint.labels(said) == [1, 0, 1, 1, 0, 0]


def test_hidden_words_can_not_be_seen():
    hint = aux.Hint(WORDS[:3])
    for text in texts().texts:
        hidden = hint.hidden(text)
        assert hint.labels([hidden]) == [0]
        assert hidden.split() == [
            word for word in text.split() if word not in hint.words
        ]


def test_telling_words_by_hand():
    """Three texts a label; `good` in 3 and 0, `fine` in 1 and 0, `the` in all."""
    said = ["the good", "the good", "the fine good", "the bad", "the bad", "the"]
    labels = [1, 1, 1, 0, 0, 0]
    negative, positive = aux.telling_words(said, labels, count=5)
    assert (negative, positive) == (["bad"], ["good", "fine"])
    assert aux.telling_words(said, labels, count=1) == (["bad"], ["good"])


def test_telling_words_prefer_what_is_sure():
    """9 of 10 texts against 1 of 10 say more than 1 against none."""
    labels = [1] * 10 + [0] * 10
    said = ["common"] * 9 + ["rare"] + ["common"] + ["dull"] * 9
    _, positive = aux.telling_words(said, labels, count=2)
    assert positive == ["common", "rare"]


def test_name_presence_is_any_tag():
    data = LabelledTexts(
        ["in oslo", "in it"],
        {"ner": [WordTags((0, 3), (0, 1)), WordTags((0, 3), (0, 0))]},
    )
    assert aux.NamePresence().labels(data) == [1, 0]


def test_log_frequency_by_hand():
    """`a` comes 20 times, log 2.99..., `b` 3 times, 1.09..., `c` once."""
    frequency = aux.LogFrequency(["a " * 20, "B b b c"])
    assert frequency.class_names == ["0", "1", "2"]
    (tags,) = frequency.labels(["c B  a new"])
    assert tags == WordClasses((0, 2, 5, 7), (0, 1, 2, 0))


def test_log_frequency_of_words_that_the_model_cuts():
    """`u.s.` is four words for the model: all have its class, the first counts."""
    frequency = aux.LogFrequency(["u.s. u.s. u.s. film"])
    data = LabelledTexts(["film u.s. film"], {"ner": [WordTags((0, 5, 10), (0, 0, 0))]})
    data = frequency.add(data)
    (_, labels, _) = next(
        iter(text_batches.evaluation_batches({"one": data}, tiny_text.trunk().prepare))
    )
    found = labels["log_frequency"]
    np.testing.assert_array_equal(found["tags"], [[0, 1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(found["scored"], [[1, 1, 0, 0, 0, 1]])


def masked(**kwargs):
    return aux.MaskedWords(texts().texts, tiny_text.trunk().prepare, **kwargs)


def test_masked_words_train_beside_a_main_task():
    auxiliary = masked(share=0.5)
    trained(auxiliary, auxiliary.add(batches(texts())))


def test_masked_words_are_hidden_and_are_the_label():
    auxiliary = masked(share=0.5, classes=5)
    prepare = tiny_text.trunk().prepare
    assert len(auxiliary.pieces) == 5
    hidden = total = 0
    plain = batches(texts())
    for old, new in zip(plain.take(6), auxiliary.add(plain).take(6), strict=True):
        ids, masked_ids = (np.ravel(one[0]["token_ids"]) for one in (old, new))
        places = new[0]["word_tokens"].numpy()
        tags = new[1]["masked_words"]["tags"].numpy()
        chosen = tags >= 0
        original = ids[places[chosen]]
        np.testing.assert_array_equal(original, np.take(auxiliary.pieces, tags[chosen]))
        np.testing.assert_array_equal(masked_ids[places[chosen]], prepare.mask_id)
        expected = ids.copy()
        expected[places[chosen]] = prepare.mask_id
        np.testing.assert_array_equal(masked_ids, expected)  # and nothing else
        can_be = (places >= 0) & np.isin(ids[places], auxiliary.pieces)
        hidden, total = hidden + chosen.sum(), total + can_be.sum()
    assert 0.35 < hidden / total < 0.65
    # The other labels are those of the plain batches.
    np.testing.assert_array_equal(old[1]["sentiment"], new[1]["sentiment"])


def test_masked_words_differ_from_batch_to_batch_and_not_from_run_to_run():
    auxiliary = masked(share=0.5)
    same = next(iter(batches(texts())))
    repeated = tf.data.Dataset.from_tensors(same).repeat(2)
    one, other = (b[1]["masked_words"]["tags"] for b in auxiliary.add(repeated))
    assert (one != other).numpy().any()
    again = next(iter(auxiliary.add(repeated)))[1]["masked_words"]["tags"]
    np.testing.assert_array_equal(one, again)


@pytest.mark.parametrize(
    "make",
    [
        lambda: aux.Hint([]),
        lambda: aux.LogFrequency(["all once"]),
        lambda: aux.NamePresence("names").labels(texts()),
        lambda: aux.telling_words(["a"], [1], 1),
        lambda: aux.telling_words(["a", "b"], [1, 2], 1),
        lambda: masked(share=0.0),
        lambda: aux.MaskedWords(
            ["a"], mtl.trunks.WordPieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])
        ),
    ],
)
def test_errors_say_what_was_received(make):
    with pytest.raises(ValueError, match="Received"):
        make()
