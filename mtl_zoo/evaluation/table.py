"""Results as a table for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mtl_zoo.evaluation.results import Results


def markdown_table(metrics: Mapping[str, Any]) -> str:
    """Return the results as an aligned Markdown table, with delta_m below it.

    Single-task results come first, then multi-task, then other baselines; a value is
    `mean ± standard deviation`. Variants have a table of their own, a row each.

    Args:
        metrics: The content of a metrics.json.

    Returns:
        Text that reads well as it is.
    """
    variants = metrics.get("variants", {})
    results = {n: found for n, found in metrics["results"].items() if n not in variants}
    columns = sorted(results, key=lambda n: (n != "single_task", n != "multi_task"))
    rows = [["task", "metric", *(name.replace("_", " ") for name in columns)]]
    for task, names in _all_metrics(results).items():
        for index, metric in enumerate(names):
            values = [results[name].get(task, {}).get(metric) for name in columns]
            rows.append(["" if index else task, metric, *map(format_spread, values)])
    lines = _aligned(rows, texts=2)
    for index, (convention, value) in enumerate(metrics["delta_m"].items()):
        better = "lower" if convention == "per_metric" else "higher"
        unit = "" if convention == "relative_to_start" else " %"
        lines += [] if index else [""]
        lines.append(  # two spaces at the end are a line break in Markdown
            f"delta_m, {convention.replace('_', ' ')} ({better} is better): "
            f"{format_spread(value, '+')}{unit}  "
        )
    if variants:
        lines += ["", *_aligned(variants_rows(metrics), texts=1)]
    return "\n".join(lines)


def variants_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Return a table with a row for each way of training, as texts.

    The single-task models come first, then the multi-task model, then the variants.

    Args:
        metrics: The content of a metrics.json.

    Returns:
        The head and the rows: the name; the first metric of each task; its mean over
        the tasks, where that is known; delta_m, per task; and the figures of `cost`
        that are known for all rows.

    Example:
        >>> def value(mean):
        ...     return {"mean": mean, "sd": None, "n": 1}
        >>> rows = variants_rows({
        ...     "results": {
        ...         "multi_task": {"left": {"accuracy": value(0.875)}},
        ...         "single_task": {"left": {"accuracy": value(0.9)}},
        ...         "pcgrad": {"left": {"accuracy": value(0.925)}},
        ...     },
        ...     "delta_m": {"per_task": value(-2.778)},
        ...     "variants": {"pcgrad": {"delta_m": {"per_task": value(2.778)}}},
        ...     "cost": {},
        ... })
        >>> for row in rows:
        ...     print(row)
        ['run', 'left accuracy', 'delta_m, %']
        ['single_task', '0.9000', '-']
        ['multi_task', '0.8750', '-2.778']
        ['pcgrad', '0.9250', '+2.778']
    """
    results, variants = metrics["results"], metrics.get("variants", {})
    names = ["single_task", "multi_task", *variants]
    first = {task: next(iter(found)) for task, found in results["multi_task"].items()}
    deltas = {"multi_task": metrics["delta_m"]}
    deltas.update({name: found["delta_m"] for name, found in variants.items()})
    figures = {
        figure: found
        for figure, found in metrics["cost"].items()
        if isinstance(found, Mapping)
        and all(_is_spread(found.get(name)) for name in names)
    }
    means = metrics.get("mean_over_tasks", {})
    head = ["run", *(f"{task} {metric}" for task, metric in first.items())]
    head += [f"mean {metric}" for metric in means.get("multi_task", {})]
    rows = [[*head, "delta_m, %", *figures]]
    for name in names:
        of_tasks = [results[name].get(task, {}).get(m) for task, m in first.items()]
        of_tasks += means.get(name, {}).values()
        row = [name, *map(format_spread, of_tasks)]
        row.append(format_spread(deltas.get(name, {}).get("per_task"), "+"))
        rows.append([*row, *(format_spread(found[name]) for found in figures.values())])
    return rows


def _is_spread(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"mean", "sd", "n"}


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


def _aligned(rows: list[list[str]], texts: int) -> list[str]:
    """Return the lines of a table: the first `texts` columns to the left, the others,
    numbers, to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [
        "-" * width if column < texts else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return [
        "| "
        + " | ".join(
            text.ljust(width) if column < texts else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (rows[0], rule, *rows[1:])
    ]
