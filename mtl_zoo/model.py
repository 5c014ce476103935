"""The multi-task model: T tasks, one train step, one balancing object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mtl_zoo import gradients as grads
from mtl_zoo.balanced_gradients import balanced_gradients
from mtl_zoo.balancing import Balancing, Equal, GradientBalancing, LossBalancing
from mtl_zoo.partial_labels import fill_absent, item_weights
from mtl_zoo.task import Task, check_tasks
from mtl_zoo.trackers import Trackers


class MultiTaskModel(keras.Model):
    """Base of all architectures.

    A subclass writes `encode` (inputs to the shared representation), `decode`
    (representation to raw outputs), `shared_variables`, `last_shared_variables` and
    `task_variables`; it gets training, evaluation and serialisation.

    Training data is `(inputs, {task: label})` or
    `(inputs, {task: label}, {task: weight})`; see `mtl_zoo.partial_labels`. Labels of
    tasks that the model does not have are ignored. With weight `w`, loss values `v`
    and item counts `c`, the loss of a task is `sum(w v) / sum(w c)` over the global
    batch, and a task without one label in it adds nothing and moves nothing.

    Args:
        tasks: The tasks; `task_names` keeps their order, which every `(T,)` array has.

    Raises:
        ValueError: When tasks are missing or share a name.
    """

    def __init__(self, tasks: Iterable[Task], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tasks = check_tasks(tasks)
        self.task_names = tuple(task.name for task in self.tasks)
        self.heads = [task.head for task in self.tasks]
        # Kept up to date for `mtl_zoo.training.Resume`, which saves and sets them.
        self.live_iterator: Any = None
        self.train_function: Any = None
        self.test_function: Any = None
        self.restore_iterator_from: str | None = None

    # What an architecture writes.

    def prepare(self, inputs: Any) -> Any:
        """Return what `encode` takes, from what users have, such as strings.

        Inputs that are prepared already, and those of models that need no
        preparation, come back as they are.
        """
        return inputs

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the shared features by name."""
        raise NotImplementedError

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        """Return `{task: raw output}` of the features that `encode` gave.

        For the named tasks alone, where the architecture can leave the others out;
        `wanted(tasks)` gives them. Defaults to all.
        """
        raise NotImplementedError

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """Trainable variables that more than one task uses."""
        raise NotImplementedError

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """Kernels of the last shared layer, where gradients are compared cheaply."""
        raise NotImplementedError

    def task_variables(self, name: str) -> list[keras.Variable]:
        """Trainable variables that only the task `name` uses."""
        raise NotImplementedError

    # What it gets.

    def task(self, name: str) -> Task:
        """Return the task called `name`."""
        for task in self.tasks:
            if task.name == name:
                return task
        raise ValueError(
            f"The model has the tasks {list(self.task_names)}. Received: {name!r}"
        )

    def wanted(self, names: Iterable[str] | None = None) -> tuple[Task, ...]:
        """Return the named tasks in the model's order, all for `None`.

        Raises:
            ValueError: When there is no task of one of the names.
        """
        if names is None:
            return self.tasks
        chosen = {self.task(name).name for name in names}
        return tuple(task for task in self.tasks if task.name in chosen)

    def build(self, input_shape: Any) -> None:
        """Create all variables for inputs of `input_shape` (may be nested)."""
        self.compute_output_spec(
            keras.tree.map_shape_structure(
                lambda shape: keras.KerasTensor(shape, self.input_dtype), input_shape
            )
        )
        self.built = True

    @property
    def input_dtype(self) -> str:
        """What users' inputs consist of: `"float32"`, or `"string"` for texts."""
        return "float32"

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        features = self.encode(self.prepare(inputs), training=training)
        return self.decode(features, training=training)

    def predict_tasks(
        self, inputs: Any, tasks: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Return `{task: decoded output}`, one pass for all tasks.

        Args:
            inputs: What the model takes.
            tasks: Names of the tasks wanted. Defaults to all.
        """
        features = self.encode(self.prepare(inputs), training=False)
        chosen = self.wanted(tasks)
        outputs = self.decode(features, training=False, tasks=[t.name for t in chosen])
        return {task.name: task.head.decode(outputs[task.name]) for task in chosen}

    def compile(
        self,
        optimizer: Any = "rmsprop",
        balancing: Balancing | None = None,
        train_metrics: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: Keras optimizer or its name.
            balancing: How the tasks are balanced. Defaults to `Equal()`.
            train_metrics: Whether metrics are also computed on training batches; they
                always are in `evaluate` and validation. Defaults to `False`, since
                some cost as much as a step.
            **kwargs: `jit_compile`, `run_eagerly`, `steps_per_execution` and
                `auto_scale_loss` of `keras.Model.compile`.

        Raises:
            ValueError: When `loss`, `metrics` or `loss_weights` is given.
            TypeError: When `balancing` is not a balancing object.
        """
        for name in ("loss", "metrics", "weighted_metrics", "loss_weights"):
            if name in kwargs:
                raise ValueError(
                    "A multi-task model takes its losses, metrics and weights from "
                    "its tasks, not from compile(). Received: "
                    f"{name}={kwargs[name]!r}. "
                    "Give it to the Task instead."
                )
        balancing = Equal() if balancing is None else balancing
        if not isinstance(balancing, LossBalancing | GradientBalancing):
            raise TypeError(
                "`balancing` must be an object of mtl_zoo.balancing, such as Equal(). "
                f"Received: {balancing!r} of type {type(balancing).__name__}"
            )
        super().compile(optimizer=optimizer, **kwargs)
        if not balancing.built:
            balancing.build(len(self.tasks))
        self._set_balancing(balancing)
        self.train_metrics = train_metrics
        self.renew_metrics()

    def renew_metrics(self) -> None:
        """Copy the tasks' metrics afresh, after their settings have changed."""
        self._trackers = Trackers(self.tasks)
        self.train_function = self.test_function = None

    def _set_balancing(self, balancing: Balancing) -> None:
        """Track the balancing layer, in place of the one of an earlier compile().

        Keras locks the layers of a model once it is built.
        """
        self._tracker.unlock()
        if hasattr(self, "balancing"):
            self._tracker.untrack(self.balancing)
        self.balancing: Balancing = balancing
        if self.built:
            self._tracker.lock()

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled:
            return []
        return [*self._trackers.losses, *self._trackers.metrics]

    def task_metrics(self, name: str) -> list[keras.metrics.Metric]:
        """Return the metrics of a compiled model's task, which hold their state."""
        return self._trackers.task_metrics[self.task_names.index(name)]

    @property
    def primary_metrics(self) -> dict[str, tuple[str, str]]:
        """`{task: (name in the logs, "up" or "down")}` of the main tasks."""
        return {t.name: t.primary_metric for t in self.tasks if t.role == "main"}

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, labels, weights = _unpack(data)
        if not self.built:
            self.build(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        gradients_of = (
            self._gradients_of_loss
            if isinstance(self.balancing, LossBalancing)
            else self._balanced_gradients
        )
        variables = self.trainable_variables
        gradients, active = gradients_of(inputs, labels, weights, variables)
        if weights is None:
            self.optimizer.apply(gradients, variables)
        else:
            self._apply_to_active(gradients, variables, active)
        shown = self.metrics if self.train_metrics else self._trackers.losses
        return {metric.name: metric.result() for metric in shown}

    def test_step(self, data: Any) -> dict[str, Any]:
        inputs, labels, weights = _unpack(data)
        outputs = self(inputs, training=False)
        losses, active = self._compute_task_losses(labels, outputs, weights, True)
        self._track_total(ops.sum(losses) + self._penalty(), active)
        return self.get_metrics_result()

    # Losses.

    def _compute_task_losses(
        self, labels: dict, outputs: dict, weights: dict | None, update_metrics: bool
    ) -> tuple[Any, Any]:
        """Return the weighted losses `(T,)` and which tasks have labels `(T,)`."""
        losses, active = [], []
        for index, task in enumerate(self.tasks):
            label = _of_task(labels, task.name, "label")
            weight = None if weights is None else weights.get(task.name)
            if weight is not None:
                label = fill_absent(label, weight)
            values = ops.cast(task.loss.call(label, outputs[task.name]), "float32")
            weight = item_weights(weight, values)
            count = getattr(task.loss, "count", None)
            items = ops.sum(
                weight if count is None else weight * count(label, outputs[task.name])
            )
            items = grads.sum_over_replicas(items)
            labelled = grads.sum_over_replicas(ops.sum(weight)) > 0
            items = ops.where(items > 0, items, 1.0)
            loss = ops.sum(ops.where(weight > 0, weight * values, 0.0)) / items
            self._trackers.task_losses[index].update_state(
                loss * grads.replicas(),
                sample_weight=items * ops.cast(labelled, "float32"),
            )
            if update_metrics:
                for metric in self._trackers.task_metrics[index]:
                    metric.update_state(label, outputs[task.name], sample_weight=weight)
            losses.append(task.weight * loss)
            active.append(labelled)
        return ops.stack(losses), ops.stack(active)

    def _penalty(self) -> Any:
        """The regularisation losses of all layers, shared out over the replicas."""
        return sum(self.losses, ops.zeros(())) / grads.replicas()

    def _track_total(self, total: Any, active: Any) -> None:
        self._trackers.loss.update_state(
            total * grads.replicas(), sample_weight=ops.any(active)
        )

    # Gradients.

    def _gradients_of_loss(
        self, inputs: Any, labels: dict, weights: dict | None, variables: list
    ) -> tuple[list, Any]:
        """One backward pass through the weighted sum of the losses."""
        with tf.GradientTape() as tape:
            outputs = self(inputs, training=True)
            losses, active = self._compute_task_losses(
                labels, outputs, weights, self.train_metrics
            )
            total = self.balancing.total(losses, active) + self._penalty()
            scaled = self.optimizer.scale_loss(total)
        self._track_total(total, active)
        return tape.gradient(scaled, variables), active

    def _balanced_gradients(
        self, inputs: Any, labels: dict, weights: dict | None, variables: list
    ) -> tuple[list, Any]:
        """Heads once, then the trunk with the balanced cotangent.

        Every head learns from its own task's gradient; the shared variables from the
        combination that the balancing object chooses.
        """
        scale = self.optimizer.scale_loss
        shared = self.shared_variables
        own = [self.task_variables(name) for name in self.task_names]
        with tf.GradientTape(persistent=True) as tape:
            features = self.encode(self.prepare(inputs), training=True)
            flat = keras.tree.flatten(features)
            # Copies, so that a cotangent holds what heads read directly, not what
            # reaches a feature by way of a later one.
            seen = [tf.identity(feature) for feature in flat]
            outputs = self.decode(
                keras.tree.pack_sequence_as(features, seen), training=True
            )
            losses, active = self._compute_task_losses(
                labels, outputs, weights, self.train_metrics
            )
            scaled = [scale(loss) for loss in ops.unstack(losses, len(self.tasks))]
            penalty = self._penalty()
            scaled_penalty = scale(penalty)
        self._track_total(ops.sum(losses) + penalty, active)

        cotangents: list[list] = []
        gradients: dict[int, Any] = {}
        for loss, task_variables in zip(scaled, own, strict=True):
            found = tape.gradient(loss, seen + task_variables)
            cotangents.append(found[: len(seen)])
            for variable, gradient in zip(
                task_variables, found[len(seen) :], strict=True
            ):
                gradients[id(variable)] = grads.add(
                    gradients.get(id(variable)), gradient
                )

        combined = balanced_gradients(
            tape,
            self.balancing,
            features=flat,
            copies=seen,
            cotangents=cotangents,
            variables=shared,
            last_variables=self.last_shared_variables,
            active=active,
        )
        for variable, gradient in zip(shared, combined, strict=True):
            gradients[id(variable)] = gradient
        if self.losses:
            extra = tape.gradient(scaled_penalty, variables)
            for variable, gradient in zip(variables, extra, strict=True):
                gradients[id(variable)] = grads.add(
                    gradients.get(id(variable)), gradient
                )
        return [gradients.get(id(variable)) for variable in variables], active

    def _apply_to_active(self, gradients: list, variables: list, active: Any) -> None:
        """Apply an update, then undo it for the variables of absent tasks.

        Momentum and weight decay would move a head whose gradient is zero.
        """
        before = [
            [
                (variable, tf.identity(variable.value))
                for variable in self.task_variables(name)
            ]
            for name in self.task_names
        ]
        self.optimizer.apply(gradients, variables)
        for present, pairs in zip(
            ops.unstack(active, len(self.tasks)), before, strict=True
        ):
            for variable, value in pairs:
                grads.assign(variable, tf.where(present, variable.value, value))

    # Data position and serialisation.

    def make_train_function(self, force: bool = False) -> Any:
        """Keep the iterator in sight: its position can be saved and restored."""
        if self.train_function is None or force:
            super().make_train_function(force=True)
            step = self.train_function

            def function(iterator: Any) -> Any:
                if self.restore_iterator_from is not None:
                    path, self.restore_iterator_from = self.restore_iterator_from, None
                    tf.train.Checkpoint(iterator=iterator).read(path).assert_consumed()
                self.live_iterator = iterator
                return step(iterator)

            self.train_function = function
        return self.train_function

    def get_compile_config(self) -> dict[str, Any] | None:
        if not self.compiled:
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "optimizer": serialize(self.optimizer),
            "balancing": serialize(self.balancing),
            "train_metrics": self.train_metrics,
            "jit_compile": self.jit_compile,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config: dict[str, Any] | None) -> None:
        if not config:
            return
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**config)
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "tasks": [task.get_config() for task in self.tasks]}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MultiTaskModel:
        return cls(
            **{**config, "tasks": [Task.from_config(t) for t in config["tasks"]]}
        )


def _unpack(data: Any) -> tuple[Any, dict, dict | None]:
    inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
    for value, what in ((labels, "labels"), (weights, "weights")):
        if not isinstance(value, dict) and not (value is None and what == "weights"):
            raise TypeError(
                f"A multi-task model trains on (inputs, {{task: label}}) or (inputs, "
                f"{{task: label}}, {{task: weight}}). Received {what} of type "
                f"{type(value).__name__}."
            )
    return inputs, labels, weights


def _of_task(labels: dict, name: str, what: str) -> Any:
    if name not in labels:
        raise ValueError(
            f"The data has no {what} for task {name!r}: expected the key {name!r} "
            f"among {sorted(labels)}. Where it is missing for some samples only, give "
            "any value there and weight 0."
        )
    return labels[name]
