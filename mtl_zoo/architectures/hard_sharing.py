"""Hard parameter sharing: one trunk, one head a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from mtl_zoo.architectures.copies import check_trunk
from mtl_zoo.model import MultiTaskModel
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class HardSharing(MultiTaskModel):
    """Every task reads the features of the one shared trunk.

    Args:
        trunk: The shared `Trunk`.
        tasks: The tasks, in the order that all `(T, ...)` arrays follow.
        name: Optional name of the model.

    Inputs:
        What the trunk takes.

    Returns:
        `{task name: raw output of its head}`.

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
        >>> model = HardSharing(mtl.trunks.mlp([8]), tasks)
        >>> outputs = model(keras.ops.ones((2, 3)))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'height': (2, 1), 'age': (2, 1)}

    Reference:
        - [Caruana, 1997](https://doi.org/10.1023/A:1007379606734)
    """

    def __init__(self, trunk: Trunk, tasks: Iterable[Task], **kwargs: Any) -> None:
        super().__init__(tasks, **kwargs)
        check_trunk(trunk)
        self.trunk = trunk

    def prepare(self, inputs: Any) -> Any:
        if self.trunk.prepare is None or isinstance(inputs, Mapping):
            return inputs
        return self.trunk.prepare(inputs)

    @property
    def input_dtype(self) -> str:
        return "float32" if self.trunk.prepare is None else "string"

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        return self.trunk(inputs, training=training)

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        return {
            task.name: task.head(features, training=training)
            for task in self.wanted(tasks)
        }

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return self.trunk.trainable_variables

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return self.trunk.last_shared_variables

    def task_variables(self, name: str) -> list[keras.Variable]:
        return self.task(name).head.trainable_variables

    def sharing(self) -> Sharing:
        found = Sharing(self.task_names)
        row = middle(len(self.tasks))
        start = found.add("inputs", "inputs", 0, row)
        last = found.add_chain(tuple(self.trunk.stages), start, 1, row)
        found.add_heads([last] * len(self.tasks), len(self.trunk.stages) + 1)
        return found

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config["trunk"] = keras.saving.serialize_keras_object(self.trunk)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HardSharing:
        trunk = keras.saving.deserialize_keras_object(config["trunk"])
        return super().from_config({**config, "trunk": trunk})
