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
from mtl_zoo.balancing.balancing import GradientBalancing, gramian_of


def balanced_gradients(
    tape: tf.GradientTape,
    balancing: GradientBalancing | Any,
    *,
    features: list,
    copies: list,
    cotangents: list[list],
    variables: list,
    last_variables: list | None,
    losses: Any,
    active: Any,
    scale: Any = 1.0,
) -> tuple[list, Any, Any]:
    """Return the gradient of each shared variable, `None` where there is none.

    Args:
        tape: Persistent tape over `features`.
        balancing: The method, or `(T,)` weights that are known already.
        features: The shared representation, a flat list of tensors.
        copies: Identities of `features`, which the heads read.
        cotangents: For each task, the gradient of its loss by each copy, or `None`.
        variables: The shared variables.
        last_variables: Those of the last shared layer, or `None` where the weights are
            known and nobody asks for the Gramian.
        losses: `(T,)` losses of the global batch.
        active: `(T,)` bool, which tasks have labels.
        scale: What all gradients are multiplied by; the method sees them without.
            Defaults to `1.0`.

    Returns:
        This replica's share of the gradients; the tasks' weights `(T,)`; and the
        Gramian `(T, T)` that they were found from, or that of the last shared layer,
        or `None`.
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
        return grads.sum_over_replicas(tf.stack(local)) / scale

    known = not isinstance(balancing, GradientBalancing)
    level = "last" if known else balancing.level
    gradients: Any = None
    gramian: Any = None
    if level == "params":
        gradients = rows(variables)
        update, weights = balancing.combine(gradients, losses, active)
        update = update * scale / grads.replicas()
        return grads.unflatten(update, variables), weights, gramian_of(gradients)
    if level == "last" and last_variables is not None:
        gradients = rows(last_variables)
        gramian = gramian_of(gradients)
    elif level == "feature":
        # Of the features that some head reads.
        read = [
            i for i in range(len(copies)) if any(c[i] is not None for c in cotangents)
        ]
        local = tf.stack(
            [
                grads.flatten([c[i] for i in read], [copies[i] for i in read])
                for c in cotangents
            ]
        )
        gramian = grads.sum_over_replicas(gramian_of(local)) / scale**2
    if known:
        weights = balancing
    elif not balancing.whole_gradients:
        weights = balancing.task_weights(gramian, losses, active)
    else:
        if gradients is None:
            local = tf.stack([_of_channels(c, copies) for c in cotangents])
            gradients = grads.sum_over_replicas(local) / scale
        weights = balancing.weights_from_gradients(gradients, losses, active)
    unstacked = ops.unstack(weights, len(cotangents))
    combined = backward(grads.weighted_sum(unstacked, cotangents), variables)
    return combined, weights, gramian


def _of_channels(cotangent: list, copies: list) -> Any:
    """Return the gradient by an offset of each channel of the features, `(channels,)`.

    Features of other than floating-point numbers have no channels.
    """
    parts = []
    for copy, one in zip(copies, cotangent, strict=True):
        if not copy.dtype.is_floating:
            continue
        one = tf.zeros_like(copy) if one is None else one
        over = list(range(one.shape.rank - 1))
        parts.append(tf.reduce_sum(tf.cast(one, tf.float32), axis=over))
    return tf.concat(parts, axis=0)
