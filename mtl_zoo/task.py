"""A task: a head, its loss and its metrics, under one name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
from keras.optimizers.schedules import LearningRateSchedule

ROLES = ("main", "auxiliary", "adversarial")


@dataclass(frozen=True)
class Task:
    """One thing that a multi-task model predicts.

    Args:
        name: Lower-case identifier, unique in a model. It names the model's output,
            the key of the task's label and the prefix of its logs.
        head: Layer from the trunk's features to the task's raw output.
        loss: A `keras.losses.Loss` whose `call(y_true, y_pred)` gives one value per
            item, `(batch, ...)`. Its own `reduction` is not used: the model divides
            the sum over the labelled items by their number, over the global batch.
            A loss may define `count(y_true, y_pred)`, the number of items behind each
            value; it defaults to one.
        metrics: `keras.metrics.Metric` objects, updated with the label, the raw
            output and the item weights. The first is the primary one. The objects
            serve as templates: every compiled model makes its own copies.
        weight: Positive factor on the loss, before any balancing; or a schedule over
            the optimizer's iterations, such as `mtl_zoo.training.Fade`, for a task that
            comes late or leaves early. A task of weight 0 is as if it had no label.
            Defaults to `1.0`.
        role: `"main"`, `"auxiliary"` (trains, but is no result) or `"adversarial"`: its
            own variables learn to predict, while those that it shares take its gradient
            times `-reversal`, so that the shared features tell less and less of it
            (Ganin et al., 2016); see the note below. Only main tasks are exported, if
            not asked for.
        reversal: Of an adversarial task: a number, or a schedule over the optimizer's
            iterations such as `mtl_zoo.training.ReversalRamp`. Defaults to `1.0`.

    Raises:
        TypeError: When head, loss, a metric, weight or reversal is not of the kind
            named above.
        ValueError: When name, weight, role or reversal is not allowed.

    Example:
        >>> task = Task(
        ...     name="digit",
        ...     head=keras.layers.Dense(10),
        ...     loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ...     metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ... )
        >>> task.primary_metric
        ('digit_accuracy', 'up')

    Note on adversarial tasks:
        Near the balance, a linear head `w` on features whose means differ by `m` has
        `dw/dt = -m - (A + c) w` and `dm/dt = reversal |g|^2 w`, but for constant
        factors: `A` is the covariance of the features, `c` an L2 penalty on `w`, `g`
        the difference of the inputs' means. That is an oscillator, damped by `A + c`
        alone. If steps or momentum outweigh the damping it grows, and the features
        tell more of the domain than before. What helps is a penalty on the head
        (`heads.Classification(kernel_regularizer=)`), inputs of length 1, and an
        optimizer that keeps the size of gradients, such as SGD: the steps of Adam do
        not shrink as `w` and `m` do.

    Reference:
        - [Ganin et al., 2016](https://jmlr.org/papers/v17/15-239.html)
    """

    name: str
    head: keras.layers.Layer
    loss: keras.losses.Loss
    metrics: Iterable[keras.metrics.Metric] = ()
    weight: float | LearningRateSchedule = 1.0
    role: str = "main"
    reversal: float | LearningRateSchedule = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", str(self.name)):
            raise ValueError(
                "A task's name is made of lower-case letters, digits and underscores "
                f"and starts with a letter. Received: name={self.name!r}"
            )
        where = f"of task {self.name!r}"
        _check_kind(self.head, keras.layers.Layer, f"The head {where}")
        _check_kind(
            self.loss,
            keras.losses.Loss,
            f"The loss {where}",
            hint=" Pass an object, such as keras.losses.MeanSquaredError().",
        )
        object.__setattr__(self, "metrics", tuple(self.metrics))
        for metric in self.metrics:
            _check_kind(metric, keras.metrics.Metric, f"Each metric {where}")
        self._check_weight(where)
        if self.role not in ROLES:
            raise ValueError(
                f"The role {where} must be one of {ROLES}. Received: role={self.role!r}"
            )
        self._check_reversal(where)

    def _check_weight(self, where: str) -> None:
        if isinstance(self.weight, LearningRateSchedule):
            return
        if not isinstance(self.weight, int | float):
            raise TypeError(
                f"The weight {where} must be a number or a keras LearningRateSchedule. "
                f"Received: {self.weight!r} of type {type(self.weight).__name__}"
            )
        if not self.weight > 0:
            raise ValueError(
                f"The weight {where} must be positive. To leave a task out, leave it "
                f"out of the model's tasks. Received: weight={self.weight}"
            )

    def _check_reversal(self, where: str) -> None:
        if isinstance(self.reversal, LearningRateSchedule):
            allowed = self.role == "adversarial"
        elif isinstance(self.reversal, int | float):
            allowed = self.reversal >= 0 and self.role == "adversarial"
            allowed = allowed or self.reversal == 1.0
        else:
            raise TypeError(
                f"The reversal {where} must be a number or a keras LearningRateSchedule"
                f". Received: {self.reversal!r} of type {type(self.reversal).__name__}"
            )
        if not allowed:
            raise ValueError(
                f"The reversal {where} is for adversarial tasks, and not negative. "
                f"Received: reversal={self.reversal!r}, role={self.role!r}"
            )

    @property
    def primary_metric(self) -> tuple[str, str]:
        """Name in the logs and direction (`"up"` or `"down"`) of the first metric.

        A task without metrics is judged by its loss, where down is better.
        """
        for metric in self.metrics:
            return f"{self.name}_{metric.name}", metric_direction(metric)
        return f"{self.name}_loss", "down"

    @property
    def has_schedule(self) -> bool:
        """Whether the weight changes while the model is trained."""
        return isinstance(self.weight, LearningRateSchedule)

    def weight_at(self, step: Any) -> Any:
        """Return the weight behind so many iterations, a scalar float32."""
        return _value_at(self.weight, step)

    def reversal_at(self, step: Any) -> Any:
        """Return the reversal behind so many iterations, a scalar float32."""
        return _value_at(self.reversal, step)

    def get_config(self) -> dict[str, Any]:
        """Return a JSON-compatible description that `from_config` reads."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "head": serialize(self.head),
            "loss": serialize(self.loss),
            "metrics": [serialize(metric) for metric in self.metrics],
            "weight": _saved(self.weight),
            "role": self.role,
            **(
                {}
                if self.role != "adversarial"
                else {"reversal": _saved(self.reversal)}
            ),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Task:
        """Build a task from the result of `get_config`."""
        deserialize = keras.saving.deserialize_keras_object
        return cls(
            name=config["name"],
            head=deserialize(config["head"]),
            loss=deserialize(config["loss"]),
            metrics=[deserialize(metric) for metric in config["metrics"]],
            weight=deserialize(config["weight"]),
            role=config["role"],
            reversal=deserialize(config.get("reversal", 1.0)),
        )


def metric_direction(metric: keras.metrics.Metric) -> str:
    """Return `"up"` when larger values of `metric` are better, else `"down"`.

    Our metrics state it as `direction`, those of Keras as `_direction`.

    Raises:
        ValueError: When the metric states neither.
    """
    direction = getattr(metric, "direction", None) or getattr(
        metric, "_direction", None
    )
    if direction not in ("up", "down"):
        raise ValueError(
            f"The metric {metric.name!r} ({type(metric).__name__}) does not say "
            "whether larger is better. Set its attribute `direction` to 'up' or "
            f"'down'. Received: direction={direction!r}"
        )
    return direction


def check_tasks(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Return `tasks` as a tuple after checking that names are unique.

    Raises:
        TypeError: When an element is not a `Task`.
        ValueError: When there is no task or two share a name.
    """
    tasks = tuple(tasks)
    for task in tasks:
        _check_kind(task, Task, "Each element of `tasks`")
    names = [task.name for task in tasks]
    if not names or len(set(names)) != len(names):
        raise ValueError(
            "A model needs at least one task, and task names must differ. "
            f"Received tasks named: {names}"
        )
    return tasks


def _value_at(factor: float | LearningRateSchedule, step: Any) -> Any:
    if isinstance(factor, LearningRateSchedule):
        return keras.ops.cast(factor(step), "float32")
    return keras.ops.convert_to_tensor(factor, "float32")


def _saved(factor: float | LearningRateSchedule) -> Any:
    if not isinstance(factor, LearningRateSchedule):
        return factor
    return keras.saving.serialize_keras_object(factor)


def _check_kind(value: Any, kind: type, what: str, hint: str = "") -> None:
    if not isinstance(value, kind):
        raise TypeError(
            f"{what} must be a {kind.__module__.split('.')[0]} {kind.__name__} object."
            f"{hint} Received: {value!r} of type {type(value).__name__}"
        )
