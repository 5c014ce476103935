"""How the tasks' gradients lie to each other, followed over the steps of an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.solvers import normalised


@keras.saving.register_keras_serializable(package="mtl_zoo")
class BalancingStatistics(keras.metrics.Metric):
    """Means over steps of the tasks' weights, and of how their gradients lie.

    A pair counts at the steps at which both tasks have a gradient. With the gradients
    `g_i` and `g_j` of unweighted losses: the cosine; the magnitude similarity
    `2 |g_i| |g_j| / (|g_i|^2 + |g_j|^2)`, 1 for equal lengths (Yu et al., 2020,
    definition 2); and the share of steps with a conflict, a cosine below 0. The
    condition number, of the gradients as they are, is the ratio of the largest to the
    smallest singular value (Senushkin et al., 2023, section 3.1), and its mean the
    geometric one.

    Args:
        task_names: Names of the `T` tasks.

    Reference:
        - [Yu et al., 2020](https://arxiv.org/abs/2001.06782)
        - [Senushkin et al., 2023](https://arxiv.org/abs/2305.19000)
    """

    def __init__(
        self, task_names: Sequence[str], name: str = "conflict", **kwargs: Any
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.task_names = tuple(task_names)
        size = len(self.task_names)

        def add(shape: tuple, name: str) -> keras.Variable:
            return self.add_variable(
                shape=shape,
                initializer="zeros",
                dtype="float32",
                aggregation="only_first_replica",
                name=name,
            )

        self.weight_sums = add((size,), "weight_sums")
        self.steps = add((size,), "steps")
        self.pairs = add((size, size), "pairs")
        self.cosines = add((size, size), "cosines")
        self.similarities = add((size, size), "similarities")
        self.conflicts = add((size, size), "conflicts")
        self.log_conditions = add((), "log_conditions")
        self.all_steps = add((), "all_steps")

    def update_state(self, weights: Any, gramian: Any, active: Any) -> None:
        """Add a step.

        Args:
            weights: `(T,)`.
            gramian: `(T, T)`, inner products of the gradients.
            active: `(T,)` bool, which tasks have labels.
        """
        parts = normalised(gramian, active)
        here = ops.cast(parts.present, "float32")
        pairs = ops.expand_dims(here, 0) * ops.expand_dims(here, 1)
        cosines = ops.cast(parts.cosines, "float32") * pairs
        norms = ops.cast(parts.norms, "float32")
        left, right = ops.expand_dims(norms, 0), ops.expand_dims(norms, 1)
        similarity = 2.0 * left * right / (left**2 + right**2) * pairs
        labelled = ops.cast(active, "float32")
        self.weight_sums.assign_add(ops.cast(weights, "float32") * labelled)
        self.steps.assign_add(labelled)
        self.pairs.assign_add(pairs)
        self.cosines.assign_add(cosines)
        self.similarities.assign_add(similarity)
        self.conflicts.assign_add(ops.cast(cosines < 0, "float32"))
        eigenvalues = ops.eigh(
            parts.cosines
            * ops.expand_dims(parts.norms, 0)
            * ops.expand_dims(parts.norms, 1)
        )[0]
        lowest = ops.maximum(
            eigenvalues[0], parts.accuracy * len(self.task_names) * eigenvalues[-1]
        )
        condition = ops.log(eigenvalues[-1] / lowest) / 2.0
        complete = ops.cast(ops.all(parts.present), "float32")
        self.log_conditions.assign_add(ops.cast(condition, "float32") * complete)
        self.all_steps.assign_add(complete)

    def result(self) -> Any:
        """Return the mean share of pairs of different tasks that are in conflict."""
        size = len(self.task_names)
        others = 1.0 - ops.eye(size)
        count = ops.maximum(ops.sum(self.pairs * others), 1.0)
        return ops.sum(self.conflicts * others) / count

    def summary(self) -> dict[str, Any]:
        """Return everything by name, as numbers.

        Returns:
            `{"weights": {task: mean}, "cosine": {pair: mean}, "magnitude_similarity":
            {pair: mean}, "conflict": {pair: share of steps}, "condition_number":
            mean}`, a pair `"a/b"` in the order of the tasks. What was never there is
            left out; the condition number is of steps with a gradient of every task.
        """
        pairs = ops.convert_to_numpy(self.pairs)
        steps = ops.convert_to_numpy(self.steps)
        sums = ops.convert_to_numpy(self.weight_sums)
        found: dict[str, Any] = {
            "weights": {
                name: float(sums[i] / steps[i])
                for i, name in enumerate(self.task_names)
                if steps[i]
            }
        }
        for key, variable in (
            ("cosine", self.cosines),
            ("magnitude_similarity", self.similarities),
            ("conflict", self.conflicts),
        ):
            values = ops.convert_to_numpy(variable)
            found[key] = {
                f"{left}/{right}": float(values[i, j] / pairs[i, j])
                for i, left in enumerate(self.task_names)
                for j, right in enumerate(self.task_names)
                if i < j and pairs[i, j]
            }
        if float(self.all_steps):
            mean = float(self.log_conditions) / float(self.all_steps)
            found["condition_number"] = float(ops.exp(mean))
        return found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "task_names": list(self.task_names)}
