"""A study: one recipe as multi-task model and as single-task baselines, over seeds."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from mtl_zoo.evaluation import report
from mtl_zoo.evaluation.cost import cost
from mtl_zoo.evaluation.delta_m import CONVENTIONS, delta_m
from mtl_zoo.zoo import registry

MULTI_TASK = "multi_task"


def study(
    run: Callable[[Any], dict],
    config: Any,
    tasks: Sequence[str],
    seeds: Sequence[int],
    *,
    recipe: str,
    split: str,
    example: Any,
    tables: Callable[[keras.Model], dict] | None = None,
) -> dict[str, Any]:
    """Run a recipe for every seed with all tasks, then with each task alone.

    All runs share code, budget and data; a run that is already done is read back from
    its folder, so that an interrupted study goes on where it stopped. The cost of the
    models of the first seed is measured at the end (`mtl_zoo.evaluation.cost`).

    Args:
        run: The recipe: takes a config with `workdir`, `seed` and `single_task`, and
            returns `{"test": {task: {metric: value}}, "directions": {task: {metric:
            "up" | "down"}}, ...}` after saving `workdir/model.keras`.
        config: The recipe's configuration; `workdir` becomes the study's folder.
        tasks: Names of the tasks that also train alone.
        seeds: One run of each kind a seed.
        recipe: Name of the recipe, for the record.
        split: The split that `run` reports on, for the record.
        example: One batch of inputs to measure latency with.
        tables: Optional function from a model to `evaluation.tables` on that split.
            Adds `{"tables": {"multi_task": ..., "single_task": ...}}` of the first
            seed's models.

    Returns:
        The content of `metrics.json`; see `mtl_zoo.evaluation.report`.
    """
    base = Path(config.workdir)
    runs: dict[int, dict[str, dict]] = {}
    for seed in seeds:
        runs[seed] = {}
        for name in (MULTI_TASK, *tasks):
            alone = "" if name == MULTI_TASK else name
            folder = base / f"{name}-seed{seed}"
            one = replace(config, workdir=str(folder), seed=seed, single_task=alone)
            runs[seed][name] = _run_once(run, one)
    multi = [runs[seed][MULTI_TASK] for seed in seeds]
    directions = multi[0]["directions"]
    single = [
        {task: runs[seed][task]["test"][task] for task in tasks} for seed in seeds
    ]
    together = [{task: one["test"][task] for task in tasks} for one in multi]
    deltas = {
        convention: report.spread(
            [
                delta_m(ours, alone, directions, convention=convention)
                for ours, alone in zip(
                    _comparable(together, single), single, strict=True
                )
            ]
        )
        for convention in CONVENTIONS
        if convention != "relative_to_start"
    }
    all_runs = [one for by_name in runs.values() for one in by_name.values()]
    together_model, alone_models = _models(base, seeds[0], tasks)
    metrics: dict[str, Any] = {
        "recipe": recipe,
        "command": " ".join(["python", f"recipes/{recipe}.py", *sys.argv[1:]]),
        "commit": report.commit(),
        "versions": report.versions(),
        "device": report.device(),
        "wall_time_s": sum(one["wall_time_s"] for one in all_runs),
        "split": split,
        "seeds": list(seeds),
        "results": {
            MULTI_TASK: report.spread_of_results([one["test"] for one in multi]),
            "single_task": report.spread_of_results(single),
        },
        "delta_m": deltas,
        "cost": {
            "wall_time_s": {
                name: report.spread([runs[seed][name]["wall_time_s"] for seed in seeds])
                for name in (MULTI_TASK, *tasks)
            },
            **cost(together_model, alone_models, example),
        },
    }
    if tables is not None:
        metrics["tables"] = {
            MULTI_TASK: tables(together_model),
            "single_task": {t: tables(m)[t] for t, m in alone_models.items()},
        }
    report.check_metrics(metrics)
    report.write_json(metrics, base / "metrics.json")
    return metrics


def _comparable(runs: list[dict], baselines: list[dict]) -> list[dict]:
    """Leave out metrics of which some baseline is 0: nothing is relative to 0.

    Such as the AP75 of a run of a minute.
    """
    return [
        {
            task: {
                metric: value
                for metric, value in metrics.items()
                if all(baseline[task][metric] for baseline in baselines)
            }
            for task, metrics in run.items()
        }
        for run in runs
    ]


def _models(
    base: Path, seed: int, tasks: Sequence[str]
) -> tuple[keras.Model, dict[str, keras.Model]]:
    """Load the multi-task model and the single-task models of a seed."""
    multi_task, *single = (
        registry.load(base / f"{name}-seed{seed}" / "model.keras")
        for name in (MULTI_TASK, *tasks)
    )
    return multi_task, dict(zip(tasks, single, strict=True))


def _run_once(run: Callable[[Any], dict], config: Any) -> dict:
    """Return the result of a run, from its folder if it is done and of this config."""
    path = Path(config.workdir) / "result.json"
    # What belongs to the study: another folder, or more seeds, is no other run.
    of_study = ("workdir", "compare", "seeds")
    settings = {k: v for k, v in vars(config).items() if k not in of_study}
    settings = json.loads(json.dumps(settings))  # lists for tuples, as in the file
    if path.exists():
        done = json.loads(path.read_text())
        if done["config"] != settings:
            raise ValueError(
                f"{path} holds a run with other settings: {done['config']}. Expected "
                f"{settings}. Remove the folder or choose another workdir."
            )
        return done
    keras.backend.clear_session()
    start = time.perf_counter()
    result = {**run(config), "config": settings}
    result["wall_time_s"] = time.perf_counter() - start
    os.makedirs(config.workdir, exist_ok=True)
    report.write_json(result, path)
    return result
