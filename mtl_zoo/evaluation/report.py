"""metrics.json: the record of a result, its check and its table.

{"recipe", "command", "commit", "versions", "device", "wall_time_s", "split",
 "seeds": [0, 1, 2],
 "results": {"multi_task": {task: {metric: {"mean", "sd", "n"}}},
             "single_task": {...}, <other baselines>: {...}},
 "delta_m": {convention: {"mean", "sd", "n"}},
 "cost": {...},
 "variants": {name: {"delta_m": {convention: {"mean", "sd", "n"}}}},
 "mean_over_tasks": {<as in results>: {metric: {"mean", "sd", "n"}}}}

`variants` are other ways to train all tasks, with `results` of the same names. It may
be left out, and so may `mean_over_tasks`, where tasks have one metric, and `tables`,
which cards show.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any

from mtl_zoo.evaluation.files import write_file
from mtl_zoo.evaluation.metrics_check import check_metrics
from mtl_zoo.evaluation.provenance import PACKAGES, commit, device, versions
from mtl_zoo.evaluation.results import Results
from mtl_zoo.evaluation.table import format_spread, markdown_table, variants_rows

__all__ = [
    "PACKAGES",
    "check_metrics",
    "commit",
    "device",
    "format_spread",
    "markdown_table",
    "origin",
    "provenance",
    "spread",
    "spread_of_results",
    "variants_rows",
    "versions",
    "write_json",
]


def origin(recipe: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what the metrics of a recipe begin with: command, versions, device.

    Args:
        recipe: Its name.
        arguments: Of the command line.
    """
    return {
        "recipe": recipe,
        "command": " ".join(["python", f"recipes/{recipe}.py", *arguments]),
        **provenance(),
    }


def provenance() -> dict[str, Any]:
    """Return what figures were made with: commit, versions and device."""
    return {"commit": commit(), "versions": versions(), "device": device()}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation and number of `values`.

    The deviation of a single value is `None`.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        {'mean': 2.0, 'sd': 1.0, 'n': 3}
    """
    n = len(values)
    if not n:
        raise ValueError("A spread needs at least one value. Received none.")
    mean = math.fsum(values) / n
    squares = math.fsum((value - mean) ** 2 for value in values)
    return {"mean": mean, "sd": math.sqrt(squares / (n - 1)) if n > 1 else None, "n": n}


def spread_of_results(runs: Sequence[Results]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return `{task: {metric: spread over the runs}}` of `{task: {metric: value}}`.

    Raises:
        ValueError: When the runs have different tasks or metrics.
    """
    names = [{task: list(metrics) for task, metrics in run.items()} for run in runs]
    if not runs or any(other != names[0] for other in names):
        raise ValueError(
            f"All runs must have the same tasks and metrics. Received: {names}"
        )
    return {
        task: {
            metric: spread([float(run[task][metric]) for run in runs])
            for metric in metrics
        }
        for task, metrics in names[0].items()
    }


def write_json(value: Any, path: str | os.PathLike) -> None:
    """Write `value` as indented JSON, in one step; NumPy numbers become plain ones."""
    text = json.dumps(value, indent=2, default=lambda number: number.item()) + "\n"
    write_file(path, lambda file: file.write(text.encode()))
