"""The mathematics of a linear-chain conditional random field, on tensors.

A row of tags `y_1 .. y_n` has the score `sum_t e[t, y_t] + sum_t a[y_{t-1}, y_t]`, of
emissions `e` and transitions `a`, and a probability proportional to its exponential
(Lafferty et al., 2001; Lample et al., 2016, https://arxiv.org/abs/1603.01360, section
2.2; the scores for begin and end that the latter have can be added to the emissions of
the first and the last word). Everything is a loop over time with a batch in each step,
works for any length and runs in float32.

Throughout: `emissions` is `(batch, time, tags)`; `transitions[..., i, j]`, the score of
tag `j` behind tag `i`, is `(tags, tags)` or `(batch, tags, tags)`; `mask`, bool
`(batch, time)`, is true for the first words of each row, perhaps for none.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def _as_one_graph(function: Callable) -> Callable:
    """Give a function tensors; with TensorFlow, op by op, its loop would be slow."""
    run = function
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, autograph=False, reduce_retracing=True)

    @functools.wraps(function)
    def call(emissions: Any, transitions: Any, mask: Any) -> Any:
        return run(*_as_tensors(emissions, transitions, mask))

    return call


def path_score(emissions: Any, transitions: Any, tags: Any, mask: Any) -> Any:
    """Return the score of given tags, float32 `(batch,)`, 0 for empty rows.

    Args:
        emissions: See above.
        transitions: See above.
        tags: int `(batch, time)`; where the mask is false they do not matter.
        mask: See above.

    Example:
        >>> emissions = ops.array([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
        >>> mask = ops.array([[True, True, False]])
        >>> float(path_score(emissions, 0.5 * ops.ones((2, 2)), [[0, 1, -1]], mask)[0])
        3.5
    """
    emissions, transitions, mask = _as_tensors(emissions, transitions, mask)
    tags = ops.where(mask, ops.cast(tags, "int32"), 0)
    present = ops.cast(mask, "float32")
    own = ops.take_along_axis(emissions, ops.expand_dims(tags, -1), axis=-1)[..., 0]
    count = emissions.shape[-1]
    pairs = tags[:, :-1] * count + tags[:, 1:]
    flat = ops.reshape(transitions, (-1, count * count))
    flat = ops.broadcast_to(flat, (ops.shape(emissions)[0], count * count))
    between = ops.take_along_axis(flat, pairs, axis=1)
    return ops.sum(own * present, axis=1) + ops.sum(between * present[:, 1:], axis=1)


@_as_one_graph
def log_normalizer(emissions: Any, transitions: Any, mask: Any) -> Any:
    """Return the log of the sum over all tags of the exponential of their scores.

    By the forward algorithm.

    Returns:
        float32 `(batch,)`, 0 for empty rows.
    """
    last, _ = _forward(emissions, transitions, mask)
    return ops.where(mask[:, 0], ops.logsumexp(last, axis=-1), 0.0)


@_as_one_graph
def marginals(emissions: Any, transitions: Any, mask: Any) -> Any:
    """Return the probability of each tag for each word, given all words.

    By the forward-backward algorithm.

    Returns:
        float32 `(batch, time, tags)`, 0 where the mask is false.
    """
    _, alphas = _forward(emissions, transitions, mask)
    last = ops.zeros_like(emissions[:, 0])

    def step(beta: Any, x: Any) -> tuple[Any, Any]:
        ahead = ops.expand_dims(beta + x[:, :-1], 1) + transitions
        beta = ops.where(x[:, -1:] > 0, ops.logsumexp(ahead, axis=-1), beta)
        return beta, beta

    _, betas = ops.scan(step, last, _steps(emissions, mask), reverse=True)
    chances = ops.softmax(alphas + _batch_first(betas), axis=-1)
    return ops.where(ops.expand_dims(mask, -1), chances, 0.0)


@_as_one_graph
def viterbi(emissions: Any, transitions: Any, mask: Any) -> Any:
    """Return the tags with the highest score.

    Returns:
        int32 `(batch, time)`, 0 where the mask is false.
    """
    stay = ops.cast(ops.arange(ops.shape(emissions)[-1]), "float32")

    def step(best: Any, x: Any) -> tuple[Any, Any]:
        paths = ops.expand_dims(best, -1) + transitions
        present = x[:, -1:] > 0
        before = ops.cast(ops.argmax(paths, axis=1), "float32")
        best = ops.where(present, ops.max(paths, axis=1) + x[:, :-1], best)
        return best, ops.where(present, before, stay)

    best, before = ops.scan(step, emissions[:, 0], _steps(emissions, mask))
    last = ops.cast(ops.argmax(best, axis=-1), "int32")

    def back(tag: Any, before: Any) -> tuple[Any, Any]:
        chosen = ops.take_along_axis(before, ops.expand_dims(tag, 1), axis=1)[:, 0]
        tag = ops.cast(chosen, "int32")
        return tag, tag

    _, tags = ops.scan(back, last, before, reverse=True)
    return ops.where(mask, ops.transpose(tags), 0)


def _forward(emissions: Any, transitions: Any, mask: Any) -> tuple[Any, Any]:
    """Log forward scores: of the last word `(batch, tags)`, and of all words."""

    def step(alpha: Any, x: Any) -> tuple[Any, Any]:
        paths = ops.expand_dims(alpha, -1) + transitions
        new = ops.logsumexp(paths, axis=1) + x[:, :-1]
        alpha = ops.where(x[:, -1:] > 0, new, alpha)
        return alpha, alpha

    first = emissions[:, 0]
    last, rest = ops.scan(step, first, _steps(emissions, mask))
    rest = _batch_first(rest)[:, :-1]
    return last, ops.concatenate([ops.expand_dims(first, 1), rest], axis=1)


def _steps(emissions: Any, mask: Any) -> Any:
    """Emissions and mask of the next word, time first, `(time, batch, tags + 1)`.

    The last word has none next to it, as the mask says. One tensor: Keras can not scan
    over two of unknown length.
    """
    present = ops.expand_dims(ops.cast(mask, "float32"), -1)
    both = ops.concatenate([emissions, present], axis=-1)
    following = ops.pad(both[:, 1:], ((0, 0), (0, 1), (0, 0)))
    return ops.transpose(following, (1, 0, 2))


def _batch_first(values: Any) -> Any:
    return ops.transpose(values, (1, 0, 2))


def _as_tensors(emissions: Any, transitions: Any, mask: Any) -> tuple[Any, Any, Any]:
    return (
        ops.cast(emissions, "float32"),
        ops.cast(transitions, "float32"),
        ops.cast(mask, "bool"),
    )
