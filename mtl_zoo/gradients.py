"""Gradients as vectors, and sums over the replicas of a distribution strategy."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf


def replicas() -> int:
    """Return how many replicas the strategy in force has."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def sum_over_replicas(value: Any) -> Any:
    """Return the sum of a tensor over all replicas, the same on each."""
    if replicas() == 1:
        return value
    context = tf.distribute.get_replica_context()
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def summed_over_replicas(gradients: list) -> list:
    """Return gradients summed over all replicas in one go, `None` where one is.

    Before the optimizer sees them: left to itself, it clips each replica's share, and
    looks for infinities in it, before it sums (Keras 3.15).
    """
    if replicas() == 1:
        return gradients
    present = [gradient for gradient in gradients if gradient is not None]
    context = tf.distribute.get_replica_context()
    summed = iter(context.all_reduce(tf.distribute.ReduceOp.SUM, present))
    return [None if gradient is None else next(summed) for gradient in gradients]


def check_optimizer(optimizer: Any) -> None:
    """Under a strategy, keep an optimizer from summing gradients a second time.

    Raises:
        ValueError: When it accumulates gradients, or overwrites weights by averages
            every few steps: Keras 3.15 can not do so under a strategy.
    """
    if replicas() == 1:
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    for name in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        if getattr(inner, name, None):
            raise ValueError(
                f"Keras optimizers with {name} fail under tf.distribute (keras#20582). "
                f"Received: {name}={getattr(inner, name)}. Leave it out, or train "
                "without a strategy."
            )
    inner._all_reduce_sum_gradients = lambda pairs: pairs


def assign(variable: keras.Variable, value: Any) -> None:
    """Assign the same value on every replica."""
    if replicas() == 1:
        variable.value.assign(value)
        return

    def update(strategy: Any, target: Any, new: Any) -> None:
        strategy.extended.update(target, lambda v, n: v.assign(n), args=(new,))

    context = tf.distribute.get_replica_context()
    context.merge_call(update, args=(variable.value, value))


def add(left: Any, right: Any) -> Any:
    """Return the sum of two gradients of which either may be `None`.

    Those of a table of embeddings are slices, which do not add up: dense ones do.
    """
    if left is None or right is None:
        return right if left is None else left
    return tf.convert_to_tensor(left) + tf.convert_to_tensor(right)


def times(gradient: Any, factor: Any) -> Any:
    """Return a gradient, or slices of one, times a scalar, in its own dtype."""
    factor = tf.cast(factor, gradient.dtype)
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(
            gradient.values * factor, gradient.indices, gradient.dense_shape
        )
    return gradient * factor


def size_of(variables: list) -> int:
    """Return how many numbers are in the variables."""
    return sum(math.prod(variable.shape) for variable in variables)


def flatten(gradients: list, like: list) -> Any:
    """Concatenate gradients as float32, zeros where one is `None`."""
    parts = [
        tf.zeros_like(tf.convert_to_tensor(v)) if g is None else tf.convert_to_tensor(g)
        for g, v in zip(gradients, like, strict=True)
    ]
    return tf.concat([tf.cast(tf.reshape(p, [-1]), tf.float32) for p in parts], 0)


def unflatten(vector: Any, like: list) -> list:
    """Cut a vector into tensors with the shapes and dtypes of the variables `like`."""
    sizes = [math.prod(variable.shape) for variable in like]
    return [
        tf.cast(tf.reshape(part, v.shape), v.dtype)
        for part, v in zip(tf.split(vector, sizes), like, strict=True)
    ]


def weighted_sum(weights: list, cotangents: list) -> list:
    """Combine the tasks' cotangents feature by feature, `None` where all are."""
    combined = []
    for column in zip(*cotangents, strict=True):
        total = None
        for weight, cotangent in zip(weights, column, strict=True):
            if cotangent is not None:
                total = add(total, tf.cast(weight, cotangent.dtype) * cotangent)
        combined.append(total)
    return combined
