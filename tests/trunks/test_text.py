"""Trunks cut from text encoders: equal to the whole, windows, saving, bad input."""

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.text_pairs import paired
from mtl_zoo.trunks import from_text_backbone, from_text_preset, minilm_l6
from mtl_zoo.trunks.frozen_table import FrozenTable
from tests.zoo import tiny_text

TEXTS = ["Jane saw the film in Oslo!", "bad", "not in New York"]


def backbone(kind="Bert", **kwargs):
    keras.utils.set_random_seed(3)
    extra = {"embedding_dim": 8} if kind == "Electra" else {}
    sizes = {
        "vocab_size" if kind == "Electra" else "vocabulary_size": len(
            tiny_text.VOCABULARY
        ),
        "num_layers": 2,
        "num_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "max_sequence_length": 64,
    }
    whole = getattr(keras_hub.models, f"{kind}Backbone")(**sizes, **extra, **kwargs)
    rng = np.random.default_rng(0)
    for weight in whole.weights:
        weight.assign(weight + rng.normal(0.0, 0.3, weight.shape))
    return whole


@pytest.mark.parametrize("kind", ["Bert", "DistilBert", "Electra"])
def test_stages_give_the_states_of_the_backbone(kind):
    whole = backbone(kind)
    trunk = from_text_backbone(whole, tiny_text.tokenizer(), sequence_length=64)
    assert list(trunk.stages) == ["embeddings", "layer_1", "layer_2"]
    inputs = trunk.prepare(TEXTS)
    states = trunk(inputs)["layer_2"].numpy()
    expected = whole({n: inputs[n] for n in whole.input})
    if isinstance(expected, dict):
        expected = expected["sequence_output"]
    mask = inputs["padding_mask"].numpy() > 0
    np.testing.assert_allclose(states[mask], expected.numpy()[mask], atol=2e-5)
    assert not states[~mask].any()


def test_words_and_sentence_by_hand():
    trunk = from_text_backbone(backbone(), tiny_text.tokenizer(), sequence_length=64)
    inputs = trunk.prepare(TEXTS)
    features = trunk(inputs)
    states = features["layer_2"].numpy()
    for row, text in enumerate(TEXTS):
        length = int(inputs["padding_mask"][row].numpy().sum())
        np.testing.assert_allclose(
            features["sentence"][row], states[row, :length].mean(0), atol=1e-5
        )
        tokens = inputs["word_tokens"][row].numpy()
        words = features["words"][row].numpy()
        there = tokens >= 0
        np.testing.assert_array_equal(
            words[there], states.reshape(-1, 8)[tokens[there]]
        )
        assert not words[~there].any()
        ends = features["ends"][row].numpy()[there]
        assert ends[-1] == len(text)


def test_a_text_of_many_windows_has_the_features_of_each():
    trunk = tiny_text.trunk()
    text = " ".join(["film good oslo"] * 10)
    inputs = trunk.prepare([text, "bad"])
    features = trunk(inputs)
    states, mask = features["layer_2"].numpy(), inputs["padding_mask"].numpy()
    owner = inputs["window_text"].numpy()
    means = states.sum(1) / mask.sum(1, keepdims=True)
    assert (owner == 0).sum() == 3
    np.testing.assert_allclose(
        features["sentence"][0], means[owner == 0].mean(0), atol=1e-5
    )
    assert features["words"].shape[:2] == (2, 30)
    # Beside other texts or alone: the same.
    alone = trunk(trunk.prepare([text]))
    np.testing.assert_allclose(features["words"][0], alone["words"][0], atol=1e-5)


def test_fewer_layers():
    trunk = from_text_backbone(
        backbone(), tiny_text.tokenizer(), layers=1, sequence_length=64
    )
    assert list(trunk.stages) == ["embeddings", "layer_1"]


def test_words_of_an_earlier_layer(tmp_path):
    """The sentence is that of the last; the choice is saved."""
    options = {"sequence_length": 64, "word_layer": 1}
    trunk = from_text_backbone(backbone(), tiny_text.tokenizer(), **options)
    prepared = trunk.prepare(tf.constant(["good film"]))
    features = trunk(prepared)
    first = int(prepared["word_tokens"][0, 0])
    expected = np.reshape(features["layer_1"], (-1, features["layer_1"].shape[-1]))
    np.testing.assert_array_equal(features["words"][0, 0], expected[first])
    whole = from_text_backbone(backbone(), tiny_text.tokenizer(), sequence_length=64)
    assert np.any(whole(prepared)["words"] != features["words"])
    config = keras.saving.serialize_keras_object(trunk)
    again = keras.saving.deserialize_keras_object(config)
    assert again.neck.words_from == "layer_1"
    with pytest.raises(ValueError, match=r"1 to 2.*word_layer=3"):
        from_text_backbone(
            backbone(), tiny_text.tokenizer(), sequence_length=64, word_layer=3
        )


def test_features_of_pairs_by_hand():
    """Of one window, of several, and of a text that is alone."""
    trunk = tiny_text.trunk(pairs=True)
    long = " ".join(["film good oslo"] * 6)
    inputs = trunk.prepare([paired("good film", "bad film"), paired(long, "bad"), "a"])
    features = trunk(inputs)
    states, owner = features["layer_2"].numpy(), inputs["window_text"].numpy()
    mask, second = inputs["padding_mask"].numpy(), inputs["segment_ids"].numpy()
    assert (owner == 1).sum() > 1 and not second[owner == 2].any()
    for row in range(3):
        of_row = states[owner == row]
        first_of, second_of = (
            (mask[owner == row] == 1) & (second[owner == row] == one) for one in (0, 1)
        )
        a = of_row[first_of].mean(0)
        b = of_row[second_of].mean(0) if second_of.any() else np.zeros_like(a)
        expected = np.concatenate([features["sentence"][row], abs(a - b), a * b])
        np.testing.assert_allclose(features["pair"][row], expected, atol=1e-5)
    config = keras.saving.serialize_keras_object(trunk)
    assert keras.saving.deserialize_keras_object(config).neck.pairs
    assert "pair" not in tiny_text.trunk()(inputs)


def test_saved_and_loaded(tmp_path):
    network = tiny_text.model(freeze_table=True)
    path = tmp_path / "model.keras"
    network.save(path)
    again = keras.saving.load_model(path, safe_mode=True)
    texts = tf.constant(tiny_text.TEXTS)
    one, other = network.predict(texts), again.predict(texts)
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("freeze_table", [False, True])
def test_table_of_pieces(freeze_table):
    whole = backbone()
    trunk = from_text_backbone(
        whole, tiny_text.tokenizer(), sequence_length=64, freeze_table=freeze_table
    )
    trunk.trainable = False
    trunk.trainable = True
    tables = [x for x in trunk._flatten_layers() if isinstance(x, FrozenTable)]
    trained = sum(int(np.prod(v.shape)) for v in trunk.trainable_weights)
    every = whole.count_params() - sum(
        int(np.prod(v.shape)) for v in whole.get_layer("pooled_dense").weights
    )
    size = len(tiny_text.VOCABULARY) * 8
    assert trained == every - (size if freeze_table else 0)
    if freeze_table:
        (table,) = tables
        assert table.table.dtype == "float16" and table.trainable is False
        inputs = trunk.prepare(TEXTS)
        np.testing.assert_allclose(
            trunk(inputs)["sentence"],
            from_text_backbone(whole, tiny_text.tokenizer(), sequence_length=64)(
                inputs
            )["sentence"],
            atol=5e-3,
        )
    else:
        assert not tables


def test_preset_folder(tmp_path):
    whole = backbone()
    whole.save_to_preset(str(tmp_path))
    tiny_text.tokenizer().save_to_preset(str(tmp_path))
    trunk = from_text_preset(tmp_path, sequence_length=32)
    inputs = trunk.prepare(TEXTS)
    expected = from_text_backbone(whole, tiny_text.tokenizer(), sequence_length=32)(
        inputs
    )
    np.testing.assert_array_equal(trunk(inputs)["sentence"], expected["sentence"])


def test_minilm_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_ZOO_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"tools/convert_minilm_l6\.py"):
        minilm_l6()


def test_bad_arguments_say_what_is_expected():
    whole = backbone()
    with pytest.raises(ValueError, match=r"64 positions.*sequence_length=128"):
        from_text_backbone(whole, tiny_text.tokenizer())
    with pytest.raises(ValueError, match=r"1 to 2.*layers=3"):
        from_text_backbone(whole, tiny_text.tokenizer(), layers=3, sequence_length=64)
    with pytest.raises(TypeError, match="word pieces"):
        from_text_backbone(whole, object())
    with pytest.raises(ValueError, match="TransformerEncoder"):
        from_text_backbone(keras.Sequential([keras.Input((3,))]), tiny_text.tokenizer())
    other = keras_hub.models.BertTokenizer(tiny_text.VOCABULARY[:-1], lowercase=True)
    with pytest.raises(ValueError, match="one preset"):
        from_text_backbone(whole, other, sequence_length=64)


def test_strings_are_prepared_by_the_model():
    network = tiny_text.model()
    texts = tf.constant(tiny_text.TEXTS)
    direct = network.predict(texts)
    prepared = network(network.prepare(texts))
    np.testing.assert_allclose(prepared["sentiment"], direct["sentiment"], atol=1e-5)
    assert isinstance(network, mtl.MultiTaskModel)


def test_pieces_are_hidden_in_training_alone():
    trunk = tiny_text.trunk(piece_dropout=0.5)
    stage = trunk.stages["embeddings"]
    for layer in stage.embed.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    inputs = trunk.prepare(["the film was good in oslo jane saw new york"])
    plain = stage(inputs)
    np.testing.assert_array_equal(plain, stage(inputs, training=False))
    hidden = stage({**inputs, "token_ids": tf.fill([1, 16], stage.mask_id)})
    seen = np.zeros(16)
    for _ in range(20):
        found = stage(inputs, training=True).numpy()
        is_plain = np.isclose(found, plain, atol=1e-6).all(-1)[0]
        is_hidden = np.isclose(found, hidden, atol=1e-6).all(-1)[0]
        assert (is_plain | is_hidden).all()
        seen += ~is_plain
    # [CLS], ten words, [SEP], padding.
    assert seen[0] == 0 and not seen[11:].any()
    assert seen[1:11].min() >= 5 and seen[1:11].max() < 20


def test_the_share_of_hidden_pieces_is_saved_and_checked():
    one = tiny_text.trunk(piece_dropout=0.5).stages["embeddings"]
    config = keras.saving.serialize_keras_object(one)
    again = keras.saving.deserialize_keras_object(config)
    for name in ("piece_dropout", "mask_id", "special_ids"):
        assert getattr(again, name) == getattr(one, name)
    with pytest.raises(ValueError, match=r"piece_dropout.*Received: 1.0"):
        tiny_text.trunk(piece_dropout=1.0)
