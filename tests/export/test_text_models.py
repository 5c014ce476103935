"""Text models as servers run them: strings in, entities and labels out."""

import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers the operations on texts)

from mtl_zoo.export.forward import forward
from tests.zoo import tiny_text

ODD = {
    "empty": b"",
    "long": b"the film was good in oslo . " * 400,
    "emoji": "good \U0001f600\U0001f469\u200d\U0001f467 jane".encode(),
    "right to left": "שלום jane مرحبا".encode(),
    "not UTF-8": b"oslo \xff\xfe\x80 jane",
    "control characters": b"jane\x00saw\x1b[31moslo\r\n\x7f",
    "punctuation": b"?!... --",
}


@pytest.fixture(scope="module")
def signatures(saved_text):
    path = saved_text / tiny_text.NAME / "1"
    return tf.saved_model.load(os.fspath(path)).signatures


@pytest.fixture(scope="module")
def serve(signatures):
    def run(texts, name="serving_default"):
        return {
            k: v.numpy() for k, v in signatures[name](text=tf.constant(texts)).items()
        }

    return run


def test_signatures(signatures):
    stock = {"serving_default", "sentiment", "ner", "raw", "features"}
    assert stock <= set(signatures)
    spec = signatures["serving_default"].structured_input_signature[1]
    assert {k: (v.dtype, v.shape.as_list()) for k, v in spec.items()} == {
        "text": (tf.string, [None])
    }


def test_outputs_are_of_fixed_size(serve):
    found = serve(tiny_text.TEXTS)
    shapes = {name: value.shape for name, value in found.items()}
    entities = dict.fromkeys(("starts", "ends", "labels", "scores", "names"), (4, 6))
    assert shapes == {
        "sentiment_probabilities": (4, 2),
        "sentiment_label": (4,),
        "sentiment_name": (4,),
        **{f"ner_{name}": shape for name, shape in entities.items()},
        "ner_count": (4,),
    }


def test_same_as_the_model(text_network, serve):
    expected = text_network.predict_tasks(tf.constant(tiny_text.TEXTS))
    found = serve(tiny_text.TEXTS)
    for task, values in expected.items():
        for name, value in values.items():
            np.testing.assert_allclose(found[f"{task}_{name}"], value, atol=1e-5)
    names = np.array([b"negative", b"positive"], object)
    np.testing.assert_array_equal(
        found["sentiment_name"], names[found["sentiment_label"]]
    )
    types = np.array([b"", *(t.encode() for t in tiny_text.TYPES)], object)
    np.testing.assert_array_equal(found["ner_names"], types[found["ner_labels"] + 1])
    assert found["ner_count"].sum() > 0


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_alone_or_in_a_batch(serve, name):
    """As a server batches them: any others beside, the same answer."""
    alone = serve([ODD[name]])
    beside = serve([b"jane saw oslo", ODD[name], b"bad"])
    for output, value in alone.items():
        if value.dtype == object:
            np.testing.assert_array_equal(beside[output][1:2], value)
        else:
            np.testing.assert_allclose(beside[output][1:2], value, atol=1e-5)
    text = ODD[name].decode("utf-8", "replace")
    count = min(6, int(alone["ner_count"][0]))
    for start, end in zip(
        alone["ner_starts"][0, :count], alone["ner_ends"][0, :count], strict=True
    ):
        assert 0 <= start < end <= len(text)
        assert not text[start].isspace() and not text[end - 1].isspace()


def test_too_long_texts_are_refused(serve):
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 100000 char"):
        serve(["x" * 100_001])


def test_wrong_inputs_are_refused(signatures):
    with pytest.raises(tf.errors.InvalidArgumentError, match="string"):
        signatures["serving_default"](text=tf.constant([1.0]))


def test_the_compiled_twin_gives_the_same(serve):
    stock, twin = serve(tiny_text.TEXTS), serve(tiny_text.TEXTS, "serving_default_xla")
    for name, value in stock.items():
        if value.dtype == object:
            np.testing.assert_array_equal(twin[name], value)
        else:
            np.testing.assert_allclose(twin[name], value, atol=1e-5)


def test_a_task_alone(serve):
    assert set(serve(["bad"], "sentiment")) == {
        "sentiment_probabilities",
        "sentiment_label",
        "sentiment_name",
    }


def test_other_targets_say_that_they_take_no_strings(text_network):
    with pytest.raises(ValueError, match=r"model for texts.*to_serving"):
        forward(text_network)
