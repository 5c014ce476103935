"""Strings to pieces: where words are, what a window holds, odd texts."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.text_pairs import paired
from mtl_zoo.trunks import WordPieces, word_pieces
from tests.zoo.tiny_text import VOCABULARY

ODD = {
    "empty": "",
    "blanks": " \t\n ",
    "punctuation": "?!... --",
    "accents": "Café naïve",
    "emoji": "good\U0001f600bad \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "right to left": "שלום oslo مرحبا",
    "ideographs": "東京new",
    "control": "the\x00film\x07was\x1b[31mbad",
    "long word": "x" * 300,
    "no-break space": "new\u00a0york",
    "combining mark alone": "\u0301 a",
}


def layer(**kwargs):
    return WordPieces(VOCABULARY, **{"sequence_length": 16, "overlap": 4, **kwargs})


def words_of(text, **kwargs):
    found = layer(**kwargs)(tf.constant([text]))
    decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    starts, ends = found["starts"][0].numpy(), found["ends"][0].numpy()
    return [decoded[s:e] for s, e in zip(starts, ends, strict=True) if e > s]


def unrolled(found, row):
    """The pieces of one text, from its windows, every word's first piece marked."""
    flat = found["token_ids"].numpy().reshape(-1)
    return [VOCABULARY[flat[t]] for t in found["word_tokens"][row].numpy() if t >= 0]


# BERT does not split at the symbols, spaces and control characters of the others.
@pytest.mark.parametrize(
    "name",
    sorted({*ODD} - {"emoji", "control", "no-break space", "combining mark alone"}),
)
@pytest.mark.parametrize("lowercase", [True, False])
def test_same_pieces_as_keras_hub(name, lowercase):
    text = ODD[name]
    tokenizer = keras_hub.models.BertTokenizer(
        VOCABULARY, lowercase=lowercase, strip_accents=True
    )
    ours = WordPieces.from_tokenizer(tokenizer, sequence_length=512, overlap=0)
    ids = ours(tf.constant([text]))["token_ids"][0].numpy()
    ids = ids[(ids > 0)][1:-1]
    assert ids.tolist() == tokenizer(tf.constant([text]))[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Jane saw  Oslo!", ["Jane", "saw", "Oslo", "!"]),
        ("U.S.-based", ["U", ".", "S", ".", "-", "based"]),
        ("good\U0001f600bad", ["good", "\U0001f600", "bad"]),
        ("Zoë\u00a0Kravitz", ["Zoë", "Kravitz"]),
        ("東京 new", ["東", "京", "new"]),
        ("the\x00film", ["the", "film"]),
        ("a\u0301b", ["a\u0301b"]),
        (b"bad \xff\xfe oslo", ["bad", "oslo"]),
        (b"bad\xffoslo", ["bad", "oslo"]),
        ("", []),
        ("  ", []),
    ],
)
def test_words_and_their_characters(text, words):
    assert words_of(text) == words


def test_first_piece_of_each_word():
    found = layer()(["Jane saw xy in oslo.", "bad"])
    assert unrolled(found, 0) == ["jane", "saw", "x", "in", "oslo", "."]
    assert unrolled(found, 1) == ["bad"]


@pytest.mark.parametrize("count", [1, 13, 14, 15, 24, 25, 99])
def test_windows_hold_every_piece_and_overlap(count):
    rng = np.random.default_rng(count)
    text = " ".join(rng.choice(["film", "good", "ab", "xyz"], count))
    ours = layer()
    whole = layer(sequence_length=512, overlap=0)([text])
    expected = whole["token_ids"][0].numpy()[whole["padding_mask"][0].numpy() > 0]
    found = ours([text, "bad"])
    windows = found["token_ids"].numpy()[:-1]
    masks = found["padding_mask"].numpy()[:-1]
    assert found["window_text"].numpy().tolist() == [0] * len(windows) + [1]
    seen = []
    for number, (row, mask) in enumerate(zip(windows, masks, strict=True)):
        pieces = row[mask > 0]
        assert (pieces[0], pieces[-1]) == (2, 3)  # [CLS], [SEP]
        inner = list(pieces[1:-1])
        if number:
            assert seen[-4:] == inner[:4]  # what both windows have
            inner = inner[4:]
        seen += inner
    np.testing.assert_array_equal(seen, expected[1:-1])
    assert unrolled(found, 0) == unrolled(whole, 0)


def test_a_word_is_read_where_it_has_most_context():
    found = layer()(["film " * 40])  # one piece a word
    window, column = np.divmod(found["word_tokens"][0].numpy(), 16)
    counts = found["padding_mask"].numpy().sum(1)
    left, right = column - 1, counts[window] - 2 - column
    starts = np.arange(40) < 2
    ends = np.arange(40) >= 38
    assert (left[~starts & (window > 0)] >= 2).all()
    assert (right[~ends & (window < window.max())] >= 1).all()


def test_batches_pad_to_the_longest_text():
    assert layer()(["bad", "bad"])["token_ids"].shape == (2, 8)
    assert layer()(["bad", "bad " * 9])["token_ids"].shape == (2, 16)


def test_longer_texts_are_refused(monkeypatch):
    monkeypatch.setattr(word_pieces, "MAX_CHARACTERS", 20)
    ours = layer()
    assert ours(["é" * 20])["starts"].shape == (1, 1)
    graph = tf.function(ours.call, input_signature=[tf.TensorSpec([None], tf.string)])
    for call in (ours, graph):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"(?s)at most 20 .*21"
        ):
            call(tf.constant(["ok", "é" * 21]))


def test_graph_of_any_batch_equals_eager():
    ours = layer()
    graph = tf.function(ours.call, input_signature=[tf.TensorSpec([None], tf.string)])
    for texts in ([*ODD.values()], ["bad " * 50], [""]):
        texts = tf.constant(texts)
        tf.nest.map_structure(np.testing.assert_array_equal, graph(texts), ours(texts))


def test_a_pair_of_texts():
    ours, text = layer(), paired("Jane saw.", "bad film")
    found = ours([text, "bad"])
    pieces = [VOCABULARY[i] for i in found["token_ids"][0].numpy() if i]
    assert pieces == ["[CLS]", "jane", "saw", ".", "[SEP]", "bad", "film", "[SEP]"]
    assert found["segment_ids"].numpy().tolist() == [[0] * 5 + [1] * 3, [0] * 8]
    assert words_of(text) == ["Jane", "saw", ".", "bad", "film"]
    assert unrolled(found, 0) == ["jane", "saw", ".", "bad", "film"]


def test_what_stands_for_the_separator_is_none():
    assert words_of("bad\ufdd0film") == ["bad", "film"]
    assert not layer()(["bad\ufdd0film"])["segment_ids"].numpy().any()
    assert words_of(b"\xff\x1e\xfe") == []


def test_no_text_at_all():
    found = layer()(tf.zeros([0], tf.string))
    assert found["token_ids"].shape[0] == found["starts"].shape[0] == 0


def test_config_round_trip():
    ours = layer(lowercase=False, strip_accents=False)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(ours)
    )
    assert again.get_config() == ours.get_config()
    np.testing.assert_array_equal(
        again(["Oslo é"])["token_ids"], ours(["Oslo é"])["token_ids"]
    )


def test_bad_arguments_say_what_is_expected():
    with pytest.raises(ValueError, match=r"without \[SEP\]"):
        WordPieces(["[PAD]", "[UNK]", "[CLS]"])
    with pytest.raises(ValueError, match=r"sequence_length=16, overlap=14"):
        layer(overlap=14)
    with pytest.raises(TypeError, match="word pieces"):
        WordPieces.from_tokenizer(object())
