"""The multi-task model: T tasks, one train step, one balancing object."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from mtl_zoo import gradients as grads
from mtl_zoo.balanced_gradients import balanced_gradients
from mtl_zoo.balancing import Balancing, Equal, GradientBalancing, LossBalancing
from mtl_zoo.balancing_statistics import BalancingStatistics
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task, check_tasks
from mtl_zoo.task_loss import task_loss, unpack
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
        # What a callback adds to the penalty while it trains the model.
        self.extra_penalty: Callable[[], Any] | None = None

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

    # What it may write.

    def penalty(self) -> Any:
        """Return what is added to the losses of the tasks, a scalar.

        By default what layers add: regularisers, and `add_loss`. No balancing method
        changes it.
        """
        total = sum(self.losses, ops.zeros(()))
        return total if self.extra_penalty is None else total + self.extra_penalty()

    def after_update(self) -> None:
        """Follow the weights, in the graph, behind each step of the optimizer."""

    def sharing(self) -> Sharing:
        """Return who shares what: the parts of the model, and what reads what."""
        raise NotImplementedError(f"{type(self).__name__} does not describe itself.")

    # What it gets.

    def plot_sharing(
        self, path: str | os.PathLike | None = None, title: str = ""
    ) -> np.ndarray:
        """Draw who shares what, with the weights of what is mixed.

        Blue parts are shared, the others have the colour of their task; negative
        weights are red.

        Args:
            path: PNG file to write. Defaults to `None`: none is written.
            title: Above the picture. Defaults to none.

        Returns:
            uint8 `(height, width, 3)`.

        Raises:
            ImportError: Without matplotlib.
        """
        from mtl_zoo import evaluation

        picture = evaluation.draw_sharing(self.sharing(), title)
        if path is not None:
            evaluation.write_png(picture, path)
        return picture

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

    @property
    def main_tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are results, and are exported."""
        return tuple(task.name for task in self.tasks if task.role == "main")

    def build(self, input_shape: Any) -> None:
        """Create all variables for inputs of `input_shape` (may be nested)."""
        self.compute_output_spec(
            keras.tree.map_shape_structure(
                lambda shape: keras.KerasTensor(shape, self.input_dtype), input_shape
            )
        )
        self.built = True
        self._input_shape = input_shape
        if self.compiled:
            self._build_balancing()

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
            tasks: Names of the tasks wanted. Defaults to the main ones.
        """
        features = self.encode(self.prepare(inputs), training=False)
        chosen = self.wanted(self.main_tasks if tasks is None else tasks)
        outputs = self.decode(features, training=False, tasks=[t.name for t in chosen])
        return {task.name: task.head.decode(outputs[task.name]) for task in chosen}

    def compile(
        self,
        optimizer: Any = "rmsprop",
        balancing: Balancing | None = None,
        train_metrics: bool = False,
        diagnostics: bool = False,
        **kwargs: Any,
    ) -> None:
        """Configure training.

        Args:
            optimizer: Keras optimizer or its name.
            balancing: How the tasks are balanced. Defaults to `Equal()`.
            train_metrics: Whether metrics are also computed on training batches; they
                always are in `evaluate` and validation. Defaults to `False`, since
                some cost as much as a step.
            diagnostics: Whether `balancing_statistics` follows the tasks' weights and
                how their gradients lie to each other, for
                `training.BalancingDiagnostics`. For methods that weigh losses, the
                gradients are those of the last shared layer. Defaults to `False`.
            **kwargs: `jit_compile`, `run_eagerly`, `steps_per_execution` and
                `auto_scale_loss` of `keras.Model.compile`.

        Raises:
            ValueError: When `loss`, `metrics` or `loss_weights` is given.
            TypeError: When `balancing` is not a balancing object.
            ValueError: When it belongs to a model with other tasks, or the optimizer
                can not be used under the distribution strategy in force.
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
        grads.check_optimizer(self.optimizer)
        self._set_balancing(balancing)
        self.train_metrics = train_metrics
        self.diagnostics = diagnostics
        if self.built:
            self._build_balancing()
        self.renew_metrics()

    def renew_metrics(self) -> None:
        """Copy the tasks' metrics afresh, after their settings have changed."""
        self._trackers = Trackers(self.tasks, diagnostics=self.diagnostics)
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

    def _build_balancing(self) -> None:
        """Create the state of the balancing object, once all variables are there."""
        method = self.balancing
        if self._has_adversary and not self.shared_variables:
            raise ValueError(
                "An adversarial task reverses its gradient for what it shares, and "
                f"{type(self).__name__} shares nothing. Take another architecture, or "
                f"leave out the task. Received tasks: {list(self.task_names)}"
            )
        if self._compares_gradients:
            # In a function: Keras takes a list for state that is added too late.
            last = self._last_of_all_tasks()
            self._compared: Callable[[], list] = functools.partial(list, last)
        size = 0
        if isinstance(method, GradientBalancing) and method.whole_gradients:
            size = {
                "last": lambda: grads.size_of(self._compared()),
                "params": lambda: grads.size_of(self.shared_variables),
                "feature": self._feature_channels,
            }[method.level]()
        if not method.built:
            method.build(self.task_names, size)
        elif (method.task_names, method.gradient_size) != (self.task_names, size):
            raise ValueError(
                f"{method} belongs to a model with the tasks {list(method.task_names)} "
                f"and gradients of {method.gradient_size} entries. Expected "
                f"{list(self.task_names)} and {size}. Make a new one."
            )
        optimizer: Any = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if method.trainable_variables and not optimizer.built:
            optimizer.exclude_from_weight_decay(var_list=method.trainable_variables)

    def _last_of_all_tasks(self) -> list[keras.Variable]:
        """The last shared kernels that the output of every task depends on.

        `last_shared_variables`, unless some head reads an earlier feature: it would
        have no gradient there. Then the last kernel before.
        """
        last = list(self.last_shared_variables)
        kernels = [v for v in self.shared_variables if len(v.shape) >= 2]
        candidates = [last, *([kernel] for kernel in reversed(kernels))]
        variables = {id(v): v for group in candidates for v in group}
        reached: list[set[int]] = []

        def trace(inputs: Any) -> None:
            with tf.GradientTape(persistent=True) as tape:
                outputs = self.decode(self.encode(self.prepare(inputs)))
            for name in self.task_names:
                raw = [
                    one
                    for one in keras.tree.flatten(outputs[name])
                    if keras.backend.is_float_dtype(one.dtype.name)
                ]
                found = tape.gradient(raw, list(variables.values()))
                reached.append(
                    {i for i, g in zip(variables, found, strict=True) if g is not None}
                )

        def everywhere(inputs: Any) -> None:
            if tf.distribute.in_cross_replica_context():
                tf.distribute.get_strategy().run(trace, args=(inputs,))
            else:
                trace(inputs)

        tf.function(everywhere).get_concrete_function(self._input_specs())
        for group in candidates:
            ids = {id(variable) for variable in group}
            if group and all(ids & found for found in reached):
                return group
        raise ValueError(
            "No shared layer is read by the heads of all tasks "
            f"{list(self.task_names)}: there is nothing to balance. Use a method that "
            "weighs losses, without diagnostics."
        )

    def _input_specs(self) -> Any:
        return keras.tree.map_shape_structure(
            lambda shape: tf.TensorSpec(shape, self.input_dtype), self._input_shape
        )

    def _feature_channels(self) -> int:
        """How many channels the features have that gradients flow through."""
        encode = tf.function(lambda inputs: self.encode(self.prepare(inputs)))
        features = encode.get_concrete_function(self._input_specs()).structured_outputs
        return sum(
            one.shape[-1]
            for one in keras.tree.flatten(features)
            if keras.backend.is_float_dtype(one.dtype.name)
        )

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        if not self.compiled:
            return []
        return self._trackers.all

    def task_metrics(self, name: str) -> list[keras.metrics.Metric]:
        """Return the metrics of a compiled model's task, which hold their state."""
        return self._trackers.task_metrics[self.task_names.index(name)]

    @property
    def balancing_statistics(self) -> BalancingStatistics:
        """The statistics of this epoch.

        Raises:
            ValueError: When the model is not compiled with `diagnostics=True`.
        """
        if not self.compiled or self._trackers.balancing is None:
            raise ValueError(
                "Nothing is known of the gradients. Compile the model with "
                "compile(..., diagnostics=True)."
            )
        return self._trackers.balancing

    @property
    def primary_metrics(self) -> dict[str, tuple[str, str]]:
        """`{task: (name in the logs, "up" or "down")}` of the main tasks."""
        return {t.name: t.primary_metric for t in self.tasks if t.role == "main"}

    def train_step(self, data: Any) -> dict[str, Any]:
        inputs, labels, weights = unpack(data)
        if not self.built:
            self.build(keras.tree.map_structure(lambda x: tuple(x.shape), inputs))
        split = self._compares_gradients or self._has_adversary
        step_of = self._balanced_gradients if split else self._gradients_of_loss
        variables = self.trainable_variables
        state = self._balancing_state()
        gradients, losses, active = step_of(inputs, labels, weights, variables)
        gradients = grads.summed_over_replicas(gradients)
        self._keep_balancing_state(state, gradients)
        if weights is None and not any(task.has_schedule for task in self.tasks):
            self.optimizer.apply(gradients, variables)
        else:
            self._apply_to_active(gradients, variables, active)
        self.after_update()
        if self.balancing.looks_ahead:
            self._look_ahead(inputs, labels, weights, losses, active)
        shown = list(self._trackers.losses)
        if self.train_metrics:
            shown += self._trackers.metrics
        logs = {metric.name: metric.result() for metric in shown}
        if self.diagnostics:
            logs["conflict"] = self.balancing_statistics.result()
        if getattr(self.balancing, "solver", False):
            logs["unsolved"] = ops.convert_to_tensor(self.balancing.unsolved)
        return logs

    def test_step(self, data: Any) -> dict[str, Any]:
        inputs, labels, weights = unpack(data)
        outputs = self(inputs, training=False)
        losses, active = self._compute_task_losses(labels, outputs, weights, True)
        self._track_total(ops.sum(losses) + self.penalty() / grads.replicas(), active)
        logs = self.get_metrics_result()
        logs.pop("conflict", None)  # of training alone
        return logs

    # Losses.

    def _compute_task_losses(
        self, labels: dict, outputs: dict, weights: dict | None, update_metrics: bool
    ) -> tuple[Any, Any]:
        """Return the weighted losses `(T,)` and which tasks have labels `(T,)`.

        A task whose weight is 0 by now counts as one without.

        The losses are this replica's share of those of the global batch.
        """
        losses, active = [], []
        for index, task in enumerate(self.tasks):
            found = task_loss(task, labels, outputs, weights)
            self._trackers.task_losses[index].update_state(
                found.loss * grads.replicas(),
                sample_weight=found.items * ops.cast(found.labelled, "float32"),
            )
            if update_metrics:
                for metric in self._trackers.task_metrics[index]:
                    metric.update_state(
                        found.label, outputs[task.name], sample_weight=found.weight
                    )
            if task.has_schedule:
                weight = task.weight_at(self.optimizer.iterations)
                losses.append(weight * found.loss)
                active.append(ops.logical_and(found.labelled, weight > 0))
            else:
                losses.append(task.weight * found.loss)
                active.append(found.labelled)
        return ops.stack(losses), ops.stack(active)

    def _track_total(self, total: Any, active: Any) -> None:
        self._trackers.loss.update_state(
            total * grads.replicas(), sample_weight=ops.any(active)
        )

    # Gradients.

    @property
    def _compares_gradients(self) -> bool:
        return self.diagnostics or isinstance(self.balancing, GradientBalancing)

    @property
    def _has_adversary(self) -> bool:
        return any(task.role == "adversarial" for task in self.tasks)

    def _gradients_of_loss(
        self, inputs: Any, labels: dict, weights: dict | None, variables: list
    ) -> tuple[list, Any, Any]:
        """One backward pass through the weighted sum of the losses."""
        with tf.GradientTape() as tape:
            outputs = self(inputs, training=True)
            losses, active = self._compute_task_losses(
                labels, outputs, weights, self.train_metrics
            )
            whole = grads.sum_over_replicas(tf.stop_gradient(losses))
            task_weights, own = self._weights_of_losses(whole, active)
            penalty = self.penalty() / grads.replicas()
            weighted = ops.sum(tf.stop_gradient(task_weights) * losses)
            scaled = self.optimizer.scale_loss(weighted + penalty)
        self._track_total(weighted + penalty, active)
        gradients = tape.gradient(scaled, variables)
        return _with(gradients, variables, own), whole, active

    def _weights_of_losses(self, losses: Any, active: Any) -> tuple[Any, dict]:
        """Return the weights of the (global) losses, and the method's own gradients.

        The weights are the derivatives of the method's total by the losses: it may be
        any function of the losses of the global batch, of which a replica has a part.
        """
        own = self.balancing.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch(losses)
            total = self.balancing.total(losses, active)
            scaled = self.optimizer.scale_loss(total) / grads.replicas()
        weights, *slopes = tape.gradient(
            scaled,
            [losses, *own],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        unscaled = weights * grads.replicas() / self.optimizer.scale_loss(1.0)
        return unscaled, {id(v): g for v, g in zip(own, slopes, strict=True)}

    def _balanced_gradients(
        self, inputs: Any, labels: dict, weights: dict | None, variables: list
    ) -> tuple[list, Any, Any]:
        """Heads once, then the trunk with the balanced cotangent.

        Every head learns from its own task's gradient, times the weight that a method
        gives its loss; the shared variables from the combination that the balancing
        object chooses. The gradient of an adversarial task is reversed between the two,
        so that the method sees what the shared variables get.
        """
        scale = self.optimizer.scale_loss
        shared = self.shared_variables
        own = [self.task_variables(name) for name in self.task_names]
        with tf.GradientTape(persistent=True) as tape:
            features = self.encode(self.prepare(inputs), training=True)
            flat = keras.tree.flatten(features)
            # The heads read copies, so that the cotangent of one feature does not hold
            # what flows through another that is computed from it.
            seen = [tf.identity(feature) for feature in flat]
            outputs = self.decode(
                keras.tree.pack_sequence_as(features, seen), training=True
            )
            losses, active = self._compute_task_losses(
                labels, outputs, weights, self.train_metrics
            )
            scaled = [scale(loss) for loss in ops.unstack(losses, len(self.tasks))]
            penalty = self.penalty() / grads.replicas()
            scaled_penalty = scale(penalty)
        whole = grads.sum_over_replicas(tf.stop_gradient(losses))
        of_losses: Any = None
        gradients: dict[int, Any] = {}
        if isinstance(self.balancing, LossBalancing):
            of_losses, gradients = self._weights_of_losses(whole, active)
        shown = losses if of_losses is None else of_losses * losses
        self._track_total(ops.sum(shown) + penalty, active)

        cotangents: list[list] = []
        for index, (loss, task_variables) in enumerate(zip(scaled, own, strict=True)):
            found = tape.gradient(loss, seen + task_variables)
            cotangents.append(self._reversed(self.tasks[index], found[: len(seen)]))
            for variable, gradient in zip(
                task_variables, found[len(seen) :], strict=True
            ):
                if of_losses is not None and gradient is not None:
                    gradient = grads.times(gradient, of_losses[index])
                gradients[id(variable)] = grads.add(
                    gradients.get(id(variable)), gradient
                )

        combined, task_weights, gramian = balanced_gradients(
            tape,
            self.balancing if of_losses is None else of_losses,
            features=flat,
            copies=seen,
            cotangents=cotangents,
            variables=shared,
            last_variables=self._compared() if self._compares_gradients else None,
            losses=whole,
            active=active,
            scale=scale(1.0),
        )
        if self.diagnostics:
            self.balancing_statistics.update_state(task_weights, gramian, active)
        gradients.update({id(v): g for v, g in zip(shared, combined, strict=True)})
        found = [gradients.get(id(variable)) for variable in variables]
        extra = tape.gradient(scaled_penalty, variables)
        found = [grads.add(a, b) for a, b in zip(found, extra, strict=True)]
        return found, whole, active

    def _reversed(self, task: Task, cotangents: list) -> list:
        """Return the cotangents of the features as the shared variables get them."""
        if task.role != "adversarial":
            return cotangents
        factor = -task.reversal_at(self.optimizer.iterations)
        return [
            None if c is None else tf.cast(factor * tf.cast(c, tf.float32), c.dtype)
            for c in cotangents
        ]

    def _look_ahead(
        self, inputs: Any, labels: dict, weights: dict | None, before: Any, active: Any
    ) -> None:
        """Show the balancing object the losses of the batch behind the update."""
        outputs = self(inputs, training=True)
        step = self.optimizer.iterations - 1  # the one that `before` is of
        losses = [
            task.weight_at(step) * task_loss(task, labels, outputs, weights).loss
            for task in self.tasks
        ]
        after = grads.sum_over_replicas(ops.stack(losses))
        self.balancing.after_step(before, after, active)

    def _balancing_state(self) -> list | None:
        """The balancing object's state, where an overflow may spoil it."""
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            return None
        return [tf.identity(v.value) for v in self.balancing.non_trainable_variables]

    def _keep_balancing_state(self, before: list | None, gradients: list) -> None:
        """Take back what a step with infinite gradients did to the state."""
        if before is None:
            return
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None]
        )
        for variable, value in zip(
            self.balancing.non_trainable_variables, before, strict=True
        ):
            grads.assign(variable, tf.where(finite, variable.value, value))

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
            if self.built and not self.optimizer.built:
                # Variables made inside of the step would have it traced twice.
                with self.distribute_strategy.scope():
                    self.optimizer.build(self.trainable_variables)
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
            "diagnostics": self.diagnostics,
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


def _with(gradients: list, variables: list, own: dict[int, Any]) -> list:
    """Return the gradients, those of some variables replaced."""
    return [
        own.get(id(variable), gradient)
        for variable, gradient in zip(variables, gradients, strict=True)
    ]
