"""The shared trunk in three forms: as it is, compiled by XLA, and XLA-native.

The three take turns, in random order, in one process, on the same images. Each form
is compared by the median of its times; the first call, which traces and compiles, is
stated apart. The control is the plain trunk once more (A/A): how far its ratio is from
1 is the noise.

    python benchmarks/xla_trunk.py --gpu --out=benchmarks/results/xla_trunk.json
    python benchmarks/xla_trunk.py --gpu --neck --out=...   # with a feature pyramid

With `--gpu` the trunk is also compiled for GPUs that need not be there, and what is
launched and moved is read off what XLA made of it. Nothing runs on a GPU.
"""

from __future__ import annotations

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
from mtl_zoo.evaluation import report
from mtl_zoo.export.xla_native import native_encode

ROUNDS = flags.DEFINE_integer("rounds", 21, "Timed rounds, each of one call a form.")
SECONDS = flags.DEFINE_float("seconds", 120, "Fewer rounds where these take longer.")
BATCHES = flags.DEFINE_list("batches", ["1", "8"], "Batch sizes.")
SIZE = flags.DEFINE_integer("image_size", 224, "Image side in pixels.")
NECK = flags.DEFINE_bool("neck", False, "Add the feature pyramid of the saved models.")
GPU = flags.DEFINE_bool("gpu", False, "Also compile for GPUs; takes g++ and ptxas.")
TARGETS = flags.DEFINE_list("targets", ["sm_80", "sm_90"], "GPUs to compile for.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

SLOW_ROUNDS = 7  # of which two warm up

Encode = Callable[..., dict[str, Any]]


def make_model(size: int) -> mtl.architectures.HardSharing:
    """EfficientNet-Lite0, perhaps with a pyramid; the head is not run."""
    task = mtl.Task(
        "kind",
        mtl.heads.Classification(10, feature="stride_32"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    neck = mtl.trunks.FeaturePyramid(width=64) if NECK.value else None
    trunk = mtl.trunks.efficientnet_lite0(neck=neck)
    model = mtl.architectures.HardSharing(trunk, [task])
    model.build((None, size, size, 3))
    return model


def make_forms(model: mtl.architectures.HardSharing) -> dict[str, Encode]:
    """The trunk in the forms to compare, each a function of its own."""
    native = native_encode(model)

    def plain(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return model.encode(images, training=False)

    return {
        "plain": tf.function(plain),
        "control": tf.function(plain),
        "xla": tf.function(plain, jit_compile=True),
        "xla_native": tf.function(native, jit_compile=True),
    }


def seconds_of(form: Encode, images: tf.Tensor) -> tuple[float, float]:
    """Return how long one call takes until all of its features are there.

    By the clock, and in time of all processors, which other processes disturb less.
    """
    start, processors = time.perf_counter(), time.process_time()
    for feature in form(images).values():
        feature.numpy()
    return time.perf_counter() - start, time.process_time() - processors


def measure(forms: dict[str, Encode], images: tf.Tensor) -> dict[str, Any]:
    """Return first calls, medians and ratios for one batch."""
    first = {name: seconds_of(form, images)[0] for name, form in forms.items()}
    expected = forms["plain"](images)
    difference = max(
        float(np.abs(feature - expected[name]).max() / np.abs(expected[name]).max())
        for name, feature in forms["xla_native"](images).items()
    )
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    end = time.perf_counter() + SECONDS.value
    for round_index in range(ROUNDS.value + 2):
        # A form that takes seconds gets a few turns only.
        names = [name for name in forms if name != "xla" or round_index < SLOW_ROUNDS]
        for name in random.Random(round_index).sample(names, len(names)):
            taken = seconds_of(forms[name], images)
            if round_index >= 2:  # warm-up
                seconds[name].append(taken)
        if round_index >= 5 and time.perf_counter() > end:
            break
    clock, processors = (
        {
            name: 1000 * statistics.median(pair[i] for pair in pairs)
            for name, pairs in seconds.items()
        }
        for i in (0, 1)
    )
    return {
        "rounds": len(seconds["plain"]),
        "milliseconds": clock,
        "ratio_to_plain": {n: ms / clock["plain"] for n, ms in clock.items()},
        "processor_milliseconds": processors,
        "processor_ratio_to_plain": {
            n: ms / processors["plain"] for n, ms in processors.items()
        },
        "first_call_seconds": first,
        "largest_relative_difference": difference,
    }


def measure_gpu(model: mtl.architectures.HardSharing) -> dict[str, Any]:
    """Return what XLA launches and moves on each GPU, for both forms of the trunk."""
    from mtl_zoo.export.xla_gpu import compile_gpu

    result: dict[str, Any] = {"executed_on_device": False, "autotuned": False}
    forms = {"conv": None, "xla_native": native_encode(model)}
    for name, encode in forms.items():
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "saved_model.pb").touch()  # only the trunk is of interest
            folders = compile_gpu(
                model,
                folder,
                targets=TARGETS.value,
                batch_sizes=[int(batch) for batch in BATCHES.value],
                image_size=SIZE.value,
                encode=encode,
            )
            for target in folders:
                trunks = json.loads((target / "manifest.json").read_text())["trunks"]
                kept = ("launches", "library_calls", "triton_gemms", "bytes_moved")
                result.setdefault(target.name, {})[name] = {
                    trunk: {key: figures[key] for key in (*kept, "xla_flags")}
                    for trunk, figures in trunks.items()
                }
    for target in TARGETS.value:
        of = result[target]
        of["ratio_of_bytes"] = {
            trunk: of["xla_native"][trunk]["bytes_moved"]
            / of["conv"][trunk]["bytes_moved"]
            for trunk in of["conv"]
        }
    return result


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    size, rng = SIZE.value, np.random.default_rng(0)
    model = make_model(size)
    forms = make_forms(model)
    result: dict[str, Any] = {
        "command": f"python benchmarks/xla_trunk.py --rounds={ROUNDS.value} "
        f"--batches={','.join(BATCHES.value)} --image_size={size}"
        + (" --neck" if NECK.value else "")
        + (f" --gpu --targets={','.join(TARGETS.value)}" if GPU.value else ""),
        "versions": report.versions(),
        "device": report.device(),
        "cpu": {},
    }
    for batch in map(int, BATCHES.value):
        images = tf.constant(
            rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
        )
        result["cpu"][f"batch_{batch}"] = measure(forms, images)
    if GPU.value:
        result["gpu"] = measure_gpu(model)
    print(json.dumps(result, indent=1))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
