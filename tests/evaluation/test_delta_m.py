"""delta_m against published tables, by hand, and its errors."""

import pytest

from mtl_zoo.evaluation.delta_m import CONVENTIONS, delta_m

NYU = {
    "segmentation": {"miou": "up", "pixel_accuracy": "up"},
    "depth": {"absolute": "down", "relative": "down"},
    "normal": {"mean": "down", "median": "down", "11": "up", "22": "up", "30": "up"},
}
CITYSCAPES = {task: NYU[task] for task in ("segmentation", "depth")}
OFFICE = {"amazon": {"a": "up"}, "dslr": {"a": "up"}, "webcam": {"a": "up"}}


def row(directions, *values):
    """A row of a paper's table as `{task: {metric: value}}`."""
    values = iter(values)
    return {
        task: {metric: next(values) for metric in metrics}
        for task, metrics in directions.items()
    }


# SegNet + MTAN single-task row of Nash-MTL and CAGrad; table 1 of NTKMTL.
SEGNET = row(NYU, 38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)
# DeepLabV3+ ResNet-50 single-task row; table 1 of Rep-MTL.
DEEPLAB = row(NYU, 53.50, 75.39, 0.3926, 0.1605, 21.99, 15.16, 39.04, 65.00, 75.16)


@pytest.mark.parametrize(
    "result, published",
    [
        ((39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), 5.59),
        ((40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15), -4.04),
        ((41.42, 66.45, 0.5251, 0.2160, 25.03, 19.50, 28.72, 56.17, 68.73), -5.36),
    ],
    ids=["equal_weights", "nash_mtl", "db_mtl"],
)
def test_per_metric_reproduces_published_nyuv2_segnet(result, published):
    value = delta_m(row(NYU, *result), SEGNET, NYU, convention="per_metric")
    # Papers average unrounded runs; their table has two to four digits.
    assert value == pytest.approx(published, abs=0.01)


def test_published_nyuv2_deeplab_equal_weights_in_two_conventions():
    result = row(NYU, 53.93, 75.53, 0.3825, 0.1577, 23.57, 17.01, 35.04, 60.99, 72.05)
    assert delta_m(result, DEEPLAB, NYU) == pytest.approx(-1.78, abs=0.005)
    assert delta_m(result, DEEPLAB, NYU, "per_metric") == pytest.approx(3.85, abs=0.005)


@pytest.mark.parametrize(
    "baseline, result, convention, published",
    [
        (
            (69.06, 91.54, 0.01282, 43.53),
            (68.93, 91.58, 0.01315, 45.90),
            "per_task",
            -2.05,
        ),
        (
            (74.01, 93.16, 0.0125, 27.77),
            (75.18, 93.49, 0.0155, 46.77),
            "per_metric",
            22.60,
        ),
    ],
    ids=["rep_mtl_table_2_equal_weights", "ntkmtl_table_7_equal_weights"],
)
def test_reproduces_published_cityscapes(baseline, result, convention, published):
    value = delta_m(
        row(CITYSCAPES, *result), row(CITYSCAPES, *baseline), CITYSCAPES, convention
    )
    assert value == pytest.approx(published, abs=0.03)


def test_reproduces_published_office_31():
    single = row(OFFICE, 86.61, 95.63, 96.85)
    equal = row(OFFICE, 83.53, 97.27, 96.85)
    assert delta_m(equal, single, OFFICE) == pytest.approx(-0.61, abs=0.005)


def test_primary_reproduces_published_auto_lambda():
    directions = {
        "seg": {"miou": "up"},
        "depth": {"e": "down"},
        "normal": {"m": "down"},
    }
    single = row(directions, 43.37, 52.24, 22.40)
    best = row(directions, 48.26, 39.82, 22.81)  # Auto-lambda + CAGrad
    assert delta_m(best, single, directions, "primary") == pytest.approx(
        11.07, abs=0.005
    )


def test_the_four_conventions_by_hand():
    directions = {"a": {"x": "up"}, "b": {"y": "down", "z": "up"}}
    single = row(directions, 50.0, 0.4, 10.0)
    multi = row(directions, 55.0, 0.3, 9.0)  # gains: 10; 25 and -10
    value = {name: delta_m(multi, single, directions, name) for name in CONVENTIONS}
    assert value == pytest.approx(
        {
            "per_task": 8.75,
            "per_metric": -25.0 / 3.0,
            "primary": 17.5,
            "relative_to_start": 0.0875,
        },
        rel=1e-12,
    )


def test_equal_results_give_zero_and_negative_baselines_keep_the_sign():
    directions = {"a": {"x": "up"}}
    assert all(
        delta_m(SEGNET, SEGNET, NYU, convention) == 0.0 for convention in CONVENTIONS
    )
    assert delta_m({"a": {"x": -1.0}}, {"a": {"x": -2.0}}, directions) == 50.0


@pytest.mark.parametrize(
    "results, baselines, directions, words",
    [
        ({"a": {"x": 1.0}}, {}, {"a": {"x": "up"}}, "no baseline"),
        ({"a": {"x": 1.0}}, {"a": {"y": 1.0}}, {"a": {"x": "up"}}, "no baseline"),
        ({"a": {"x": 1.0}}, {"a": {"x": 0.0}}, {"a": {"x": "up"}}, "is 0"),
        ({"a": {"x": 1.0}}, {"a": {"x": 1.0}}, {"a": {"y": "up"}}, "direction"),
        ({"a": {"x": 1.0}}, {"a": {"x": 1.0}}, {"a": {"x": "high"}}, "'high'"),
        ({}, {}, {}, "at least one task"),
        ({"a": {}}, {}, {}, "at least one metric"),
    ],
)
def test_errors_name_what_is_wrong(results, baselines, directions, words):
    with pytest.raises(ValueError, match=words):
        delta_m(results, baselines, directions)


def test_unknown_convention():
    with pytest.raises(ValueError, match=r"per_task.*'nash'"):
        delta_m(SEGNET, SEGNET, NYU, convention="nash")
