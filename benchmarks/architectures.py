"""What architectures cost, and how that grows with the number of tasks.

Parameters, multiply-adds of one sample in inference, the time of a training step and of
inference, of each architecture over `HardSharing` of the same trunk and heads. All
models take turns, in random order, on the same batches; a ratio is that of the medians,
and `control` is `HardSharing` once more (A/A).

Each has its defaults, on a trunk of convolutions, unless `kinds` says otherwise. The
two that search are measured while all their choices are open, and so is what comes out
of choices made by hand: in `Branched`, one half of the tasks parts from the other at
`PARTS_AT`; in `SelectedBlocks`, each half skips one of `BLOCKS`.

    python benchmarks/architectures.py --out=benchmarks/results/architectures.json
    python benchmarks/architectures.py --tiny    # a minute, to try it
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from interleaved import medians

import mtl_zoo as mtl
from mtl_zoo import architectures
from mtl_zoo.evaluation import report

TASKS = flags.DEFINE_multi_integer("tasks", [2, 4, 8], "Numbers of tasks.")
ROUNDS = flags.DEFINE_integer("rounds", 11, "Timed rounds.")
STEPS = flags.DEFINE_integer("steps", 1, "Training steps of a model in a round.")
CALLS = flags.DEFINE_integer("calls", 2, "Inferences of a model in a round.")
BATCH = flags.DEFINE_integer("batch", 32, "Images of a training step.")
SERVED = flags.DEFINE_integer("served", 8, "Images of an inference.")
SIDE = flags.DEFINE_integer("side", 32, "Image side in pixels.")
ONLY = flags.DEFINE_list("only", [], "Kinds to measure; empty: all.")
TINY = flags.DEFINE_bool("tiny", False, "Two tasks, one round, tiny images.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

CLASSES = 10
WARM_UP = 2  # rounds that are not counted
# Stages `conv_i`: filters and stride. Two of them keep the shape.
CONVOLUTIONS = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))
BLOCKS = ("conv_2", "conv_4")
PARTS_AT = "conv_3"

Kind = Callable[[mtl.trunks.Trunk, list[mtl.Task]], mtl.MultiTaskModel]


def learning_to_branch(trunk: Any, tasks: list[mtl.Task]) -> Any:
    """In the search, with all choices open."""
    model = architectures.LearningToBranch(trunk, tasks)
    model.build((None, SIDE.value, SIDE.value, 3))
    model.set_phase("search")
    return model


def branched(trunk: Any, tasks: list[mtl.Task]) -> Any:
    """Decided for by that: two groups of tasks from `PARTS_AT` on, one before."""
    model = learning_to_branch(trunk, tasks)
    half = (np.arange(len(tasks)) >= len(tasks) // 2).astype(int)
    names = list(trunk.stages)
    for before, logits in zip(model.blocks, model.logits, strict=True):
        # The branches that the second half runs grow from one of their own.
        part = names.index(before) >= names.index(PARTS_AT)
        logits.assign(np.eye(len(tasks))[half * part * (len(tasks) // 2)])
    return model.decided()


def adashare(trunk: Any, tasks: list[mtl.Task]) -> Any:
    """In the search, with all choices open."""
    model = architectures.AdaShare(trunk, tasks, BLOCKS)
    model.build((None, SIDE.value, SIDE.value, 3))
    model.set_phase("search")
    return model


def selected_blocks(trunk: Any, tasks: list[mtl.Task]) -> Any:
    """Decided for by that: each half of the tasks skips one block."""
    model = adashare(trunk, tasks)
    runs = np.zeros(model.logits.shape, "float32")
    runs[: len(tasks) // 2, 0, 1] = runs[len(tasks) // 2 :, 1, 1] = 1.0
    model.logits.assign(runs)
    return model.decided()


def kinds() -> dict[str, Kind]:
    """All that is measured, in the order of the table."""
    made: dict[str, Kind] = {
        name: getattr(architectures, name)
        for name in (
            *("HardSharing", "SeparateTowers", "SoftSharing", "CrossStitch", "NDDR"),
            *("Sluice", "MTAN", "MMoE", "DSelectK", "PLE", "SharedPrivate", "Adapters"),
        )
    }
    # The stages whose states it adds must have one shape: here the heads read the last.
    made["Sluice"] = lambda trunk, tasks: architectures.Sluice(
        trunk, tasks, last_weight=1.0
    )
    made["DeepRelationship"] = lambda trunk, tasks: architectures.DeepRelationship(
        trunk, tasks, "dense", units=[128]
    )
    # The first half of the tasks a stage below the others.
    made["JointManyTask"] = lambda trunk, tasks: architectures.JointManyTask(
        trunk,
        tasks,
        {task.name: list(trunk.stages)[-2] for task in tasks[: len(tasks) // 2]},
    )
    made["LearningToBranch"] = learning_to_branch
    made["Branched"] = branched
    made["AdaShare"] = adashare
    made["SelectedBlocks"] = selected_blocks
    missing = sorted(set(architectures.__all__) - set(made))
    if missing:
        raise ValueError(f"Expected all architectures. Missing here: {missing}")
    hard = made.pop("HardSharing")
    return {"HardSharing": hard, "control": hard, **made}


def make_trunk() -> mtl.trunks.Trunk:
    """Five convolutions, then global average pooling and a dense layer."""
    layers = keras.layers
    stages: dict[str, Any] = {
        f"conv_{index}": layers.Conv2D(
            width, 3, strides=stride, padding="same", activation="relu"
        )
        for index, (width, stride) in enumerate(CONVOLUTIONS)
    }
    stages["dense"] = keras.Sequential(
        [layers.GlobalAveragePooling2D(), layers.Dense(128, activation="relu")]
    )
    return mtl.trunks.Trunk(stages)


def make(kind: str, count: int) -> mtl.MultiTaskModel:
    """Return a compiled model of `count` tasks."""
    keras.utils.set_random_seed(0)
    tasks = [
        mtl.Task(
            f"task_{i}",
            mtl.heads.Classification(CLASSES, feature="dense"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        for i in range(count)
    ]
    model = kinds()[kind](make_trunk(), tasks)
    if not model.built:
        model.build((None, SIDE.value, SIDE.value, 3))
    # Without XLA, whose compilation of eight towers takes longer than the benchmark.
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    return model


def trainer(model: Any) -> Callable[[int], None]:
    """Return a function that trains a model for a number of steps."""
    rng = np.random.default_rng(0)
    count, side = 4 * BATCH.value, SIDE.value
    images = rng.uniform(0, 1, (count, side, side, 3)).astype("float32")
    labels = {name: rng.integers(0, CLASSES, count) for name in model.task_names}
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH.value)
    iterator = iter(data.cache().repeat())
    model.make_train_function()

    def train(steps: int) -> None:
        for _ in range(steps):
            logs = model.train_function(iterator)
        keras.tree.map_structure(np.asarray, logs)  # wait for it

    return train


def server(model: Any) -> Callable[[int], None]:
    """Return a function that decodes the outputs of all tasks a number of times."""
    rng = np.random.default_rng(0)
    shape = (SERVED.value, SIDE.value, SIDE.value, 3)
    images = tf.constant(rng.uniform(0, 1, shape).astype("float32"))
    function = tf.function(model.predict_tasks, autograph=False)

    def serve(calls: int) -> None:
        for _ in range(calls):
            outputs = function(images)
            keras.tree.map_structure(np.asarray, outputs)

    return serve


def multiply_adds(model: Any) -> int:
    """Return the multiplications of floats of one sample, all tasks, in inference.

    Counted in the graph, of what the outputs depend on: those of convolutions and
    products of matrices, and each element that is multiplied by another, as states are
    where they are mixed or masked.
    """
    spec = tf.TensorSpec((1, SIDE.value, SIDE.value, 3))
    predict = tf.function(model.predict_tasks, autograph=False)
    graph = predict.get_concrete_function(spec)
    seen, waiting, total = set(), [output.op for output in graph.outputs], 0
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        waiting += [tensor.op for tensor in op.inputs]
        total += _of_operation(op)
    return total


def _of_operation(op: tf.Operation) -> int:
    """The multiplications of floats of an operation."""
    if not op.outputs or not op.outputs[0].dtype.is_floating:
        return 0
    if op.type in ("StatefulPartitionedCall", "PartitionedCall", "While", "Einsum"):
        raise ValueError(f"Nothing is known of what {op.name}, a {op.type}, multiplies")
    outputs = math.prod(op.outputs[0].shape.as_list() or [1])
    if op.type == "Mul":
        return outputs
    if op.type == "Conv2D":
        return outputs * math.prod(op.inputs[1].shape.as_list()[:3])
    if op.type == "MatMul":
        rows, columns = op.inputs[0].shape.as_list()
        return outputs * (rows if op.get_attr("transpose_a") else columns)
    if op.type in ("BatchMatMul", "BatchMatMulV2"):
        *_, rows, columns = op.inputs[0].shape.as_list()
        return outputs * (rows if op.get_attr("adj_x") else columns)
    return 0


def timed(
    runs: dict[str, Callable[[int], None]], number: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of each, medians over rounds, and the ratio to `HardSharing`."""
    for run in runs.values():
        run(1)  # traces
    calls = {kind: partial(run, number) for kind, run in runs.items()}
    seconds = medians(calls, ROUNDS.value, WARM_UP)
    milliseconds = {kind: 1000 * value / number for kind, value in seconds.items()}
    return with_ratio("milliseconds", milliseconds)


def with_ratio(unit: str, values: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return `{kind: {unit: value, "ratio": that to HardSharing}}`."""
    return {
        kind: {unit: value, "ratio": value / values["HardSharing"]}
        for kind, value in values.items()
    }


def measure(wanted: Iterable[str], count: int) -> dict[str, Any]:
    """All figures of models of `count` tasks."""
    models = {kind: make(kind, count) for kind in wanted}
    found: dict[str, Any] = {
        "parameters": with_ratio(
            "number", {k: m.count_params() for k, m in models.items()}
        ),
        "multiply_adds": with_ratio(
            "number", {k: multiply_adds(m) for k, m in models.items()}
        ),
        "inference": timed({k: server(m) for k, m in models.items()}, CALLS.value),
        "step": timed({k: trainer(m) for k, m in models.items()}, STEPS.value),
    }
    return {
        kind: {figure: values[kind] for figure, values in found.items()}
        for kind in models
    }


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    start = time.perf_counter()
    if TINY.value:
        tiny = {
            "tasks": [2],
            "rounds": 1,
            "calls": 1,
            "batch": 2,
            "served": 2,
            "side": 8,
        }
        for name, value in tiny.items():
            setattr(flags.FLAGS, name, value)
    every = list(kinds())
    wanted = [k for k in every if not ONLY.value or k in (*ONLY.value, *every[:2])]
    result: dict[str, Any] = {
        "command": f"python benchmarks/architectures.py --rounds={ROUNDS.value} "
        f"--steps={STEPS.value} --calls={CALLS.value} --batch={BATCH.value} "
        f"--served={SERVED.value} --side={SIDE.value}",
        **report.provenance(),
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "rounds": ROUNDS.value,
        "tasks": {},
    }
    for count in TASKS.value:
        result["tasks"][str(count)] = measure(wanted, count)
        print(count, json.dumps(result["tasks"][str(count)], indent=1), flush=True)
        keras.backend.clear_session()
    result["wall_time_s"] = time.perf_counter() - start
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
