"""Deep relationship networks: layers of each task, related by a prior on weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mtl_zoo import gradients as grads
from mtl_zoo.architectures.hard_sharing import HardSharing
from mtl_zoo.heads.head import Head
from mtl_zoo.priors import Prior, TensorNormal
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DeepRelationship(HardSharing):
    """Each task has fully connected layers of its own on the shared trunk.

    The kernels that the tasks have in one layer are a tensor, of inputs, outputs and
    tasks, and a prior on it relates the tasks to each other (Long et al., 2017, who
    call these multilinear relationship networks; equation 3 for the prior, 6 for the
    objective). The last of the layers is that of the heads. Where heads have different
    numbers of outputs, there are no tasks to stack: the prior is then on the matrix of
    the inputs and all outputs side by side, and knows relations of the inputs alone.

    Args:
        trunk: The shared `Trunk`.
        tasks: The tasks. Their heads read `feature`, and have an `output_kernel`.
        feature: Name of the trunk's feature that the layers read, `(batch, ...,
            channels)`; the heads find the last layer's outputs under this name.
        units: Width of each hidden layer. Defaults to none: the heads are related.
        activation: Of the hidden layers. Defaults to `"relu"`.
        dropout: Behind each hidden layer. Defaults to `0.0`.
        prior: Prior on the kernels of a layer; each layer gets a copy. Defaults to
            `None`: `TensorNormal()`.
        strength: Factor on the negative log prior. `1 / N` makes training look for the
            most probable weights, given `N` labels a task and losses that are negative
            log-likelihoods. Like everything else, it moves nothing of a task that has
            no label in the batch. With `0.0` the priors follow the weights and change
            nothing. Defaults to `1e-3`.
        update_every: Steps between two updates of the prior. Defaults to `10`.
        same_start: Whether the kernels of all tasks start equal in each layer, as they
            do where layers are pretrained; else a hidden unit of one task has nothing
            to do with that of another under the same number, and neither have the
            tensor's slices. Defaults to `True`.
        zero_heads: Whether the kernels of the heads start at 0. How alike the tasks are
            found to be in that layer is then what their labels say, and not how they
            started. Defaults to `False`.
        name: Optional name of the model.

    Attributes:
        layer_names: Names of the related layers, `hidden_1`, ..., `heads`.

    Raises:
        ValueError: When a head has no kernel to relate or reads another feature, or a
            number is out of range.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_1"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("north", "south", "west")
        ... ]
        >>> trunk = mtl.trunks.mlp([8])
        >>> model = DeepRelationship(trunk, tasks, "layer_1", units=[4])
        >>> model.build((None, 3))
        >>> model.prior("hidden_1").correlation(2).shape
        (3, 3)

    Reference:
        - [Long et al., 2017](https://arxiv.org/abs/1506.02117)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        feature: str,
        units: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        prior: Prior | None = None,
        strength: float = 1e-3,
        update_every: int = 10,
        same_start: bool = True,
        zero_heads: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        units = tuple(units)
        if units and min(units) < 1:
            raise ValueError(f"`units` must be positive. Received: units={units}")
        if strength < 0:
            raise ValueError(
                f"`strength` must not be negative. Received: strength={strength}"
            )
        if update_every < 1:
            raise ValueError(
                "`update_every` must be at least 1. Received: "
                f"update_every={update_every}"
            )
        for task in self.tasks:
            if not isinstance(task.head, Head) or not _has_kernel(task.head):
                raise ValueError(
                    "The heads of related tasks need an `output_kernel`, as "
                    "heads.Classification and heads.Regression have one. Received: "
                    f"{type(task.head).__name__} of task {task.name!r}"
                )
            if getattr(task.head, "feature", feature) != feature:
                raise ValueError(
                    f"Expected heads that read `feature`, {feature!r}, which is what "
                    "the layers of their tasks give. Received: a head that reads "
                    f"{task.head.feature!r}, of task {task.name!r}"
                )
        self.feature = feature
        self.units = units
        self.activation = activation
        self.dropout = dropout
        self.strength = strength
        self.update_every = update_every
        self.same_start = same_start
        self.zero_heads = zero_heads
        self.towers = [
            [
                keras.layers.Dense(width, activation, name=f"{task.name}_hidden_{i}")
                for i, width in enumerate(units, start=1)
            ]
            for task in self.tasks
        ]
        self.drop = keras.layers.Dropout(dropout)
        self.layer_names = (*(f"hidden_{i}" for i in range(1, len(units) + 1)), "heads")
        self.start_prior = TensorNormal() if prior is None else prior
        self.priors: list[Prior] = []

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        if self.priors:
            return
        for kernels in self._kernels() if self.same_start else ():
            for kernel in kernels[1:]:
                if kernel.shape == kernels[0].shape:
                    kernel.assign(kernels[0])
        for kernel in self._kernels()[-1] if self.zero_heads else ():
            kernel.assign(ops.zeros_like(kernel))
        for name, weights in zip(self.layer_names, self._stacks(), strict=True):
            start = self.start_prior
            copied = start.copy if len(weights.shape) == 3 else start.of_inputs
            self.priors.append(copied(f"prior_{name}"))
            self.priors[-1].build(tuple(weights.shape))

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        outputs = {}
        for task in self.wanted(tasks):
            x = features[self.feature]
            for dense in self.towers[self.task_names.index(task.name)]:
                x = self.drop(dense(x), training=training)
            outputs[task.name] = task.head(
                {**features, self.feature: x}, training=training
            )
        return outputs

    def prior(self, layer: str) -> Prior:
        """Return the prior of a layer of `layer_names`."""
        if layer not in self.layer_names:
            raise ValueError(
                f"`layer` must be one of {self.layer_names}. Received: {layer!r}"
            )
        return self.priors[self.layer_names.index(layer)]

    def penalty(self) -> Any:
        if not self.strength:
            return super().penalty()
        log_priors = [
            ops.cast(prior(weights), "float32")
            for prior, weights in zip(self.priors, self._stacks(), strict=True)
        ]
        others = ops.cast(super().penalty(), "float32")
        return others + self.strength * sum(log_priors)

    def after_update(self) -> None:
        """Update the priors, every `update_every` steps."""
        state = [v for prior in self.priors for v in prior.non_trainable_variables]
        if not state:
            return

        def updated() -> list:
            pairs = zip(self.priors, self._stacks(), strict=True)
            return [v for prior, weights in pairs for v in prior.updated(weights)]

        def same() -> list:
            return [ops.convert_to_tensor(variable) for variable in state]

        steps = ops.convert_to_tensor(self.optimizer.iterations)
        due = (steps > 0) & (steps % self.update_every == 0)
        for variable, value in zip(state, tf.cond(due, updated, same), strict=True):
            grads.assign(variable, value)

    def sharing(self) -> Sharing:
        found, count = Sharing(self.task_names), len(self.tasks)
        start = found.add("inputs", "inputs", 0, middle(count))
        names = list(self.trunk.stages)
        read = names.index(self.feature) + 1 if self.feature in names else len(names)
        last = found.add_chain(names[:read], start, 1, middle(count))
        layers = self.layer_names[:-1]
        ends = [
            found.add_chain(layers, last, read + 1, row, f"{name}/", name)
            for row, name in enumerate(self.task_names)
        ]
        found.add_heads(ends, read + len(layers) + 1)
        return found

    def task_variables(self, name: str) -> list[keras.Variable]:
        tower = self.towers[self.task_names.index(name)]
        own = [v for dense in tower for v in dense.trainable_variables]
        return own + super().task_variables(name)

    def _kernels(self) -> list[list[keras.Variable]]:
        """The kernels of all tasks in each related layer."""
        hidden = [
            [dense.kernel for dense in each] for each in zip(*self.towers, strict=True)
        ]
        return [*hidden, [task.head.output_kernel for task in self.tasks]]

    def _stacks(self) -> list[Any]:
        """The tensor of weights of each related layer."""
        return [_side_by_side(kernels) for kernels in self._kernels()]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "feature": self.feature,
            "units": self.units,
            "activation": self.activation,
            "dropout": self.dropout,
            "prior": keras.saving.serialize_keras_object(self.start_prior),
            "strength": self.strength,
            "update_every": self.update_every,
            "same_start": self.same_start,
            "zero_heads": self.zero_heads,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DeepRelationship:
        prior = keras.saving.deserialize_keras_object(config["prior"])
        return super().from_config({**config, "prior": prior})


def _side_by_side(kernels: list[keras.Variable]) -> Any:
    """The kernels of all tasks as one tensor, or their outputs as one matrix."""
    if len({kernel.shape for kernel in kernels}) > 1:
        return ops.concatenate(kernels, axis=-1)
    stacked = ops.stack([ops.convert_to_tensor(kernel.value) for kernel in kernels])
    return ops.moveaxis(stacked, 0, -1)  # to stack along the last axis takes longer


def _has_kernel(head: Head) -> bool:
    return type(head).output_kernel is not Head.output_kernel
