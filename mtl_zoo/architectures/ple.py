"""Progressive layered extraction: experts of all tasks beside experts of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

from mtl_zoo.architectures.copies import (
    copy_of,
    part_of,
    run_bottom,
    run_stages,
    split_at,
    start_alike,
)
from mtl_zoo.architectures.gates import SoftmaxGate, at_zero, mixed, summary
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnNecks
from mtl_zoo.sharing import Sharing, middle
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk

INPUT = "input"
SHARED = "shared"


class Level:
    """The experts and gates of one level.

    Attributes:
        own: Of each task, its experts.
        shared: Those of all tasks.
        task_gates: One a task, over its own experts and then the shared ones.
        shared_gate: Over the experts of all tasks, task by task, and then the shared
            ones; `None` in the last level.
    """

    def __init__(
        self,
        expert: Trunk,
        tasks: Sequence[str],
        own_experts: int,
        shared_experts: int,
        last: bool,
        name: str,
    ) -> None:
        self.shared = [expert]
        self.shared += [
            copy_of(expert, f"{name}_shared_{k}") for k in range(1, shared_experts)
        ]
        self.own = [
            [copy_of(expert, f"{name}_{task}_{k}") for k in range(own_experts)]
            for task in tasks
        ]
        self.task_gates = [
            SoftmaxGate(own_experts + shared_experts, name=f"{name}_gate_{task}")
            for task in tasks
        ]
        every = own_experts * len(tasks) + shared_experts
        self.shared_gate = None if last else SoftmaxGate(every, name=f"{name}_gate")

    @property
    def copies(self) -> list[Trunk]:
        """All experts but the first shared one."""
        return [*self.shared[1:], *(expert for own in self.own for expert in own)]

    @property
    def layers(self) -> list[keras.layers.Layer]:
        """Everything with weights."""
        gates = [*self.task_gates, *([self.shared_gate] if self.shared_gate else [])]
        return [self.shared[0], *self.copies, *gates]

    def own_layers(self, index: int) -> list[keras.layers.Layer]:
        """Experts and gate of a task."""
        return [*self.own[index], self.task_gates[index]]


@keras.saving.register_keras_serializable(package="mtl_zoo")
class PLE(OwnNecks):
    """Experts of each task beside experts of all, in one or several levels.

    In each level, a task's gate mixes its own experts and the shared ones; in all but
    the last a further gate mixes all experts to what the shared ones read next (Tang et
    al., 2020, who call a single level customized gate control, CGC). The experts are
    copies of the trunk's stages from `first` on; what is in front is shared. What
    changes against the paper: gates have a bias, and where there are positions
    they read the mean over these, scaled to a mean square of 1.

    Args:
        trunk: Its stages make the first shared expert of each level.
        tasks: The tasks.
        own_experts: How many each task has in each level. Defaults to `1`.
        shared_experts: How many all tasks share in each level. Defaults to `1`.
        first: Name of the stage with which experts begin. Defaults to `None`: the
            first one.
        levels: Names of the stages in each level, together all from `first` on in their
            order. Defaults to `None`: a level for each stage. With a single level it is
            CGC.
        same_start: See `MMoE`.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When a number of experts is below 1, or the levels do not fit.

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
        >>> model = PLE(mtl.trunks.mlp([8, 4]), tasks)
        >>> {name: tuple(x.shape) for name, x in model(keras.ops.ones((2, 5))).items()}
        {'height': (2, 1), 'age': (2, 1)}

    Reference:
        - [Tang et al., 2020](https://doi.org/10.1145/3383313.3412236)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        own_experts: int = 1,
        shared_experts: int = 1,
        first: str | None = None,
        levels: Iterable[Iterable[str]] | None = None,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if own_experts < 1 or shared_experts < 1:
            raise ValueError(
                "Expected at least one own and one shared expert. Received: "
                f"own_experts={own_experts}, shared_experts={shared_experts}"
            )
        bottom, top = split_at(trunk, first)
        groups = [(n,) for n in top] if levels is None else [tuple(g) for g in levels]
        if tuple(name for group in groups for name in group) != top or () in groups:
            raise ValueError(
                f"`levels` must hold the stages {top}, each once and in this order. "
                f"Received: levels={groups}"
            )
        self.own_experts = own_experts
        self.shared_experts = shared_experts
        self.first = first
        self.groups = groups
        self.same_start = same_start
        self.bottom = part_of(trunk, bottom, "bottom") if bottom else None
        made = [
            Level(
                part_of(trunk, group, f"level_{number}"),
                self.task_names,
                own_experts,
                shared_experts,
                last=number == len(groups),
                name=f"level_{number}",
            )
            for number, group in enumerate(groups, start=1)
        ]
        self.levels = made
        # Keras finds layers in lists of layers.
        self.level_layers = [layer for level in made for layer in level.layers]

    def build(self, input_shape: Any) -> None:
        first_time = not self.built
        super().build(input_shape)
        if first_time and self.same_start:
            for level in self.levels:
                start_alike(level.shared[0], level.copies)

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features in front of the last level, and its shared experts'."""
        found, x = run_bottom(self.bottom, inputs, training)
        states, common = [x for _ in self.tasks], x
        for level in self.levels[:-1]:
            shared = [run_stages(e.stages, common, training) for e in level.shared]
            every, after = [], []
            for index, name in enumerate(self.task_names):
                state = states[index]
                own = [run_stages(e.stages, state, training) for e in level.own[index]]
                every += own
                weights = level.task_gates[index](summary(state))
                seen = _mixed(weights, [*own, *shared])
                found.update({f"{name}{BETWEEN}{key}": y for key, y in seen.items()})
                after.append(seen[list(seen)[-1]])
            assert level.shared_gate is not None  # All levels but the last have one.
            weights = level.shared_gate(summary(common))
            last = list(shared[0])[-1]
            common = mixed(weights, [one[last] for one in [*every, *shared]])
            states = after
        for name, state in zip(self.task_names, states, strict=True):
            found[f"{name}{BETWEEN}{INPUT}"] = state
        for number, expert in enumerate(self.levels[-1].shared):
            last_own = run_stages(expert.stages, common, training)
            start = f"{SHARED}{number}{BETWEEN}"
            found.update({f"{start}{key}": y for key, y in last_own.items()})
        return found

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        common = {name: x for name, x in features.items() if BETWEEN not in name}
        shared = [
            _starting(f"{SHARED}{k}{BETWEEN}", features)
            for k in range(self.shared_experts)
        ]
        level, outputs = self.levels[-1], {}
        for task in self.wanted(tasks):
            index = self.task_names.index(task.name)
            seen = {**common, **_starting(f"{task.name}{BETWEEN}", features)}
            state = seen.pop(INPUT)
            own = [run_stages(e.stages, state, training) for e in level.own[index]]
            weights = level.task_gates[index](summary(state))
            seen.update(_mixed(weights, [*own, *shared]))
            seen = self.through_neck(task.name, seen, training)
            outputs[task.name] = task.head(seen, training=training)
        return outputs

    def sharing(self) -> Sharing:
        """Who shares what; the gates' weights are those of a state of zeros."""
        found, names = Sharing(self.task_names), self.task_names
        each = self.own_experts
        height = each * len(names) + self.shared_experts
        start = found.add("inputs", "inputs", 0, middle(height))
        bottom = () if self.bottom is None else tuple(self.bottom.stages)
        last = found.add_chain(bottom, start, 1, middle(height))
        read, common, column = [last] * len(names), last, len(bottom) + 1.0
        rows = [each * index + middle(each) for index in range(len(names))]
        low = each * len(names) + middle(self.shared_experts)
        for number, (level, group) in enumerate(
            zip(self.levels, self.groups, strict=True), start=1
        ):
            own = []
            for index, name in enumerate(names):
                for k in range(each):
                    start, row = f"{number}/{name}{k}/", each * index + k
                    own.append(
                        found.add_chain(group, read[index], column, row, start, name)
                    )
            shared = [
                found.add_chain(
                    group, common, column, each * len(names) + k, f"{number}/shared{k}/"
                )
                for k in range(self.shared_experts)
            ]
            column += len(group) + 0.4
            is_last = number == len(self.levels)
            sums = []
            for index, name in enumerate(names):
                label = name if is_last else "gate"
                key = f"head_{name}" if is_last else f"{number}/gate_{name}"
                sums.append(found.add(key, label, column, rows[index], name))
                sources = [*own[each * index : each * (index + 1)], *shared]
                found.mix(sources, sums[-1:], at_zero(level.task_gates[index]))
            if level.shared_gate is not None:
                common = found.add(f"{number}/gate", "gate", column, low)
                found.mix([*own, *shared], [common], at_zero(level.shared_gate))
            read, column = sums, column + 1.0
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        bottom = [] if self.bottom is None else self.bottom.trainable_variables
        lower = [layer for level in self.levels[:-1] for layer in level.layers]
        layers = [*lower, *self.levels[-1].shared]
        return [*bottom, *(v for layer in layers for v in layer.trainable_variables)]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        shared = self.levels[-1].shared
        return [v for expert in shared for v in expert.last_shared_variables]

    def task_variables(self, name: str) -> list[keras.Variable]:
        layers = self.levels[-1].own_layers(self.task_names.index(name))
        return [
            *(v for layer in layers for v in layer.trainable_variables),
            *super().task_variables(name),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "own_experts": self.own_experts,
            "shared_experts": self.shared_experts,
            "first": self.first,
            "levels": [list(group) for group in self.groups],
            "same_start": self.same_start,
        }


def _mixed(weights: Any, experts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mixture of the outputs of each stage that all have.

    An export hands on what of the shared experts is read, and no more.
    """
    names = [name for name in experts[0] if all(name in one for one in experts)]
    return {name: mixed(weights, [one[name] for one in experts]) for name in names}


def _starting(start: str, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features whose names start so, without that."""
    found = features.items()
    return {name.removeprefix(start): x for name, x in found if name.startswith(start)}
