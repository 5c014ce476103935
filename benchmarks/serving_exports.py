"""What exports cost: size, cold start, and all tasks in one call against one by one.

For each shipped model an export of all tasks and one of each task alone (`--tasks`).
Cold start is measured in a process of its own: to load the SavedModel into a TF1
session, as a server does, and to run its warm-up requests; so is the memory that this
adds to what the process held before (its resident set). Latency is that of one image or
text through `serving_default`; the export of all tasks and those of single tasks, one
after the other, take turns in random order.

    python benchmarks/serving_exports.py --out=benchmarks/results/serving_exports.json
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers the operations on texts)
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo.evaluation import report
from mtl_zoo.zoo import registry
from mtl_zoo.zoo.exporting import export

MODELS = flags.DEFINE_list("models", None, "Names. Defaults to all that are shipped.")
ROUNDS = flags.DEFINE_integer("rounds", 41, "Timed rounds.")
STARTS = flags.DEFINE_integer("starts", 3, "Cold starts of each export.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

COLD_START = """
import os, sys, time
import tensorflow as tf
import tensorflow_text
from mtl_zoo.export.warmup import read_warmup
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
requests = list(read_warmup(sys.argv[1]))
tf.compat.v1.Session(graph=tf.Graph()).close()
before = memory()
start = time.perf_counter()
session = tf.compat.v1.Session(graph=tf.Graph())
graph = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1])
loaded = time.perf_counter()
for request in requests:
    signature = graph.signature_def[request.model_spec.signature_name]
    session.run(
        [info.name for info in signature.outputs.values()],
        {
            signature.inputs[key].name: tf.make_ndarray(value)
            for key, value in request.inputs.items()
        },
    )
print(loaded - start, time.perf_counter() - loaded, memory() - before)
"""


def cold_start(version: Path) -> dict[str, float]:
    """Return the median seconds to load an export and to warm it up, and megabytes."""
    runs = []
    for _ in range(STARTS.value):
        done = subprocess.run(
            [sys.executable, "-c", COLD_START, str(version)],
            check=True,
            capture_output=True,
            text=True,
        )
        runs.append([float(value) for value in done.stdout.split()])
    names = ("load_s", "warm_up_s", "memory_mb")
    columns = zip(*runs, strict=True)
    return dict(zip(names, map(statistics.median, columns), strict=True))


def size(version: Path) -> dict[str, float]:
    """Return the megabytes of an export."""
    files = {f: f.stat().st_size for f in version.rglob("*") if f.is_file()}
    return {
        "graph_mb": files[version / "saved_model.pb"] / 1e6,
        "total_mb": sum(files.values()) / 1e6,
    }


def latency(
    exports: dict[str, Path], inputs: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return median milliseconds: all tasks in one call, and task by task."""
    one = {name: tf.constant(value) for name, value in inputs.items()}
    loaded = {name: tf.saved_model.load(str(path)) for name, path in exports.items()}
    serve = {name: m.signatures["serving_default"] for name, m in loaded.items()}
    sides = {
        "all_tasks": ["all_tasks"],
        "one_by_one": [name for name in serve if name != "all_tasks"],
    }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(ROUNDS.value + 3):
        for side in random.Random(number).sample(list(sides), len(sides)):
            start = time.perf_counter()
            for name in sides[side]:
                for output in serve[name](**one).values():
                    output.numpy()
            if number >= 3:
                seconds[side].append(time.perf_counter() - start)
    figures = {side: 1000 * statistics.median(t) for side, t in seconds.items()}
    return {**figures, "ratio": figures["all_tasks"] / figures["one_by_one"]}


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    result = {
        "command": " ".join(["python", *sys.argv]),
        "versions": report.versions(),
        "device": report.device(),
        "models": {},
    }
    for name in MODELS.value or mtl.list_models():
        example = registry.read_golden_inputs(name)[:1]
        kind = "text" if registry.takes_text(name) else "images"
        tasks = [task["name"] for task in registry.read_config(name)["config"]["tasks"]]
        with tempfile.TemporaryDirectory() as scratch:
            exports = {
                label: export(name, f"{scratch}/{label}", tasks=chosen)
                for label, chosen in [("all_tasks", None), *((t, [t]) for t in tasks)]
            }
            result["models"][name] = {
                "exports": {
                    label: {**size(path), **cold_start(path)}
                    for label, path in exports.items()
                },
                "latency_ms": latency(exports, {kind: example}),
            }
        print(json.dumps(result["models"][name], indent=1), flush=True)
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
