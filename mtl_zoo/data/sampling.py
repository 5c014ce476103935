"""Several data sets, one stream: which set comes next.

The set at position `i` of the stream is a function of the seed and `i`, so that a
checkpoint of the iterator continues exactly where it was; see `stream`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from mtl_zoo.data.stream import checkpointable

__all__ = [
    "Annealed",
    "Blocks",
    "Proportional",
    "RoundRobin",
    "Temperature",
    "Uniform",
    "mix",
]


class Uniform:
    """Every set as often as the others, at random."""

    def probabilities(self, names: Sequence[str], position: Any) -> tf.Tensor:
        """Return how likely each set is at a position of the stream.

        Args:
            names: The sets, in the order of the result.
            position: Scalar int64.

        Returns:
            float32 `(len(names),)`, of sum 1.
        """
        del position
        return tf.fill([len(names)], 1.0 / len(names))


class RoundRobin:
    """Every set in its turn."""

    def probabilities(self, names: Sequence[str], position: Any) -> tf.Tensor:
        """Return 1 for the set whose turn it is; see `Uniform.probabilities`."""
        return tf.one_hot(tf.cast(position, tf.int64) % len(names), len(names))


class Blocks:
    """Every set in its turn, for a block of the stream each.

    As for tasks that are trained one after the other, see
    `training.SuccessiveRegularization`.

    Args:
        length: Positions of the stream, such as batches, in a block, at least 1.

    Raises:
        ValueError: When the length is below 1.
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(
                f"Expected blocks of at least 1 position. Received: length={length}"
            )
        self.length = length

    def probabilities(self, names: Sequence[str], position: Any) -> tf.Tensor:
        """Return 1 for the set whose block it is; see `Uniform.probabilities`."""
        block = tf.cast(position, tf.int64) // self.length
        return tf.one_hot(block % len(names), len(names))


class Temperature:
    """Sets by their size to the power `1 / temperature`.

    A temperature of 1 is proportional to the sizes, a high one nearly uniform.

    Args:
        sizes: `{name: number of examples}`.
        temperature: Above 0.

    Raises:
        ValueError: When a size or the temperature is not positive.
    """

    def __init__(self, sizes: Mapping[str, int], temperature: float) -> None:
        self.sizes = _checked(sizes)
        if not temperature > 0:
            raise ValueError(
                "The temperature must be above 0; 1 is proportional to the sizes. "
                f"Received: temperature={temperature}"
            )
        self.temperature = temperature

    def probabilities(self, names: Sequence[str], position: Any) -> tf.Tensor:
        """See `Uniform.probabilities`.

        Raises:
            ValueError: When `names` are not those of the sizes.
        """
        del position
        return _powers(self.sizes, names, 1.0 / self.temperature)


class Proportional(Temperature):
    """Sets by their size.

    Args:
        sizes: `{name: number of examples}`.

    Raises:
        ValueError: When a size is not positive.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__(sizes, temperature=1.0)


class Annealed:
    """From nearly proportional to nearly uniform: sizes to a power that falls.

    In epoch `e` of `E`, from 1, the power is `1 - 0.8 (e - 1) / (E - 1)` (Stickland and
    Murray, 2019, https://arxiv.org/abs/1902.02671, section 4.1); behind the last epoch
    it stays. An epoch is a number of positions of the stream.

    Args:
        sizes: `{name: number of examples}`.
        epochs: `E`, at least 2.
        per_epoch: Positions of the stream, such as batches, in an epoch.

    Raises:
        ValueError: When a size is not positive, or there are too few epochs.
    """

    def __init__(self, sizes: Mapping[str, int], epochs: int, per_epoch: int) -> None:
        self.sizes = _checked(sizes)
        if epochs < 2 or per_epoch < 1:
            raise ValueError(
                "Annealing needs at least 2 epochs of at least 1 position. Received: "
                f"epochs={epochs}, per_epoch={per_epoch}"
            )
        self.epochs = epochs
        self.per_epoch = per_epoch

    def probabilities(self, names: Sequence[str], position: Any) -> tf.Tensor:
        """See `Temperature.probabilities`."""
        epoch = tf.minimum(
            tf.cast(position, tf.int64) // self.per_epoch, self.epochs - 1
        )
        power = 1.0 - 0.8 * tf.cast(epoch, tf.float32) / (self.epochs - 1)
        return _powers(self.sizes, names, power)


def mix(
    streams: Mapping[str, tf.data.Dataset], sampling: Any, seed: int
) -> tf.data.Dataset:
    """Draw from several endless streams.

    Streams of batches give batches of one set each; for batches that mix the sets, mix
    streams of examples and then batch.

    Args:
        streams: `{name: endless dataset}`, all with elements of one structure.
        sampling: An object of this module, or any with its `probabilities`.
        seed: Decides the whole stream.

    Returns:
        An endless dataset.

    Raises:
        ValueError: When there is no stream, one is known to end, or the sampling is
            for other names.

    Example:
        >>> ones = tf.data.Dataset.from_tensors(1).repeat()
        >>> twos = tf.data.Dataset.from_tensors(2).repeat()
        >>> both = mix({"one": ones, "two": twos}, RoundRobin(), seed=0)
        >>> [int(x) for x in both.take(4)]
        [1, 2, 1, 2]
        >>> [[int(y) for y in x] for x in both.batch(2).take(1)]
        [[1, 2]]
    """
    names = list(streams)
    if not names:
        raise ValueError("Expected at least one stream. Received: none.")
    for name, stream in streams.items():
        if int(stream.cardinality()) >= 0:
            raise ValueError(
                f"Expected endless streams. Received: {name!r}, which ends after "
                f"{int(stream.cardinality())} elements. Call repeat() on it."
            )
    sampling.probabilities(names, tf.constant(0, tf.int64))  # complains at once
    key = tf.constant([seed, 2], tf.int64)

    def choose(position: tf.Tensor) -> tf.Tensor:
        chances = sampling.probabilities(names, position)
        place = tf.random.stateless_uniform(
            [], tf.random.experimental.stateless_fold_in(key, position)
        )
        passed = tf.cumsum(chances)[:-1] <= place
        return tf.reduce_sum(tf.cast(passed, tf.int64))

    chosen = tf.data.Dataset.counter().map(choose)
    mixed = tf.data.Dataset.choose_from_datasets(
        list(streams.values()), chosen, stop_on_empty_dataset=True
    )
    return checkpointable(mixed)


def _powers(sizes: Mapping[str, int], names: Sequence[str], power: Any) -> tf.Tensor:
    if sorted(sizes) != sorted(names):
        raise ValueError(
            f"Expected sizes for the streams {list(names)}. Received: {list(sizes)}"
        )
    logs = tf.math.log(tf.constant([float(sizes[name]) for name in names]))
    return tf.nn.softmax(power * logs)


def _checked(sizes: Mapping[str, int]) -> dict[str, int]:
    wrong = {name: size for name, size in sizes.items() if not size > 0}
    if wrong or not sizes:
        raise ValueError(
            "Expected the number of examples of each set, above 0. "
            f"Received: {wrong or dict(sizes)}"
        )
    return dict(sizes)
