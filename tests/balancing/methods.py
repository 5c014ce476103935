"""All methods, and what the tests need of them."""

from __future__ import annotations

import keras
import numpy as np

import mtl_zoo as mtl

NAMES = ("a", "b", "c")

BASES = ("Balancing", "GradientBalancing", "LossBalancing")


def ramp(step):
    """A schedule of a user."""
    return 1.0 / (1.0 + step)


keras.saving.register_keras_serializable(package="tests")(ramp)


def of(name: str, names: tuple[str, ...] = NAMES, **kwargs):
    """Return a method by its name, made for tasks `names`."""
    if name == "Fixed":
        kwargs = {"weights_by_task": {n: 1.0 + i for i, n in enumerate(names)}}
    if name == "FAMO":  # the way that asks more of the step
        kwargs = {"progress_on": "same batch", **kwargs}
    if name == "Scheduled":
        kwargs = {"schedules": {n: ramp if i else 1.0 for i, n in enumerate(names)}}
    if name == "GradientSimilarity":  # the first in the alphabet is the main task
        kwargs = {"auxiliary": sorted(names)[1:], **kwargs}
    if name in ("RLW", "PCGrad", "GradVac", "GradDrop"):
        kwargs = {"seed": 3, **kwargs}
    return getattr(mtl.balancing, name)(**kwargs)


ALL = tuple(
    sorted(
        name
        for name in mtl.balancing.__all__
        if name not in BASES and isinstance(getattr(mtl.balancing, name), type)
    )
)
OF_GRADIENTS = tuple(
    name
    for name in ALL
    if issubclass(getattr(mtl.balancing, name), mtl.balancing.GradientBalancing)
)
OF_LOSSES = tuple(name for name in ALL if name not in OF_GRADIENTS)


def promising(promise: str) -> tuple[str, ...]:
    """Return the methods that make a promise."""
    return tuple(n for n in ALL if promise in getattr(mtl.balancing, n).promises)


def tensor(array, dtype: str = "float32"):
    return keras.ops.convert_to_tensor(np.asarray(array), dtype)


def update_of(name, gradients, losses, active=None, names=None, steps=1, **kwargs):
    """Return the update `(N,)` and the weights `(T,)` of a fresh method.

    With the same gradients `(T, N)` and losses `(T,)` at each of `steps` steps; of a
    method that weighs losses, the gradients weighted so.
    """
    count, size = gradients.shape
    names = names or tuple(f"task_{i}" for i in range(count))
    active = np.ones(count, bool) if active is None else active
    if name in OF_GRADIENTS:
        method = of(name, names, level="params", **kwargs)
        method.build(names, size)
        for _ in range(steps):
            update, weights = method.combine(
                tensor(gradients), tensor(losses), tensor(active, "bool")
            )
        return np.asarray(update, "float64"), np.asarray(weights, "float64")
    import tensorflow as tf

    method = of(name, names, **kwargs)
    method.build(names)
    values = tensor(losses)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            tape.watch(values)
            total = method.total(values, tensor(active, "bool"))
        weights = np.asarray(tape.gradient(total, values), "float64")
    return weights @ gradients, weights
