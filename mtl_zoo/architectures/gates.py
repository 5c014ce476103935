"""Gates over experts, and what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops


def summary(x: Any) -> Any:
    """Return what a gate reads of a state: its mean over all but batch and channels.

    Where there are positions, divided by its root mean square over the channels: of
    pixels in 0..255, a gate would be shut for good after a few steps.

    Args:
        x: float `(batch, ..., channels)`.

    Returns:
        float `(batch, channels)`.

    Raises:
        ValueError: When it is not such a tensor, as the inputs of a text trunk are not.
    """
    if isinstance(x, Mapping) or not keras.backend.is_float_dtype(
        keras.backend.standardize_dtype(x.dtype)
    ):
        raise ValueError(
            "A gate reads floats (batch, ..., channels). Name the stage from which "
            f"the experts begin with `first`, behind the embeddings. Received: {x}"
        )
    axes = tuple(range(1, len(x.shape) - 1))
    if not axes:
        return x
    mean = ops.cast(ops.mean(x, axis=axes), "float32")
    square = ops.mean(ops.square(mean), axis=-1, keepdims=True)
    return ops.cast(mean * ops.rsqrt(square + 1e-6), x.dtype)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class SoftmaxGate(keras.layers.Layer):
    """Weights of experts: the softmax of an affine map.

    Args:
        experts: How many.

    Call arguments:
        inputs: float `(batch, channels)`.

    Returns:
        float `(batch, experts)` with rows of sum 1.
    """

    def __init__(self, experts: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.experts = experts
        self.scores = keras.layers.Dense(experts, dtype="float32")

    def build(self, input_shape: Any) -> None:
        self.scores.build(input_shape)

    def call(self, inputs: Any) -> Any:
        return ops.softmax(self.scores(inputs), axis=-1)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape[:-1], self.experts)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "experts": self.experts}


def at_zero(gate: keras.layers.Layer) -> np.ndarray:
    """Return the weights `(1, experts)` of a built gate for a state of zeros."""
    channels = gate.get_build_config()["input_shape"][-1]
    return ops.convert_to_numpy(gate(ops.zeros((1, channels))))


def mixed(weights: Any, states: list) -> Any:
    """Return the sum of the experts' states, weighted for each sample.

    Args:
        weights: float `(batch, experts)`.
        states: A tensor `(batch, ..., channels)` of each expert.
    """
    ones = [1] * (len(states[0].shape) - 1)
    weights = ops.cast(weights, states[0].dtype)
    return sum(
        ops.reshape(weights[:, number], (-1, *ones)) * state
        for number, state in enumerate(states)
    )
