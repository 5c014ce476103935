"""A study runs all tasks and each alone, once, and writes a legal metrics.json."""

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
    seeds: tuple[int, ...] = (0,)


CALLS: list[Config] = []
SCORES = {"": 0.8, "kind": 0.5, "size": 0.4}


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
    score = SCORES[config.single_task] + 0.01 * config.seed
    return {
        "test": {task.name: {"score": score, "hard": 0.0} for task in tasks},
        "directions": {task.name: {"score": "up", "hard": "up"} for task in tasks},
    }


def study(folder: Path, **changes) -> dict:
    return training.study(
        run,
        Config(str(folder), **changes),
        ["kind", "size"],
        [0, 1],
        recipe="fake",
        split="test",
        example=np.zeros((1, 6), "float32"),
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


def test_finished_runs_are_read_back(folder):
    CALLS.clear()
    study(folder, seeds=(0, 1))  # a study may grow by seeds
    assert not CALLS


def test_other_settings_are_refused(folder):
    with pytest.raises(ValueError, match="other settings"):
        study(folder, rate=0.2)
