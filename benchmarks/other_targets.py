"""Sizes, errors, speed and accuracy of the LiteRT, ONNX and OpenVINO files of a model.

Files of whole models are compared with Keras on the model's recorded images; latency is
that of one image on one thread, as the median ratio to Keras, every runtime in turn.
Accuracy is that of the raw outputs on the validation split, by the metrics of the
recipe, for LiteRT as float32, with an int8 trunk, and all in int8. Images for the
calibration come from the training split.

    export MTL_ZOO_DATA=...
    python benchmarks/other_targets.py --out=benchmarks/results/other_targets.json
"""

from __future__ import annotations

import importlib.metadata
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo.data import nuclei, pets
from mtl_zoo.evaluation import report
from mtl_zoo.export.litert import runner, to_litert
from mtl_zoo.export.onnx import onnx_runner, to_onnx
from mtl_zoo.export.openvino import openvino_runner, to_openvino
from mtl_zoo.zoo import registry
from recipes import nuclei_det_seg, pets_det_seg_cls

PETS = "pets-efficientnet_lite0-det-seg-cls"
NUCLEI = "nuclei-efficientnet_lite0-det-seg"
SIDES = {PETS: 224, NUCLEI: 256}
PACKAGES = ("onnx", "onnxruntime", "tf2onnx", "openvino")

MODELS = flags.DEFINE_list("models", [PETS, NUCLEI], "Names.")
ROUNDS = flags.DEFINE_integer("rounds", 41, "Timed rounds.")
CALIBRATION = flags.DEFINE_integer("calibration", 100, "Images for int8.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")


class Converted(mtl.MultiTaskModel):
    """A model whose raw outputs come from a file, to be measured like any other."""

    def __init__(self, model: mtl.MultiTaskModel, run: Callable) -> None:
        super().__init__(model.tasks)
        self.run = run
        self.reference = [model]  # in a list, so that Keras does not track it
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Run the file on one image after the other."""

        def outputs(images: np.ndarray) -> list[np.ndarray]:
            images = np.clip(np.rint(images), 0, 255).astype("uint8")
            rows = [self.run({"images": image[None]}) for image in images]
            return [np.concatenate([r[n] for r in rows]) for n in self.task_names]

        shapes = self.reference[0].compute_output_spec(
            keras.KerasTensor(inputs.shape, "float32")
        )
        found = tf.numpy_function(outputs, [inputs], ["float32"] * len(self.tasks))
        return {
            name: tf.ensure_shape(value, shapes[name].shape)
            for name, value in zip(self.task_names, found, strict=True)
        }


def calibration_images(name: str) -> np.ndarray:
    """Real training images."""
    if name == PETS:
        data = pets.evaluation_batches("train", image_size=SIDES[name], batch_size=1)
    else:
        data = nuclei.training_batches(image_size=SIDES[name], batch_size=1, seed=0)
    images = [images.numpy() for images, *_ in data.take(CALIBRATION.value)]
    return np.clip(np.rint(np.concatenate(images)), 0, 255).astype("uint8")


def rounded(images: Any, labels: Any, weights: Any) -> tuple:
    """Images as the uint8 ones that a file takes, so that only the model differs."""
    return tf.round(images), labels, weights


def validation(name: str) -> tf.data.Dataset:
    """The validation split, as the recipe evaluates on it."""
    recipe = pets_det_seg_cls if name == PETS else nuclei_det_seg
    return recipe.whole_images("validation", recipe.Config()).map(rounded)


def accuracy(name: str, model: mtl.MultiTaskModel, run: Callable | None) -> dict:
    """Metrics on the validation split, of Keras or of a file's raw outputs."""
    data = validation(name)
    if run is not None:
        model = Converted(model, run)
        model.compile()
    return mtl.evaluation.evaluate(model, data)


def write_whole(
    model: mtl.MultiTaskModel, folder: Path, size: tuple[int, int], **options: Any
) -> dict[str, tuple[Any, Callable]]:
    """Write the files of all decoded outputs; return their reports and runners."""
    images, calibration = options["example"], options["calibration"]
    common = {"image_size": size, "example": images}
    lite = {
        "litert": {},
        "litert_int8": {"quantize": "int8", "representative": calibration},
    }
    found = {}
    for kind, settings in lite.items():
        written = to_litert(model, folder / f"{kind}.tflite", **common, **settings)
        found[kind] = written, runner(written.path.read_bytes(), threads=1)
    written = to_onnx(model, folder / "model.onnx", **common)
    found["onnx"] = written, onnx_runner(written.path.read_bytes())
    written = to_openvino(model, folder / "model.xml", **common)
    found["openvino"] = written, openvino_runner(written.path)
    return found


def latencies(keras_run: Callable, runs: dict, image: np.ndarray) -> dict[str, float]:
    """Median ratio to Keras of the time for one image."""
    runs = {"keras": keras_run, **runs}
    ratios: dict[str, list[float]] = {kind: [] for kind in runs}
    for index in range(ROUNDS.value + 3):
        seconds = {}
        for kind in random.Random(index).sample(list(runs), len(runs)):
            start = time.perf_counter()
            runs[kind]({"images": image})
            seconds[kind] = time.perf_counter() - start
        if index >= 3:  # warm-up
            for kind, value in seconds.items():
                ratios[kind].append(value / seconds["keras"])
    return {k: statistics.median(v) for k, v in ratios.items() if k != "keras"}


def measure(name: str, folder: Path) -> dict[str, Any]:
    """All figures of one model."""
    model = mtl.load(name, compile=True)
    side = SIDES[name]
    with np.load(registry.find(name) / "golden.npz") as golden:
        example = golden["inputs/images"][:, :side, :side]
    calibration = calibration_images(name)
    whole = write_whole(
        model, folder, (side, side), example=example, calibration=calibration
    )

    @tf.function(autograph=False)
    def predict(images: tf.Tensor) -> dict:
        return model.predict_tasks(tf.cast(images, tf.float32))

    def keras_run(inputs: dict) -> Any:
        found = predict(tf.constant(inputs["images"]))
        return keras.tree.map_structure(lambda value: value.numpy(), found)

    runs = {kind: run for kind, (_, run) in whole.items()}
    raw: dict[str, Any] = {"keras": accuracy(name, model, None)}
    sizes, errors = {}, {}
    for kind, quantize in (
        ("litert", None),
        ("litert_int8", "int8"),
        ("litert_int8_all", "int8_all"),
    ):
        written = to_litert(
            model,
            folder / f"raw_{kind}.tflite",
            # Images of the pets are all of one size, those of nuclei are not.
            image_size=(side, side) if name == PETS else None,
            outputs="raw",
            quantize=quantize,
            representative=calibration if quantize else None,
            example=example,
        )
        sizes[kind], errors[kind] = written.size_bytes, written.errors
        raw[kind] = accuracy(name, model, runner(written.path.read_bytes(), threads=2))
        print(kind, raw[kind], flush=True)
    return {
        "image_size": side,
        "validation_images": sum(len(images) for images, *_ in validation(name)),
        "calibration_images": len(calibration),
        "keras_variables_bytes": 4 * model.count_params(),
        "decoded": {
            kind: {"size_bytes": written.size_bytes, "errors": written.errors}
            for kind, (written, _) in whole.items()
        },
        "latency_ratio_to_keras": latencies(keras_run, runs, example[:1]),
        "raw": {k: {"size_bytes": sizes[k], "errors": errors[k]} for k in sizes},
        "validation": raw,
    }


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    models = {}
    for name in MODELS.value:
        with tempfile.TemporaryDirectory() as folder:
            models[name] = measure(name, Path(folder))
    result = {
        "command": f"python benchmarks/other_targets.py --models={','.join(models)} "
        f"--rounds={ROUNDS.value} --calibration={CALIBRATION.value}",
        "commit": report.commit(),
        "versions": {
            **report.versions(),
            **{package: importlib.metadata.version(package) for package in PACKAGES},
        },
        "device": report.device(),
        "rounds": ROUNDS.value,
        "models": models,
    }
    print(json.dumps(result, indent=1, default=float))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
