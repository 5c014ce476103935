"""The check of the content of a metrics.json; `report` shows the form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtl_zoo.evaluation.delta_m import CONVENTIONS
from mtl_zoo.evaluation.provenance import PACKAGES

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
# May be left out.
_OPTIONAL: dict[str, tuple[type, ...]] = {
    "mean_over_tasks": (dict,),
    "tables": (dict,),
    "variants": (dict,),
}


def check_metrics(metrics: Any) -> None:
    """Raise `ValueError` with all that is wrong with the content of a metrics.json."""
    problems = list(_problems(metrics))
    if problems:
        raise ValueError("metrics.json is not valid:\n  " + "\n  ".join(problems))


def _problems(metrics: Any) -> list[str]:
    if not isinstance(metrics, Mapping):
        return [f"expected a dict, received {type(metrics).__name__}"]
    problems = []
    for key, types in {**_KEYS, **_OPTIONAL}.items():
        if key not in metrics:
            if key in _KEYS:
                problems.append(f"{key!r} is missing")
        elif not isinstance(metrics[key], types) or metrics[key] is True:
            expected = " or ".join(kind.__name__ for kind in types)
            problems.append(f"{key!r} must be {expected}, received {metrics[key]!r}")
    problems += [
        f"{key!r} is not a known key; further figures belong in 'cost'"
        for key in metrics
        if key not in {**_KEYS, **_OPTIONAL}
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
        problems += _problems_of_results(f"results[{name!r}]", results, len(seeds))
    if "mean_over_tasks" in metrics:
        means = metrics["mean_over_tasks"]
        problems += _problems_of_results("mean_over_tasks", means, len(seeds))
    problems += _problems_of_delta_m("delta_m", metrics["delta_m"], len(seeds))
    for name, variant in metrics.get("variants", {}).items():
        where = f"variants[{name!r}]"
        if name not in metrics["results"]:
            problems.append(f"{where} has no results: results[{name!r}] is missing")
        if not isinstance(variant, Mapping) or set(variant) != {"delta_m"}:
            problems.append(f"{where} must be {{'delta_m': ...}}, received {variant!r}")
            continue
        where = f"{where}['delta_m']"
        problems += _problems_of_delta_m(where, variant["delta_m"], len(seeds))
    return problems


def _problems_of_delta_m(where: str, found: Any, seeds: int) -> list[str]:
    if not isinstance(found, Mapping):
        return [f"{where} must be {{convention: ...}}, received {found!r}"]
    problems = []
    for convention, value in found.items():
        if convention not in CONVENTIONS:
            problems.append(
                f"{where}[{convention!r}] is no convention; expected {CONVENTIONS}"
            )
        problems += _problems_of_spread(f"{where}[{convention!r}]", value, seeds)
    return problems


def _problems_of_results(name: str, results: Any, seeds: int) -> list[str]:
    if not isinstance(results, Mapping) or not results:
        return [f"{name} must be {{name: {{metric: ...}}}}"]
    problems = []
    for task, metrics in results.items():
        where = f"{name}[{task!r}]"
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
