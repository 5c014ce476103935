"""Multi-gate mixture of experts: every task mixes the same experts in its own way."""

from __future__ import annotations

from collections.abc import Iterable
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

GATE = "gate"


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MMoE(OwnNecks):
    """Each task reads a mixture of experts, weighted by its gate for each sample.

    `f_k(x) = sum_e g_k(x)_e f_e(x)` with `g_k` a softmax (Ma et al., 2018). The
    experts are copies of the trunk from the stage `first` on; what is in front is
    shared. The outputs of all their stages are mixed, and each task has a neck of its
    own. What changes against the paper: gates have a bias, and where there are
    positions they read the mean over these, scaled to a mean square of 1.

    Args:
        trunk: The first expert, a `Trunk`.
        tasks: The tasks.
        experts: How many. Defaults to `4`.
        first: Name of the stage with which experts begin. Defaults to `None`: the
            first one.
        same_start: Whether the experts start with the weights of the first one, as they
            must when those are pretrained; the gates, which differ, then drive them
            apart. Defaults to `True`.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When there is no expert or no such stage.

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
        >>> model = MMoE(mtl.trunks.mlp([8, 4]), tasks, experts=3, first="layer_2")
        >>> model.build((None, 5))
        >>> tuple(model.gate_weights(keras.ops.ones((2, 5)))["age"].shape)
        (2, 3)

    Reference:
        - [Ma et al., 2018](https://doi.org/10.1145/3219819.3220007)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        experts: int = 4,
        first: str | None = None,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if experts < 1:
            raise ValueError(f"Expected at least one expert. Received: {experts}")
        self.first = first
        self.same_start = same_start
        shared, own = split_at(trunk, first)
        self.bottom = part_of(trunk, shared, "bottom") if shared else None
        expert = part_of(trunk, own, "expert_0")
        others = (copy_of(expert, f"expert_{k}") for k in range(1, experts))
        self.experts = [expert, *others]
        self.gates = [self.make_gate(f"gate_{name}") for name in self.task_names]

    def make_gate(self, name: str) -> keras.layers.Layer:
        """Return a gate, from `(batch, channels)` to `(batch, experts)`."""
        return SoftmaxGate(len(self.experts), name=name)

    def build(self, input_shape: Any) -> None:
        first_time = not self.built
        super().build(input_shape)
        if first_time and self.same_start:
            start_alike(self.experts[0], self.experts[1:])

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the shared features, and those of the experts."""
        found, x = run_bottom(self.bottom, inputs, training)
        found[GATE] = summary(x)
        for number, expert in enumerate(self.experts):
            own = run_stages(expert.stages, x, training)
            found.update({f"{number}{BETWEEN}{name}": y for name, y in own.items()})
        return found

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        shared = {name: x for name, x in features.items() if BETWEEN not in name}
        outputs = {}
        for task in self.wanted(tasks):
            weights = self.gates[self.task_names.index(task.name)](features[GATE])
            seen = dict(shared)
            for name in self.experts[0].stages:
                if f"0{BETWEEN}{name}" not in features:
                    continue  # An export hands on what is read, and no more.
                numbers = range(len(self.experts))
                states = [features[f"{k}{BETWEEN}{name}"] for k in numbers]
                seen[name] = mixed(weights, states)
            seen = self.through_neck(task.name, seen, training)
            outputs[task.name] = task.head(seen, training=training)
        return outputs

    def gate_weights(self, inputs: Any) -> dict[str, Any]:
        """Return the weights of the experts for each task, `(batch, experts)`."""
        read = self.encode(self.prepare(inputs), training=False)[GATE]
        pairs = zip(self.task_names, self.gates, strict=True)
        return {name: gate(read) for name, gate in pairs}

    def sharing(self) -> Sharing:
        """Who shares what; the gates' weights are those of a state of zeros."""
        found, count = Sharing(self.task_names), len(self.experts)
        height = max(count, len(self.tasks))
        start = found.add("inputs", "inputs", 0, middle(height))
        bottom = () if self.bottom is None else tuple(self.bottom.stages)
        last = found.add_chain(bottom, start, 1, middle(height))
        stages, column = tuple(self.experts[0].stages), len(bottom) + 1
        above = (height - count) / 2
        ends = [
            found.add_chain(stages, last, column, above + k, f"expert {k}/")
            for k in range(count)
        ]
        column += len(stages)
        for row, (name, gate) in enumerate(
            zip(self.task_names, self.gates, strict=True)
        ):
            above = (height - len(self.tasks)) / 2
            head = found.add(f"head_{name}", name, column + 0.6, above + row, name)
            found.mix(ends, [head], at_zero(gate))
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        bottom = [] if self.bottom is None else self.bottom.trainable_variables
        return [*bottom, *(v for e in self.experts for v in e.trainable_variables)]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return [v for expert in self.experts for v in expert.last_shared_variables]

    def task_variables(self, name: str) -> list[keras.Variable]:
        gate = self.gates[self.task_names.index(name)]
        return [
            *gate.trainable_variables,
            *super().task_variables(name),
        ]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "experts": len(self.experts),
            "first": self.first,
            "same_start": self.same_start,
        }
