"""One example of every public class, and what all of them promise."""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from tests.architectures import structures
from tests.balancing import methods
from tests.zoo import tiny_text

SIZE, PYRAMID = 32, ("pyramid_2", "pyramid_3")


def trunk() -> mtl.trunks.Trunk:
    layers = keras.layers
    inputs = x = keras.Input((None, None, 3))
    for filters in (4, 6, 8):
        x = layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    backbone = keras.Model(inputs, x)
    neck = mtl.trunks.FeaturePyramid(width=8, levels=(2, 3))
    return mtl.trunks.from_backbone(backbone, neck=neck)


def task(name: str) -> mtl.Task:
    """A task for every public head."""
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    head, loss, metrics = {
        "Classification": (
            mtl.heads.Classification(3, feature="stride_8"),
            classes,
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
        "Regression": (
            mtl.heads.Regression(2, feature="stride_8"),
            keras.losses.Huber(),
            [keras.metrics.MeanAbsoluteError(name="mae")],
        ),
        "Segmentation": (
            mtl.heads.Segmentation(2, PYRAMID, width=8, detail="stride_2"),
            classes,
            [mtl.evaluation.ForegroundIoU(name="iou")],
        ),
        "DenseRegression": (
            mtl.heads.DenseRegression(1, PYRAMID, width=8),
            keras.losses.MeanSquaredError(),
            [],
        ),
        "Detection": (
            mtl.heads.Detection(2, PYRAMID, (4, 8), width=8, max_detections=5),
            mtl.losses.BoxDetection(strides=(4, 8)),
            [
                mtl.evaluation.BoxF1(max_detections=5, name="f1"),
                mtl.evaluation.MeanBoxIoU(name="box_iou"),
            ],
        ),
    }[name]
    return mtl.Task(name.lower(), head, loss, metrics)


HEADS = ["Segmentation", "Classification", "Detection", "Regression", "DenseRegression"]

GOLDENS = {
    "heads": {
        **{name: lambda name=name: task(name).head for name in HEADS},
        "DependencyParsing": lambda: mtl.heads.DependencyParsing(
            ["root", "obj"], arc_units=4, relation_units=3
        ),
        "Rating": lambda: mtl.heads.Rating(1, 5, feature="stride_8"),
        "WordClassification": lambda: mtl.heads.WordClassification(["NOUN", "VERB"]),
        "Ordinal": lambda: mtl.heads.Ordinal(3, class_names=["low", "mid", "high"]),
        "Tagging": lambda: tiny_text.tasks()[1].head,
    },
    "losses": {
        "BoxDetection": lambda: mtl.losses.BoxDetection(box_weight=3.0),
        "Dependencies": lambda: mtl.losses.Dependencies(),
        "OrderedClasses": lambda: mtl.losses.OrderedClasses(),
        "Ratings": lambda: mtl.losses.Ratings(1),
        "Tags": lambda: mtl.losses.Tags(),
    },
    "balancing": {name: lambda name=name: methods.of(name) for name in methods.ALL},
    "architectures": {
        **{
            name: lambda name=name: structures.make(
                name, trunk(), [task(head) for head in HEADS]
            )
            for name in structures.ALL
        },
        "DeepRelationship": lambda: mtl.architectures.DeepRelationship(
            trunk(), [task("Classification"), task("Regression")], "stride_8", [4]
        ),
    },
    "trunks": {
        "Trunk": trunk,
        "FeaturePyramid": lambda: mtl.trunks.FeaturePyramid(width=8, levels=(2, 3)),
        "TextFeatures": lambda: mtl.trunks.TextFeatures(),
        "WordPieces": lambda: mtl.trunks.WordPieces(
            tiny_text.VOCABULARY, sequence_length=16
        ),
    },
    "evaluation": {
        "Pearson": lambda: mtl.evaluation.Pearson(),
        "WordAccuracy": lambda: mtl.evaluation.WordAccuracy(),
        "UAS": lambda: mtl.evaluation.UAS(),
        "LAS": lambda: mtl.evaluation.LAS(["root", "obj", "nsubj:pass"]),
        "EntityF1": lambda: mtl.evaluation.EntityF1(),
        "MacroF1": lambda: mtl.evaluation.MacroF1(3),
        "TwoClassAUC": lambda: mtl.evaluation.TwoClassAUC(),
        "BoxF1": lambda: mtl.evaluation.BoxF1(score_threshold=0.5),
        "ForegroundIoU": lambda: mtl.evaluation.ForegroundIoU(),
        "MeanBoxIoU": lambda: mtl.evaluation.MeanBoxIoU(),
    },
}
# The models of `test_text_model.py` have the parts for texts.
# Bases, of which a user makes subclasses.
BASES = {"Head", "Balancing", "LossBalancing", "GradientBalancing"}
EVERY = [
    pytest.param(package, name, id=f"{package}.{name}")
    for package, goldens in GOLDENS.items()
    for name in goldens
]


def batch(absent: str | None = None) -> tuple:
    """Two images with every label; one of the two has none of task `absent`."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype("float32")
    boxes = np.array([[[2, 3, 14, 17], [-1] * 4], [[8, 8, 30, 30], [1, 1, 6, 7]]], "f4")
    labels = {
        "segmentation": rng.integers(0, 2, (2, SIZE, SIZE)),
        "classification": np.array([0, 2]),
        "detection": {"boxes": boxes, "labels": np.array([[1, -1], [0, 1]], "int32")},
        "regression": rng.normal(size=(2, 2)).astype("float32"),
        "denseregression": rng.normal(size=(2, SIZE, SIZE, 1)).astype("float32"),
    }
    weights = {name: np.ones(2, "float32") for name in labels}
    if absent is not None:
        weights[absent] = np.zeros(2, "float32")
    return images, labels, weights


def model(**compile_kwargs) -> mtl.MultiTaskModel:
    keras.utils.set_random_seed(0)
    network = GOLDENS["architectures"]["HardSharing"]()
    network.build((None, SIZE, SIZE, 3))
    network.compile(keras.optimizers.Adam(1e-3), **compile_kwargs)
    return network


def step(network: mtl.MultiTaskModel, data: tuple) -> dict:
    return network.fit(tf.data.Dataset.from_tensors(data), verbose=0).history


def test_every_public_class_has_a_golden():
    kinds = (keras.layers.Layer, keras.losses.Loss, keras.metrics.Metric)
    for package, goldens in GOLDENS.items():
        module = getattr(mtl, package)
        classes = {
            name
            for name in module.__all__
            if inspect.isclass(getattr(module, name))
            and issubclass(getattr(module, name), kinds)
        }
        assert classes - BASES == set(goldens), package


@pytest.mark.parametrize(("package", "name"), EVERY)
def test_config_is_json_and_complete(package, name):
    """`from_config(get_config())` gives the same config, through JSON text."""
    golden = GOLDENS[package][name]()
    config = keras.saving.serialize_keras_object(golden)
    assert config["registered_name"] == f"mtl_zoo>{name}"
    text = json.dumps(config)
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(again) is type(golden)
    # As text, since Keras keeps shapes as tuples here and as lists there.
    assert json.dumps(keras.saving.serialize_keras_object(again)) == text


@pytest.mark.parametrize(("package", "name"), EVERY)
def test_docstring_says_what_goes_in(package, name):
    text = inspect.getdoc(getattr(getattr(mtl, package), name))
    assert text and len(text.splitlines()[0]) > 20
    parameters = inspect.signature(getattr(getattr(mtl, package), name)).parameters
    named = [p for p in parameters if p not in ("self", "args", "kwargs", "name")]
    assert all(f"{parameter}" in text for parameter in named), named


def test_every_trainable_weight_gets_a_gradient():
    network = model()
    images, labels, _ = batch()
    with tf.GradientTape() as tape:
        outputs = network(images, training=True)
        values = [t.loss.call(labels[t.name], outputs[t.name]) for t in network.tasks]
        total = tf.add_n([tf.reduce_sum(value) for value in values])
    gradients = tape.gradient(total, network.trainable_variables)
    for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
        assert gradient is not None and np.any(gradient), variable.path


def test_round_trip_of_the_whole_model(tmp_path):
    network = model()
    step(network, batch())
    network.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.task_names == network.task_names == tuple(n.lower() for n in HEADS)
    images = batch()[0]
    for name, raw in network(images).items():
        np.testing.assert_array_equal(raw, again(images)[name])
    first, second = (step(each, batch())["loss"] for each in (network, again))
    assert first == second


@pytest.mark.parametrize("absent", [name.lower() for name in HEADS])
def test_absent_task_moves_nothing(absent):
    network = model()
    step(network, batch())
    own = [v.numpy() for v in network.task_variables(absent)]
    history = step(network, batch(absent))
    for before, variable in zip(own, network.task_variables(absent), strict=True):
        np.testing.assert_array_equal(before, variable.numpy())
    assert history[f"{absent}_loss"] == [0.0]
    assert all(np.isfinite(v).all() for v in history.values())


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    try:
        network = model(train_metrics=True)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = network(batch()[0])
    assert {keras.backend.standardize_dtype(o.dtype) for o in outputs.values()} == {
        "float32"
    }
    history = step(network, batch())
    assert all(np.isfinite(v).all() for v in history.values())


def test_predictions_are_decoded_by_task():
    decoded = model().predict_tasks(batch()[0])
    assert {task: sorted(value) for task, value in decoded.items()} == {
        "segmentation": ["label_map", "probabilities"],
        "classification": ["label", "probabilities"],
        "detection": ["boxes", "count", "labels", "scores"],
        "regression": ["value"],
        "denseregression": ["value_map"],
    }


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: mtl.architectures.HardSharing(keras.layers.Dense(1), []), ValueError),
        (
            lambda: mtl.architectures.HardSharing(
                keras.layers.Dense(1), [task("Regression")]
            ),
            TypeError,
        ),
        (lambda: mtl.trunks.Trunk({}), ValueError),
        (lambda: mtl.heads.Segmentation(1), ValueError),
        (lambda: mtl.heads.Detection(1, strides=(4,)), ValueError),
        (lambda: mtl.losses.BoxDetection(strides=(4, 8), level_sizes=()), ValueError),
        (lambda: model().task("other"), ValueError),
    ],
)
def test_errors_say_what_was_received(make, error):
    with pytest.raises(error, match="Received"):
        make()
