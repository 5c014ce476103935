"""What architectures have in common that are built from the stages of one trunk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from mtl_zoo.architectures.copies import check_trunk, copy_of
from mtl_zoo.model import MultiTaskModel
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk

# Between a task's name, or another one, and that of a feature.
BETWEEN = "__"


def features_of(task: str, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return what belongs to a task, under its names."""
    start = f"{task}{BETWEEN}"
    return {
        name.removeprefix(start): x
        for name, x in features.items()
        if name.startswith(start)
    }


class OnTrunk(MultiTaskModel):
    """A model that keeps the trunk it is made from, and takes what that takes.

    Attributes:
        whole: The trunk, whose stages the model may use itself and copy.
    """

    def __init__(self, trunk: Trunk, tasks: Iterable[Task], **kwargs: Any) -> None:
        super().__init__(tasks, **kwargs)
        check_trunk(trunk)
        self.whole = trunk

    def prepare(self, inputs: Any) -> Any:
        if self.whole.prepare is None or isinstance(inputs, Mapping):
            return inputs
        return self.whole.prepare(inputs)

    @property
    def input_dtype(self) -> str:
        return "float32" if self.whole.prepare is None else "string"

    def get_config(self) -> dict[str, Any]:
        trunk = keras.saving.serialize_keras_object(self.whole)
        return {**super().get_config(), "trunk": trunk}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> OnTrunk:
        trunk = keras.saving.deserialize_keras_object(config["trunk"])
        return super().from_config({**config, "trunk": trunk})


class OwnNecks(OnTrunk):
    """A model in which each task has a neck of its own, if the trunk has one.

    Attributes:
        necks: One a task, or none.
    """

    def __init__(self, trunk: Trunk, tasks: Iterable[Task], **kwargs: Any) -> None:
        super().__init__(trunk, tasks, **kwargs)
        self.necks: list[keras.layers.Layer] = []
        if trunk.neck is not None:
            others = (f"{trunk.neck.name}_{name}" for name in self.task_names[1:])
            self.necks = [trunk.neck, *(copy_of(trunk.neck, n) for n in others)]

    def through_neck(
        self, task: str, features: dict[str, Any], training: bool | None
    ) -> dict[str, Any]:
        """Return a task's features, those of its neck too."""
        if not self.necks:
            return features
        neck = self.necks[self.task_names.index(task)]
        return {**features, **neck(features, training=training)}

    def task_variables(self, name: str) -> list[keras.Variable]:
        """Those of the task's neck and head."""
        neck = self.necks[self.task_names.index(name)] if self.necks else None
        own = [] if neck is None else neck.trainable_variables
        return [*own, *self.task(name).head.trainable_variables]


class OwnFeatures(OwnNecks):
    """A model whose `encode` names features `<task>__<stage>`, which heads read."""

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        given = {name: x for name, x in features.items() if BETWEEN not in name}
        outputs = {}
        for task in self.wanted(tasks):
            seen = {**given, **features_of(task.name, features)}
            seen = self.through_neck(task.name, seen, training)
            outputs[task.name] = task.head(seen, training=training)
        return outputs
