"""Learning to branch: a tree of tasks found by gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.branched import Branched
from mtl_zoo.architectures.copies import copy_of, give_weights
from mtl_zoo.architectures.search import Searched
from mtl_zoo.architectures.towers import MixedTowers
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class LearningToBranch(Searched, MixedTowers):
    """Every branch of a stage learns which branch of the stage before it grows from.

    Each stage has as many branches as there are tasks, and in front of each a choice
    among those of the stage before, drawn from a distribution that is trained through
    its relaxation by Gumbel and softmax (Guo et al., 2020). In inference the most
    likely ones are read. `training.PolicySearch` brings it through the phases: first
    the weights learn under choices by chance, then the choices too, those of the last
    stages first. `decided` gives the tree, without what nobody reads.

    What changes against the paper: choices and weights learn on the same batches.

    Args:
        trunk: The first branch of every stage; see `SeparateTowers`.
        tasks: The tasks.
        seed: Of the draws. Defaults to `0`.
        same_start: See `SeparateTowers`.
        name: Optional name of the model.

    Attributes:
        blocks: Names of the stages behind which there are choices: all but the last.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When it has a single stage.

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
        >>> model = LearningToBranch(mtl.trunks.mlp([8, 8]), tasks)
        >>> model.build((None, 3))
        >>> model.mixing_weights("layer_1").tolist()
        [[0.5, 0.5], [0.5, 0.5]]

    Reference:
        - [Guo et al., 2020](https://arxiv.org/abs/2006.01895)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        seed: int = 0,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, same_start, **kwargs)
        if len(self.stage_names) < 2:
            raise ValueError(
                "Expected a trunk of two stages or more: there is nothing to choose "
                f"between. Received: {self.stage_names}"
            )
        self.chosen = self.blocks = self.stage_names[:-1]
        self.add_search(seed)
        count = len(self.tasks)
        self.logits = [
            self.add_weight(
                shape=(count, count), initializer="zeros", name=f"to_{name}"
            )
            for name in self.blocks
        ]

    @property
    def mixing_variables(self) -> list[keras.Variable]:
        return list(self.logits)

    def mixing_weights(self, stage: str) -> np.ndarray:
        """Return the probability of each choice, `(branches, branches before)`."""
        if stage not in self.blocks:
            return super().mixing_weights(stage)
        logits = self.logits[self.blocks.index(stage)]
        return ops.convert_to_numpy(ops.softmax(logits, axis=-1))

    def mix(self, stage: str, states: list, training: bool | None = None) -> list:
        if stage not in self.blocks:
            return states
        at = self.blocks.index(stage)
        logits = ops.cast(self.logits[at], "float32")
        if training:
            learns = self.is_open(at)
            logits = ops.where(learns, logits, ops.stop_gradient(logits))
            weights = self.drawn(logits)
        else:
            weights = ops.one_hot(ops.argmax(logits, axis=-1), len(states))
        weights = ops.cast(weights, states[0].dtype)
        return [
            sum(weights[i, j] * state for j, state in enumerate(states))
            for i in range(len(states))
        ]

    def decided(self) -> Branched:
        """Return the tree of the most likely choices, with the weights of this model.

        Returns:
            A built model, not compiled; its layers are copies.

        Raises:
            ValueError: When this model is not built.
        """
        if not self.built:
            raise ValueError("Expected a built model: build it or load its weights.")
        # The branch that each task runs, from the last stage down.
        nodes = {self.stage_names[-1]: list(range(len(self.tasks)))}
        above = nodes[self.stage_names[-1]]
        for stage, logits in zip(
            reversed(self.blocks), reversed(self.logits), strict=True
        ):
            parents = np.argmax(ops.convert_to_numpy(logits), axis=-1)
            above = nodes[stage] = [int(parents[node]) for node in above]
        groups = {
            stage: [
                [
                    n
                    for n, at in zip(self.task_names, nodes[stage], strict=True)
                    if at == k
                ]
                for k in sorted(set(nodes[stage]))
            ]
            for stage in self.stage_names
        }
        made = Branched(
            copy_of(self.whole, self.whole.name),
            [Task.from_config(task.get_config()) for task in self.tasks],
            groups,
            name=self.name,
        )
        made.build(self._input_shape)
        for at, stage in enumerate(self.stage_names):
            for group, layer in zip(made.groups[stage], made.branches[at], strict=True):
                node = nodes[stage][self.task_names.index(group[0])]
                source = self.towers[node].stages[stage]
                layer.set_weights(source.get_weights())
        pairs = list(zip(self.heads, made.heads, strict=True))
        necks = [tower.neck for tower in self.towers if tower.neck is not None]
        pairs += zip(necks, made.necks, strict=True)
        give_weights(pairs)
        return made
