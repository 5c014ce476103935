"""Missing labels: a weight of 0 takes an item out of a task, whatever stands there.

Data gives `(inputs, {task: label}, {task: weight})`. A weight is `(batch,)`, one a
sample, or has the label's leading dimensions, such as `(batch, height, width)`.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def fill_absent(label: Any, weight: Any) -> Any:
    """Replace label entries of weight 0 by zeros, so that NaN and -1 do no harm.

    A loss of NaN times a weight of 0 is NaN, and so is its gradient: what is absent
    has to go before the loss is taken.

    Args:
        label: Tensor `(batch, ...)` or a nested structure of such tensors.
        weight: `(batch, ...)` of lower or equal rank.

    Returns:
        The label with the same structure, shapes and dtypes.

    Example:
        >>> label = ops.array([1.0, float("nan")])
        >>> print(ops.convert_to_numpy(fill_absent(label, ops.array([1.0, 0.0]))))
        [1. 0.]
    """

    def fill(leaf: Any) -> Any:
        leaf = ops.convert_to_tensor(leaf)
        present = ops.greater(_match_rank(weight, leaf), 0)
        return ops.where(present, leaf, ops.zeros_like(leaf))

    return keras.tree.map_structure(fill, label)


def item_weights(weight: Any | None, values: Any) -> Any:
    """Broadcast `weight` to the shape of the loss values.

    Args:
        weight: `(batch, ...)`, or `None` when everything is labelled.
        values: Loss values `(batch, ...)`.

    Returns:
        float32 weights of the shape of `values`.
    """
    ones = ops.ones_like(values)
    return ones if weight is None else ones * _match_rank(weight, values)


def _match_rank(weight: Any, tensor: Any) -> Any:
    """Give `weight` the rank of `tensor`: new axes behind, surplus axes by maximum."""
    weight = ops.cast(weight, "float32")
    rank, target = len(weight.shape), len(tensor.shape)
    if rank > target:
        weight = ops.max(weight, axis=tuple(range(target, rank)))
    for _ in range(target - rank):
        weight = ops.expand_dims(weight, -1)
    return weight
