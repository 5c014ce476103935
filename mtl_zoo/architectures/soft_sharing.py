"""Soft parameter sharing: towers whose weights are kept close to each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.architectures.towers import SeparateTowers
from mtl_zoo.priors import TraceNorm
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk

DISTANCES = ("l2", "trace_norm")


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SoftSharing(SeparateTowers):
    """Towers with a penalty on the distance between corresponding weights.

    `"l2"` is the squared distance of each pair, summed (Duong et al., 2015, between the
    parsers of two languages); `"trace_norm"` the sum of singular values of
    each weight, flattened, with a column a task (Yang and Hospedales, 2017, the
    last-axis form). The towers stay the tasks' own: no shared layer is there for
    methods that balance gradients.

    Args:
        trunk: The first tower; see `SeparateTowers`.
        tasks: The tasks.
        strength: Factor on the penalty: one number, or `{stage: number}` with 0 for the
            stages that it leaves out. Defaults to `1e-3`.
        distance: `"l2"` or `"trace_norm"`. Defaults to `"l2"`.
        same_start: See `SeparateTowers`.
        name: Optional name of the model.

    Raises:
        ValueError: When a stage or distance is not there, or a strength is negative.

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
        >>> model = SoftSharing(
        ...     mtl.trunks.mlp([8, 8]), tasks, strength={"layer_1": 0.1}
        ... )
        >>> model.build((None, 3))
        >>> float(model.penalty())
        0.0

    Reference:
        - [Duong et al., 2015](https://aclanthology.org/P15-2139)
        - [Yang and Hospedales, 2017](https://arxiv.org/abs/1606.04038)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        strength: float | Mapping[str, float] = 1e-3,
        distance: str = "l2",
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, same_start, **kwargs)
        if not isinstance(strength, Mapping):
            strength = dict.fromkeys(self.stage_names, strength)
        unknown = sorted(set(strength) - set(self.stage_names))
        if unknown or any(value < 0 for value in strength.values()):
            raise ValueError(
                f"`strength` must not be negative, for stages of {self.stage_names}. "
                f"Received: strength={strength}"
            )
        if distance not in DISTANCES:
            raise ValueError(
                f"`distance` must be one of {DISTANCES}. Received: {distance!r}"
            )
        self.strength = {name: float(strength[name]) for name in strength}
        self.distance = distance
        self.trace_norm = TraceNorm()

    def penalty(self) -> Any:
        total = ops.cast(super().penalty(), "float32")
        for name, strength in self.strength.items():
            if not strength:
                continue
            stages = [tower.stages[name].trainable_variables for tower in self.towers]
            for corresponding in zip(*stages, strict=True):
                stacked = ops.stack(
                    [ops.cast(v, "float32") for v in corresponding], axis=-1
                )
                total = total + strength * self._distance(stacked)
        return total

    def _distance(self, stacked: Any) -> Any:
        if self.distance == "trace_norm":
            return self.trace_norm(stacked)
        # The sum over pairs, by the distances from the mean.
        around = stacked - ops.mean(stacked, axis=-1, keepdims=True)
        return len(self.towers) * ops.sum(ops.square(around))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "strength": self.strength,
            "distance": self.distance,
        }
