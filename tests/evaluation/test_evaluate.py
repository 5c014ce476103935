"""evaluate: the tasks' metrics, COCO's for detection, and delta_m."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.evaluation.coco import CocoBoxes
from mtl_zoo.heads import decode_boxes
from tests import fakes


@pytest.fixture(scope="module")
def model():
    return fakes.model()


@pytest.fixture(scope="module")
def results(model):
    return mtl.evaluation.evaluate(model, fakes.batches(20))


def test_tasks_and_metrics_in_order_of_the_model(results):
    assert {task: list(metrics) for task, metrics in results.items()} == {
        "kind": ["accuracy"],
        "size": ["mae"],
        "colour": ["loss"],  # it has no metrics
    }
    assert list(results) == list(fakes.NAMES)


def test_values_against_numpy(model, results):
    x, labels = fakes.arrays(20)
    outputs = {name: np.asarray(value) for name, value in model(x).items()}
    expected = {
        "kind": np.mean(np.argmax(outputs["kind"], -1) == labels["kind"]),
        "size": np.mean(np.abs(outputs["size"] - labels["size"])),
        "colour": np.mean((outputs["colour"] - labels["colour"]) ** 2),
    }
    for task, value in expected.items():
        assert list(results[task].values()) == pytest.approx([value], rel=1e-5)


def test_directions(model, results):
    directions = mtl.evaluation.directions(model)
    assert directions == {
        "kind": {"accuracy": "up"},
        "size": {"mae": "down"},
        "colour": {"loss": "down"},
    }
    assert {t: list(m) for t, m in directions.items()} == {
        t: list(m) for t, m in results.items()
    }


def test_delta_m_against_baselines_by_hand(model, results):
    baselines = {
        "kind": {"accuracy": 2 * results["kind"]["accuracy"]},  # gain -50
        "size": {"mae": 2 * results["size"]["mae"]},  # +50
        "colour": {"loss": 4 * results["colour"]["loss"]},  # +75
    }
    found = mtl.evaluation.evaluate(model, fakes.batches(20), baselines)
    assert found["delta_m"] == pytest.approx(
        {"per_task": 25.0, "per_metric": -25.0, "primary": 25.0}
    )
    del found["delta_m"]
    assert found == results


def test_baseline_errors(model, results):
    data = fakes.batches(8)
    with pytest.raises(ValueError, match="'size' has no baseline"):
        mtl.evaluation.evaluate(model, data, {"kind": {"accuracy": 1.0}})
    wrong = {**results, "size": {"rmse": 1.0}}
    with pytest.raises(ValueError, match=r"'size'(.|\n)*\['mae'\].*\['rmse'\]"):
        mtl.evaluation.evaluate(model, data, wrong)


def test_infinite_dataset_is_refused(model):
    with pytest.raises(ValueError, match="infinite"):
        mtl.evaluation.evaluate(model, fakes.batches().repeat())


@pytest.fixture(scope="module")
def detector():
    """A detection head on two grids, next to a regression."""
    keras.utils.set_random_seed(3)
    trunk = mtl.trunks.Trunk(
        {
            "stride_4": keras.layers.Conv2D(8, 4, strides=4),
            "stride_8": keras.layers.Conv2D(8, 2, strides=2),
        }
    )
    head = mtl.heads.Detection(
        2, ("stride_4", "stride_8"), (4, 8), width=8, score_threshold=0.9
    )
    tasks = [
        mtl.Task(
            "det",
            head,
            mtl.losses.BoxDetection(),
            [mtl.evaluation.BoxF1(score_threshold=0.5, name="f1")],
        ),
        mtl.Task(
            "size",
            mtl.heads.Regression(1, feature="stride_8"),
            keras.losses.MeanSquaredError(),
        ),
    ]
    model = mtl.architectures.HardSharing(trunk, tasks)
    model.build((None, None, None, 3))
    # Scores around .5 that differ from cell to cell.
    for variable in head.class_logits.trainable_variables:
        variable.assign(keras.random.normal(variable.shape, seed=1))
    model.compile()
    return model


def detection_data():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (5, 32, 32, 3)).astype("float32")
    corner = rng.uniform(0, 16, (5, 3, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 16, (5, 3, 2))], -1)
    labels = rng.integers(0, 2, (5, 3)).astype("int32")
    boxes[:, 2], labels[:, 2] = -1.0, -1
    weights = {
        "det": np.array([1, 1, 0, 1, 1], "float32"),
        "size": np.ones(5, "float32"),
    }
    truth = {"boxes": boxes.astype("float32"), "labels": labels}
    return images, {"det": truth, "size": np.zeros((5, 1), "float32")}, weights


def test_detection_gets_average_precision_of_all_but_absent_images(detector):
    images, labels, weights = detection_data()
    data = tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(2)
    results = mtl.evaluation.evaluate(detector, data)
    assert {task: list(metrics) for task, metrics in results.items()} == {
        "det": ["f1", "AP", "AP50", "AP75"],
        "size": ["loss"],
    }
    assert mtl.evaluation.directions(detector)["det"] == dict.fromkeys(
        results["det"], "up"
    )
    # The head shows scores from .9 on; the average precision takes them from .01 on.
    found = decode_boxes(detector(images)["det"], score_threshold=0.01)
    boxes = CocoBoxes()
    boxes.add(labels["det"], found, weights["det"])
    expected = boxes.average_precision()
    assert 0.0 < expected["AP50"] < 1.0
    assert {name: results["det"][name] for name in expected} == pytest.approx(expected)
    assert results["det"]["f1"] == pytest.approx(boxes.f1(0.5), abs=1e-6)
