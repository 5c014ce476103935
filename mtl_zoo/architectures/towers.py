"""A trunk for each task, side by side: what architectures mix that share softly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from mtl_zoo.architectures.copies import copy_of, last_kernel, run_stages, start_alike
from mtl_zoo.architectures.on_trunk import BETWEEN, OnTrunk, features_of
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SeparateTowers(OnTrunk):
    """Each task has a trunk of its own, a tower, and nothing is shared.

    These are single-task models side by side, and the base of the architectures whose
    towers read each other: a subclass writes `mix`.

    Args:
        trunk: The first tower, a `Trunk`; the others are copies.
        tasks: The tasks, in the order of the towers.
        same_start: Whether the copies take the first tower's weights too, as they must
            when those are pretrained; else they are initialised anew. Defaults to
            `True`.
        name: Optional name of the model.

    Attributes:
        towers: The trunks, one a task.

    Inputs:
        What the trunk takes.

    Returns:
        `{task name: raw output of its head}`; each head finds its own tower's features.

    Raises:
        TypeError: When `trunk` is no `Trunk`.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_1"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "age")
        ... ]
        >>> model = SeparateTowers(mtl.trunks.mlp([8]), tasks)
        >>> list(model.encode(keras.ops.ones((2, 3))))
        ['height__layer_1', 'age__layer_1']
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        self.same_start = same_start
        self.stage_names = tuple(trunk.stages)
        others = self.task_names[1:]
        self.towers = [trunk, *(copy_of(trunk, f"{trunk.name}_{n}") for n in others)]

    def build(self, input_shape: Any) -> None:
        first_time = not self.built
        super().build(input_shape)
        if first_time and self.same_start:
            start_alike(self.towers[0], self.towers[1:])

    def start_from(self, models: Mapping[str, Any]) -> None:
        """Take the weights of trained single-task models.

        Args:
            models: `{task: model}` for every task, each with a `trunk` like the towers
                and a head like the task's, such as `HardSharing` with one task.

        Raises:
            ValueError: When there is not one for each task, or this model is not built.
        """
        if set(models) != set(self.task_names) or not self.built:
            raise ValueError(
                f"Expected a built model, and a model for each of {self.task_names}. "
                f"Received: models for {sorted(models)}, built={self.built}"
            )
        for tower, task in zip(self.towers, self.tasks, strict=True):
            alone = models[task.name]
            tower.set_weights(alone.trunk.get_weights())
            task.head.set_weights(alone.task(task.name).head.get_weights())

    def mix(self, stage: str, states: list, training: bool | None = None) -> list:
        """Return what the towers go on with behind a stage; by default their own.

        Args:
            stage: Name of the stage.
            states: What each tower's stage returned, one a task.
            training: As in `call`.
        """
        del stage, training
        return states

    @property
    def encoded_stages(self) -> tuple[str, ...]:
        """Names of the stages that `encode` runs; `decode` runs the others."""
        return self.stage_names

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of every tower, named `<task>__<stage>`."""
        features = dict(inputs) if isinstance(inputs, Mapping) else {}
        states = [inputs for _ in self.towers]
        found: list[dict[str, Any]] = [{} for _ in self.towers]
        for name in self.encoded_stages:
            states = [
                tower.stages[name](x, training=training)
                for tower, x in zip(self.towers, states, strict=True)
            ]
            states = self.mix(name, states, training)
            for own, x in zip(found, states, strict=True):
                own[name] = x
        self.combine_stages(found)
        for name, own in zip(self.task_names, found, strict=True):
            features.update({f"{name}{BETWEEN}{key}": x for key, x in own.items()})
        return features

    def combine_stages(self, found: list[dict[str, Any]]) -> None:
        """Change what is read behind `encode`, `{stage: state}` of each tower."""

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        given = {name: x for name, x in features.items() if BETWEEN not in name}
        encoded, outputs = self.encoded_stages, {}
        for task in self.wanted(tasks):
            tower = self.towers[self.task_names.index(task.name)]
            seen = {**given, **features_of(task.name, features)}
            rest = {n: s for n, s in tower.stages.items() if n not in encoded}
            seen.update(run_stages(rest, seen.get(encoded[-1]), training))
            if tower.neck is not None:
                seen.update(tower.neck(seen, training=training))
            outputs[task.name] = task.head(seen, training=training)
        return outputs

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return []

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return []

    def task_variables(self, name: str) -> list[keras.Variable]:
        tower = self.towers[self.task_names.index(name)]
        return [*tower.trainable_variables, *self.task(name).head.trainable_variables]

    def mixing_weights(self, stage: str) -> np.ndarray:
        """Return how much each tower reads of each behind a stage, `(T, T)`."""
        del stage
        return np.eye(len(self.tasks))

    def sharing(self) -> Sharing:
        found, rows = Sharing(self.task_names), range(len(self.tasks))
        start = found.add("inputs", "inputs", 0, middle(len(rows)))
        before: list[str] = []
        for column, stage in enumerate(self.stage_names, start=1):
            now = [
                found.add(f"{name}/{stage}", stage, column, row, name)
                for row, name in enumerate(self.task_names)
            ]
            if before:
                last = self.stage_names[column - 2]
                found.mix(before, now, self.mixing_weights(last))
            else:
                for name in now:
                    found.read(start, name)
            before = now
        found.add_heads(before, len(self.stage_names) + 1)
        heads = [f"head_{name}" for name in self.task_names]
        found.mix(before, heads, self.mixing_weights(self.stage_names[-1]))
        return found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "same_start": self.same_start}


class MixedTowers(SeparateTowers):
    """Towers that read each other, so that every task depends on every tower.

    What lies behind the last mixing is a task's own. A subclass sets `chosen` and
    gives `mixing_variables`.

    Attributes:
        chosen: Names of the stages behind which towers are mixed.
    """

    chosen: tuple[str, ...]

    @property
    def mixing_variables(self) -> list[keras.Variable]:
        """Trainable variables of the mixing."""
        raise NotImplementedError

    @property
    def encoded_stages(self) -> tuple[str, ...]:
        last = self.stage_names.index(self.chosen[-1])
        return self.stage_names[: last + 1]

    @property
    def shared_variables(self) -> list[keras.Variable]:
        stages = [t.stages[name] for t in self.towers for name in self.encoded_stages]
        found = [v for stage in stages for v in stage.trainable_variables]
        return [*found, *self.mixing_variables]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """The last kernel of each tower in front of the last mixing."""
        found = []
        for tower in self.towers:
            stages = [tower.stages[name] for name in self.encoded_stages]
            weights = [v for stage in stages for v in stage.trainable_variables]
            found += last_kernel(weights)
        return found

    def task_variables(self, name: str) -> list[keras.Variable]:
        tower = self.towers[self.task_names.index(name)]
        rest = [s for n, s in tower.stages.items() if n not in self.encoded_stages]
        own = [*rest, *([] if tower.neck is None else [tower.neck])]
        return [
            *(v for layer in own for v in layer.trainable_variables),
            *self.task(name).head.trainable_variables,
        ]


def check_stages(
    stages: Iterable[str] | None, stage_names: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the named stages in the order of the trunk, all of them for `None`.

    Raises:
        ValueError: When there are none, or the trunk has no stage of that name.
    """
    if stages is None:
        return stage_names
    wanted = set(stages)
    if not wanted or wanted - set(stage_names):
        raise ValueError(
            f"Expected names of stages, of {stage_names}. Received: {sorted(wanted)}"
        )
    return tuple(name for name in stage_names if name in wanted)
