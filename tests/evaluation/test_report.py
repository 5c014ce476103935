"""metrics.json: making, checking and showing it."""

import copy
import json
import re

import numpy as np
import pytest

from mtl_zoo.evaluation import report


def valid():
    spread = {"mean": 0.8, "sd": 0.01, "n": 3}
    tasks = {"det": {"f1": dict(spread)}, "seg": {"iou": dict(spread)}}
    return {
        "recipe": "nuclei",
        "command": "python recipes/nuclei.py",
        "commit": None,
        "versions": report.versions(),
        "device": "a CPU",
        "wall_time_s": 12.5,
        "split": "test",
        "seeds": [0, 1, 2],
        "results": {
            "multi_task": copy.deepcopy(tasks),
            "single_task": copy.deepcopy(tasks),
        },
        "delta_m": {"per_task": {"mean": 1.5, "sd": 0.2, "n": 3}},
        "cost": {},
    }


def test_spread_by_hand():
    # mean 4; squares 4 + 0 + 4; 8 / 2 = 4
    assert report.spread([2.0, 4.0, 6.0]) == {"mean": 4.0, "sd": 2.0, "n": 3}
    assert report.spread([3.0]) == {"mean": 3.0, "sd": None, "n": 1}


def test_spread_agrees_with_numpy():
    values = np.random.default_rng(0).normal(1e6, 1.0, 50)
    found = report.spread(list(values))
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-14)
    assert found["sd"] == pytest.approx(values.std(ddof=1), rel=1e-9)


def test_spread_of_results():
    runs = [{"a": {"x": 1.0, "y": 5.0}}, {"a": {"x": 3.0, "y": 5.0}}]
    found = report.spread_of_results(runs)
    assert found["a"]["x"] == {"mean": 2.0, "sd": pytest.approx(2**0.5), "n": 2}
    assert found["a"]["y"]["sd"] == 0.0
    with pytest.raises(ValueError, match="same tasks and metrics"):
        report.spread_of_results([{"a": {"x": 1.0}}, {"a": {"z": 1.0}}])


def test_facts_about_this_process():
    versions = report.versions()
    assert set(versions) == {"python", *report.PACKAGES}
    assert re.match(r"\d+\.\d+", versions["numpy"])
    assert re.search(r"\d+ cores?", report.device())
    assert report.commit() is None or re.fullmatch("[0-9a-f]{40,}", report.commit())


def test_a_valid_one_passes_also_after_json():
    report.check_metrics(valid())
    report.check_metrics(json.loads(json.dumps(valid())))


def change(metrics, path, value):
    *where, last = path
    for key in where:
        metrics = metrics[key]
    if value is KeyError:
        del metrics[last]
    else:
        metrics[last] = value


MULTI = ("results", "multi_task", "det", "f1")


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("recipe",), KeyError, "'recipe' is missing"),
        (("commit",), 7, "'commit' must be str or NoneType, received 7"),
        (("wall_time_s",), True, "'wall_time_s' must be int or float"),
        (("mood",), "good", "'mood' is not a known key"),
        (("versions", "keras"), KeyError, r"versions\['keras'\] is missing"),
        (("seeds",), [1, 1], "'seeds' must be different"),
        (("seeds",), [], "'seeds' must be different"),
        (("results", "single_task"), KeyError, r"\['single_task'\] is missing"),
        (("results", "multi_task"), {}, r"results\['multi_task'\] must be"),
        (("results", "multi_task", "det"), 3, r"\['det'\] must be {metric"),
        (MULTI, 0.8, r"\['f1'\] must be {'mean', 'sd', 'n'}, received 0.8"),
        ((*MULTI, "mean"), float("nan"), "'mean' must be a finite number"),
        ((*MULTI, "sd"), -1.0, "'sd' must be a finite number >= 0"),
        ((*MULTI, "sd"), None, "'sd' is null for n = 1 and only then"),
        ((*MULTI, "n"), 4, r"'n' must be 1 to 3 \(the seeds\), received 4"),
        (("delta_m", "nash"), {"mean": 1, "sd": 0, "n": 3}, "is no convention"),
        (("delta_m", "per_task"), 1.5, r"delta_m\['per_task'\] must be"),
    ],
)
def test_what_is_wrong_is_named(path, value, words):
    metrics = valid()
    change(metrics, path, value)
    with pytest.raises(ValueError, match=words):
        report.check_metrics(metrics)


def with_variants():
    """Two further ways to train; of the second, the figure of one seed is unknown."""
    metrics = valid()
    names = ("single_task", "multi_task", "pcgrad", "mgda")
    for index, name in enumerate(names[2:]):
        spread = {"mean": 0.9 + index / 20, "sd": 0.02, "n": 3}
        metrics["results"][name] = {"det": {"f1": spread}, "seg": {"iou": spread}}
    delta = {"mean": 12.5, "sd": 2.5, "n": 3}
    metrics["variants"] = {name: {"delta_m": {"per_task": delta}} for name in names[2:]}
    steps = {name: {"mean": 41.0, "sd": 1.5, "n": 3} for name in names}
    metrics["cost"] = {
        "step_ms": steps,
        "wall_time_s": {name: steps[name] for name in names[:-1]},
        "parameters": dict.fromkeys(names, 7),
        "note": "idle machine",
    }
    return metrics


def test_variants_pass_also_after_json():
    report.check_metrics(with_variants())
    report.check_metrics(json.loads(json.dumps(with_variants())))


DELTA = ("variants", "pcgrad", "delta_m")


@pytest.mark.parametrize(
    "path, value, words",
    [
        (("variants",), ["pcgrad"], "'variants' must be dict"),
        (("results", "mgda"), KeyError, r"variants\['mgda'\] has no results"),
        (("variants", "mgda"), 3, r"variants\['mgda'\] must be {'delta_m'"),
        (("variants", "mgda"), {}, r"variants\['mgda'\] must be {'delta_m'"),
        (DELTA, 12.5, r"\['pcgrad'\]\['delta_m'\] must be {convention"),
        (
            (*DELTA, "nash"),
            {"mean": 1, "sd": 0, "n": 3},
            r"\['nash'\] is no convention",
        ),
        ((*DELTA, "per_task"), 12.5, r"\['per_task'\] must be {'mean', 'sd', 'n'}"),
        ((*DELTA, "per_task", "n"), 4, r"\['per_task'\]: 'n' must be 1 to 3"),
        (("results", "pcgrad", "det", "f1", "n"), 0, r"\['pcgrad'\]\['det'\]\['f1'\]"),
    ],
)
def test_what_is_wrong_with_variants_is_named(path, value, words):
    metrics = with_variants()
    change(metrics, path, value)
    with pytest.raises(ValueError, match=words):
        report.check_metrics(metrics)


def test_all_problems_are_listed_at_once():
    metrics = valid()
    metrics["versions"].pop("numpy")
    metrics["seeds"] = [0, 0]
    with pytest.raises(ValueError, match=r"numpy(.|\n)*seeds"):
        report.check_metrics(metrics)
    with pytest.raises(ValueError, match="expected a dict, received list"):
        report.check_metrics([])


def test_write_json_takes_numpy_numbers(tmp_path):
    report.write_json({"a": np.float32(0.5), "b": np.int64(3)}, tmp_path / "x/m.json")
    assert json.loads((tmp_path / "x/m.json").read_text()) == {"a": 0.5, "b": 3}


@pytest.mark.parametrize(
    "mean, sd, text",
    [
        (0.81234, 0.0123, "0.812 ± 0.012"),
        (81.234, 1.2, "81.2 ± 1.2"),
        (81.234, 12.0, "81 ± 12"),
        (81.234, None, "81.23"),
        (0.0, 0.0, "0.000 ± 0.000"),
        (1234.5, None, "1234"),
    ],
)
def test_format_spread(mean, sd, text):
    assert report.format_spread({"mean": mean, "sd": sd, "n": 3}) == text


def test_table():
    metrics = valid()
    metrics["results"]["other"] = {"seg": {"iou": {"mean": 0.5, "sd": 0.1, "n": 3}}}
    metrics["delta_m"]["per_metric"] = {"mean": -1.5, "sd": None, "n": 1}
    assert report.markdown_table(metrics) == "\n".join(
        [
            "| task | metric |   single task |    multi task |       other |",
            "| ---- | ------ | ------------: | ------------: | ----------: |",
            "| det  | f1     | 0.800 ± 0.010 | 0.800 ± 0.010 |           - |",
            "| seg  | iou    | 0.800 ± 0.010 | 0.800 ± 0.010 | 0.50 ± 0.10 |",
            "",
            "delta_m, per task (higher is better): +1.50 ± 0.20 %  ",
            "delta_m, per metric (lower is better): -1.500 %  ",
        ]
    )


def test_variants_have_a_row_each_and_the_figures_that_all_have():
    metrics = with_variants()
    metrics["results"]["other"] = {"seg": {"iou": {"mean": 0.5, "sd": 0.1, "n": 3}}}
    first, second = report.markdown_table(metrics).split("\n\n")[::2]
    assert first.splitlines()[0].split("|")[3:-1] == [
        "   single task ",
        "    multi task ",
        "       other ",
    ]
    rows = [
        "| run         |        det f1 |       seg iou |   delta_m, % |    step_ms |",
        "| ----------- | ------------: | ------------: | -----------: | ---------: |",
        "| single_task | 0.800 ± 0.010 | 0.800 ± 0.010 |            - | 41.0 ± 1.5 |",
        "| multi_task  | 0.800 ± 0.010 | 0.800 ± 0.010 | +1.50 ± 0.20 | 41.0 ± 1.5 |",
        "| pcgrad      | 0.900 ± 0.020 | 0.900 ± 0.020 |  +12.5 ± 2.5 | 41.0 ± 1.5 |",
        "| mgda        | 0.950 ± 0.020 | 0.950 ± 0.020 |  +12.5 ± 2.5 | 41.0 ± 1.5 |",
    ]
    assert second == "\n".join(rows)
