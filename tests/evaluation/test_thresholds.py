"""Thresholds are chosen on the data given, and hold for head and metric."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation
from tests import fakes


@keras.saving.register_keras_serializable(package="tests")
class Boxes(mtl.heads.Detection):
    """Passes made-up raw boxes through, so that scores are known."""

    def build(self, input_shape):
        self.built = True

    def call(self, features, training=None):
        return features["layer_1"]


def logit(p):
    return float(np.log(p / (1 - p)))


def raw():
    """Two images of four cells: hits score .8 and .6, misses .5 and .3."""
    far = [[40.0 + 10 * i, 0, 45 + 10 * i, 5] for i in range(4)]
    hit = [0.0, 0, 10, 10]
    rows = [
        [[logit(0.8), *hit], [logit(0.3), *far[1]], [-9, *far[2]], [-9, *far[3]]],
        [[logit(0.5), *far[0]], [logit(0.6), *hit], [-9, *far[2]], [-9, *far[3]]],
    ]
    cells = [[4.0 + 8 * i, 4, 8] for i in range(4)]
    return np.array(
        [[[*box, *cells[i]] for i, box in enumerate(image)] for image in rows], "f4"
    )


def test_the_best_threshold_becomes_that_of_head_and_metric():
    task = mtl.Task(
        "det",
        Boxes(1, features=("layer_1",), strides=(8,), max_detections=4),
        mtl.losses.BoxDetection(strides=(8,)),
        [evaluation.BoxF1(max_detections=4, name="f1")],
    )
    trunk = mtl.trunks.Trunk({"layer_1": keras.layers.Identity()})
    model = mtl.architectures.HardSharing(trunk, [task])
    model.compile()
    boxes = {
        "boxes": np.array([[[0, 0, 10, 10]]] * 2, "f4"),
        "labels": np.zeros((2, 1), "int32"),
    }
    data = tf.data.Dataset.from_tensors((raw(), {"det": boxes}))
    found = evaluation.choose_thresholds(model, data)
    assert 0.5 <= found["det"] < 0.6
    assert task.head.score_threshold == found["det"]
    assert model.task_metrics("det")[0].score_threshold == found["det"]
    assert model.evaluate(data, return_dict=True, verbose=0)["det_f1"] == 1.0
    assert model.predict_tasks(raw())["det"]["count"].numpy().tolist() == [1, 1]


def test_nothing_to_choose():
    assert evaluation.choose_thresholds(fakes.model(), fakes.batches()) == {}


def test_foreground_iou_is_that_of_numpy():
    rng = np.random.default_rng(0)
    truth, logits = rng.integers(0, 2, (3, 8, 8)), rng.normal(size=(3, 8, 8, 2))
    weight = (rng.uniform(size=(3, 8, 8)) > 0.3).astype("float32")
    metric = evaluation.ForegroundIoU()
    metric.update_state(truth, logits.astype("float32"), sample_weight=weight)
    found, kept = logits.argmax(-1) == 1, weight > 0
    both = (found & (truth == 1) & kept).sum()
    either = ((found | (truth == 1)) & kept).sum()
    assert float(metric.result()) == pytest.approx(both / either, rel=1e-6)
