"""One trunk of which each task runs a part of the blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras

from mtl_zoo.architectures.copies import last_kernel
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnFeatures
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SelectedBlocks(OwnFeatures):
    """Each task runs the trunk without the blocks that it skips.

    What a policy of `AdaShare` comes to when it is decided (Sun et al., 2020). What
    several tasks run in common from the inputs on is computed once; a block that nobody
    runs is in no graph. With nothing skipped this is hard sharing.

    Args:
        trunk: The shared `Trunk`.
        tasks: The tasks.
        skipped: `{task: names of the stages that it skips}`; a task that is left out
            runs all. A skipped stage must return the shape that it takes.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When a task or stage is not there, or a task skips all stages.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_3"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "age")
        ... ]
        >>> model = SelectedBlocks(
        ...     mtl.trunks.mlp([8, 8, 8]), tasks, skipped={"age": ["layer_2"]}
        ... )
        >>> list(model.encode(keras.ops.ones((2, 3))))[-2:]
        ['age__layer_2', 'age__layer_3']

    Reference:
        - [Sun et al., 2020](https://arxiv.org/abs/1911.12423)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        skipped: Mapping[str, Iterable[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        stages = tuple(trunk.stages)
        given = {name: set(each) for name, each in skipped.items()}
        unknown = set(given) - set(self.task_names)
        unknown |= {stage for each in given.values() for stage in each} - set(stages)
        if unknown or any(len(each) == len(stages) for each in given.values()):
            raise ValueError(
                f"Expected some of the stages {stages}, not all, that tasks of "
                f"{self.task_names} skip. Received: skipped={dict(skipped)}"
            )
        self.runs = {
            task: tuple(stage for stage in stages if stage not in given.get(task, ()))
            for task in self.task_names
        }
        for name, stage in trunk.stages.items():
            if not any(name in runs for runs in self.runs.values()):
                stage.trainable = False

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of every task, named `<task>__<stage>`."""
        found = dict(inputs) if isinstance(inputs, Mapping) else {}
        # What is behind each way through the stages.
        known: dict[tuple[str, ...], Any] = {(): inputs}
        for task, runs in self.runs.items():
            path: tuple[str, ...] = ()
            for name, stage in self.whole.stages.items():
                if name in runs:
                    before, path = known[path], (*path, name)
                    if path not in known:
                        known[path] = stage(before, training=training)
                found[f"{task}{BETWEEN}{name}"] = known[path]
        return found

    def sharing(self) -> Sharing:
        found = Sharing(self.task_names)
        stages = tuple(self.whole.stages)
        start = found.add("inputs", "inputs", 0, 0)
        known: dict[tuple[str, ...], str] = {(): start}
        ends = []
        for row, (task, runs) in enumerate(self.runs.items()):
            path: tuple[str, ...] = ()
            for name in runs:
                before, path = known[path], (*path, name)
                if path not in known:
                    users = [t for t, r in self.runs.items() if r[: len(path)] == path]
                    owner = task if len(users) == 1 else ""
                    key = f"{task}/{name}"
                    column = stages.index(name) + 1
                    known[path] = found.add(key, name, column, row, owner)
                    found.read(before, known[path])
            ends.append(known[path])
        found.add_heads(ends, len(stages) + 1)
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """Those of all stages that some task runs, be it one."""
        used = {name for runs in self.runs.values() for name in runs}
        stages = [s for name, s in self.whole.stages.items() if name in used]
        return [v for stage in stages for v in stage.trainable_variables]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return last_kernel(self.shared_variables)

    def get_config(self) -> dict[str, Any]:
        skipped = {
            task: [stage for stage in self.whole.stages if stage not in runs]
            for task, runs in self.runs.items()
        }
        return {**super().get_config(), "skipped": skipped}
