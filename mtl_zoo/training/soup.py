"""A model soup: the mean of the weights of several trained models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np


def average_weights(
    model: keras.Model, weights: Sequence[Sequence[np.ndarray]]
) -> None:
    """Give a model the mean of the weights of several trainings of it.

    Models that were fine-tuned from one start, heads included, in other orders of the
    data lie in one valley of the loss; their mean is often better than each, and costs
    nothing more to use (Wortsman et al., 2022, the uniform soup). Other variables than
    floating-point ones are those of the first.

    Args:
        model: Any Keras model.
        weights: `model.get_weights()` behind each training.

    Raises:
        ValueError: When there are none, or they are not of this model.

    Reference:
        - [Wortsman et al., 2022](https://arxiv.org/abs/2203.05482)
    """
    shapes = [tuple(variable.shape) for variable in model.weights]
    for number, one in enumerate(weights):
        if [value.shape for value in one] != shapes:
            raise ValueError(
                f"Expected {len(shapes)} arrays of the shapes of the model's weights. "
                f"Received other ones as number {number}."
            )
    if not weights:
        raise ValueError("Expected the weights of at least one training. Received: []")
    model.set_weights([_mean(values) for values in zip(*weights, strict=True)])


def soup(model: keras.Model, size: int, train: Callable[[int], None]) -> None:
    """Train a model several times from where it is, and average the weights.

    Args:
        model: A built model.
        size: How many trainings, at least 1.
        train: Trains the model; takes the number of the training, from 0, to go by
            other data orders and folders, and compiles the model anew.

    Raises:
        ValueError: When `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"`size` must be at least 1. Received: size={size}")
    start = model.get_weights()
    found = []
    for number in range(size):
        model.set_weights(start)
        train(number)
        found.append(model.get_weights())
    average_weights(model, found)


def _mean(values: Sequence[np.ndarray]) -> np.ndarray:
    first = values[0]
    if not np.issubdtype(first.dtype, np.floating):
        return first
    return np.mean(np.stack(values), axis=0, dtype="float64").astype(first.dtype)
