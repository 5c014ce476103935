"""What balancing costs: the step with each method over plain Keras with summed losses.

One network with `T` heads, all tasks labelled, the one of `balancing_peers.py`. All
models take turns, in random order, on the same batches; a ratio is that of the medians
to the plain model, and `control` a second plain one (A/A). Run it on one thread, as the
peers are: more threads hide the small operations of the solvers behind the large ones.

    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 \
        python benchmarks/balancing.py --out=benchmarks/results/balancing.json

Peak memory is that of processes of their own, which train one model for a few steps:

    python benchmarks/balancing.py --memory \
        --out=benchmarks/results/balancing_memory.json

The weights of the losses cost less than such ratios vary. `--small` takes a network of
next to no work, so that what a method adds to a step can be seen, in microseconds:

    python benchmarks/balancing.py --small --rounds=1001 --steps=1 --tasks=2 --tasks=8 \
        --out=benchmarks/results/balancing_small.json
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from interleaved import medians

import mtl_zoo as mtl
from mtl_zoo.evaluation import report

TASKS = flags.DEFINE_multi_integer("tasks", [2, 4, 8, 16], "Numbers of tasks.")
ROUNDS = flags.DEFINE_integer("rounds", 11, "Timed rounds.")
STEPS = flags.DEFINE_integer("steps", 2, "Steps of a model in a round.")
ONLY = flags.DEFINE_list("only", [], "Kinds to measure; empty: all.")
MEMORY_OF = flags.DEFINE_string("memory_of", "", "Of one kind: print its peak memory.")
MEMORY = flags.DEFINE_bool("memory", False, "Peak memory instead of time.")
SMALL = flags.DEFINE_bool("small", False, "A network of next to no work.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

CLASSES = 10


class Size(NamedTuple):
    """Images in a batch, their pixels a side, channels of the convolutions."""

    batch: int = 64
    side: int = 32
    widths: tuple[int, ...] = (32, 64, 96, 128)


SMALL_SIZE = Size(4, 8, (4,))
WARM_UP = 3  # rounds that are not counted

# Whose other levels are measured too: they cost the same for all.
ALL_LEVELS = ("PCGrad", "CAGrad", "NashMTL", "UPGrad", "DBMTL")
IN_MEMORY = ("plain", "Equal", "UPGrad", "UPGrad params", "DBMTL", "DBMTL params")

Kind = Callable[[int], Any]


def kinds(tasks: int) -> dict[str, Kind]:
    """All that is measured: `{name: from the number of tasks to the balancing}`."""
    names = [f"task_{i}" for i in range(tasks)]
    found: dict[str, Kind] = {"plain": lambda _: None, "control": lambda _: None}
    for name in mtl.balancing.__all__:
        method = getattr(mtl.balancing, name)
        bases = (mtl.balancing.LossBalancing, mtl.balancing.GradientBalancing)
        if not isinstance(method, type) or method in bases:
            continue
        if not issubclass(method, bases):
            continue
        if name == "Fixed":
            found[name] = lambda _: mtl.balancing.Fixed(dict.fromkeys(names, 1.0))
        elif name == "Scheduled":
            found[name] = lambda _: mtl.balancing.Scheduled(dict.fromkeys(names, 1.0))
        elif name == "GradientSimilarity":
            found[name] = lambda _: mtl.balancing.GradientSimilarity(names[1:])
        elif name == "FAMO":
            for on in ("same batch", "next batch"):
                found[f"FAMO {on}"] = lambda _, on=on: mtl.balancing.FAMO(
                    progress_on=on
                )
        elif issubclass(method, mtl.balancing.LossBalancing):
            found[name] = lambda _, method=method: method()
        else:
            levels = mtl.balancing.LEVELS if name in ALL_LEVELS else ("last",)
            for level in levels:
                key = name if level == "last" else f"{name} {level}"
                found[key] = lambda _, m=method, level=level: m(level=level)
    found["Equal diagnostics"] = lambda _: mtl.balancing.Equal()
    return found


def size() -> Size:
    """Of the network and its batches."""
    return SMALL_SIZE if SMALL.value else Size()


def make_model(tasks: int) -> mtl.architectures.HardSharing:
    """Convolutions, global average pooling, a dense layer, and `T` heads."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    stages = {}
    for index, width in enumerate(size().widths):
        stages[f"conv_{index}"] = layers.Conv2D(
            width, 3, strides=1 if index == 0 else 2, padding="same", activation="relu"
        )
    stages["pool"] = layers.GlobalAveragePooling2D()
    stages["dense"] = layers.Dense(128, activation="relu")
    heads = [
        mtl.Task(
            f"task_{i}",
            mtl.heads.Classification(CLASSES, feature="dense"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        for i in range(tasks)
    ]
    model = mtl.architectures.HardSharing(mtl.trunks.Trunk(stages), heads)
    model.build((None, size().side, size().side, 3))
    return model


def make(kind: str, tasks: int) -> Callable[[int], None]:
    """Return a function that trains a compiled model for a number of steps."""
    model: Any = make_model(tasks)
    batch, side, _ = size()
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9)
    if kind in ("plain", "control"):
        inputs = keras.Input((side, side, 3))
        twin = keras.Model(inputs, model(inputs))
        twin.compile(optimizer, loss={t.name: t.loss for t in model.tasks})
        model = twin
    else:
        method = kinds(tasks)[kind](tasks)
        model.compile(optimizer, method, diagnostics=kind.endswith("diagnostics"))
    model.make_train_function()
    rng = np.random.default_rng(0)
    count = 8 * batch
    images = rng.uniform(0, 1, (count, side, side, 3)).astype("float32")
    labels = {f"task_{i}": rng.integers(0, CLASSES, count) for i in range(tasks)}
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)
    iterator = iter(data.cache().repeat())

    def train(steps: int) -> None:
        for _ in range(steps):
            logs = model.train_function(iterator)
        keras.tree.map_structure(np.asarray, logs)  # wait for it

    return train


def measure(tasks: int) -> dict[str, Any]:
    """Milliseconds of a step and ratio to the plain model, of each kind."""
    wanted = [k for k in kinds(tasks) if not ONLY.value or k in ONLY.value]
    for needed in ("control", "plain"):
        if needed not in wanted:
            wanted.insert(0, needed)
    trained = {}
    for kind in wanted:
        trained[kind] = make(kind, tasks)
        trained[kind](2)
    runs = {kind: partial(train, STEPS.value) for kind, train in trained.items()}
    seconds = medians(runs, ROUNDS.value, WARM_UP)
    return {
        kind: {
            "milliseconds": 1000 * median / STEPS.value,
            "ratio": median / seconds["plain"],
        }
        for kind, median in seconds.items()
    }


def peak_memory(kind: str, tasks: int) -> float:
    """Megabytes at most, of a process that trains one model."""
    done = subprocess.run(
        [sys.executable, __file__, f"--memory_of={kind}", f"--tasks={tasks}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def high_water_mark() -> float:
    """Megabytes that this process had at most; `ru_maxrss` would be its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    if MEMORY_OF.value:
        make(MEMORY_OF.value, TASKS.value[0])(5)
        print(high_water_mark())
        return
    result: dict[str, Any] = {
        "command": shlex.join(["python", "benchmarks/balancing.py", *sys.argv[1:]]),
        **report.provenance(),
    }
    if MEMORY.value:
        most = max(TASKS.value)
        result["command"] = "python benchmarks/balancing.py --memory"
        result["tasks"] = most
        result["peak_mb"] = {kind: peak_memory(kind, most) for kind in IN_MEMORY}
        print(json.dumps(result["peak_mb"], indent=2))
    else:
        result["threads"] = tf.config.threading.get_intra_op_parallelism_threads()
        result["rounds"] = ROUNDS.value
        result["tasks"] = {}
        for tasks in TASKS.value:
            result["tasks"][str(tasks)] = {"steps": measure(tasks)}
            print(tasks, json.dumps(result["tasks"][str(tasks)], indent=2), flush=True)
            keras.backend.clear_session()
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
