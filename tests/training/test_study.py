"""A study runs all tasks, each alone and variants, and writes a legal metrics.json."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from tests import fakes


@dataclasses.dataclass(frozen=True)
class Config:
    workdir: str
    seed: int = 0
    single_task: str = ""
    rate: float = 0.1
    method: str = "equal"
    seeds: tuple[int, ...] = (0,)


CALLS: list[Config] = []
SCORES = {"": 0.8, "kind": 0.5, "size": 0.4}
BONUS = {"equal": 0.0, "pcgrad": 0.1, "mgda": -0.3}  # of methods of balancing


def run(config: Config) -> dict:
    """A run that does not train: made-up scores, a real model file."""
    CALLS.append(config)
    tasks = [t for t in fakes.tasks() if t.name in SCORES]
    tasks = [t for t in tasks if config.single_task in ("", t.name)]
    model = mtl.architectures.HardSharing(mtl.trunks.mlp([8, 4]), tasks)
    model.build((None, 6))
    model.compile()
    Path(config.workdir).mkdir(parents=True)
    model.save(Path(config.workdir) / "model.keras")
    score = SCORES[config.single_task] + 0.01 * config.seed + BONUS[config.method]
    return {
        "test": {task.name: {"score": score, "hard": 0.0} for task in tasks},
        "directions": {task.name: {"score": "up", "hard": "up"} for task in tasks},
        "cost": {"steps": 10.0 * len(tasks), config.method: 1.0},
    }


def study(folder: Path, variants: dict | None = None, **changes) -> dict:
    return training.study(
        run,
        Config(str(folder), **changes),
        ["kind", "size"],
        [0, 1],
        recipe="fake",
        split="test",
        example=np.zeros((1, 6), "float32"),
        variants=variants,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    CALLS.clear()
    folder = tmp_path_factory.mktemp("study")
    study(folder)
    return folder


def test_every_kind_of_run_once_a_seed(folder):
    assert [(c.seed, c.single_task) for c in CALLS] == [
        (seed, task) for seed in (0, 1) for task in ("", "kind", "size")
    ]


def test_metrics_are_legal_and_right(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    evaluation.check_metrics(metrics)
    assert metrics["seeds"] == [0, 1]
    single = metrics["results"]["single_task"]
    assert single["kind"]["score"]["mean"] == pytest.approx(0.505)
    assert metrics["results"]["multi_task"]["size"]["score"]["n"] == 2
    # "hard" is 0 for every baseline, and nothing is relative to 0.
    gains = [
        np.mean([(0.8 + s) / (0.5 + s) - 1, (0.8 + s) / (0.4 + s) - 1])
        for s in (0.0, 0.01)
    ]
    delta = metrics["delta_m"]["per_task"]["mean"]
    assert delta == pytest.approx(100 * np.mean(gains))
    assert 0.4 < metrics["cost"]["parameters"]["ratio"] < 0.8
    assert metrics["cost"]["latency_ms"]["multi_task"] > 0


def test_own_figures_of_the_runs_are_joined(folder):
    cost = json.loads((folder / "metrics.json").read_text())["cost"]
    kinds = {"multi_task", "single_task", "kind", "size"}
    assert set(cost["steps"]) == set(cost["wall_time_s"]) == kinds
    assert cost["steps"]["multi_task"] == {"mean": 20.0, "sd": 0.0, "n": 2}
    assert cost["steps"]["single_task"]["mean"] == 20.0  # the sum of two models
    times = cost["wall_time_s"]
    assert times["single_task"]["mean"] == pytest.approx(
        times["kind"]["mean"] + times["size"]["mean"]
    )


def test_finished_runs_are_read_back(folder):
    CALLS.clear()
    study(folder, seeds=(0, 1))  # a study may grow by seeds
    assert not CALLS


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match="other settings"):
        study(folder, rate=0.2)


# After the others, which know the folder without variants.

VARIANTS = {name: {"method": name} for name in ("pcgrad", "mgda")}


@pytest.fixture(scope="module")
def with_variants(folder):
    """The study again, which grows by variants: calls and metrics."""
    CALLS.clear()
    metrics = study(folder, variants=VARIANTS)
    return list(CALLS), metrics


def test_variants_are_run_for_every_seed_and_nothing_else_again(with_variants, folder):
    calls, _ = with_variants
    assert [(c.seed, c.method, c.single_task, Path(c.workdir).name) for c in calls] == [
        (seed, name, "", f"{name}-seed{seed}")
        for seed in (0, 1)
        for name in ("pcgrad", "mgda")
    ]
    CALLS.clear()
    study(folder, variants=VARIANTS)
    assert not CALLS


def test_variants_are_compared_with_the_single_tasks(with_variants, folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    evaluation.check_metrics(metrics)
    assert list(metrics["variants"]) == ["pcgrad", "mgda"]
    for name, variant in metrics["variants"].items():
        scores = [0.8 + BONUS[name] + s for s in (0.0, 0.01)]
        found = metrics["results"][name]["kind"]["score"]
        assert found["mean"] == pytest.approx(np.mean(scores))
        gains = [
            50 * ((score / (0.5 + s) - 1) + (score / (0.4 + s) - 1))
            for score, s in zip(scores, (0.0, 0.01), strict=True)
        ]
        assert variant["delta_m"]["per_task"] == {
            "mean": pytest.approx(np.mean(gains)),
            "sd": pytest.approx(np.std(gains, ddof=1)),
            "n": 2,
        }
        assert set(variant["delta_m"]) == set(metrics["delta_m"])
    means = metrics["mean_over_tasks"]
    assert list(means) == list(metrics["results"])
    assert means["mgda"]["score"]["mean"] == pytest.approx(0.505)
    assert means["single_task"]["score"]["mean"] == pytest.approx(0.455)
    assert "mean score" in evaluation.report.variants_rows(metrics)[0]
    kinds = {"multi_task", "single_task", "kind", "size", "pcgrad", "mgda"}
    assert set(metrics["cost"]["steps"]) == kinds
    assert set(metrics["cost"]["wall_time_s"]) == kinds
    # Figures that some runs do not give have no spread.
    assert not {"equal", "pcgrad"} & set(metrics["cost"])


def test_auxiliary_tasks_count_in_no_mean(tmp_path):
    """A third task, much worse, with the same metric; it does not train alone."""

    def with_auxiliary(config: Config) -> dict:
        found = run(config)
        if not config.single_task:
            found["test"]["edges"] = {"score": -50.0, "hard": 0.0}
            found["directions"]["edges"] = {"score": "up", "hard": "up"}
        return found

    arguments = Config(str(tmp_path)), ["kind", "size"], [0]
    metrics = training.study(
        with_auxiliary,
        *arguments,
        recipe="fake",
        split="test",
        example=np.zeros((1, 6), "float32"),
    )
    evaluation.check_metrics(metrics)
    assert metrics["results"]["multi_task"]["edges"]["score"]["mean"] == -50.0
    means = metrics["mean_over_tasks"]
    assert means["multi_task"]["score"]["mean"] == pytest.approx(0.8)
    gains = [0.8 / 0.5 - 1, 0.8 / 0.4 - 1]
    delta = metrics["delta_m"]["per_task"]["mean"]
    assert delta == pytest.approx(100 * np.mean(gains))


@pytest.mark.parametrize("name", ["multi_task", "single_task", "kind"])
def test_variants_have_names_of_their_own(folder, name):
    with pytest.raises(ValueError, match=rf"another name than.*Received: \['{name}'\]"):
        study(folder, variants={name: {"method": "pcgrad"}})
