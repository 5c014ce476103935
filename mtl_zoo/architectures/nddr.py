"""NDDR: towers joined channel by channel, by a 1 x 1 convolution for each task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.cross_stitch import near_identity
from mtl_zoo.architectures.towers import MixedTowers, check_stages
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class NDDR(MixedTowers):
    """Towers whose states are put side by side and reduced again for each task.

    Behind each chosen stage, `x_i <- [x_1, ..., x_T] W_i` on the channels (Gao et al.,
    2019: neural discriminative dimensionality reduction). The kernels start
    with weighted identities, so that it starts as a cross-stitch network. What changes
    against the paper: batch normalisation and an activation behind the products are
    left out, so that states that are 0 stay so, which text trunks need.

    Args:
        trunk: The first tower; see `SeparateTowers`.
        tasks: The tasks.
        stages: Names of the stages behind which towers are mixed. Defaults to `None`:
            all.
        self_weight: Weight of a tower's own channels at the start; those of the others
            share the rest. Defaults to `0.9`.
        decay: Factor on the squared norm of the kernels, in the penalty; the paper
            finds that it matters. Defaults to `0.0`.
        same_start: See `SeparateTowers`.
        name: Optional name of the model.

    Raises:
        ValueError: When a stage is not there or a number is out of range.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_2"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "age")
        ... ]
        >>> model = NDDR(mtl.trunks.mlp([8, 4]), tasks)
        >>> model.build((None, 3))
        >>> [tuple(v.shape) for v in model.mixing_variables]
        [(16, 8), (16, 8), (8, 4), (8, 4)]

    Reference:
        - [Gao et al., 2019](https://arxiv.org/abs/1801.08297)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        stages: Iterable[str] | None = None,
        self_weight: float = 0.9,
        decay: float = 0.0,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, same_start, **kwargs)
        if not 0 <= self_weight <= 1 or decay < 0:
            raise ValueError(
                "Expected `self_weight` in [0, 1] and `decay` of at least 0. Received: "
                f"self_weight={self_weight}, decay={decay}"
            )
        self.chosen = check_stages(stages, self.stage_names)
        self.self_weight = self_weight
        self.decay = decay
        shares = near_identity(len(self.tasks), self_weight)
        self.reductions = [
            [
                Reduction([float(x) for x in row], name=f"reduce_{stage}_{name}")
                for row, name in zip(shares, self.task_names, strict=True)
            ]
            for stage in self.chosen
        ]

    @property
    def mixing_variables(self) -> list[keras.Variable]:
        return [one.kernel for each in self.reductions for one in each]

    def mix(self, stage: str, states: list, training: bool | None = None) -> list:
        if stage not in self.chosen:
            return states
        together = ops.concatenate(states, axis=-1)
        return [one(together) for one in self.reductions[self.chosen.index(stage)]]

    def mixing_weights(self, stage: str) -> np.ndarray:
        """The norm of the kernel's rows for each tower, 1 for the identity."""
        if stage not in self.chosen:
            return super().mixing_weights(stage)
        found = []
        for one in self.reductions[self.chosen.index(stage)]:
            kernel = ops.convert_to_numpy(one.kernel)
            blocks = np.split(kernel, len(self.tasks))
            found.append([np.sqrt((b**2).sum() / kernel.shape[1]) for b in blocks])
        return np.array(found)

    def penalty(self) -> Any:
        if not self.decay:
            return super().penalty()
        squares = [ops.sum(ops.square(kernel)) for kernel in self.mixing_variables]
        total = ops.cast(sum(squares), "float32")
        return ops.cast(super().penalty(), "float32") + self.decay * total

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "stages": self.chosen,
            "self_weight": self.self_weight,
            "decay": self.decay,
        }


class Reduction(keras.layers.Layer):
    """A linear map of the channels that starts as a weighted sum of groups of them.

    Args:
        shares: Weight of each group at the start.
    """

    def __init__(self, shares: list[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shares = shares

    def build(self, input_shape: Any) -> None:
        width = input_shape[-1] // len(self.shares)
        start = np.concatenate([x * np.eye(width) for x in self.shares])
        self.kernel = self.add_weight(
            shape=(input_shape[-1], width),
            initializer=lambda shape, dtype: ops.cast(start, dtype),
            name="kernel",
        )

    def call(self, inputs: Any) -> Any:
        return ops.matmul(inputs, ops.cast(self.kernel, inputs.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], input_shape[-1] // len(self.shares))
