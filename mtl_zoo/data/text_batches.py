"""Batches of texts that are labelled for some of the tasks.

Texts are cut into word pieces once, when a set is read; a batch then only gathers rows
and lays them out in windows. What `trunks.WordPieces` returns is what a model takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_zoo.data.sampling import mix
from mtl_zoo.data.stream import checkpointable

__all__ = [
    "LabelledTexts",
    "WordTags",
    "evaluation_batches",
    "joined",
    "training_batches",
]

# Training batches have texts of similar length: this many batches are sorted together.
_SORTED_TOGETHER = 50

_CUT_AT_ONCE = 4096


@dataclass(frozen=True)
class WordTags:
    """Tags of words of a text.

    Attributes:
        starts: Character at which each word begins, increasing.
        tags: Number of each word's tag; see `mtl_zoo.entities`.
    """

    starts: Sequence[int]
    tags: Sequence[int]


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and labels for them.

    Attributes:
        texts: The texts.
        labels: `{task: one label a text}`: numbers, or `WordTags`.

    Raises:
        ValueError: When there is not one label a text.
    """

    texts: Sequence[str]
    labels: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        if not len(self.texts):
            raise ValueError("Expected at least one text. Received: none.")
        for task, labels in self.labels.items():
            if len(labels) != len(self.texts):
                raise ValueError(
                    f"Expected one label a text for task {task!r}. Received "
                    f"{len(labels)} labels for {len(self.texts)} texts."
                )

    def __len__(self) -> int:
        return len(self.texts)

    def only(self, tasks: Sequence[str]) -> "LabelledTexts":
        """Return the same texts with the labels of these tasks alone."""
        kept = {task: found for task, found in self.labels.items() if task in tasks}
        return LabelledTexts(self.texts, kept)


def joined(words: Sequence[str], tags: Sequence[int]) -> tuple[str, WordTags]:
    """Return the words with blanks between them as one text, with its tags.

    Example:
        >>> joined(["New", "York", "!"], [1, 2, 0])
        ('New York !', WordTags(starts=(0, 4, 9), tags=(1, 2, 0)))
    """
    starts, place = [], 0
    for word in words:
        starts.append(place)
        place += len(word) + 1
    return " ".join(words), WordTags(tuple(starts), tuple(tags))


def training_batches(
    sets: Mapping[str, LabelledTexts],
    word_pieces: Any,
    *,
    batch_size: int,
    seed: int,
    sampling: Any = None,
) -> tf.data.Dataset:
    """Endless shuffled batches, each from one of several sets.

    An epoch of a set is a new permutation of it, without what is left over for a whole
    batch. Texts of similar length come together. Element `i` of each set's batches
    depends on the seed and `i` only; see `mtl_zoo.data.stream`.

    Args:
        sets: Texts by name; each may be labelled for other tasks.
        word_pieces: A `trunks.WordPieces`, such as `trunk.prepare`.
        batch_size: Texts in a batch.
        seed: Decides the whole stream.
        sampling: How often each set is drawn, see `mtl_zoo.data.sampling`; needed
            where there is more than one.

    Returns:
        A dataset of `(inputs, {task: label}, {task: weight})`, with all tasks of all
        sets: a label `(batch,)` int32, or `{"tags", "scored"}` `(batch, words)` for
        `WordTags`; a weight `(batch,)`, 0 for the tasks that the set is not labelled
        for.

    Raises:
        ValueError: When a set is smaller than a batch, or `sampling` is missing.
    """
    if len(sets) > 1 and sampling is None:
        raise ValueError(
            "Several sets need a `sampling`, such as data.sampling.RoundRobin(). "
            f"Received: None for the sets {list(sets)}"
        )
    tasks = _kinds(sets)
    streams = {}
    for number, (name, texts) in enumerate(sets.items()):
        if len(texts) < batch_size:
            raise ValueError(
                f"Expected at least one batch of {batch_size} texts in {name!r}. "
                f"Received {len(texts)}."
            )
        cut = _Cut.of(texts, word_pieces)
        order = _shuffled(cut.lengths, batch_size, [seed, number])
        streams[name] = order.map(
            _gather(cut, tasks, word_pieces), num_parallel_calls=1
        )
    (first,) = list(streams.values())[:1]
    mixed = first if len(sets) == 1 else mix(streams, sampling, seed)
    return checkpointable(mixed.prefetch(2))


def evaluation_batches(
    sets: Mapping[str, LabelledTexts], word_pieces: Any, *, batch_size: int = 64
) -> tf.data.Dataset:
    """One pass over all texts: set after set, each from short to long texts.

    Args:
        sets: Texts by name; each may be labelled for other tasks.
        word_pieces: As in `training_batches`.
        batch_size: Texts in a batch. Defaults to `64`.

    Returns:
        As `training_batches`.
    """
    tasks = _kinds(sets)
    parts = []
    for texts in sets.values():
        cut = _Cut.of(texts, word_pieces)
        order = np.argsort(cut.lengths, kind="stable").astype("int64")
        indices = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        parts.append(indices.map(_gather(cut, tasks, word_pieces)))
    whole = parts[0]
    for part in parts[1:]:
        whole = whole.concatenate(part)
    return whole.prefetch(2)


def _kinds(sets: Mapping[str, LabelledTexts]) -> dict[str, bool]:
    """Return `{task: whether its labels are word tags}`, in the order of the sets."""
    return {
        task: isinstance(labels[0], WordTags)
        for texts in sets.values()
        for task, labels in texts.labels.items()
    }


@dataclass(frozen=True)
class _Cut:
    """A set, cut into word pieces."""

    pieces: dict[str, tf.RaggedTensor]
    labels: dict[str, Any]
    lengths: np.ndarray

    @classmethod
    def of(cls, texts: LabelledTexts, word_pieces: Any) -> "_Cut":
        parts = [
            word_pieces.pieces(tf.constant(texts.texts[at : at + _CUT_AT_ONCE]))
            for at in range(0, len(texts), _CUT_AT_ONCE)
        ]
        pieces = {name: tf.concat([p[name] for p in parts], 0) for name in parts[0]}
        splits = pieces["starts"].row_splits.numpy()
        starts = pieces["starts"].flat_values.numpy()
        labels: dict[str, Any] = {}
        for task, found in texts.labels.items():
            if isinstance(found[0], WordTags):
                rows = [
                    _aligned(starts[splits[i] : splits[i + 1]], one)
                    for i, one in enumerate(found)
                ]
                flat = np.concatenate([*rows, np.zeros((0, 2), "int32")])
                labels[task] = pieces["starts"].with_flat_values(tf.constant(flat))
            else:
                labels[task] = tf.constant(np.asarray(found, "int32"))
        return cls(pieces, labels, pieces["ids"].row_lengths().numpy())


def _aligned(starts: np.ndarray, word_tags: WordTags) -> np.ndarray:
    """Return tag and whether it is scored for each word of the model, `(words, 2)`.

    A word of the corpus may be several of the model's. The first has its tag; those
    behind it go on with the entity, `I-` for `B-`, and are not scored.
    """
    if not len(starts):
        return np.zeros((0, 2), "int32")
    owner = np.searchsorted(word_tags.starts, starts, side="right") - 1
    tags = np.asarray(word_tags.tags, "int32")[owner]
    scored = np.diff(owner, prepend=-1) > 0
    begins = (tags > 0) & (tags % 2 == 1)
    tags = np.where(begins & ~scored, tags + 1, tags)
    return np.stack([tags, scored], axis=1).astype("int32")


def _shuffled(
    lengths: np.ndarray, batch_size: int, seed: Sequence[int]
) -> tf.data.Dataset:
    """Endless batches of indices, of texts of similar length."""
    count = len(lengths)
    batches = count // batch_size
    sizes = tf.constant(lengths, tf.float32)
    key = tf.constant(seed, tf.int64)

    def pick(number: tf.Tensor) -> tf.Tensor:
        epoch, place = number // batches, number % batches
        fold = tf.random.experimental.stateless_fold_in
        epoch_key = fold(key, epoch)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=fold(epoch_key, 0)
        )
        first = place // _SORTED_TOGETHER * _SORTED_TOGETHER
        together = tf.minimum(batches - first, _SORTED_TOGETHER)
        part = order[first * batch_size : (first + together) * batch_size]
        part = tf.gather(part, tf.argsort(tf.gather(sizes, part), stable=True))
        turn = tf.random.experimental.stateless_shuffle(
            tf.range(together), seed=fold(fold(epoch_key, 1), first)
        )[place - first]
        return part[turn * batch_size : (turn + 1) * batch_size]

    return tf.data.Dataset.counter().map(pick)


def _gather(cut: _Cut, tasks: Mapping[str, bool], word_pieces: Any) -> Callable:
    """Return the function from indices to a batch."""

    def batch(indices: tf.Tensor) -> tuple[dict, dict, dict]:
        rows = {name: tf.gather(ragged, indices) for name, ragged in cut.pieces.items()}
        inputs = word_pieces.windows(**rows)
        size = tf.shape(indices)[0]
        width = tf.shape(inputs["starts"])[1]
        labels: dict[str, Any] = {}
        weights = {}
        for task, tagged in tasks.items():
            present = task in cut.labels
            weights[task] = tf.fill([size], 1.0 if present else 0.0)
            if not tagged:
                found = cut.labels[task] if present else None
                labels[task] = (
                    tf.gather(found, indices) if present else tf.zeros([size], tf.int32)
                )
                continue
            if present:
                both = tf.gather(cut.labels[task], indices)
                dense = both.to_tensor(-1, shape=tf.stack([size, width, 2]))
            else:
                dense = tf.fill([size, width, 2], -1)
            labels[task] = {"tags": dense[..., 0], "scored": dense[..., 1] > 0}
        return inputs, labels, weights

    return batch
