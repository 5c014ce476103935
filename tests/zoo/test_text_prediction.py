"""Predictions for texts: where texts come from, and how answers look."""

import io
import json

import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.zoo import TextPredictor, text_prediction
from tests.zoo import tiny_text


@pytest.fixture(scope="module")
def predictor(saved_text):
    return TextPredictor(saved_text / tiny_text.NAME)


def read(*arguments, given=b"", **kwargs):
    return list(text_prediction.read_texts(arguments, io.BytesIO(given), **kwargs))


def test_equals_the_keras_model(text_network, predictor):
    found = predictor(tiny_text.TEXTS)
    expected = text_network.predict_tasks(tf.constant(tiny_text.TEXTS))
    assert [one["text"] for one in found] == tiny_text.TEXTS
    entities = 0
    for row, one in enumerate(found):
        chances = expected["sentiment"]["probabilities"][row]
        names = ("negative", "positive")
        assert one["sentiment"]["label"] == names[int(np.argmax(chances))]
        np.testing.assert_allclose(
            list(one["sentiment"]["probabilities"].values()), chances, atol=1e-3
        )
        assert len(one["ner"]) == int(expected["ner"]["count"][row])
        for entity in one["ner"]:
            assert entity["text"] == one["text"][entity["start"] : entity["end"]]
            assert entity["type"] in tiny_text.TYPES
            assert 0.0 < entity["score"] <= 1.0
            entities += 1
    assert entities > 0
    json.dumps(found)


def test_offsets_are_characters_of_the_text_given(predictor):
    plain = predictor(["jane saw oslo"])[0]["ner"]
    (shifted,) = predictor(["\U0001f600é " + "jane saw oslo"])
    for entity in shifted["ner"]:
        assert shifted["text"][entity["start"] : entity["end"]] == entity["text"]
    assert isinstance(plain, list)


def test_bytes_that_are_not_utf8(predictor):
    (found,) = predictor([b"oslo \xff jane"])
    assert found["text"] == "oslo \ufffd jane"


def test_lone_surrogates_are_replaced(predictor):
    (found,) = predictor(["oslo \udcff jane"])
    assert found["text"] == "oslo ? jane"


def test_too_long_is_one_sentence(predictor):
    with pytest.raises(
        ValueError, match=r"^Expected texts of at most 100000 .*100001$"
    ):
        predictor(["x" * 100_001])


def test_models_for_the_other_kind_say_so(saved, saved_text):
    from tests.zoo import tiny

    with pytest.raises(ValueError, match=r"takes texts.*Predictor is for images"):
        TextPredictor(saved / tiny.NAME)
    with pytest.raises(ValueError, match=r"takes images.*takes texts.*TextPredictor"):
        mtl.zoo.Predictor(saved_text / tiny_text.NAME)


def test_texts_come_from_arguments_files_and_standard_input(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"one\r\ntwo\n\nfour")
    assert read("a text", str(file)) == [b"a text", b"one", b"two", b"", b"four"]
    assert read(str(file), whole=True) == [b"one\r\ntwo\n\nfour"]
    assert read(given=b"x\ny\n") == [b"x", b"y"]
    assert read("-", "z", given=b"x\n") == [b"x", b"z"]
    assert read(given=b"") == []


@pytest.mark.parametrize("argument", ["reviews.txt", "no/such", "x.csv"])
def test_what_looks_like_a_file_must_be_one(argument):
    with pytest.raises(text_prediction.TextError, match="there is no file"):
        read(argument)


def test_folders_are_refused(tmp_path):
    with pytest.raises(text_prediction.TextError, match="is a folder"):
        read(str(tmp_path))


def test_colours():
    prediction = {
        "text": "Jane in Oslo",
        "sentiment": {
            "label": "positive",
            "probabilities": {"negative": 0.25, "positive": 0.75},
        },
        "ner": [
            {"start": 0, "end": 4, "type": "PER", "score": 0.5, "text": "Jane"},
            {"start": 8, "end": 12, "type": "LOC", "score": 1.0, "text": "Oslo"},
        ],
    }
    lines = text_prediction.coloured(prediction)
    plain = lines
    for code in range(50):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == "Jane[PER .50] in Oslo[LOC 1.00]\n  sentiment positive 0.75"
    assert lines.count("\x1b[0m") >= 4


def test_texts_can_not_steer_the_terminal():
    shown = text_prediction.coloured({"text": "a\x1b[2Jb\r\x07\u202e"})
    assert "\x1b" not in shown and "\r" not in shown and "\x07" not in shown


def test_the_card_shows_how_to_ask_for_texts(saved_text):
    card = (saved_text / tiny_text.NAME / "README.md").read_text()
    assert f"mtl-zoo predict {tiny_text.NAME} " in card
    assert "--text " in card and "picture.jpg" not in card
    assert "| PER | 0.5 | 0.25 | 0.3333 | 12 |" in card


def test_the_index_calls_the_client_for_texts(saved_text):
    mtl.zoo.write_index(saved_text)
    readme = (saved_text / "README.md").read_text()
    assert f"python client.py {tiny_text.NAME} --text " in readme
    assert "picture.jpg" not in readme


def test_golden_of_texts(saved_text):
    golden = np.load(saved_text / tiny_text.NAME / "golden.npz")
    texts = [text.decode() for text in golden["inputs/text"]]
    assert texts == tiny_text.TEXTS
    assert {"raw/sentiment", "raw/ner_emissions", "outputs/ner_names"} <= set(golden)


def test_loaded_model_goes_on_training(saved_text):
    model = mtl.load(saved_text / tiny_text.NAME)
    outputs = model.predict_tasks(tf.constant(["jane"]))
    assert set(outputs) == {"sentiment", "ner"}
