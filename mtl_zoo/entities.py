"""Entities from tags: runs of words under one type, in the graph.

Tags are numbers: 0 stands for `O`, and type `t` has `B-t` at `1 + 2 t` and `I-t` at
`2 + 2 t` (Ramshaw and Marcus, 1995, in the variant BIO or IOB2). As in the evaluation
script of CoNLL-2003, an `I-t` that does not follow its own type begins an entity too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras import ops

OUTSIDE = "O"


def tag_names(types: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tags for `types`, in the order of their numbers.

    Example:
        >>> tag_names(["LOC", "PER"])
        ('O', 'B-LOC', 'I-LOC', 'B-PER', 'I-PER')
    """
    inside = [f"{prefix}-{name}" for name in types for prefix in ("B", "I")]
    return (OUTSIDE, *inside)


@dataclass(frozen=True)
class Runs:
    """Where entities are, word by word, each `(batch, words)`.

    Attributes:
        inside: Whether the word belongs to an entity.
        begins: Whether an entity begins here.
        finishes: Whether an entity ends with this word.
        types: Number of the entity's type, -1 outside.
        number: The how-manieth entity of its row it is, from 0; meaningless outside.
    """

    inside: Any
    begins: Any
    finishes: Any
    types: Any
    number: Any


def runs(tags: Any) -> Runs:
    """Find the entities in rows of tags.

    Args:
        tags: int32 `(batch, words)`; what is below 1 is outside of entities.

    Example:
        >>> found = runs(ops.array([[1, 2, 4, 0, 3, 3]]))
        >>> ops.convert_to_numpy(found.begins).astype(int)
        array([[1, 0, 1, 0, 1, 1]])
    """
    inside = tags > 0
    types = ops.where(inside, (tags - 1) // 2, -1)
    before = ops.pad(types, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    begin_tag = ops.logical_and(inside, tags % 2 == 1)
    begins = ops.logical_and(
        inside, ops.logical_or(begin_tag, ops.not_equal(types, before))
    )
    goes_on = ops.logical_and(inside, ops.logical_not(begins))
    next_goes_on = ops.pad(goes_on, ((0, 0), (0, 1)))[:, 1:]
    finishes = ops.logical_and(inside, ops.logical_not(next_goes_on))
    number = ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1
    return Runs(inside, begins, finishes, types, number)


def spans(
    tags: Any, starts: Any, ends: Any, scores: Any, max_entities: int
) -> dict[str, Any]:
    """Return the entities of rows of tags as arrays of a fixed length.

    Args:
        tags: int32 `(batch, words)`.
        starts: First character of each word, int32 `(batch, words)`.
        ends: Character after its last.
        scores: Confidence in each word's tag, float32 `(batch, words)`.
        max_entities: Length of the arrays, `E`.

    Returns:
        `starts`, `ends`, `labels` (int32) and `scores` (float32), `(batch, E)`, in the
        order of the text and filled up with -1 (scores with 0); and `count`, int32
        `(batch,)`, how many entities there are, which may be more than `E`. The score
        of an entity is the mean over its words.
    """
    found = runs(tags)
    batch = ops.shape(tags)[0]
    width = max_entities + 1  # one more slot, for what does not fit
    rows = ops.expand_dims(ops.arange(batch), 1) * width
    slot = ops.where(found.inside, ops.minimum(found.number, max_entities), width - 1)
    slot = ops.reshape(rows + slot, (-1,))

    def collect(values: Any, where: Any) -> Any:
        values = ops.where(where, values, ops.zeros_like(values))
        total = ops.segment_sum(
            ops.reshape(values, (-1,)), slot, num_segments=batch * width
        )
        return ops.reshape(total, (batch, width))[:, :max_entities]

    count = ops.sum(ops.cast(found.begins, "int32"), axis=1)
    there = ops.arange(max_entities) < ops.expand_dims(count, 1)
    words = collect(ops.ones_like(scores), found.inside)
    return {
        "starts": ops.where(there, collect(starts, found.begins), -1),
        "ends": ops.where(there, collect(ends, found.finishes), -1),
        "labels": ops.where(there, collect(found.types, found.begins), -1),
        "scores": collect(scores, found.inside) / ops.maximum(words, 1.0),
        "count": count,
    }
