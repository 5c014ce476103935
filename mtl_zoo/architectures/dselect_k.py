"""DSelect-k: a mixture of experts of which each task takes k, chosen by gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.architectures.mmoe import MMoE
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


def smooth_step(x: Any, width: float = 1.0) -> Any:
    """Return 0 below `-width / 2`, 1 above `width / 2`, and a cubic between.

    `-2 / width^3 x^3 + 3 / (2 width) x + 1/2` (Hazimeh et al., 2021, their
    smooth-step function): 0 and 1 are reached, with a slope of 0.
    """
    between = ops.clip(x, -0.5 * width, 0.5 * width)
    return -2.0 / width**3 * between**3 + 1.5 / width * between + 0.5


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DSelectGate(keras.layers.Layer):
    """Weights of experts, of which in the end at most `selections` are not 0.

    Each selection is a binary number whose digits are smooth steps; it weighs expert
    `e` by the product of the digits that `e` has. What drives the digits to 0 or 1, and
    keeps a selection from numbers that are no expert, is for the losses: `penalty`,
    or what the layer adds by itself, on average over a batch, for selections that each
    sample makes for itself, which are linear maps of the inputs.

    Args:
        experts: How many.
        selections: `k`.
        width: Of the smooth steps. Defaults to `1.0`.
        entropy: Factor on the entropy of each selection. Defaults to `0.1`.
        per_sample: Whether the inputs decide; else the selections are the same for all
            samples. Defaults to `False`.

    Call arguments:
        inputs: float `(batch, channels)`, of which only the batch counts unless
            `per_sample`.

    Returns:
        float `(batch, experts)`.
    """

    def __init__(
        self,
        experts: int,
        selections: int,
        width: float = 1.0,
        entropy: float = 0.1,
        per_sample: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.experts = experts
        self.selections = selections
        self.width = width
        self.entropy = entropy
        self.per_sample = per_sample
        self.digits = math.ceil(math.log2(experts))
        numbers = np.arange(experts)[:, None] >> np.arange(self.digits)
        self.codes = (numbers & 1).astype("float32")

    def build(self, input_shape: Any) -> None:
        inputs = (input_shape[-1],) if self.per_sample else ()
        reach = self.width / 100.0 / math.sqrt(math.prod(inputs))
        self.positions = self.add_weight(
            shape=(*inputs, self.selections, self.digits),
            initializer=keras.initializers.RandomUniform(-reach, reach),
            name="positions",
        )
        self.scores = self.add_weight(
            shape=(*inputs, self.selections), initializer="random_normal", name="scores"
        )

    def choices(self, positions: Any | None = None) -> Any:
        """Return the weight of each expert in each selection, `(..., k, experts)`.

        Args:
            positions: `(..., k, digits)`. Defaults to `None`: those of all samples.
        """
        positions = self.positions if positions is None else positions
        steps = ops.expand_dims(smooth_step(positions, self.width), -2)
        codes = ops.convert_to_tensor(self.codes)
        digits = codes * steps + (1.0 - codes) * (1.0 - steps)
        return ops.prod(digits, axis=-1)

    def expert_weights(self) -> Any:
        """Return the weight of each expert for all samples, `(experts,)`."""
        scores = ops.softmax(ops.convert_to_tensor(self.scores))
        return ops.matmul(scores, self.choices())

    def penalty(self, choices: Any | None = None) -> Any:
        """Return the entropies, and a barrier in front of numbers that are no expert.

        The entropy regularisation of the paper and, where experts are no power of two,
        the term of its appendix, up to a constant.

        Args:
            choices: `(..., k, experts)`, of which the mean is taken in front. Defaults
                to `None`: those of all samples.
        """
        choices = self.choices() if choices is None else choices
        safe = ops.where(choices > 0, choices, ops.ones_like(choices))
        total = -ops.sum(choices * ops.log(safe), axis=(-2, -1))
        if self.experts < 2**self.digits:
            inside = ops.sum(choices, axis=-1)
            total = total + ops.sum(1.0 / ops.maximum(inside, 1e-3) - 1.0, axis=-1)
        return self.entropy * ops.mean(total)

    def call(self, inputs: Any) -> Any:
        if not self.per_sample:
            weights = ops.expand_dims(self.expert_weights(), 0)
            return ops.broadcast_to(weights, (ops.shape(inputs)[0], self.experts))
        inputs = ops.cast(inputs, self.positions.dtype)
        choices = self.choices(ops.tensordot(inputs, self.positions, 1))
        self.add_loss(self.penalty(choices))
        scores = ops.softmax(ops.matmul(inputs, self.scores))
        return ops.sum(ops.expand_dims(scores, -1) * choices, axis=-2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.experts)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "experts": self.experts,
            "selections": self.selections,
            "width": self.width,
            "entropy": self.entropy,
            "per_sample": self.per_sample,
        }


@keras.saving.register_keras_serializable(package="mtl_zoo")
class DSelectK(MMoE):
    """Each task learns which of the experts it reads, at most `selections` of them.

    Hazimeh et al., 2021, in both forms. In the static one a task's choice is the same
    for all samples, so that in the end the other experts can be left out for it; or
    each sample chooses.

    Args:
        trunk: See `MMoE`.
        tasks: The tasks.
        experts: How many, at least 2. Defaults to `4`.
        selections: How many a task reads at most, `k`. Defaults to `2`.
        entropy: Factor on the entropy of a task's choice; it drives it to a decision.
            Defaults to `0.1`.
        per_sample: Whether each sample chooses, by what the experts read, as the gates
            of `MMoE` do. Defaults to `False`.
        first: See `MMoE`.
        same_start: See `MMoE`.
        name: Optional name of the model.

    Raises:
        ValueError: When a number is out of range.

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
        >>> model = DSelectK(mtl.trunks.mlp([8]), tasks, experts=4, selections=1)
        >>> model.build((None, 5))
        >>> tuple(model.gate_weights(keras.ops.ones((2, 5)))["age"].shape)
        (2, 4)

    Reference:
        - [Hazimeh et al., 2021](https://arxiv.org/abs/2106.03760)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        experts: int = 4,
        selections: int = 2,
        entropy: float = 0.1,
        per_sample: bool = False,
        first: str | None = None,
        same_start: bool = True,
        **kwargs: Any,
    ) -> None:
        if not 1 <= selections <= experts or experts < 2 or entropy < 0:
            raise ValueError(
                "Expected at least 2 experts, 1 to `experts` selections, and `entropy` "
                f"of at least 0. Received: experts={experts}, selections={selections}, "
                f"entropy={entropy}"
            )
        self.selections = selections
        self.entropy = entropy
        self.per_sample = per_sample
        super().__init__(trunk, tasks, experts, first, same_start, **kwargs)

    def make_gate(self, name: str) -> keras.layers.Layer:
        return DSelectGate(
            len(self.experts),
            self.selections,
            entropy=self.entropy,
            per_sample=self.per_sample,
            name=name,
        )

    def penalty(self) -> Any:
        total = ops.cast(super().penalty(), "float32")
        if self.per_sample:
            return total
        return total + sum(gate.penalty() for gate in self.gates)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "selections": self.selections,
            "entropy": self.entropy,
            "per_sample": self.per_sample,
        }
