"""A frozen trunk that small layers of each task adapt: tasks can be added later."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.copies import copy_of, give_weights, run_on_each
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnFeatures
from mtl_zoo.architectures.towers import check_stages
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk

KINDS = ("bottleneck", "film")


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Adapter(keras.layers.Layer):
    """A small change of a state; none at the start.

    `"bottleneck"`: `x + U relu(D x)` with `U` of zeros at the start (Houlsby et al.,
    2019, without biases); `"film"`: `(1 + g) x`, and `+ b` on states other than a
    text's, whose padding must stay 0, with `g` and `b` for each channel (Perez et al.,
    2018).

    Args:
        kind: `"bottleneck"` or `"film"`.
        units: Channels inside the bottleneck. Defaults to `16`.
        shift: Whether `"film"` adds `b`. Defaults to `True`.

    Call arguments:
        inputs: float `(batch, ..., channels)`.

    Returns:
        Like `inputs`.
    """

    def __init__(
        self, kind: str, units: int = 16, shift: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.kind = kind
        self.units = units
        self.shift = shift

    def build(self, input_shape: Any) -> None:
        channels = input_shape[-1]
        if self.kind == "film":
            self.scale = self.add_weight(shape=(channels,), initializer="zeros")
            if self.shift:
                self.bias = self.add_weight(shape=(channels,), initializer="zeros")
            return
        self.down = self.add_weight(shape=(channels, self.units), name="down")
        self.up = self.add_weight(
            shape=(self.units, channels), initializer="zeros", name="up"
        )

    def call(self, inputs: Any) -> Any:
        if self.kind == "film":
            scaled = inputs * (1.0 + ops.cast(self.scale, inputs.dtype))
            return scaled + ops.cast(self.bias, inputs.dtype) if self.shift else scaled
        inner = ops.relu(ops.matmul(inputs, ops.cast(self.down, inputs.dtype)))
        return inputs + ops.matmul(inner, ops.cast(self.up, inputs.dtype))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "units": self.units,
            "shift": self.shift,
        }


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Adapters(OwnFeatures):
    """Each task runs the frozen trunk with adapters of its own behind the stages.

    Nothing that one task trains is seen by another, so that a task can be added to a
    trained model by `with_task` and the outputs of the others stay what they are, to
    the last bit. Methods that balance gradients have nothing to do.

    Args:
        trunk: The `Trunk`, pretrained; it is frozen, batch normalisation included.
        tasks: The tasks.
        kind: Of the adapters, `"bottleneck"` or `"film"`; see `Adapter`. Defaults to
            `"bottleneck"`.
        units: Channels inside the bottlenecks. Defaults to `16`.
        stages: Names of the stages behind which there are adapters. Defaults to `None`:
            all.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When a kind or stage is not there, or `units` is below 1.

    Example:
        >>> import mtl_zoo as mtl
        >>> height, age = (
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_2"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "age")
        ... )
        >>> model = Adapters(mtl.trunks.mlp([8, 8]), [height], units=2)
        >>> model.build((None, 3))
        >>> model.with_task(age).task_names
        ('height', 'age')

    Reference:
        - [Houlsby et al., 2019](https://arxiv.org/abs/1902.00751)
        - [Perez et al., 2018](https://arxiv.org/abs/1709.07871)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        kind: str = "bottleneck",
        units: int = 16,
        stages: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if kind not in KINDS or units < 1:
            raise ValueError(
                f"Expected a kind of {KINDS}, and at least one unit. Received: "
                f"kind={kind!r}, units={units}"
            )
        self.kind = kind
        self.units = units
        self.chosen = check_stages(stages, tuple(trunk.stages))
        for stage in trunk.stages.values():
            stage.trainable = False
        shift = trunk.prepare is None
        self.adapters = [
            [Adapter(kind, units, shift, name=f"adapt_{name}_{s}") for s in self.chosen]
            for name in self.task_names
        ]

    def with_task(self, task: Task) -> Adapters:
        """Return a model that has one more task, with the weights of this one.

        The trunk, heads and adapters of this model are copied, so that training the new
        one changes nothing here. To train the new task alone, give the others no labels
        or weight 0: they move nothing of theirs.

        Args:
            task: The new task.

        Returns:
            A built model, not compiled.

        Raises:
            ValueError: When this model is not built or has a task of that name.
        """
        if not self.built:
            raise ValueError("Expected a built model: build it or load its weights.")
        tasks = [Task.from_config(one.get_config()) for one in (*self.tasks, task)]
        made = type(self)(
            copy_of(self.whole, self.whole.name),
            tasks,
            self.kind,
            self.units,
            self.chosen,
            name=self.name,
        )
        made.build(self._input_shape)
        made.whole.set_weights(self.whole.get_weights())
        # The new task comes last, so that it is left out here.
        for old, new in zip(self.adapters, made.adapters, strict=False):
            give_weights(zip(old, new, strict=True))
        give_weights(zip(self.heads, made.heads, strict=False))
        give_weights(zip(self.necks, made.necks, strict=False))
        return made

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of every task, named `<task>__<stage>`."""
        del training  # the trunk is frozen
        found = dict(inputs) if isinstance(inputs, Mapping) else {}
        states = [inputs for _ in self.tasks]
        for name, stage in self.whole.stages.items():
            states = run_on_each(stage, states, training=False)
            if name in self.chosen:
                at = self.chosen.index(name)
                states = [
                    own[at](x) for own, x in zip(self.adapters, states, strict=True)
                ]
            for task, x in zip(self.task_names, states, strict=True):
                found[f"{task}{BETWEEN}{name}"] = x
        return found

    def sharing(self) -> Sharing:
        found, count = Sharing(self.task_names), len(self.tasks)
        start = found.add("inputs", "inputs", 0, middle(count))
        before, column = [start] * count, 1.0
        for name in self.whole.stages:
            same = len(set(before)) == 1
            if same:
                shared = found.add(name, name, column, middle(count))
                found.read(before[0], shared)
                before = [shared] * count
            else:
                now = [
                    found.add(f"{task}/{name}", name, column, row)
                    for row, task in enumerate(self.task_names)
                ]
                found.mix(before, now, np.eye(count))
                before = now
            column += 1
            if name not in self.chosen:
                continue
            now = []
            for row, task in enumerate(self.task_names):
                key = f"{task}/{name}/adapter"
                now.append(found.add(key, "adapter", column, row, task))
                found.read(before[row], key)
            before, column = now, column + 1
        found.add_heads(before, column)
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return []

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return []

    def task_variables(self, name: str) -> list[keras.Variable]:
        index = self.task_names.index(name)
        return [
            *(v for one in self.adapters[index] for v in one.trainable_variables),
            *super().task_variables(name),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kind": self.kind,
            "units": self.units,
            "stages": self.chosen,
        }
