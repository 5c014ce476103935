"""metrics.json: the record of a result, its check and its table.

    {"recipe", "command", "commit", "versions", "device", "wall_time_s", "split",
     "seeds": [0, 1, 2],
     "results": {"multi_task": {task: {metric: {"mean", "sd", "n"}}},
                 "single_task": {...}, <other baselines>: {...}},
     "delta_m": {convention: {"mean", "sd", "n"}},
     "cost": {...}}
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_zoo.evaluation.delta_m import CONVENTIONS
from mtl_zoo.evaluation.files import write_file
from mtl_zoo.evaluation.results import Results

PACKAGES = ("tensorflow", "keras", "keras-hub", "numpy")

_KEYS: dict[str, tuple[type, ...]] = {
    "recipe": (str,),
    "command": (str,),
    "commit": (str, type(None)),
    "versions": (dict,),
    "device": (str,),
    "wall_time_s": (int, float),
    "split": (str,),
    "seeds": (list,),
    "results": (dict,),
    "delta_m": (dict,),
    "cost": (dict,),
}


# Making one.


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


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that matter."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def device() -> str:
    """Return what this process computes on, such as `"AMD EPYC 7763, 2 cores"`."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    parts = [_cpu_model(), f"{cores} cores" if cores != 1 else "1 core"]
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            details = tf.config.experimental.get_device_details(gpu)
            parts.append(details.get("device_name", gpu.name))
    return ", ".join(parts)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """Return the commit of the checkout that this package is in, or `None`."""
    root = Path(__file__).resolve().parents[2]
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--show-toplevel", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    # An installed package may lie inside the checkout of something else.
    return answer[1] if Path(answer[0]).resolve() == root else None


def write_json(value: Any, path: str | os.PathLike) -> None:
    """Write `value` as indented JSON, in one step; NumPy numbers become plain ones."""
    text = json.dumps(value, indent=2, default=lambda number: number.item()) + "\n"
    write_file(path, lambda file: file.write(text.encode()))


# Checking one.


def check_metrics(metrics: Any) -> None:
    """Raise `ValueError` with all that is wrong with the content of a metrics.json."""
    problems = list(_problems(metrics))
    if problems:
        raise ValueError("metrics.json is not valid:\n  " + "\n  ".join(problems))


def _problems(metrics: Any) -> list[str]:
    if not isinstance(metrics, Mapping):
        return [f"expected a dict, received {type(metrics).__name__}"]
    problems = []
    for key, types in _KEYS.items():
        if key not in metrics:
            problems.append(f"{key!r} is missing")
        elif not isinstance(metrics[key], types) or metrics[key] is True:
            expected = " or ".join(kind.__name__ for kind in types)
            problems.append(f"{key!r} must be {expected}, received {metrics[key]!r}")
    problems += [
        f"{key!r} is not a known key; further figures belong in 'cost'"
        for key in metrics
        if key not in _KEYS
    ]
    if problems:
        return problems
    for name in ("python", *PACKAGES):
        if name not in metrics["versions"]:
            problems.append(f"versions[{name!r}] is missing")
    seeds = metrics["seeds"]
    if not seeds or len(set(map(str, seeds))) < len(seeds):
        problems.append(f"'seeds' must be different seeds, received {seeds}")
    for name in ("multi_task", "single_task"):
        if name not in metrics["results"]:
            problems.append(f"results[{name!r}] is missing")
    for name, results in metrics["results"].items():
        problems += _problems_of_results(name, results, len(seeds))
    for convention, value in metrics["delta_m"].items():
        if convention not in CONVENTIONS:
            problems.append(
                f"delta_m[{convention!r}] is no convention; expected {CONVENTIONS}"
            )
        problems += _problems_of_spread(f"delta_m[{convention!r}]", value, len(seeds))
    return problems


def _problems_of_results(name: str, results: Any, seeds: int) -> list[str]:
    if not isinstance(results, Mapping) or not results:
        return [f"results[{name!r}] must be {{task: {{metric: ...}}}}"]
    problems = []
    for task, metrics in results.items():
        where = f"results[{name!r}][{task!r}]"
        if not isinstance(metrics, Mapping) or not metrics:
            problems.append(f"{where} must be {{metric: ...}}, received {metrics!r}")
            continue
        for metric, value in metrics.items():
            problems += _problems_of_spread(f"{where}[{metric!r}]", value, seeds)
    return problems


def _problems_of_spread(where: str, value: Any, seeds: int) -> list[str]:
    if not isinstance(value, Mapping) or set(value) != {"mean", "sd", "n"}:
        return [f"{where} must be {{'mean', 'sd', 'n'}}, received {value!r}"]
    n, mean, sd = value["n"], value["mean"], value["sd"]
    problems = []
    if not isinstance(n, int) or not 1 <= n <= seeds:
        problems.append(f"{where}: 'n' must be 1 to {seeds} (the seeds), received {n}")
    if not _is_finite(mean):
        problems.append(f"{where}: 'mean' must be a finite number, received {mean}")
    if sd is None if n != 1 else sd is not None:
        problems.append(f"{where}: 'sd' is null for n = 1 and only then, received {sd}")
    elif sd is not None and not (_is_finite(sd) and sd >= 0):
        problems.append(f"{where}: 'sd' must be a finite number >= 0, received {sd}")
    return problems


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


# Showing one.


def markdown_table(metrics: Mapping[str, Any]) -> str:
    """Return the results as an aligned Markdown table, with delta_m below it.

    Single-task results come first, then multi-task, then other baselines; a value is
    `mean ± standard deviation`.

    Args:
        metrics: The content of a metrics.json.

    Returns:
        Text that reads well as it is.
    """
    results = metrics["results"]
    columns = sorted(results, key=lambda n: (n != "single_task", n != "multi_task"))
    rows = [["task", "metric", *(name.replace("_", " ") for name in columns)]]
    for task, names in _all_metrics(results).items():
        for index, metric in enumerate(names):
            values = [results[name].get(task, {}).get(metric) for name in columns]
            rows.append(["" if index else task, metric, *map(format_spread, values)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, [_rule(i, width) for i, width in enumerate(widths)])
    lines = [
        "| " + " | ".join(_pad(i, *pair) for i, pair in _enumerate(row, widths)) + " |"
        for row in rows
    ]
    for convention, value in metrics["delta_m"].items():
        better = "lower" if convention == "per_metric" else "higher"
        unit = "" if convention == "relative_to_start" else " %"
        lines.append(
            ("" if lines[-1].startswith("delta_m") else "\n")
            + f"delta_m, {convention.replace('_', ' ')} ({better} is better): "
            f"{format_spread(value, '+')}{unit}  "
        )
    return "\n".join(line.rstrip() if "|" in line else line for line in lines)


def format_spread(value: Mapping[str, Any] | None, sign: str = "") -> str:
    """Return `mean ± sd` with as many decimals as the deviation has two digits for.

    Example:
        >>> format_spread({"mean": 0.81234, "sd": 0.0123, "n": 3})
        '0.812 ± 0.012'
        >>> format_spread({"mean": 81.234, "sd": None, "n": 1})
        '81.23'
    """
    if value is None:
        return "-"
    mean, sd = value["mean"], value["sd"]
    if not sd:
        decimals = 3 - _magnitude(mean)
    else:
        decimals = 1 - _magnitude(sd)
    decimals = min(max(decimals, 0), 6)
    text = f"{mean:{sign}.{decimals}f}"
    return text if sd is None else f"{text} ± {sd:.{decimals}f}"


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _all_metrics(results: Mapping[str, Results]) -> dict[str, list[str]]:
    """Return every task and its metrics, each once, in order of appearance."""
    found: dict[str, dict[str, None]] = {}
    for name in sorted(results, key=lambda name: name != "multi_task"):
        for task, metrics in results[name].items():
            found.setdefault(task, {}).update(dict.fromkeys(metrics))
    return {task: list(metrics) for task, metrics in found.items()}


def _enumerate(row: list[str], widths: list[int]) -> list[tuple[int, tuple[str, int]]]:
    return list(enumerate(zip(row, widths, strict=True)))


def _pad(column: int, text: str, width: int) -> str:
    return text.ljust(width) if column < 2 else text.rjust(width)


def _rule(column: int, width: int) -> str:
    return "-" * width if column < 2 else "-" * (width - 1) + ":"
