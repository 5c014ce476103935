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
from mtl_zoo.data.stream import checkpointable, training_stream

__all__ = [
    "LabelledTexts",
    "WordClasses",
    "WordTags",
    "WordTree",
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
class WordClasses:
    """Classes of words of a text, such as parts of speech.

    Attributes:
        starts: Character at which each word begins, increasing.
        classes: Number of each word's class.
    """

    starts: Sequence[int]
    classes: Sequence[int]


@dataclass(frozen=True)
class WordTree:
    """The dependency tree of a text.

    Attributes:
        starts: Character at which each word begins, increasing.
        heads: Head of each word: 0 for the root, `n` for the `n`-th word from 1.
        relations: Number of each word's relation to its head.
        part: Number of the relation by which, where a word of the corpus is several of
            the model's (`U.S.`), those behind the first hang on it: `goeswith` in
            Universal Dependencies. Defaults to `-1`: they have no head.
    """

    starts: Sequence[int]
    heads: Sequence[int]
    relations: Sequence[int]
    part: int = -1


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and labels for them.

    Attributes:
        texts: The texts.
        labels: `{task: one label a text}`: numbers, `WordTags`, `WordClasses` or
            `WordTree`.

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
    mixed: bool = False,
) -> tf.data.Dataset:
    """Endless shuffled batches of several sets.

    An epoch of a set is a new permutation of it. Texts of similar length come together.
    Element `i` of the stream depends on the seed and `i` only; see
    `mtl_zoo.data.stream`.

    Args:
        sets: Texts by name; each may be labelled for other tasks.
        word_pieces: A `trunks.WordPieces`, such as `trunk.prepare`.
        batch_size: Texts in a batch.
        seed: Decides the whole stream.
        sampling: How often each set is drawn, see `mtl_zoo.data.sampling`; needed
            where there is more than one.
        mixed: Whether each text of a batch is drawn from the sets, rather than the
            batch as a whole. Defaults to `False`: each batch is from one set (and what
            an epoch has left over for a whole batch is left out).

    Returns:
        A dataset of `(inputs, {task: label}, {task: weight})`, with all tasks of all
        sets: a label `(batch,)`, int32 or float32; or `{"tags", "scored"}` `(batch,
        words)` for `WordTags` and `WordClasses`; or `{"heads", "relations", "scored"}`
        for `WordTree`; a weight `(batch,)`, 0 for the tasks that the text's set is not
        labelled for.

    Raises:
        ValueError: When a set is smaller than a batch, or `sampling` is missing.
    """
    if len(sets) > 1 and sampling is None:
        raise ValueError(
            "Several sets need a `sampling`, such as data.sampling.RoundRobin(). "
            f"Received: None for the sets {list(sets)}"
        )
    for name, texts in sets.items():
        if len(texts) < batch_size:
            raise ValueError(
                f"Expected at least one batch of {batch_size} texts in {name!r}. "
                f"Received {len(texts)}."
            )
    cut = _Cut.of(sets, word_pieces)
    streams = {
        name: _examples(rows, [seed, number])
        if mixed
        else _batches(rows, cut.lengths, batch_size, [seed, number])
        for number, (name, rows) in enumerate(cut.rows.items())
    }
    if len(sets) == 1:
        (indices,) = streams.values()
    else:
        indices = mix(streams, sampling, seed)
    if mixed:
        indices = _by_length(indices, cut.lengths, batch_size, seed)
    return checkpointable(indices.map(_gather(cut, word_pieces)).prefetch(2))


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
    cut = _Cut.of(sets, word_pieces)
    indices: Any = None
    for rows in cut.rows.values():
        order = np.array(rows)[np.argsort(cut.lengths[rows], kind="stable")]
        part = tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
        indices = part if indices is None else indices.concatenate(part)
    return indices.map(_gather(cut, word_pieces)).prefetch(2)


@dataclass(frozen=True)
class _Cut:
    """All sets, one behind the other, cut into word pieces.

    Attributes:
        pieces: What `WordPieces.pieces` returns.
        labels: `{task: (texts,), or ragged (texts, words, n)}`, `n` columns as
            `_COLUMNS` has them.
        weights: `{task: (texts,)}`, 1 where a text is labelled for it, else 0.
        lengths: Pieces of each text.
        rows: `{set: its texts}`.
    """

    pieces: dict[str, tf.RaggedTensor]
    labels: dict[str, Any]
    weights: dict[str, tf.Tensor]
    lengths: np.ndarray
    rows: dict[str, range]

    @classmethod
    def of(cls, sets: Mapping[str, LabelledTexts], word_pieces: Any) -> "_Cut":
        texts = [text for one in sets.values() for text in one.texts]
        parts = [
            word_pieces.pieces(tf.constant(texts[at : at + _CUT_AT_ONCE]))
            for at in range(0, len(texts), _CUT_AT_ONCE)
        ]
        pieces = {name: tf.concat([p[name] for p in parts], 0) for name in parts[0]}
        rows, first = {}, 0
        for name, one in sets.items():
            rows[name] = range(first, first + len(one))
            first += len(one)
        labels: dict[str, Any] = {}
        weights = {}
        for task in dict.fromkeys(t for one in sets.values() for t in one.labels):
            found = [
                label
                for one in sets.values()
                for label in one.labels.get(task, [None] * len(one))
            ]
            labels[task] = _joined_labels(found, pieces["starts"])
            weights[task] = tf.constant([float(one is not None) for one in found])
        return cls(pieces, labels, weights, pieces["ids"].row_lengths().numpy(), rows)


# What there is of each word, by the number of columns.
_COLUMNS = {2: ("tags", "scored"), 3: ("heads", "relations", "scored")}


def _joined_labels(found: Sequence[Any], starts: tf.RaggedTensor) -> Any:
    """Return labels as a tensor, those that are None as 0 or, for words, as -1."""
    known = [one for one in found if one is not None]
    if not any(isinstance(one, WordTags | WordClasses | WordTree) for one in known):
        dtype = tf.float32 if any(isinstance(x, float) for x in known) else tf.int32
        return tf.constant([0 if one is None else one for one in found], dtype)
    columns = 3 if isinstance(known[0], WordTree) else 2
    splits, places = starts.row_splits.numpy(), starts.flat_values.numpy()
    flat = [np.zeros((0, columns), "int32")]
    for number, one in enumerate(found):
        words = places[splits[number] : splits[number + 1]]
        absent = np.full((len(words), columns), -1, "int32")
        absent[:, -1] = 0
        flat.append(absent if one is None or not len(words) else _aligned(words, one))
    return starts.with_flat_values(tf.constant(np.concatenate(flat)))


def _aligned(
    starts: np.ndarray, label: WordTags | WordClasses | WordTree
) -> np.ndarray:
    """Return the label of each word of the model, and whether it is scored.

    A word of the corpus may be several of the model's. The first has its label; those
    behind it have the same class, go on with the entity, `I-` for `B-`, or hang on the
    first, and are not scored.

    Returns:
        int32 `(words, 2)` or, for a tree, `(words, 3)`.
    """
    owner = np.searchsorted(label.starts, starts, side="right") - 1
    scored = np.diff(owner, prepend=-1) > 0
    if isinstance(label, WordTree):
        columns = _aligned_tree(owner, scored, label)
    elif isinstance(label, WordClasses):
        columns = [np.asarray(label.classes)[owner]]
    else:
        tags = np.asarray(label.tags)[owner]
        begins = (tags > 0) & (tags % 2 == 1)
        columns = [np.where(begins & ~scored, tags + 1, tags)]
    return np.stack([*columns, scored], axis=1).astype("int32")


def _aligned_tree(
    owner: np.ndarray, scored: np.ndarray, tree: WordTree
) -> list[np.ndarray]:
    """Return heads and relations of the words of the model."""
    # Where the first of each word of the corpus is, from 1; -1 where it has none, such
    # as one that is a control character.
    first = np.full(len(tree.starts) + 1, -1)
    first[0] = 0
    first[owner[scored] + 1] = np.flatnonzero(scored) + 1
    heads = first[np.asarray(tree.heads)[owner]]
    relations = np.asarray(tree.relations)[owner]
    if tree.part < 0:
        parts = relations_of_parts = -1
    else:
        parts, relations_of_parts = first[owner + 1], tree.part
    heads = np.where(scored, heads, parts)
    return [heads, np.where(scored, relations, relations_of_parts)]


def _examples(rows: range, seed: Sequence[int]) -> tf.data.Dataset:
    """Endless texts of a set."""
    stream = training_stream(len(rows), _one_seed(seed))
    return stream.map(lambda index, _: index + rows.start)


def _one_seed(seed: Sequence[int]) -> int:
    """Return one number for several."""
    return int(np.random.SeedSequence(seed).generate_state(1)[0])


def _batches(
    rows: range, lengths: np.ndarray, batch_size: int, seed: Sequence[int]
) -> tf.data.Dataset:
    """Endless batches of texts of a set, of similar length."""
    count = len(rows)
    batches = count // batch_size
    sizes = tf.constant(lengths[rows], tf.float32)
    key = tf.constant(seed, tf.int64)

    def pick(number: tf.Tensor) -> tf.Tensor:
        epoch, place = number // batches, number % batches
        epoch_key = _fold(key, epoch)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), seed=_fold(epoch_key, 0)
        )
        first = place // _SORTED_TOGETHER * _SORTED_TOGETHER
        together = tf.minimum(batches - first, _SORTED_TOGETHER)
        part = order[first * batch_size : (first + together) * batch_size]
        dealt = _dealt(part, sizes, batch_size, _fold(_fold(epoch_key, 1), first))
        return dealt[place - first] + rows.start

    return tf.data.Dataset.counter().map(pick)


def _by_length(
    examples: tf.data.Dataset, lengths: np.ndarray, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Batch endless texts, those of similar length together."""
    sizes = tf.constant(lengths, tf.float32)
    key = tf.constant([seed, 3], tf.int64)

    def deal(number: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        return _dealt(part, sizes, batch_size, _fold(key, number))

    together = examples.batch(batch_size * _SORTED_TOGETHER, drop_remainder=True)
    return together.enumerate().map(deal).unbatch()


def _dealt(part: Any, sizes: Any, batch_size: int, key: Any) -> tf.Tensor:
    """Return texts as batches `(n, batch_size)` of similar length, in any order."""
    part = tf.gather(part, tf.argsort(tf.gather(sizes, part), stable=True))
    return tf.random.experimental.stateless_shuffle(
        tf.reshape(part, (-1, batch_size)), seed=key
    )


_fold = tf.random.experimental.stateless_fold_in


def _gather(cut: _Cut, word_pieces: Any) -> Callable:
    """Return the function from indices to a batch."""

    def batch(indices: tf.Tensor) -> tuple[dict, dict, dict]:
        rows = {name: tf.gather(ragged, indices) for name, ragged in cut.pieces.items()}
        inputs = word_pieces.windows(**rows)
        size, width = tf.shape(indices)[0], tf.shape(inputs["starts"])[1]
        labels: dict[str, Any] = {}
        for task, all_labels in cut.labels.items():
            found = tf.gather(all_labels, indices)
            if isinstance(found, tf.RaggedTensor):
                names = _COLUMNS[found.shape[-1]]
                dense = found.to_tensor(-1, shape=tf.stack([size, width, len(names)]))
                columns = dict(zip(names, tf.unstack(dense, axis=-1), strict=True))
                found = {**columns, "scored": columns["scored"] > 0}
            labels[task] = found
        weights = {t: tf.gather(all_, indices) for t, all_ in cut.weights.items()}
        return inputs, labels, weights

    return batch
