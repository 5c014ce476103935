"""Classes of words, trees and ratings out of a SavedModel, as a user meets them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.text_pairs import paired
from mtl_zoo.zoo import TextPredictor, text_prediction
from tests.test_spanning_tree import is_tree
from tests.zoo import tiny_text

UPOS, RELATIONS = ("NOUN", "VERB", "PUNCT"), ("root", "nsubj", "obj")
TEXTS = [*tiny_text.TEXTS, paired("Jane saw the film", "the film was new")]


def tasks():
    return [
        mtl.Task("pos", mtl.heads.WordClassification(UPOS, cases=3), mtl.losses.Tags()),
        mtl.Task(
            "parse",
            mtl.heads.DependencyParsing(RELATIONS, arc_units=6, relation_units=4),
            mtl.losses.Dependencies(),
        ),
        mtl.Task(
            "related", mtl.heads.Rating(1, 5, feature="pair"), mtl.losses.Ratings(1)
        ),
    ]


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    made = mtl.architectures.JointManyTask(
        tiny_text.trunk(pairs=True),
        tasks(),
        levels={"pos": "embeddings", "parse": "layer_1"},
    )
    made.build((None,))
    rng = np.random.default_rng(0)
    for weight in made.trainable_weights:
        weight.assign(weight + rng.normal(0.0, 0.3, weight.shape))
    made.compile("adam")
    return made


@pytest.fixture(scope="module")
def predictor(network, tmp_path_factory):
    results = {
        task.name: {"share": {"mean": 0.5, "sd": 0.1, "n": 2}} for task in network.tasks
    }
    metrics = {
        **tiny_text.metrics(),
        "results": {"multi_task": results, "single_task": results},
    }
    del metrics["tables"]
    folder = tmp_path_factory.mktemp("saved_trees")
    saved = mtl.zoo.save(
        network,
        "words-tiny-trees",
        folder,
        card=tiny_text.CARD,
        metrics=metrics,
        example=tiny_text.TEXTS,
    )
    return TextPredictor(saved)


def test_every_word_has_a_class_and_a_place_in_a_tree(network, predictor):
    found = predictor(TEXTS)
    json.dumps(found)
    expected = network.predict_tasks(tf.constant(TEXTS))
    for row, one in enumerate(found):
        for task in ("pos", "parse"):
            for word in one[task]:
                assert word["text"] == one["text"][word["start"] : word["end"]] != ""
        heads = [word["head"] for word in one["parse"]]
        assert not heads or is_tree(heads)
        words = len(heads)
        assert expected["parse"]["heads"][row, :words].numpy().tolist() == heads
        labels = expected["pos"]["labels"][row, :words].numpy()
        assert [word["label"] for word in one["pos"]] == [UPOS[i] for i in labels]
        assert {word["relation"] for word in one["parse"]} <= set(RELATIONS)
        value = expected["related"]["value"][row]
        assert one["related"]["value"] == pytest.approx(float(value), abs=1e-5)
    assert [len(one["parse"]) for one in found] == [7, 1, 0, 10, 8]


def test_words_are_printed_with_their_classes_and_heads(predictor):
    (one,) = predictor(["bad film"])
    plain = text_prediction.coloured(one)
    for code in range(50):
        plain = plain.replace(f"\x1b[{code}m", "")
    lines = plain.split("\n")
    first, second = one["pos"]
    assert f"  pos bad/{first['label']} film/{second['label']}" in lines
    first, second = one["parse"]
    assert (
        f"  parse bad/{first['head']}:{first['relation']} "
        f"film/{second['head']}:{second['relation']}"
    ) in lines
    assert f"  related {one['related']['value']:.2f}" in lines
