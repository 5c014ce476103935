"""How long the solvers take that gradient methods find their weights with.

Each as a graph of its own, on Gramians of normal gradients, with one call after the
other: what a step pays beside the gradients.

    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 \
        python benchmarks/balancing_solvers.py \
        --out=benchmarks/results/balancing_solvers.json
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from mtl_zoo.balancing import solvers
from mtl_zoo.evaluation import report

TASKS = flags.DEFINE_multi_integer("tasks", [2, 4, 8, 16], "Numbers of tasks.")
CALLS = flags.DEFINE_integer("calls", 200, "Timed calls.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

SOLVERS = ("min_norm_point", "worst_improvement", "proportionally_fair")
WARM_UP = 20  # calls that are not counted


def milliseconds(name: str, tasks: int) -> float:
    """Median time of a solver."""
    rng = np.random.default_rng(0)
    solve = tf.function(getattr(solvers, name))
    times = []
    for _ in range(WARM_UP + CALLS.value):
        gradients = rng.normal(size=(tasks, 3 * tasks)).astype("float32")
        gramian = tf.constant(gradients @ gradients.T)
        start = time.perf_counter()
        np.asarray(solve(gramian)[0])
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    result: dict[str, Any] = {
        "command": f"python benchmarks/balancing_solvers.py --calls={CALLS.value}",
        **report.provenance(),
        "milliseconds": {
            str(tasks): {name: milliseconds(name, tasks) for name in SOLVERS}
            for tasks in TASKS.value
        },
    }
    print(json.dumps(result["milliseconds"], indent=2))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
