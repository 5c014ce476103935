"""Cross-stitch networks: linear combinations between the towers of the tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.towers import MixedTowers, check_stages
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class CrossStitchUnit(keras.layers.Layer):
    """Each output is a weighted sum of all inputs, near its own input at the start.

    Args:
        self_weight: Weight of an output's own input at the start; the others share the
            rest. Defaults to `0.9`.
        per_channel: Whether every channel has weights of its own. Defaults to `False`.
        rate: Factor on the learning rate of the weights, see `CrossStitch`. Defaults
            to `1.0`.

    Call arguments:
        states: `T` tensors of one shape, `(batch, ..., channels)`.

    Returns:
        `T` tensors of that shape.
    """

    def __init__(
        self,
        self_weight: float = 0.9,
        per_channel: bool = False,
        rate: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= self_weight <= 1:
            raise ValueError(
                f"`self_weight` must be in [0, 1]. Received: self_weight={self_weight}"
            )
        if not rate > 0:
            raise ValueError(f"`rate` must be positive. Received: rate={rate}")
        self.self_weight = self_weight
        self.per_channel = per_channel
        self.rate = rate

    def build(self, input_shape: list) -> None:
        count = len(input_shape)
        if len({tuple(shape) for shape in input_shape}) > 1:
            raise ValueError(
                f"Expected states of one shape, one a task. Received: {input_shape}"
            )
        channels = input_shape[0][-1] if self.per_channel else 1
        self.start = near_identity(count, self.self_weight)
        self.change = self.add_weight(
            shape=(count, count, channels), initializer="zeros", name="change"
        )

    @property
    def weights_of_inputs(self) -> np.ndarray:
        """The weights `(outputs, inputs)`, the mean over the channels."""
        change = ops.convert_to_numpy(self.change).mean(axis=-1)
        return self.start + self.rate * change

    def call(self, states: list) -> list:
        start = ops.cast(ops.expand_dims(self.start, -1), self.compute_dtype)
        weights = start + self.rate * ops.cast(self.change, self.compute_dtype)
        if not self.per_channel:  # one product, however many states there are
            mixed = ops.tensordot(weights[..., 0], ops.stack(states), axes=1)
            return ops.unstack(mixed, len(states))
        return [
            sum(weights[i, j] * state for j, state in enumerate(states))
            for i in range(len(states))
        ]

    def compute_output_shape(self, input_shape: list) -> list:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "self_weight": self.self_weight,
            "per_channel": self.per_channel,
            "rate": self.rate,
        }


@keras.saving.register_keras_serializable(package="mtl_zoo")
class CrossStitch(MixedTowers):
    """Towers that read linear combinations of all towers behind chosen stages.

    `x_i <- sum_j alpha_ij x_j` (Misra et al., 2016, equation 1), with weights `alpha`
    for each stage, or for each of its channels. The paper starts from towers trained
    alone (`start_from`), and gives the units a learning rate 100 to 1,000 times that of
    the network.

    Args:
        trunk: The first tower; see `SeparateTowers`.
        tasks: The tasks.
        stages: Names of the stages behind which towers are mixed. Defaults to `None`:
            all.
        self_weight: Weight of a tower's own state at the start; the others share the
            rest, so that states keep their scale. Defaults to `0.9`.
        per_channel: Whether every channel has weights of its own. Defaults to `False`.
        rate: Factor on the units' learning rate with Adam and its kind, whose steps do
            not depend on the scale of gradients; with plain SGD it counts squared.
            Defaults to `1.0`.
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
        >>> model = CrossStitch(mtl.trunks.mlp([8, 8]), tasks, stages=["layer_1"])
        >>> model.build((None, 3))
        >>> print(model.unit("layer_1").weights_of_inputs)
        [[0.9 0.1]
         [0.1 0.9]]

    Reference:
        - [Misra et al., 2016](https://arxiv.org/abs/1604.03539)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        stages: Iterable[str] | None = None,
        self_weight: float = 0.9,
        per_channel: bool = False,
        rate: float = 1.0,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, same_start, **kwargs)
        self.chosen = check_stages(stages, self.stage_names)
        self.self_weight = self_weight
        self.per_channel = per_channel
        self.rate = rate
        self.units = [
            CrossStitchUnit(self_weight, per_channel, rate, name=f"stitch_{stage}")
            for stage in self.chosen
        ]

    @property
    def mixing_variables(self) -> list[keras.Variable]:
        return [v for unit in self.units for v in unit.trainable_variables]

    def unit(self, stage: str) -> CrossStitchUnit:
        """Return the unit behind a stage."""
        return self.units[self.chosen.index(stage)]

    def mix(self, stage: str, states: list, training: bool | None = None) -> list:
        return self.unit(stage)(states) if stage in self.chosen else states

    def mixing_weights(self, stage: str) -> np.ndarray:
        if stage not in self.chosen:
            return super().mixing_weights(stage)
        return self.unit(stage).weights_of_inputs

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "stages": self.chosen,
            "self_weight": self.self_weight,
            "per_channel": self.per_channel,
            "rate": self.rate,
        }


def near_identity(count: int, self_weight: float) -> np.ndarray:
    """Return `(count, count)` with rows of sum 1 and `self_weight` on the diagonal."""
    if count == 1:
        return np.ones((1, 1), "float32")
    others = (1.0 - self_weight) / (count - 1)
    matrix = np.full((count, count), others, "float32")
    np.fill_diagonal(matrix, self_weight)
    return matrix
