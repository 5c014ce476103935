"""One trunk that branches: groups of tasks part from each other stage by stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from mtl_zoo.architectures.copies import copy_of, last_kernel, start_alike
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnNecks
from mtl_zoo.optimizer_state import rebuilt_optimizer
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk, freeze_batch_norm

INPUTS = "inputs"

Groups = tuple[tuple[str, ...], ...]


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Branched(OwnNecks):
    """A tree: tasks share each stage in groups, which only ever become smaller.

    With one group everywhere this is hard sharing; with a group for each task from some
    stage on, separate from there on. Adaptive feature sharing (Lu et al., 2017) grows
    such a tree while it trains: `training.AdaptiveSharing`.

    Args:
        trunk: The `Trunk`, whose stages the first group of each takes; the others are
            copies.
        tasks: The tasks.
        groups: `{stage: groups of task names}`; a stage that is left out has the groups
            of the one before, and the first one a single group.
        same_start: Whether the copies of a stage take the weights of the first.
            Defaults to `True`.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When groups are no partition of the tasks, or join what has parted.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_2"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "weight", "age")
        ... ]
        >>> model = Branched(
        ...     mtl.trunks.mlp([8, 8]),
        ...     tasks,
        ...     groups={"layer_2": [["height", "weight"], ["age"]]},
        ... )
        >>> model.build((None, 3))
        >>> model.count_params()
        203

    Reference:
        - [Lu et al., 2017](https://arxiv.org/abs/1611.05377)
    """

    optimizer: Any

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        groups: Mapping[str, Iterable[Iterable[str]]],
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        self.stage_names = tuple(trunk.stages)
        self.same_start = same_start
        self._groups = self._checked(groups)
        self.branches = [
            [
                trunk.stages[stage] if number == 0 else self._copy(stage, group)
                for number, group in enumerate(each)
            ]
            for stage, each in zip(self.stage_names, self._groups, strict=True)
        ]

    @property
    def groups(self) -> dict[str, Groups]:
        """The groups of every stage."""
        return dict(zip(self.stage_names, self._groups, strict=True))

    def _checked(
        self, groups: Mapping[str, Iterable[Iterable[str]]]
    ) -> tuple[Groups, ...]:
        """Return the groups of every stage, each in the order of its first task."""
        unknown = sorted(set(groups) - set(self.stage_names))
        if unknown:
            raise ValueError(
                f"`groups` are for stages of {self.stage_names}. Received: {unknown}"
            )
        found: list[Groups] = []
        now: Groups = (self.task_names,)
        order = self.task_names.index
        for stage in self.stage_names:
            if stage in groups:
                before, given = now, [tuple(group) for group in groups[stage]]
                members = sorted(name for group in given for name in group)
                if members != sorted(self.task_names) or () in given:
                    raise ValueError(
                        f"The groups of stage {stage!r} must hold each of the tasks "
                        f"{self.task_names} once. Received: {given}"
                    )
                now = tuple(
                    sorted(
                        (tuple(sorted(group, key=order)) for group in given),
                        key=lambda group: order(group[0]),
                    )
                )
                for group in now:
                    if not any(set(group) <= set(wide) for wide in before):
                        raise ValueError(
                            f"Tasks that have parted can not be joined again: stage "
                            f"{stage!r} has the group {group}, the one before {before}"
                        )
            found.append(now)
        return tuple(found)

    def _copy(self, stage: str, group: Sequence[str]) -> keras.layers.Layer:
        made = copy_of(self.whole.stages[stage], f"{stage}_{group[0]}")
        if self.whole.freeze_batch_norm:
            freeze_batch_norm(made)
        return made

    def build(self, input_shape: Any) -> None:
        first_time = not self.built
        super().build(input_shape)
        if first_time and self.same_start:
            for branches in self.branches:
                start_alike(branches[0], branches[1:])

    def _place(self, stage: int, task: str) -> int:
        """The number of the group that a task is in."""
        groups = self._groups[stage]
        return next(i for i, group in enumerate(groups) if task in group)

    def _is_own(self, stage: int, task: str) -> bool:
        """Whether no other task runs this branch; such branches belong to the task."""
        alone = len(self._groups[stage][self._place(stage, task)]) == 1
        return alone and len(self.tasks) > 1

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of all groups of several tasks, `<stage>__<number>`."""
        found = dict(inputs) if isinstance(inputs, Mapping) else {}
        if any(self._is_own(0, task) for task in self.task_names):
            if isinstance(inputs, Mapping):
                raise ValueError(
                    "Tasks can not part in front of the embeddings of a text. Let the "
                    f"first stage have one group. Received: {self.groups}"
                )
            found[INPUTS] = inputs
        for at, (stage, groups) in enumerate(
            zip(self.stage_names, self._groups, strict=True)
        ):
            for number, group in enumerate(groups):
                if self._is_own(at, group[0]):
                    continue
                before = inputs
                if at:
                    place = self._place(at - 1, group[0])
                    before = found[_key(self.stage_names[at - 1], place)]
                layer = self.branches[at][number]
                found[_key(stage, number)] = layer(before, training=training)
        return found

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        given = {name: x for name, x in features.items() if BETWEEN not in name}
        outputs = {}
        for task in self.wanted(tasks):
            seen, x = dict(given), given.get(INPUTS)
            for at, stage in enumerate(self.stage_names):
                number = self._place(at, task.name)
                if self._is_own(at, task.name):
                    x = self.branches[at][number](x, training=training)
                else:
                    # An export hands on what is read, and no more.
                    x = features.get(_key(stage, number))
                seen[stage] = x
            seen = self.through_neck(task.name, seen, training)
            outputs[task.name] = task.head(seen, training=training)
        return outputs

    def part(self, groups: Mapping[str, Iterable[Iterable[str]]]) -> None:
        """Let groups part further, in place; outputs stay what they are.

        New branches start with the weights of those that they part from, and where the
        model is compiled, with their state in the optimizer. A running `fit` goes on
        with the new model if this is called between two epochs.

        Args:
            groups: As in the constructor.

        Raises:
            ValueError: When the model is not built, or groups join what has parted.
        """
        if not self.built:
            raise ValueError("Expected a built model: build it or load its weights.")
        after = self._checked(groups)
        for stage, old, new in zip(self.stage_names, self._groups, after, strict=True):
            if not all(any(set(g) <= set(wide) for wide in old) for g in new):
                raise ValueError(
                    f"Groups of stage {stage!r} must lie within {old}. Received: {new}"
                )
        source_of: dict[int, keras.Variable] = {}
        self._tracker.unlock()
        branches = []
        for at, (stage, new) in enumerate(zip(self.stage_names, after, strict=True)):
            taken: set[int] = set()
            layers = []
            for group in new:
                place = self._place(at, group[0])
                old_layer = self.branches[at][place]
                if place in taken:
                    made = self._copy(stage, group)
                    if not made.built:
                        made.build_from_config(old_layer.get_build_config())
                    made.set_weights(old_layer.get_weights())
                    pairs = zip(made.variables, old_layer.variables, strict=True)
                    source_of.update({id(a): b for a, b in pairs})
                    layers.append(made)
                else:
                    layers.append(old_layer)
                taken.add(place)
            branches.append(layers)
        self.branches = branches
        self._groups = after
        self._order_layers()
        self._tracker.lock()
        if self.compiled:
            self.optimizer = rebuilt_optimizer(
                self.optimizer, self.trainable_variables, source_of
            )
            self._build_balancing()
            self.make_train_function(force=True)
            self.test_function = self.predict_function = None

    def _order_layers(self) -> None:
        """Keep the layers as a new model of these groups has them.

        Their variables are in this order, and the optimizer is saved by it.
        """
        ordered = [layer for branches in self.branches for layer in branches]
        numbers = {id(layer) for layer in ordered}
        others = [layer for layer in self._layers if id(layer) not in numbers]
        place = others.index(self.whole) + 1
        self._layers[:] = [*others[:place], *ordered, *others[place:]]

    def sharing(self) -> Sharing:
        found, names = Sharing(self.task_names), self.task_names
        start = found.add(INPUTS, INPUTS, 0, middle(len(names)))
        before = dict.fromkeys(names, start)
        for at, (stage, groups) in enumerate(
            zip(self.stage_names, self._groups, strict=True)
        ):
            for number, group in enumerate(groups):
                row = sum(names.index(name) for name in group) / len(group)
                owner = group[0] if self._is_own(at, group[0]) else ""
                key = found.add(_key(stage, number), stage, at + 1, row, owner)
                found.read(before[group[0]], key)
                before.update(dict.fromkeys(group, key))
        found.add_heads([before[name] for name in names], len(self.stage_names) + 1)
        return found

    def _branches_that(self, wanted: Any) -> list[keras.layers.Layer]:
        return [
            layer
            for at, groups in enumerate(self._groups)
            for group, layer in zip(groups, self.branches[at], strict=True)
            if wanted(at, group)
        ]

    @property
    def shared_variables(self) -> list[keras.Variable]:
        layers = self._branches_that(lambda at, group: not self._is_own(at, group[0]))
        return [v for layer in layers for v in layer.trainable_variables]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """The last kernel that all tasks share."""
        layers = self._branches_that(lambda at, group: len(group) == len(self.tasks))
        return last_kernel(v for layer in layers for v in layer.trainable_variables)

    def task_variables(self, name: str) -> list[keras.Variable]:
        layers = self._branches_that(
            lambda at, group: name in group and self._is_own(at, name)
        )
        return [
            *(v for layer in layers for v in layer.trainable_variables),
            *super().task_variables(name),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "groups": {
                stage: [list(group) for group in groups]
                for stage, groups in self.groups.items()
            },
            "same_start": self.same_start,
        }


def _key(stage: str, number: int) -> str:
    return f"{stage}{BETWEEN}{number}"
