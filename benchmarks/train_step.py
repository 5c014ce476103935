"""What our train step costs over plain Keras `fit` of the same graph.

Models of three kinds take turns, in random order, on the same batches: plain Keras with
summed losses, ours with `Equal` balancing, and a control, which is plain Keras again.
Several of each, because instances of the very same model differ. The ratio is the mean
of ours over that of the plain ones, the noise how far the control is from them (A/A).

    python benchmarks/train_step.py --out=benchmarks/results/train_step.json
"""

from __future__ import annotations

import json
import statistics
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from interleaved import medians

import mtl_zoo as mtl
from mtl_zoo.evaluation import report

ROUNDS = flags.DEFINE_integer("rounds", 41, "Timed rounds, each of one fit a model.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps of one fit.")
INSTANCES = flags.DEFINE_integer("instances", 4, "Models of each kind.")
SIZE = flags.DEFINE_integer("image_size", 96, "Image side in pixels.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")


def make_model(size: int) -> mtl.architectures.HardSharing:
    """EfficientNet-Lite0 with heads that classify, segment and count."""
    tasks = [
        mtl.Task(
            "kind",
            mtl.heads.Classification(10, feature="stride_32"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        mtl.Task(
            "area",
            mtl.heads.Segmentation(3, width=32),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        mtl.Task(
            "count",
            mtl.heads.Regression(1, feature="stride_32"),
            keras.losses.MeanSquaredError(),
        ),
    ]
    trunk = mtl.trunks.efficientnet_lite0(neck=mtl.trunks.FeaturePyramid(width=32))
    model = mtl.architectures.HardSharing(trunk, tasks)
    model.build((None, size, size, 3))
    return model


def make_plain(size: int) -> keras.Model:
    """The functional twin, compiled as any Keras user would."""
    model = make_model(size)
    inputs = keras.Input((size, size, 3))
    twin = keras.Model(inputs, model(inputs))
    twin.compile(
        keras.optimizers.Adam(1e-4), loss={t.name: t.loss for t in model.tasks}
    )
    return twin


def make_ours(size: int) -> mtl.architectures.HardSharing:
    """Compiled for our train step."""
    model = make_model(size)
    model.compile(keras.optimizers.Adam(1e-4))
    return model


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    size, rng = SIZE.value, np.random.default_rng(0)
    samples = 8 * STEPS.value
    images = rng.uniform(0, 255, (samples, size, size, 3)).astype("float32")
    labels = {
        "kind": rng.integers(0, 10, samples),
        "area": rng.integers(0, 3, (samples, size, size)),
        "count": rng.normal(size=(samples, 1)).astype("float32"),
    }
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8).cache()
    makers = {"plain": make_plain, "control": make_plain, "ours": make_ours}
    models = {
        (kind, i): make(size)
        for i in range(INSTANCES.value)
        for kind, make in makers.items()
    }
    runs = {key: partial(model.fit, data, verbose=0) for key, model in models.items()}
    seconds = medians(runs, ROUNDS.value, warm_up=2)  # the first compiles
    steps = {
        kind: [
            1000 * median / STEPS.value
            for (of_kind, _), median in seconds.items()
            if of_kind == kind
        ]
        for kind in makers
    }
    mean = {kind: statistics.mean(values) for kind, values in steps.items()}
    ratio = mean["ours"] / mean["plain"]
    noise = abs(mean["control"] / mean["plain"] - 1)
    result = {
        "command": f"python benchmarks/train_step.py --rounds={ROUNDS.value} "
        f"--steps={STEPS.value} --instances={INSTANCES.value} --image_size={size}",
        "versions": report.versions(),
        "device": report.device(),
        "rounds": ROUNDS.value,
        "milliseconds_per_step": steps,
        "ratio": ratio,
        "noise": noise,
        "ratio_less_noise": ratio - noise,
    }
    print(json.dumps(result, indent=1))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
