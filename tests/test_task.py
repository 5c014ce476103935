"""A task checks what it is made of and survives serialisation."""

import json

import keras
import pytest

import mtl_zoo as mtl
from mtl_zoo.task import check_tasks, metric_direction


def make(**changes):
    arguments = {
        "name": "size",
        "head": mtl.heads.Regression(1, feature="layer_1"),
        "loss": keras.losses.MeanSquaredError(),
        "metrics": [keras.metrics.MeanAbsoluteError(name="mae")],
        **changes,
    }
    return mtl.Task(**arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": "Size"}, ValueError, "lower-case"),
        ({"name": "2d"}, ValueError, "lower-case"),
        ({"head": "dense"}, TypeError, "head of task 'size'"),
        ({"loss": "mse"}, TypeError, "MeanSquaredError"),
        ({"loss": keras.losses.get("mse")}, TypeError, "MeanSquaredError"),
        ({"metrics": ["mae"]}, TypeError, "Each metric of task 'size'"),
        ({"weight": 0}, ValueError, "positive"),
        ({"role": "side"}, ValueError, "auxiliary"),
    ],
)
def test_errors_name_the_task_and_the_remedy(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


def test_config_is_json_and_round_trips():
    task = make(weight=0.5, role="auxiliary")
    config = json.loads(json.dumps(task.get_config()))
    again = mtl.Task.from_config(config)
    assert again.get_config() == task.get_config()
    assert (again.weight, again.role) == (0.5, "auxiliary")


def test_primary_metric_knows_its_direction():
    assert make().primary_metric == ("size_mae", "down")
    assert make(metrics=()).primary_metric == ("size_loss", "down")
    accuracy = keras.metrics.BinaryAccuracy(name="accuracy")
    assert make(metrics=[accuracy]).primary_metric == ("size_accuracy", "up")


def test_metric_without_direction_is_refused():
    with pytest.raises(ValueError, match="direction"):
        metric_direction(keras.metrics.Sum(name="sum"))


def test_tasks_need_unique_names():
    with pytest.raises(ValueError, match="must differ"):
        check_tasks([make(), make()])
    with pytest.raises(ValueError, match="at least one"):
        check_tasks([])
    with pytest.raises(TypeError, match="Each element"):
        check_tasks(["size"])
