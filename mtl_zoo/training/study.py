"""A study: one recipe as multi-task models and as single-task baselines, over seeds."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from mtl_zoo.evaluation import report
from mtl_zoo.evaluation.cost import cost
from mtl_zoo.evaluation.delta_m import CONVENTIONS, Directions, delta_m
from mtl_zoo.zoo import registry

MULTI_TASK, SINGLE_TASK = "multi_task", "single_task"


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
    variants: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Run a recipe for every seed with all tasks, then with each task alone.

    Then, where there are variants, with all tasks in each of these other ways.

    All runs share code, budget and data; a run that is already done is read back from
    its folder, so that an interrupted study goes on where it stopped. The cost of the
    models of the first seed is measured at the end (`mtl_zoo.evaluation.cost`).

    Args:
        run: The recipe: takes a config with `workdir`, `seed` and `single_task`, and
            returns `{"test": {task: {metric: value}}, "directions": {task: {metric:
            "up" | "down"}}, ...}` after saving `workdir/model.keras`. Figures of its
            own, `{"cost": {figure: number}}`, are joined in the `cost` of the study.
        config: The recipe's configuration; `workdir` becomes the study's folder.
        tasks: Names of the tasks that also train alone.
        seeds: One run of each kind a seed.
        recipe: Name of the recipe, for the record.
        split: The split that `run` reports on, for the record.
        example: One batch of inputs to measure latency with.
        tables: Optional function from a model to `evaluation.tables` on that split.
            Adds `{"tables": {"multi_task": ..., "single_task": ...}}` of the first
            seed's models.
        variants: Optional further ways to train all tasks, such as other methods of
            balancing: `{name: {field of the config: value}}`, what each changes of
            `config`. Their results stand beside the others under their names, and
            `{"variants": {name: {"delta_m": ...}}}` compares them with the
            single-task models.

    Returns:
        The content of `metrics.json`; see `mtl_zoo.evaluation.report`. Where all
        `tasks` have the same first metric, with its mean over them. Other tasks that
        `run` reports, such as auxiliary ones, stand there and count in no mean.

    Raises:
        ValueError: When a variant has the name of another kind of run, or a folder
            holds a run with other settings.
    """
    base = Path(config.workdir)
    variants = variants or {}
    kinds = _kinds(tasks, variants)
    runs: dict[str, list[dict]] = {name: [] for name in kinds}
    for seed in seeds:
        for name, changes in kinds.items():
            folder = base / f"{name}-seed{seed}"
            one = replace(config, workdir=str(folder), seed=seed, **changes)
            runs[name].append(_run_once(run, one))
    directions = runs[MULTI_TASK][0]["directions"]
    tested = {name: [one["test"] for one in done] for name, done in runs.items()}
    single = [
        {task: tested[task][index][task] for task in tasks}
        for index in range(len(seeds))
    ]
    deltas = {
        name: _delta_m(tested[name], single, directions)
        for name in (MULTI_TASK, *variants)
    }
    together_model, alone_models = _models(base, seeds[0], tasks)
    metrics: dict[str, Any] = {
        **report.origin(recipe, sys.argv[1:]),
        "wall_time_s": sum(
            one["wall_time_s"] for done in runs.values() for one in done
        ),
        "split": split,
        "seeds": list(seeds),
        "results": {
            MULTI_TASK: report.spread_of_results(tested[MULTI_TASK]),
            SINGLE_TASK: report.spread_of_results(single),
            **{name: report.spread_of_results(tested[name]) for name in variants},
        },
        "delta_m": deltas[MULTI_TASK],
        "cost": {
            **_figures(runs, tasks),
            **cost(together_model, alone_models, example),
        },
    }
    every = {**tested, SINGLE_TASK: single}
    if means := _means(_only(every, tasks), metrics["results"]):
        metrics["mean_over_tasks"] = means
    if variants:
        metrics["variants"] = {name: {"delta_m": deltas[name]} for name in variants}
    if tables is not None:
        metrics["tables"] = {
            MULTI_TASK: tables(together_model),
            SINGLE_TASK: {t: tables(m)[t] for t, m in alone_models.items()},
        }
    report.check_metrics(metrics)
    report.write_json(metrics, base / "metrics.json")
    return metrics


def _kinds(
    tasks: Sequence[str], variants: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Return what each kind of run changes of the config, by name, in their order."""
    taken = (MULTI_TASK, SINGLE_TASK, *tasks)
    if clash := sorted(set(variants) & set(taken)):
        raise ValueError(
            f"A variant must have another name than {taken}, which are runs of the "
            f"study already. Received: {clash}"
        )
    return {
        MULTI_TASK: {"single_task": ""},
        **{task: {"single_task": task} for task in tasks},
        **{name: {"single_task": "", **changes} for name, changes in variants.items()},
    }


def _delta_m(
    runs: list[dict], single: list[dict], directions: Directions
) -> dict[str, dict]:
    """Return `{convention: spread over the seeds}` against the single-task results."""
    ours = [
        {task: one[task] for task in alone}
        for one, alone in zip(runs, single, strict=True)
    ]
    pairs = list(zip(_comparable(ours, single), single, strict=True))
    return {
        convention: report.spread(
            [delta_m(one, alone, directions, convention) for one, alone in pairs]
        )
        for convention in CONVENTIONS
        if convention != "relative_to_start"
    }


def _only(
    runs: Mapping[str, list[dict]], tasks: Sequence[str]
) -> dict[str, list[dict]]:
    """Return the results of these tasks: others, such as auxiliary ones, are none."""
    return {
        name: [{t: found for t, found in one.items() if t in tasks} for one in done]
        for name, done in runs.items()
    }


def _means(
    runs: Mapping[str, list[dict]], names: Iterable[str]
) -> dict[str, dict[str, dict]]:
    """Return `{name: {metric: spread}}` of the mean over two or more like tasks."""
    every = [task for name in names for run in runs[name] for task in run.values()]
    metrics = {next(iter(task)) for task in every}
    if len(metrics) > 1 or any(len(run) < 2 for name in names for run in runs[name]):
        return {}
    (metric,) = metrics
    means = {
        name: [statistics.fmean(t[metric] for t in run.values()) for run in runs[name]]
        for name in names
    }
    return {name: {metric: report.spread(values)} for name, values in means.items()}


def _figures(
    runs: Mapping[str, list[dict]], tasks: Sequence[str]
) -> dict[str, dict[str, dict]]:
    """Return `{figure: {kind of run: spread}}`, `"single_task"` the sum over tasks.

    The figures are the wall time, and those that every run gives as its own.
    """
    given = {
        name: [
            {"wall_time_s": one["wall_time_s"], **one.get("cost", {})} for one in done
        ]
        for name, done in runs.items()
    }
    every = [one for done in given.values() for one in done]
    made = {}
    for figure in every[0]:
        if all(figure in one for one in every):
            values = {
                name: [one[figure] for one in done] for name, done in given.items()
            }
            of_tasks = [values[task] for task in tasks]
            values[SINGLE_TASK] = [sum(each) for each in zip(*of_tasks, strict=True)]
            made[figure] = {name: report.spread(each) for name, each in values.items()}
    return made


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
