"""Odd texts get one answer, through whatever door they come."""

import json

import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import cli
from mtl_zoo.export.templates import client
from mtl_zoo.zoo import TextPredictor
from tests.serving import look_alike
from tests.zoo import tiny_text

TEXTS = {
    "plain": "Jane saw the film in Oslo!",
    "empty": "",
    "long": "the film was good in oslo . " * 300,
    "longest": "x " * 50_000,
    "emoji": "good \U0001f600\U0001f469\u200d\U0001f467 jane",
    "right to left": "שלום jane مرحبا",
    "control characters": "jane\x00saw\x1b[31moslo\x7f",
    "punctuation": "?!... --",
    "not UTF-8": b"oslo \xff\xfe\x80 jane",
}


@pytest.fixture(scope="module")
def text_server(saved_text):
    mtl.zoo.write_index(saved_text)
    config = saved_text / "models.config"
    with look_alike.running(config, saved_text) as running:
        yield running


@pytest.fixture(scope="module")
def predictor(saved_text):
    return TextPredictor(saved_text / tiny_text.NAME)


@pytest.fixture(scope="module")
def served(saved_text):
    version = saved_text / tiny_text.NAME / "1"
    return tf.saved_model.load(str(version)).signatures["serving_default"]


@pytest.mark.parametrize("name", TEXTS)
def test_one_answer(name, text_server, text_network, predictor, served):
    text = TEXTS[name]
    data = text if isinstance(text, bytes) else text.encode()
    expected = {k: v.numpy() for k, v in served(text=tf.constant([data])).items()}
    ports = {"grpc": text_server.grpc_port, "rest": text_server.rest_port}
    for protocol, port in ports.items():
        ask = getattr(client, f"predict_{protocol}")
        found = ask(tiny_text.NAME, {"text": [data]}, port=port)
        assert set(found) == set(expected)
        for key, value in expected.items():
            if value.dtype == object:
                assert found[key].astype("S").tolist() == value.astype("S").tolist()
            else:
                np.testing.assert_allclose(found[key], value, atol=1e-5, err_msg=key)
    model = text_network.predict_tasks(tf.constant([data]))
    np.testing.assert_allclose(
        model["sentiment"]["probabilities"],
        expected["sentiment_probabilities"],
        atol=1e-5,
    )
    np.testing.assert_array_equal(model["ner"]["starts"], expected["ner_starts"])
    (told,) = predictor([text])
    assert told["text"] == data.decode("utf-8", "replace")
    assert len(told["ner"]) == min(6, int(expected["ner_count"][0]))


def test_the_command_line_says_what_python_says(
    predictor, saved_text, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(saved_text))
    texts = [text for name, text in TEXTS.items() if name != "longest"]
    files = []
    for number, text in enumerate(texts):
        file = tmp_path / f"{number}"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        files.append(str(file))
    assert cli.main(["predict", tiny_text.NAME, *files, "--whole"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == predictor(texts)


def test_a_text_too_long_is_refused_everywhere(
    text_server, text_network, predictor, saved_text, capsys, tmp_path, monkeypatch
):
    text, told = "x" * 100_001, "at most 100000 char"
    with pytest.raises(tf.errors.InvalidArgumentError, match=told):
        text_network.predict_tasks(tf.constant([text]))
    with pytest.raises(ValueError, match=told):
        predictor([text])
    ports = {"grpc": text_server.grpc_port, "rest": text_server.rest_port}
    for protocol, port in ports.items():
        ask = getattr(client, f"predict_{protocol}")
        with pytest.raises(client.ClientError, match=told):
            ask(tiny_text.NAME, {"text": [text.encode()]}, port=port)
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(saved_text))
    file = tmp_path / "text"
    file.write_text(text)
    assert cli.main(["predict", tiny_text.NAME, str(file)]) == 1
    assert told in capsys.readouterr().err


def test_the_program_takes_texts(text_server, predictor, capsys):
    port = f"--port={text_server.grpc_port}"
    texts = ["Jane saw Oslo.", "bad"]
    assert client.main([tiny_text.NAME, port, "--text", *texts]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == texts
    for line, told in zip(lines, predictor(texts), strict=True):
        assert line["outputs"]["sentiment_name"] == told["sentiment"]["label"]
