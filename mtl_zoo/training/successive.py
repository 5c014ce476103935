"""Tasks trained one after the other, without forgetting what came before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.model import MultiTaskModel


class SuccessiveRegularization(keras.callbacks.Callback):
    """Keep shared weights near what they were before the present task was trained.

    Adds `strength * ||theta - theta'||^2` to the loss, `theta'` being the weights at
    the end of the task before (Hashimoto et al., 2017, section 3). The tasks come one
    after the other, each for a block of epochs of `fit`: the weights are kept at the
    beginning of every block. The paper leaves the weights of the level that is trained
    free; give `variables` to do the same, or to hold others.

    In the graph, and not touched by the balancing. With `Resume(callbacks=[...])` the
    weights that were kept belong to the state of the run.

    Args:
        strength: Factor `delta`. Defaults to `1e-2`, that of the paper.
        every: Epochs of a block. Defaults to `1`.
        variables: The variables to be held. Defaults to the model's
            `shared_variables`.

    Attributes:
        distance: `||theta - theta'||^2` at the end of each epoch.

    Raises:
        ValueError: When a number is out of range; from `fit`, when the model is not
            built, or has another such penalty already.
        TypeError: From `fit`, when the model is no `MultiTaskModel`.

    Reference:
        - [Hashimoto et al., 2017](https://arxiv.org/abs/1611.01587)
    """

    def __init__(
        self,
        strength: float = 1e-2,
        every: int = 1,
        variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        super().__init__()
        if strength < 0 or every < 1:
            raise ValueError(
                "Expected a `strength` of at least 0 and `every` of at least 1. "
                f"Received: strength={strength}, every={every}"
            )
        self.strength = strength
        self.every = every
        self.variables = None if variables is None else list(variables)
        self.distance: list[float] = []
        self._pairs: list[tuple[keras.Variable, keras.Variable]] = []

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Keep the weights as they are, and add the penalty."""
        model = self.model
        if not isinstance(model, MultiTaskModel):
            raise TypeError(f"Expected a MultiTaskModel. Received: {type(model)}")
        if not model.built or model.extra_penalty is not None:
            raise ValueError(
                "Expected a built model without another penalty of a callback. "
                f"Received: built={model.built}, extra_penalty={model.extra_penalty}"
            )
        held = model.shared_variables if self.variables is None else self.variables
        with model.distribute_strategy.scope():
            self._pairs = [
                (
                    variable,
                    keras.Variable(
                        ops.cast(variable, "float32"), trainable=False, dtype="float32"
                    ),
                )
                for variable in held
            ]
        self.distance = []
        model.extra_penalty = self._penalty
        self._trace_anew()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Keep the weights, where a block begins."""
        if epoch % self.every == 0:
            for variable, before in self._pairs:
                before.assign(ops.cast(variable, "float32"))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Note how far the weights have come."""
        self.distance.append(float(self._squared_distance()))

    def on_train_end(self, logs: dict | None = None) -> None:
        """Leave no trace in the model."""
        self.model.extra_penalty = None
        self._trace_anew()

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` needs: JSON values and arrays."""
        return {
            "epoch": len(self.distance) - 1,
            "distance": list(self.distance),
            **{
                f"before_{index}": np.asarray(before)
                for index, (_, before) in enumerate(self._pairs)
            },
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_state` was called, in a `fit` that has begun."""
        self.distance = list(state["distance"])
        for index, (_, before) in enumerate(self._pairs):
            before.assign(state[f"before_{index}"])

    def _penalty(self) -> Any:
        return self.strength * self._squared_distance()

    def _squared_distance(self) -> Any:
        return sum(
            (
                ops.sum(ops.square(ops.cast(variable, "float32") - before))
                for variable, before in self._pairs
            ),
            ops.zeros(()),
        )

    def _trace_anew(self) -> None:
        """Have steps traced again, with what they add to the loss."""
        self.model.make_train_function(force=True)
        self.model.test_function = None
