"""What the prior of deep relationship networks costs, over the same layers without it.

Models take turns, in random order, on the same batches: layers of each task without a
prior, the same again as a control (A/A), and with each prior. A round has as many steps
as there are between two updates of the covariances, so that these are shared out. The
trunk is EfficientNet-Lite0; the four tasks have a hidden layer of 256 units on its
1,280 channels each, and 10 classes.

    python benchmarks/relations.py --out=benchmarks/results/relations.json
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from interleaved import medians

import mtl_zoo as mtl
from mtl_zoo.evaluation import report
from mtl_zoo.priors import Normal, Prior, TensorNormal, TraceNorm

ROUNDS = flags.DEFINE_integer("rounds", 15, "Timed rounds.")
EVERY = flags.DEFINE_integer("update_every", 10, "Steps between updates, and a round.")
BATCH = flags.DEFINE_integer("batch_size", 24, "Images in a batch.")
SIZE = flags.DEFINE_integer("image_size", 96, "Image side in pixels.")
ONLY = flags.DEFINE_list("only", [], "Kinds beside `none`; empty: all.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

TASKS, CLASSES, UNITS = 4, 10, 256
WARM_UP = 2  # rounds that are not counted

KINDS: dict[str, Callable[[], tuple[Prior, float]]] = {
    "none": lambda: (Normal(), 0.0),
    "control": lambda: (Normal(), 0.0),
    "normal": lambda: (Normal(), 1e-3),
    "trace_norm": lambda: (TraceNorm(), 1e-3),
    "tensor_normal": lambda: (TensorNormal(epsilon=0.5), 1e-5),
    # What recipes/office_caltech_drn.py has.
    "tensor_normal_tasks": lambda: (
        TensorNormal(("identity", "identity", "full"), epsilon=0.05),
        1e-5,
    ),
    "tensor_normal_full": lambda: (TensorNormal(("full",) * 3, epsilon=0.5), 1e-5),
}


def make(kind: str) -> Callable[[], None]:
    """Return a function that trains a compiled model for a round."""
    keras.utils.set_random_seed(0)
    prior, strength = KINDS[kind]()
    trunk = mtl.trunks.efficientnet_lite0()
    pooled = mtl.trunks.Trunk(
        {**trunk.stages, "pooled": keras.layers.GlobalAveragePooling2D()}
    )
    tasks = [
        mtl.Task(
            f"task_{number}",
            mtl.heads.Classification(CLASSES, feature="pooled"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        for number in range(TASKS)
    ]
    model: Any = mtl.architectures.DeepRelationship(
        pooled,
        tasks,
        feature="pooled",
        units=[UNITS],
        prior=prior,
        strength=strength,
        update_every=EVERY.value,
    )
    size = SIZE.value
    model.build((None, size, size, 3))
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    model.make_train_function()
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (BATCH.value, size, size, 3)).astype("float32")
    labels = {t.name: rng.integers(0, CLASSES, BATCH.value) for t in tasks}
    data = tf.data.Dataset.from_tensors((images, labels)).cache().repeat()
    iterator = iter(data)

    def train() -> None:
        for _ in range(EVERY.value):
            logs = model.train_function(iterator)
        keras.tree.map_structure(np.asarray, logs)  # wait for it

    return train


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    kinds = [k for k in KINDS if k == "none" or not ONLY.value or k in ONLY.value]
    trained = {kind: make(kind) for kind in kinds}
    seconds = medians(trained, ROUNDS.value, WARM_UP)
    result = {
        "command": shlex.join(["python", "benchmarks/relations.py", *sys.argv[1:]]),
        **report.provenance(),
        "steps": {
            kind: {
                "milliseconds": 1000 * median / EVERY.value,
                "ratio": median / seconds["none"],
            }
            for kind, median in seconds.items()
        },
    }
    print(json.dumps(result["steps"], indent=2))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
