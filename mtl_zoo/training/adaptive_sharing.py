"""A network that branches while it trains, from the heads down."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.architectures.branched import Branched
from mtl_zoo.architectures.copies import run_stages
from mtl_zoo.task_loss import unpack
from mtl_zoo.training import branching


class AdaptiveSharing(keras.callbacks.Callback):
    """Let a `Branched` model part where tasks find different samples difficult.

    Fully-adaptive feature sharing (Lu et al., 2017): the last stage first, then one
    stage lower each round, the branches above are clustered by how often they find the
    same samples difficult, at the lowest cost of branches and of unlike branches in one
    cluster; every cluster gets a copy of the stage, with its weights and optimizer
    state, and training goes on. It ends when a stage is not parted or none is left.

    What the paper leaves open, and what is done here: a sample is difficult for a task
    when its loss is above the mean of the task (the paper has binary attributes, and
    margins below the mean); the number of poolings above a stage is found from how the
    sizes of the stages' outputs fall; rounds come after a fixed number of epochs. The
    thin start of the paper is `trunks.thin`.

    Args:
        data: Batches as for training, with labels of several tasks for the same
            samples.
        every: Epochs before the first round, and between two. Defaults to `1`.
        branch_cost: `L0`, of one branch more at the last stage. Defaults to `0.05`.
        separation_cost: `alpha`, factor on what unlike branches in one cluster cost.
            Defaults to `1.0`.

    Attributes:
        history: `[(stage, groups of task names, affinity (T, T))]`, one a round.

    Raises:
        ValueError: When a number is out of range; from `fit`, when the model is not
            `Branched`.

    Reference:
        - [Lu et al., 2017](https://arxiv.org/abs/1611.05377)
    """

    def __init__(
        self,
        data: tf.data.Dataset,
        every: int = 1,
        branch_cost: float = 0.05,
        separation_cost: float = 1.0,
    ) -> None:
        super().__init__()
        if every < 1 or branch_cost < 0 or separation_cost < 0:
            raise ValueError(
                "Expected `every` of at least 1 and costs of at least 0. Received: "
                f"every={every}, branch_cost={branch_cost}, "
                f"separation_cost={separation_cost}"
            )
        self.data = data
        self.every = every
        self.branch_cost = branch_cost
        self.separation_cost = separation_cost
        self.history: list[tuple[str, Any, np.ndarray]] = []
        self.left: list[str] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Check the model, and start with the last stage."""
        if not isinstance(self.model, Branched):
            raise ValueError(
                f"Expected architectures.Branched. Received: {type(self.model)}"
            )
        self.left = list(self.model.stage_names)
        self.history = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Part one stage."""
        if not self.left or (epoch + 1) % self.every:
            return
        stage = self.left.pop()
        names = self.model.task_names
        affinity = branching.task_affinity(*self._difficult())
        above = self.history[-1][1] if self.history else [(name,) for name in names]
        branches = tuple(tuple(names.index(n) for n in group) for group in above)
        clusters = branching.best_clusters(
            branching.branch_affinity(affinity, branches),
            self.branch_cost * 2.0 ** self._poolings_above(stage),
            self.separation_cost,
        )
        groups = tuple(
            tuple(n for branch in cluster for n in above[branch])
            for cluster in clusters
        )
        self.history.append((stage, groups, affinity))
        if len(groups) == 1:
            self.left = []
            return
        # Stages above keep their groups.
        done = {name: parts for name, parts, _ in self.history}
        self.model.part(done)

    def _difficult(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which samples are difficult for which task, and have labels of it."""
        losses: list[list] = [[] for _ in self.model.tasks]
        known: list[list] = [[] for _ in self.model.tasks]
        for batch in self.data:
            inputs, labels, weights = unpack(batch)
            outputs = self.model(inputs, training=False)
            for index, task in enumerate(self.model.tasks):
                values = task.loss.call(labels[task.name], outputs[task.name])
                values = keras.ops.convert_to_numpy(values)
                per_sample = values.reshape(len(values), -1).mean(axis=1)
                losses[index].append(per_sample)
                there = np.ones(len(values), bool)
                if weights is not None and task.name in weights:
                    weight = keras.ops.convert_to_numpy(weights[task.name])
                    there = weight.reshape(len(values), -1).max(axis=1) > 0
                known[index].append(there)
        found = np.stack([np.concatenate(each) for each in losses], axis=1)
        labelled = np.stack([np.concatenate(each) for each in known], axis=1)
        count = np.maximum(labelled.sum(axis=0), 1)
        mean = np.where(labelled, found, 0.0).sum(axis=0) / count
        return found > mean, labelled

    def _poolings_above(self, stage: str) -> int:
        """How often the outputs become smaller behind a stage."""
        inputs, _, _ = unpack(next(iter(self.data)))
        features = run_stages(
            self.model.whole.stages, self.model.prepare(inputs), training=False
        )
        sizes = [int(np.prod(x.shape[1:-1])) for x in features.values()]
        at = self.model.stage_names.index(stage)
        return sum(b < a for a, b in zip(sizes[at:], sizes[at + 1 :], strict=False))
