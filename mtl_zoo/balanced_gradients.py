"""The shared variables' gradients under a method that balances gradients.

With the losses `L_k` of `T` tasks, the shared representation `z` and the shared
variables `theta`, the cotangents `dL_k/dz` are taken once. A method chooses weights
`w` from the tasks' inner products at its level, and one backward pass through the
trunk with `sum_k w_k dL_k/dz` gives `sum_k w_k dL_k/dtheta`. Only the exact level,
`"params"`, needs a backward pass a task.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from keras import ops

from mtl_zoo import gradients as grads
from mtl_zoo.balancing import GradientBalancing


def balanced_gradients(
    tape: tf.GradientTape,
    balancing: GradientBalancing,
    *,
    features: list,
    copies: list,
    cotangents: list[list],
    variables: list,
    last_variables: list,
    active: Any,
) -> list:
    """Return the gradient of each shared variable, `None` where there is none.

    Args:
        tape: Persistent tape over `features`.
        balancing: The method.
        features: The shared representation, a flat list of tensors.
        copies: Identities of `features`, which the heads read.
        cotangents: For each task, the gradient of its loss by each copy, or `None`.
        variables: The shared variables.
        last_variables: Those of the last shared layer.
        active: `(T,)` bool, which tasks have labels.
    """

    def backward(cotangent: list, sources: list) -> list:
        pairs = [
            (feature, c)
            for feature, c in zip(features, cotangent, strict=True)
            if c is not None
        ]
        return tape.gradient(
            [feature for feature, _ in pairs],
            sources,
            output_gradients=[c for _, c in pairs],
        )

    def rows(sources: list) -> Any:
        """The tasks' global gradients of `sources`, `(T, N)` float32."""
        local = [grads.flatten(backward(c, sources), sources) for c in cotangents]
        return grads.sum_over_replicas(tf.stack(local))

    if balancing.level == "params":
        update = balancing.combine(rows(variables), active) / grads.replicas()
        return grads.unflatten(update, variables)
    if balancing.level == "last":
        gramian = _gramian(rows(last_variables))
    else:
        local = tf.stack([grads.flatten(c, copies) for c in cotangents])
        gramian = grads.sum_over_replicas(_gramian(local))
    weights = ops.unstack(balancing.task_weights(gramian, active), len(cotangents))
    return backward(grads.weighted_sum(weights, cotangents), variables)


def _gramian(matrix: Any) -> Any:
    return tf.matmul(matrix, matrix, transpose_b=True)
