"""Small SavedModels to serve: `small`, like our exports, and `odd`, of all kinds.

Made with TensorFlow alone, in a second or two.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

CONFIG = """
model_config_list {
  config {
    name: "small"
    base_path: "/models/small"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 2 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 2 }
  }
  config {
    name: "odd"
    base_path: "/models/odd"
    model_platform: "tensorflow"
  }
}
"""

DTYPES = ("float32", "float64", "float16", "int32", "int64", "uint8", "uint32", "bool")

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
_FILES = tf.TensorSpec([None], tf.string, name="image_bytes")


class _Small(tf.Module):
    """A segmenter by brightness, a detector of one box, and a mean."""

    def __init__(self, threshold: float) -> None:
        super().__init__(name="small")
        self.threshold = tf.Variable(threshold)

    def seg(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        bright = tf.reduce_mean(tf.cast(images, tf.float32), axis=-1) / 255.0
        return {
            "seg_label_map": tf.cast(bright > self.threshold, tf.int32),
            "seg_probabilities": tf.stack([1.0 - bright, bright], axis=-1),
        }

    def det(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        batch, height, width = (tf.shape(images)[axis] for axis in range(3))
        box = tf.cast(tf.stack([0, 0, width, height]), tf.float32)
        boxes = tf.stack([box, *([tf.fill([4], -1.0)] * 4)])
        labels = tf.constant([0, -1, -1, -1, -1])
        rows = [batch, 1]
        return {
            "det_boxes": tf.tile(boxes[None], [batch, 1, 1]),
            "det_scores": tf.tile(tf.cast(labels + 1, tf.float32)[None] - 0.5, rows),
            "det_labels": tf.tile(labels[None], rows),
            "det_count": tf.fill([batch], 1),
        }

    def light(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"light": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2, 3])}

    def all_tasks(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {**self.seg(images), **self.det(images), **self.light(images)}

    def from_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        def read(file: tf.Tensor) -> tf.Tensor:
            known = tf.io.is_jpeg(file) | (tf.strings.substr(file, 1, 3) == b"PNG")
            check = tf.debugging.Assert(known, ["Expected a JPEG or PNG file"])
            with tf.control_dependencies([check]):
                return tf.io.decode_image(file, 3, expand_animations=False)

        spec = tf.TensorSpec([None, None, 3], tf.uint8)
        return self.all_tasks(tf.map_fn(read, image_bytes, fn_output_signature=spec))


def write_small(directory: Path, threshold: float = 0.5) -> None:
    """Write a version of `small`."""
    module = _Small(threshold)
    compiled = tf.function(module.all_tasks, jit_compile=True, autograph=False)
    signatures = {
        "serving_default": _signature(module.all_tasks, _IMAGES),
        "serving_default_xla": _signature(compiled, _IMAGES),
        "seg": _signature(module.seg, _IMAGES),
        "det": _signature(module.det, _IMAGES),
        "light": _signature(module.light, _IMAGES),
        "serving_bytes": _signature(module.from_bytes, _FILES),
    }
    tf.saved_model.save(module, os.fspath(directory), signatures=signatures)


def write_odd(directory: Path) -> None:
    """Write a version of `odd`: an echo of each dtype, and outputs of odd shapes."""
    module = tf.Module(name="odd")
    echoes = {
        f"echo_{name}": _signature(
            lambda x: {"y": tf.identity(x)},
            tf.TensorSpec(None, tf.as_dtype(name), name="x"),
        )
        for name in (*DTYPES, "string")
    }
    a = tf.TensorSpec([None], tf.float32, name="a")
    b = tf.TensorSpec([None, 2], tf.int32, name="b")
    text = tf.TensorSpec([None], tf.string, name="text")
    others = {
        "two": _signature(lambda a, b: {"double": a * 2.0, "same": b + 0}, a, b),
        "scalar": _signature(lambda a: {"all": tf.reduce_sum(a), "each": a + 0.0}, a),
        "uneven": _signature(lambda a: {"one": a[:1], "each": a + 0.0}, a),
        "texts": _signature(
            lambda text: {"as_text": tf.identity(text), "as_bytes": text + ""}, text
        ),
    }
    signatures = {**echoes, **others}
    tf.saved_model.save(module, os.fspath(directory), signatures=signatures)


def write_warmup(directory: Path, signature: str, images: np.ndarray) -> None:
    """Add a warm-up request to a version."""
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "small"
    request.model_spec.signature_name = signature
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    extra = directory / "assets.extra"
    extra.mkdir(exist_ok=True)
    path = os.fspath(extra / "tf_serving_warmup_requests")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(log.SerializeToString())


def write_all(folder: Path) -> Path:
    """Write both models and a `models.config`; return its path."""
    write_small(folder / "small" / "1", threshold=0.5)
    write_small(folder / "small" / "2", threshold=2.0)
    images = np.zeros((1, 8, 8, 3), np.uint8)
    write_warmup(folder / "small" / "1", "serving_default", images)
    write_odd(folder / "odd" / "7")
    # What a server passes by.
    for name in ("backup", ".tmp-8", "8.old"):
        (folder / "odd" / name).mkdir()
    (folder / "odd" / "README.md").write_text("Not a version.\n")
    config = folder / "models.config"
    config.write_text(CONFIG)
    return config


def _signature(function, *specs: tf.TensorSpec):
    return tf.function(function, autograph=False).get_concrete_function(*specs)
