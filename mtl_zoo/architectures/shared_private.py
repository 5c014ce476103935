"""A shared trunk, and a private one of each task beside it, kept apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.architectures.copies import copy_of, start_alike
from mtl_zoo.architectures.on_trunk import BETWEEN, OnTrunk, features_of
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SharedPrivate(OnTrunk):
    """Heads read a shared trunk's features and those of a private one side by side.

    A penalty keeps the private trunk of a task from saying what the shared one says;
    an adversarial task has no private trunk and reads the shared features alone, from
    which its reversed gradient takes what it could tell the tasks apart by.

    The penalty is `orthogonality * sum_k |S^T H_k|^2 / batch^2`, where `S` and `H_k`
    `(batch, channels)` are the shared and the private features of task `k` for all rows
    of a batch, each row scaled to length 1, and the norm is Frobenius's: it is between
    0 and `orthogonality` times the number of private trunks, whatever the batch and the
    size of the features.

    Args:
        trunk: The shared `Trunk`; the private ones are copies.
        tasks: The tasks. Those that are not adversarial have a private trunk.
        orthogonality: Factor on the penalty, at least 0. Defaults to `0.01`.
        feature: Name of the feature, of the trunk or its neck, that the penalty is on,
            its mean over positions where it has any. Defaults to `None`: that of the
            last stage. Of a text trunk, `"sentence"` leaves out padding.
        same_start: Whether the copies take the trunk's weights too, as they must when
            those are pretrained; else they are initialised anew. Defaults to `True`.
        name: Optional name of the model.

    Attributes:
        private: The private trunks, `{task name: Trunk}`.

    Inputs:
        What the trunk takes.

    Returns:
        `{task name: raw output of its head}`. Features have twice the trunk's channels
        for all but adversarial tasks.

    Raises:
        ValueError: When there is no such feature, or `orthogonality` is negative.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_1"),
        ...         keras.losses.MeanSquaredError(),
        ...         role=role,
        ...     )
        ...     for name, role in (("height", "main"), ("age", "adversarial"))
        ... ]
        >>> model = SharedPrivate(mtl.trunks.mlp([8]), tasks)
        >>> model.build((None, 3))
        >>> {t.name: tuple(t.head.output_map.kernel.shape) for t in tasks}
        {'height': (16, 1), 'age': (8, 1)}

    Differences from the paper:
        Any trunk stands for the LSTMs. Features are scaled and the penalty divided as
        above; the paper sums over what the batches of each task give, here every
        private trunk sees every batch. Under methods that balance gradients at the
        level `"feature"`, private features count as the task's own.

    Reference:
        - [Liu et al., 2017](https://arxiv.org/abs/1704.05742)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        orthogonality: float = 0.01,
        feature: str | None = None,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if orthogonality < 0:
            raise ValueError(
                "`orthogonality` must not be negative. "
                f"Received: orthogonality={orthogonality}"
            )
        self.orthogonality = orthogonality
        self.feature = feature
        self.same_start = same_start
        self.private = {
            task.name: copy_of(trunk, f"{trunk.name}_{task.name}")
            for task in self.tasks
            if task.role != "adversarial"
        }
        self.overlap = Overlap(orthogonality, name="overlap")

    def build(self, input_shape: Any) -> None:
        first_time = not self.built
        super().build(input_shape)
        if first_time and self.same_start:
            start_alike(self.whole, self.private.values())

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the shared features, and private ones named `<task>__<feature>`."""
        given = dict(inputs) if isinstance(inputs, Mapping) else {}
        shared = self.whole(inputs, training=training)
        private = {
            name: trunk(inputs, training=training)
            for name, trunk in self.private.items()
        }
        if self.orthogonality and private:
            name = self.feature or list(self.whole.stages)[-1]
            if name not in shared:
                raise ValueError(
                    f"`feature` must be one of {list(shared)}. Received: {name!r}"
                )
            self.overlap([shared[name], *(own[name] for own in private.values())])
        named = {
            f"{name}{BETWEEN}{key}": x
            for name, own in private.items()
            for key, x in own.items()
            if _is_float(x)
        }
        return {**given, **shared, **named}

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        shared = {name: x for name, x in features.items() if BETWEEN not in name}
        outputs = {}
        for task in self.wanted(tasks):
            own = features_of(task.name, features)
            both = {
                key: ops.concatenate([shared[key], x], axis=-1)
                for key, x in own.items()
            }
            outputs[task.name] = task.head({**shared, **both}, training=training)
        return outputs

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return self.whole.trainable_variables

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return self.whole.last_shared_variables

    def task_variables(self, name: str) -> list[keras.Variable]:
        own = self.private[name].trainable_variables if name in self.private else []
        return [*own, *self.task(name).head.trainable_variables]

    def sharing(self) -> Sharing:
        found, stages = Sharing(self.task_names), tuple(self.whole.stages)
        row = len(self.tasks)
        start = found.add("inputs", "inputs", 0, row / 2)
        shared = found.add_chain(stages, start, 1, row, prefix="shared/")
        last = [
            found.add_chain(stages, start, 1, number, f"{name}/", name)
            if name in self.private
            else shared
            for number, name in enumerate(self.task_names)
        ]
        found.add_heads(last, len(stages) + 1)
        for name in self.task_names:
            found.read(shared, f"head_{name}")
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "orthogonality": self.orthogonality,
            "feature": self.feature,
            "same_start": self.same_start,
        }


class Overlap(keras.layers.Layer):
    """Adds a loss for what private features have in common with shared ones.

    Args:
        strength: Factor on the loss.

    Call arguments:
        features: The shared features and those of each private trunk, `(batch, ...,
            channels)`.
    """

    def __init__(self, strength: float, **kwargs: Any) -> None:
        super().__init__(**kwargs, dtype="float32")
        self.strength = strength

    def build(self, input_shape: Any) -> None:
        """Builds nothing: there are no variables."""

    def call(self, features: list) -> Any:
        """Returns the shared features as rows of length 1, `(batch, channels)`."""
        shared, *private = (_rows(feature) for feature in features)
        self.add_loss(self.strength * sum(overlap(shared, own) for own in private))
        return shared


def overlap(shared: Any, private: Any) -> Any:
    """Return `|shared^T private|^2 / batch^2` of rows `(batch, channels)`, a scalar.

    Example:
        >>> rows = ops.array([[1.0, 0.0], [0.0, 1.0]])
        >>> float(overlap(rows, rows)), float(overlap(rows[:1], rows[1:]))
        (0.5, 1.0)
    """
    rows = ops.cast(ops.maximum(ops.shape(shared)[0], 1), shared.dtype)
    product = ops.matmul(ops.transpose(shared), private)
    return ops.sum(ops.square(product / rows))


def _rows(feature: Any) -> Any:
    """Return the mean over positions, scaled to length 1, float32."""
    feature = ops.cast(feature, "float32")
    if len(feature.shape) > 2:
        feature = ops.mean(feature, axis=tuple(range(1, len(feature.shape) - 1)))
    return ops.normalize(feature, axis=-1, epsilon=1e-6)


def _is_float(x: Any) -> bool:
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))
