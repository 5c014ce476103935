"""Maximum spanning trees with one root, of dependency parses.

Every word takes one head, another word or the root; the heads form a tree in which one
word alone hangs on the root. The best such tree, projective or not, is found by
contracting cycles of best heads (Chu and Liu, 1965; Edmonds, 1967; McDonald et al.,
2005, https://aclanthology.org/H05-1066), a loop with the whole batch in each step. That
only one word hangs on the root is the work of a penalty on its arcs, larger than what
any tree can make up for, which leaves the order of the single-rooted trees as it is
(Stanojević and Cohen, 2021, https://aclanthology.org/2021.emnlp-main.823).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_NEVER = float("-inf")


def _as_one_graph(function: Callable) -> Callable:
    """With TensorFlow, op by op, the loop would be slow."""
    run = function
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        run = tf.function(function, autograph=False, reduce_retracing=True)

    @functools.wraps(function)
    def call(scores: Any, mask: Any) -> Any:
        return run(ops.cast(scores, "float64"), ops.cast(mask, "bool"))

    return call


@_as_one_graph
def maximum_spanning_tree(scores: Any, mask: Any) -> Any:
    """Return the head of each word in the tree with the highest sum of scores.

    Args:
        scores: `(batch, words, 1 + words)`; `scores[:, d, 0]` is for word `d` on the
            root, `scores[:, d, 1 + h]` for word `d` on word `h`. Finite.
        mask: bool `(batch, words)`, where there is a word.

    Returns:
        int32 `(batch, words)`: 0 for the root, `1 + h` for word `h`, as in CoNLL-U; -1
        where there is no word.

    Example:
        >>> scores = ops.array([[[1.0, 0.0, 5.0], [0.0, 6.0, 0.0]]])
        >>> ops.convert_to_numpy(maximum_spanning_tree(scores, [[True, True]])).tolist()
        [[0, 1]]
    """
    arcs = _prepared(scores, mask)
    nodes = ops.shape(arcs)[1]
    # What each contraction has to remember: cycle, entries and exits.
    kept = ops.full((nodes, 3, ops.shape(arcs)[0], nodes), -1, dtype="int32")

    def goes_on(step: Any, arcs: Any, kept: Any) -> Any:
        # Each contraction takes a node away; scores that are no numbers never end.
        found = ops.any(_in_cycle(_best(arcs))[0])
        return ops.logical_and(found, step < nodes)

    def contract(step: Any, arcs: Any, kept: Any) -> tuple[Any, Any, Any]:
        arcs, record = _contracted(arcs)
        here = ops.reshape(ops.equal(ops.arange(nodes), step), (-1, 1, 1, 1))
        return step + 1, arcs, ops.where(here, record, kept)

    start = ops.convert_to_tensor(0, "int32")
    steps, arcs, kept = ops.while_loop(goes_on, contract, (start, arcs, kept))

    def expand(step: Any, heads: Any) -> tuple[Any, Any]:
        return step - 1, _expanded(heads, ops.take(kept, step - 1, axis=0))

    _, heads = ops.while_loop(lambda step, _: step > 0, expand, (steps, _best(arcs)))
    return ops.where(mask, heads[:, 1:], -1)


def _prepared(scores: Any, mask: Any) -> Any:
    """Arcs `(batch, dependent, head)` between nodes, of which 0 is the root.

    A word's highest score becomes 0: it has one head, whatever the tree. No word hangs
    on itself, and what is no word hangs on the root.
    """
    nodes = ops.arange(ops.shape(mask)[1] + 1)
    there = ops.pad(mask, ((0, 0), (1, 0)), constant_values=True)
    itself = ops.equal(nodes[1:, None], nodes)
    allowed = ops.logical_and(there[:, None, :], ops.logical_not(itself))
    highest = ops.max(ops.where(allowed, scores, _NEVER), axis=-1, keepdims=True)
    scores = ops.where(allowed, scores - highest, _NEVER)
    on_root = ops.equal(nodes, 0)
    lowest = ops.min(ops.where(allowed, scores, 0.0), axis=(1, 2), keepdims=True)
    count = ops.cast(ops.shape(nodes)[0], scores.dtype)
    scores = ops.where(on_root, scores + count * (lowest - 1.0), scores)
    alone = ops.where(on_root, ops.zeros_like(scores), _NEVER)
    scores = ops.where(mask[:, :, None], scores, alone)
    return ops.concatenate([alone[:, :1], scores], axis=1)


def _best(arcs: Any) -> Any:
    """The best head of each node, `(batch, nodes)`; of the root and of nodes that are
    no more, 0.
    """
    return ops.cast(ops.argmax(arcs, axis=-1), "int32")


def _in_cycle(heads: Any) -> tuple[Any, Any]:
    """Mark one cycle of heads, where there is one, and name its last node.

    By pointers that double their reach: behind them all, only nodes of cycles, and the
    root, are pointed at.

    Returns:
        bool `(batch, nodes)` and int32 `(batch, 1)`, 0 where there is no cycle.
    """
    nodes = ops.arange(ops.shape(heads)[1])

    def double(reach: Any, pointers: Any, largest: Any) -> tuple[Any, Any, Any]:
        ahead = ops.take_along_axis(largest, pointers, axis=1)
        pointers = ops.take_along_axis(pointers, pointers, axis=1)
        return 2 * reach, pointers, ops.maximum(largest, ahead)

    own = ops.cast(ops.broadcast_to(nodes, ops.shape(heads)), "int32")
    _, pointers, largest = ops.while_loop(
        lambda reach, *_: reach < ops.shape(heads)[1],
        double,
        (ops.convert_to_tensor(1, "int32"), heads, own),
    )
    last = ops.max(pointers, axis=1, keepdims=True)
    pointed_at = ops.any(ops.equal(pointers[:, :, None], own[:, None, :]), axis=1)
    same = ops.logical_and(pointed_at, ops.equal(largest, last))
    return ops.logical_and(same, last > 0), last


def _contracted(arcs: Any) -> tuple[Any, Any]:
    """Make one node, its last, of a cycle in each row.

    Returns:
        The arcs, and int32 `(3, batch, nodes)`: the heads in the cycle, -1 outside; the
        node of the cycle that an arc from each head enters; and the one from which each
        dependent's comes.
    """
    heads = _best(arcs)
    cycle, last = _in_cycle(heads)
    nodes = ops.arange(ops.shape(heads)[1])
    is_last = ops.logical_and(ops.equal(nodes, last), cycle)
    removed = ops.logical_and(cycle, ops.logical_not(is_last))

    gain = arcs - ops.max(arcs, axis=-1, keepdims=True)
    into = ops.where(cycle[:, :, None], gain, _NEVER)
    out = ops.where(cycle[:, None, :], arcs, _NEVER)
    new = ops.where(is_last[:, :, None], ops.max(into, axis=1)[:, None, :], arcs)
    new = ops.where(is_last[:, None, :], ops.max(out, axis=2)[:, :, None], new)
    itself = ops.logical_and(cycle[:, :, None], cycle[:, None, :])
    gone = ops.logical_or(removed[:, :, None], removed[:, None, :])
    new = ops.where(ops.logical_or(itself, gone), _NEVER, new)
    # A node that is no more hangs on the root.
    idle = ops.logical_and(removed[:, :, None], ops.equal(nodes, 0))
    record = [
        ops.where(cycle, heads, -1),
        ops.cast(ops.argmax(into, axis=1), "int32"),
        ops.cast(ops.argmax(out, axis=2), "int32"),
    ]
    return ops.where(idle, 0.0, new), ops.stack(record)


def _expanded(heads: Any, record: Any) -> Any:
    """Return the heads before a contraction of those behind it."""
    in_cycle, entered, left = record[0], record[1], record[2]
    nodes = ops.cast(ops.arange(ops.shape(heads)[1]), "int32")
    cycle = in_cycle >= 0
    last = ops.max(ops.where(cycle, nodes, -1), axis=1, keepdims=True)
    outside = ops.take_along_axis(heads, ops.maximum(last, 0), axis=1)
    broken = ops.take_along_axis(entered, outside, axis=1)
    opened = ops.where(ops.equal(nodes, broken), outside, in_cycle)
    from_cycle = ops.where(ops.equal(heads, last), left, heads)
    return ops.where(cycle, opened, from_cycle)
