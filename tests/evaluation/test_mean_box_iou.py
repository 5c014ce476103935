import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.evaluation.mean_box_iou import MeanBoxIoU


def batch():
    """Best boxes with IoU 3/4, 1/2 and 1 of the true ones, then an image without."""
    location = [8, 8, 4]
    raw = np.float32(
        [
            [[0, 9, 0, 0, 30, 20, *location], [1, 2, 0, 0, 40, 20, *location]],
            [[3, -9, 0, 0, 10, 10, *location], [-1, 2, 5, 5, 7, 7, *location]],
            [[3, -9, 0, 0, 50, 50, *location], [4, 2, 5, 5, 9, 9, *location]],
            [[3, -9, 0, 0, 50, 50, *location], [4, 2, 5, 5, 9, 9, *location]],
        ]
    )
    none = [-1, -1, -1, -1]
    boxes = np.float32(
        [
            [[0, 0, 40, 20], none],
            [[0, 0, 20, 10], none],
            [[60, 60, 80, 80], [5, 5, 9, 9]],  # the one it overlaps most counts
            [none, none],
        ]
    )
    return {"boxes": boxes, "labels": np.where(boxes[..., 0] < 0, -1, 0)}, raw


def test_by_hand():
    y, raw = batch()
    metric = MeanBoxIoU()
    metric.update_state(y, raw)
    np.testing.assert_allclose(metric.result(), (0.75 + 0.5 + 1) / 3, rtol=1e-5)
    metric.update_state(y, raw, sample_weight=[0, 1, 0, 1])
    np.testing.assert_allclose(metric.result(), (0.75 + 0.5 + 1 + 0.5) / 4, rtol=1e-5)


def test_xla_and_config():
    y, raw = batch()
    metric = MeanBoxIoU(name="head_box")
    metric = MeanBoxIoU.from_config(metric.get_config())
    assert (metric.name, metric.direction) == ("head_box", "up")
    update = tf.function(metric.update_state, jit_compile=True)
    update({k: tf.constant(v) for k, v in y.items()}, tf.constant(raw))
    np.testing.assert_allclose(metric.result(), 0.75, rtol=1e-5)
    config = keras.saving.serialize_keras_object(metric)
    assert keras.saving.deserialize_keras_object(config).name == "head_box"
