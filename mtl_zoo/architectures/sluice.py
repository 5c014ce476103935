"""Sluice networks: subspaces of towers, mixed across tasks and across layers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.cross_stitch import CrossStitchUnit
from mtl_zoo.architectures.towers import MixedTowers, check_stages
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Sluice(MixedTowers):
    """Towers whose channels fall into subspaces that read each other.

    Behind each chosen stage, every subspace of every tower becomes a weighted sum of
    all of them (`alpha`; Ruder et al., 2019). Under the name of the last chosen stage,
    heads and what lies behind read a weighted sum of the chosen stages' states
    (`beta`), which must have one shape for that. A penalty keeps the subspaces of a
    tower apart: the squared Frobenius norm of `G_s' G_t`, `G_s` being what of the
    stage's last kernel makes the subspace `s`.

    Args:
        trunk: The first tower; see `SeparateTowers`.
        tasks: The tasks.
        stages: Names of the stages that are mixed. Defaults to `None`: all.
        subspaces: Of each tower; they divide the channels. Defaults to `2`.
        self_weight: Weight of a subspace's own state at the start; the others share the
            rest. Defaults to `0.9`.
        last_weight: Weight of the last of the stages in what the heads read at the
            start; the others share the rest. `1.0` switches `beta` off: then the heads
            read the last stage, and states may differ in shape. Defaults to `0.9`.
        orthogonality: Factor on the penalty. Defaults to `0.1`.
        rate: See `CrossStitch`; of `alpha`. Defaults to `1.0`.
        same_start: See `SeparateTowers`.
        name: Optional name of the model.

    Raises:
        ValueError: When a stage is not there, a number is out of range, or states can
            not be divided or added.

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
        >>> model = Sluice(mtl.trunks.mlp([8, 8]), tasks)
        >>> model.build((None, 3))
        >>> tuple(model.beta.shape), model.unit("layer_1").weights_of_inputs.shape
        ((2, 2), (4, 4))

    Reference:
        - [Ruder et al., 2019](https://arxiv.org/abs/1705.08142)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        stages: Iterable[str] | None = None,
        subspaces: int = 2,
        self_weight: float = 0.9,
        last_weight: float = 0.9,
        orthogonality: float = 0.1,
        rate: float = 1.0,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, same_start, **kwargs)
        if subspaces < 1 or orthogonality < 0 or not 0 <= last_weight <= 1:
            raise ValueError(
                "Expected at least one subspace, `orthogonality` of at least 0 and "
                f"`last_weight` in [0, 1]. Received: subspaces={subspaces}, "
                f"orthogonality={orthogonality}, last_weight={last_weight}"
            )
        self.chosen = check_stages(stages, self.stage_names)
        self.subspaces = subspaces
        self.self_weight = self_weight
        self.last_weight = last_weight
        self.orthogonality = orthogonality
        self.rate = rate
        self.units = [
            CrossStitchUnit(self_weight, rate=rate, name=f"alpha_{stage}")
            for stage in self.chosen
        ]
        self.reads_all = last_weight < 1 and len(self.chosen) > 1
        if self.reads_all:
            rest = (1.0 - last_weight) / (len(self.chosen) - 1)
            row = np.full(len(self.chosen), rest, "float32")
            row[-1] = last_weight
            self.beta = self.add_weight(
                shape=(len(self.tasks), len(self.chosen)),
                initializer=lambda shape, dtype: ops.broadcast_to(
                    ops.cast(row, dtype), shape
                ),
                name="beta",
            )

    @property
    def mixing_variables(self) -> list[keras.Variable]:
        alphas = [v for unit in self.units for v in unit.trainable_variables]
        return [*alphas, self.beta] if self.reads_all else alphas

    def unit(self, stage: str) -> CrossStitchUnit:
        """Return the unit behind a stage, over all subspaces, task by task."""
        return self.units[self.chosen.index(stage)]

    def mix(self, stage: str, states: list, training: bool | None = None) -> list:
        if stage not in self.chosen:
            return states
        channels = states[0].shape[-1]
        if channels % self.subspaces:
            raise ValueError(
                f"Expected channels that {self.subspaces} subspaces divide. Received: "
                f"{channels} channels of stage {stage!r}"
            )
        parts = [part for x in states for part in ops.split(x, self.subspaces, axis=-1)]
        mixed = self.unit(stage)(parts)
        size = self.subspaces
        return [
            ops.concatenate(mixed[i : i + size], axis=-1)
            for i in range(0, len(mixed), size)
        ]

    def combine_stages(self, found: list[dict[str, Any]]) -> None:
        if not self.reads_all:
            return
        shapes = {name: tuple(found[0][name].shape) for name in self.chosen}
        if len(set(shapes.values())) > 1:
            raise ValueError(
                "Heads read a sum of the stages, which must have one shape. Name the "
                f"`stages`, or take last_weight=1.0. Received: {shapes}"
            )
        for row, features in enumerate(found):
            weights = ops.cast(self.beta[row], self.compute_dtype)
            features[self.chosen[-1]] = sum(
                weights[i] * features[name] for i, name in enumerate(self.chosen)
            )

    def penalty(self) -> Any:
        total = ops.cast(super().penalty(), "float32")
        if not self.orthogonality or self.subspaces == 1:
            return total
        for tower in self.towers:
            for name in self.chosen:
                weights = tower.stages[name].trainable_variables
                kernels = [v for v in weights if len(v.shape) >= 2]
                if kernels and kernels[-1].shape[-1] % self.subspaces == 0:
                    total += self.orthogonality * self._overlap(kernels[-1])
        return total

    def _overlap(self, kernel: Any) -> Any:
        """Return the squared norm of the products of the subspaces' columns."""
        flat = ops.reshape(ops.cast(kernel, "float32"), (-1, kernel.shape[-1]))
        parts = ops.split(flat, self.subspaces, axis=-1)
        return sum(
            ops.sum(ops.square(ops.matmul(ops.transpose(parts[s]), parts[t])))
            for s in range(self.subspaces)
            for t in range(s + 1, self.subspaces)
        )

    def mixing_weights(self, stage: str) -> np.ndarray:
        """Of the subspaces of two towers, the mean over those that are read into."""
        if stage not in self.chosen:
            return super().mixing_weights(stage)
        count, size = len(self.tasks), self.subspaces
        alpha = self.unit(stage).weights_of_inputs
        return alpha.reshape(count, size, count, size).sum(axis=3).mean(axis=1)

    def sharing(self) -> Sharing:
        found = super().sharing()
        if not self.reads_all:
            return found
        beta = ops.convert_to_numpy(self.beta)
        last = f"/{self.stage_names[-1]}"
        for row, name in enumerate(self.task_names):
            head = f"head_{name}"
            for source, target in list(found.reads):
                if target == head and source.endswith(last):
                    found.reads[source, target] *= float(beta[row, -1])
            for column, stage in enumerate(self.chosen[:-1]):
                found.read(f"{name}/{stage}", head, beta[row, column])
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "stages": self.chosen,
            "subspaces": self.subspaces,
            "self_weight": self.self_weight,
            "last_weight": self.last_weight,
            "orthogonality": self.orthogonality,
            "rate": self.rate,
        }
