"""Write the tables in the READMEs and docs from metrics.json and benchmarks/results/.

    python tools/results_table.py            # write
    python tools/results_table.py --check    # exit 1 when a table is not fresh

Each table stands between two comments, such as `<!-- results -->` and
`<!-- /results -->`; `TABLES` has their names.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmark_tables import TABLES as BENCHMARKS

from mtl_zoo.evaluation.report import format_spread, variants_rows
from mtl_zoo.zoo.card import table

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    "README.md",
    "recipes/README.md",
    "docs/architectures.md",
    "docs/balancing.md",
    "docs/relations.md",
    "docs/serving.md",
    "docs/texts.md",
    "docs/xla.md",
    "docs/other_targets.md",
)
PART = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
MANY = 3  # Of more tasks, a table has the mean alone.
HEAD = (
    "Recipe",
    "Task, metric",
    "Single-task",
    "Multi-task",
    "delta_m",
    "Parameters",
    "Latency",
)


def studies() -> dict[str, dict[str, Any]]:
    """Return the committed metrics, from saved models and from results.

    By the recipe, or by the file, where a recipe has results of several settings.
    """
    found = {}
    for path in ROOT.glob("saved_models/*/metrics.json"):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        found[metrics["recipe"]] = metrics
    for path in ROOT.glob("recipes/results/*.json"):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return found


def by_task(metrics: dict[str, Any]) -> list[tuple[str, dict, dict]]:
    """The first metric of each task, alone and together; of many, the mean."""
    results, means = metrics["results"], metrics.get("mean_over_tasks")
    if means and len(results["multi_task"]) > MANY:
        metric = next(iter(means["multi_task"]))
        title = f"mean {metric} of {len(results['multi_task'])}"
        return [(title, means["single_task"][metric], means["multi_task"][metric])]
    found = []
    for task, values in results["multi_task"].items():
        metric, value = next(iter(values.items()))
        found.append((f"{task} {metric}", results["single_task"][task][metric], value))
    return found


def rows(name: str, metrics: dict[str, Any]) -> list[list[str]]:
    """One row for each task's first metric; the study's figures in the first."""
    made = []
    for title, alone, value in by_task(metrics):
        made.append(["", title, format_spread(alone), format_spread(value)] + [""] * 3)
    made[0][0] = _link(name, metrics)
    made[0][4] = f"{format_spread(metrics['delta_m']['per_task'], '+')} %"
    for column, figure in ((5, "parameters"), (6, "latency_ms")):
        made[0][column] = f"{metrics['cost'][figure]['ratio']:.2f}"
    return made


def _link(name: str, metrics: dict[str, Any]) -> str:
    return f"[{name}](recipes/{metrics['recipe']}.py), {_seeds(metrics)}"


def _seeds(metrics: dict[str, Any]) -> str:
    number = len(metrics["seeds"])
    return f"{number} seed{'s' if number > 1 else ''}"


def results() -> str:
    """Return the table."""
    every = sorted(studies().items())
    return table(HEAD, [row for name, metrics in every for row in rows(name, metrics)])


# What papers give for larger models on the same test sets (SST-2's by GLUE's server):
# name, millions of weights, seconds of training, SST-2, CoNLL-2003.
PUBLISHED = (
    (
        "MiniLM-L12, Wang et al., 2020 (its model card)",
        "33",
        "",
        "93.0 (validation)",
        "",
    ),
    ("BERT-base, Devlin et al., 2019, tables 1 and 7", "110", "", "93.5", "92.4"),
    ("BERT-large, Devlin et al., 2019, tables 1 and 7", "340", "", "94.9", "92.8"),
)


HALF_TIME = "recipes/results/one_run/sst2_conll2003_half_time.json"


def published() -> str:
    """Return our figures on the well-known text sets beside published ones."""
    metrics = studies()["sst2_conll2003"]
    half = json.loads((ROOT / HALF_TIME).read_text(encoding="utf-8"))
    millions = {
        side: f"{metrics['cost']['parameters'][side] / 1e6:.1f}"
        for side in ("multi_task", "single_task")
    }
    seconds = {side: metrics["cost"]["wall_time_s"][side]["mean"] for side in millions}
    ours = [
        ("one", "multi_task", metrics["results"]["multi_task"], seconds["multi_task"]),
        ("one, trained for less", "multi_task", half["results"], half["wall_time_s"]),
        (
            "one a task",
            "single_task",
            *(x["single_task"] for x in (metrics["results"], seconds)),
        ),
    ]
    rows = [
        [
            f"MiniLM-L6, {title} (ours)",
            millions[side],
            f"{time:,.0f}",
            *(
                f"{100 * found[task][metric]['mean']:.1f}"
                for task, metric in (("sentiment", "accuracy"), ("ner", "f1"))
            ),
        ]
        for title, side, found, time in ours
    ]
    head = (
        "Model",
        "Million weights",
        "Training, s",
        "SST-2, accuracy, %",
        "CoNLL-2003, F1, %",
    )
    return table(head, [*rows, *map(list, PUBLISHED)])


def drn_sweep() -> str:
    """Return accuracy on validation by strength and update interval of the prior."""
    made: list[list[str]] = []
    intervals: list[str] = []
    for path in sorted(ROOT.glob("recipes/results/one_run/office_caltech_drn_sweep_*")):
        inputs = path.stem.rsplit("_", 1)[1]
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        for strength, by_interval in found.items():
            intervals = list(by_interval)
            figures = [f"{value:.3f}" for value in by_interval.values()]
            made.append([inputs, strength, *figures])
    head = ["Inputs", "Strength", *(f"every {steps} steps" for steps in intervals)]
    return table(head, made)


def variants() -> str:
    """Return a table of every study that trains all tasks in more than one way."""
    made = []
    for name, metrics in sorted(studies().items()):
        if "variants" in metrics:
            head, *found = variants_rows(metrics)
            head[0] = _link(name, metrics)
            made.append(table(head, found))
    return "\n\n".join(made)


TABLES = {
    "results": results,
    "published": published,
    "drn_sweep": drn_sweep,
    "variants": variants,
    **BENCHMARKS,
}


def with_tables(text: str, folder: str) -> str:
    """Return a page with fresh tables, whose links start from `folder`."""

    def fill(part: re.Match) -> str:
        fresh = TABLES[part[2]]()
        if folder == "recipes":
            fresh = fresh.replace("](recipes/", "](")
        return f"{part[1]}{fresh}\n{part[3]}"

    return PART.sub(fill, text)


def main() -> int:
    """Write the tables, or check them; return the exit code."""
    stale = []
    for name in FILES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        fresh = with_tables(text, str(Path(name).parent))
        if fresh != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(fresh, encoding="utf-8")
    if stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
