"""Results as a table for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtl_zoo.evaluation.results import Results


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
        "| "
        + " | ".join(
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    for index, (convention, value) in enumerate(metrics["delta_m"].items()):
        better = "lower" if convention == "per_metric" else "higher"
        unit = "" if convention == "relative_to_start" else " %"
        lines += [] if index else [""]
        lines.append(  # two spaces at the end are a line break in Markdown
            f"delta_m, {convention.replace('_', ' ')} ({better} is better): "
            f"{format_spread(value, '+')}{unit}  "
        )
    return "\n".join(lines)


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


def _rule(column: int, width: int) -> str:
    return "-" * width if column < 2 else "-" * (width - 1) + ":"
