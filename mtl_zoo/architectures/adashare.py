"""AdaShare: which blocks of one trunk each task runs, learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.copies import copy_of, give_weights, last_kernel, run_on_each
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnFeatures
from mtl_zoo.architectures.search import Searched
from mtl_zoo.architectures.selected_blocks import SelectedBlocks
from mtl_zoo.architectures.towers import check_stages
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class AdaShare(Searched, OwnFeatures):
    """Each task learns for each block of the trunk whether to run or to skip it.

    `x <- x + u (block(x) - x)`, where `u` is 1 or 0 for each task and block, drawn from
    a distribution that is trained through its relaxation by Gumbel and softmax (Sun et
    al., 2020). Two terms join the losses: sparsity, the mean of `-ln P(skip)`, and
    sharing, the mean over blocks and pairs of tasks of the difference of their
    probabilities, which counts more for low blocks, by `(L - l) / L` for block `l` of
    `L`, from 0. `training.PolicySearch` brings it through the phases: first all blocks
    run; then the search opens blocks one after the other, the last ones first, and
    lowers the temperature. `decided` gives the model that runs the chosen blocks alone,
    to be trained anew or further.

    What changes against the paper: weights and policy learn on the same batches, not
    by turns on two halves of the data; sparsity is bounded below, which the paper's
    logarithm of `P(run)` is not; and the released code lets sharing count more for high
    blocks, on the logits, where we follow the paper.

    Args:
        trunk: The shared `Trunk`.
        tasks: The tasks.
        blocks: Names of the stages that tasks may skip; each must return the shape that
            it takes. Defaults to `None`: all but the first.
        sparsity: Factor on that term. Defaults to `0.05`.
        sharing_weight: Factor on that term. Defaults to `0.05`.
        seed: Of the draws. Defaults to `0`.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When a stage is not there or changes the shape, or a factor is
            negative.

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
        >>> model = AdaShare(mtl.trunks.mlp([8, 8, 8]), tasks)
        >>> model.build((None, 3))
        >>> model.run_probabilities().tolist()
        [[0.5, 0.5], [0.5, 0.5]]

    Reference:
        - [Sun et al., 2020](https://arxiv.org/abs/1911.12423)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        blocks: Iterable[str] | None = None,
        sparsity: float = 0.05,
        sharing_weight: float = 0.05,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        stages = tuple(trunk.stages)
        self.blocks = check_stages(stages[1:] if blocks is None else blocks, stages)
        if sparsity < 0 or sharing_weight < 0:
            raise ValueError(
                "The factors must not be negative. Received: "
                f"sparsity={sparsity}, sharing_weight={sharing_weight}"
            )
        self.sparsity = sparsity
        self.sharing_weight = sharing_weight
        self.add_search(seed)
        shape = (len(self.tasks), len(self.blocks), 2)
        self.logits = self.add_weight(shape=shape, initializer="zeros", name="logits")

    def run_probabilities(self) -> np.ndarray:
        """Return the probabilities to run, `(tasks, blocks)`."""
        return ops.convert_to_numpy(ops.softmax(self.logits, axis=-1)[..., 0])

    def _shares(self, training: bool | None) -> Any:
        """Return how much of each block runs for each task, `(tasks, blocks)`."""
        logits = ops.cast(self.logits, "float32")
        if training:
            chosen = self.drawn(logits)[..., 0]
        else:
            chosen = ops.cast(logits[..., 0] >= logits[..., 1], "float32")
        is_open = self.is_open(ops.arange(len(self.blocks)))
        return ops.where(is_open, chosen, ops.ones_like(chosen))

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of every task, named `<task>__<stage>`."""
        found = dict(inputs) if isinstance(inputs, Mapping) else {}
        shares = self._shares(training)
        states = [inputs for _ in self.tasks]
        for name, stage in self.whole.stages.items():
            outputs = run_on_each(stage, states, training)
            if name in self.blocks:
                at = self.blocks.index(name)
                outputs = [
                    _partly(name, x, y, shares[row, at])
                    for row, (x, y) in enumerate(zip(states, outputs, strict=True))
                ]
            states = outputs
            for task, x in zip(self.task_names, states, strict=True):
                found[f"{task}{BETWEEN}{name}"] = x
        return found

    def penalty(self) -> Any:
        logits = ops.cast(self.logits, "float32")
        count, size = logits.shape[:2]
        sparsity = -ops.mean(ops.log_softmax(logits, axis=-1)[..., 1])
        run = ops.softmax(logits, axis=-1)[..., 0]
        apart = ops.abs(ops.expand_dims(run, 0) - ops.expand_dims(run, 1))
        depth = 1.0 - ops.arange(size, dtype="float32") / size
        # Each pair stands there twice.
        pairs = max(1, count * (count - 1))
        sharing = ops.sum(apart * depth) / (pairs * size)
        total = self.sparsity * sparsity + self.sharing_weight * sharing
        others = ops.cast(super().penalty(), "float32")
        return others + ops.cast(self.searching, "float32") * total

    def decided(self, seed: int | None = None) -> SelectedBlocks:
        """Return the model that runs what the policy says, with the weights of this.

        Args:
            seed: Draws each decision by its probability. Defaults to `None`: what is
                more likely.

        Returns:
            A built model, not compiled; trunk, necks and heads are copies.

        Raises:
            ValueError: When this model is not built.
        """
        if not self.built:
            raise ValueError("Expected a built model: build it or load its weights.")
        run = self.run_probabilities()
        draws = (
            0.5 if seed is None else np.random.default_rng(seed).uniform(size=run.shape)
        )
        skipped = {
            task: [b for b, r in zip(self.blocks, row, strict=True) if not r]
            for task, row in zip(self.task_names, run >= draws, strict=True)
        }
        made = SelectedBlocks(
            copy_of(self.whole, self.whole.name),
            [Task.from_config(task.get_config()) for task in self.tasks],
            skipped,
            name=self.name,
        )
        made.build(self._input_shape)
        ran = {stage for stages in made.runs.values() for stage in stages}
        pairs: list[tuple] = [
            (self.whole.stages[stage], made.whole.stages[stage]) for stage in ran
        ]
        pairs += zip(self.heads, made.heads, strict=True)
        pairs += zip(self.necks, made.necks, strict=True)
        give_weights(pairs)
        return made

    def sharing(self) -> Sharing:
        """Who shares what; numbers are the probabilities to run, and to skip."""
        found, rows = Sharing(self.task_names), range(len(self.tasks))
        run = self.run_probabilities()
        start = found.add("inputs", "inputs", 0, (len(rows) - 1) / 2)
        before = [[(start, 1.0)] for _ in rows]
        for column, name in enumerate(self.whole.stages, start=1):
            for row, task in enumerate(self.task_names):
                key = found.add(f"{task}/{name}", name, column, row)
                share = 1.0
                if name in self.blocks:
                    share = float(run[row, self.blocks.index(name)])
                for source, weight in before[row]:
                    found.read(source, key, weight)
                skip = [(s, w * (1.0 - share)) for s, w in before[row] if share < 1]
                before[row] = [(key, share), *skip]
        column = len(self.whole.stages) + 1
        for row, task in enumerate(self.task_names):
            head = found.add(f"head_{task}", task, column, row, task)
            for source, weight in before[row]:
                found.read(source, head, weight)
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return [*self._of_stages(), self.logits]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return last_kernel(self._of_stages())

    def _of_stages(self) -> list[keras.Variable]:
        stages = self.whole.stages.values()
        return [v for stage in stages for v in stage.trainable_variables]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "sparsity": self.sparsity,
            "sharing_weight": self.sharing_weight,
        }


def _partly(name: str, before: Any, behind: Any, share: Any) -> Any:
    """Return a block's output by a share of it, and its input by the rest."""
    if tuple(before.shape) != tuple(behind.shape):
        raise ValueError(
            f"A stage that can be skipped returns the shape that it takes. Received: "
            f"stage {name!r} from {tuple(before.shape)} to {tuple(behind.shape)}. Name "
            "the `blocks` that do; cut the trunk so that there are some."
        )
    return before + ops.cast(share, before.dtype) * (behind - before)
