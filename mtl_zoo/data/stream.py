"""Endless training streams that can be stopped, saved and continued exactly.

Element `i` of a stream is a pure function of `(seed, i)`: which example it is (each
epoch is a new permutation of all examples) and how it is augmented. So the order does
not depend on the number of threads, and the whole state of an iterator is one counter:
`tf.train.Checkpoint(iterator=it)` writes about a kilobyte, and a new process that
restores it continues with byte-equal batches. Three things make that true:

- The permutation comes from `index_shuffle`, not from a shuffle buffer.
- All randomness is `tf.random.stateless_*`, keyed by the element's own seed. The
  random layers of Keras draw from a generator variable (or a fixed integer) instead
  of a per-element seed, and a parallel `map` would draw from it in any order; that is
  why the pipelines here augment with `tf.image.stateless_*`.
- Checkpoints are symbolic (`experimental_symbolic_checkpoint`): they hold the state of
  the source, not the batches that lie in buffers.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

__all__ = ["batches", "checkpointable", "row_batches", "training_stream"]


def training_stream(num_examples: int, seed: int) -> tf.data.Dataset:
    """Endless indices of examples, a new permutation each epoch, each with a seed.

    Args:
        num_examples: Number of examples; indices are `0 .. num_examples - 1`.
        seed: Integer that decides the whole stream.

    Returns:
        A dataset of `(index (), element_seed (2,))`, both int64.

    Example:
        >>> stream = training_stream(3, seed=0).take(3)
        >>> sorted(int(index) for index, _ in stream)
        [0, 1, 2]
    """
    if num_examples < 1:
        raise ValueError(
            "A stream needs at least one example. "
            f"Received: num_examples={num_examples}"
        )
    order_key = tf.constant([seed, 0], tf.int64)
    element_key = tf.constant([seed, 1], tf.int64)

    def pick(counter: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        epoch = counter // num_examples
        index = tf.random.experimental.index_shuffle(
            counter % num_examples,
            seed=tf.random.experimental.stateless_fold_in(order_key, epoch),
            max_index=num_examples - 1,
        )
        return index, tf.random.experimental.stateless_fold_in(element_key, counter)

    return tf.data.Dataset.counter().map(pick)


def batches(
    indices: tf.data.Dataset,
    example: Callable,
    batch_size: int,
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Maps indices to examples in parallel, batches them, makes it checkpointable."""
    dataset = indices.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    return checkpointable(dataset.prefetch(2))


def row_batches(arrays: Any, batch_size: int, seed: int) -> tf.data.Dataset:
    """Endless batches of the rows of arrays, a new permutation each epoch.

    Many times faster than `batches` where rows are small and need no work of their own.

    Args:
        arrays: Arrays of as many rows each, in a nested structure.
        batch_size: Rows a batch; an epoch leaves out what does not fill the last one.
        seed: Integer that decides the whole stream.

    Returns:
        A dataset of that structure, each leaf `(batch_size, ...)`.

    Example:
        >>> import numpy as np
        >>> rows = row_batches((np.arange(4), np.arange(4) > 1), 2, seed=0)
        >>> sorted(int(x) for batch, _ in rows.take(2) for x in batch)
        [0, 1, 2, 3]
    """
    tensors = tf.nest.map_structure(tf.convert_to_tensor, arrays)
    number = len(tf.nest.flatten(tensors)[0])
    if not 1 <= batch_size <= number:
        raise ValueError(
            f"Expected a batch of 1 to {number} rows. Received: batch_size={batch_size}"
        )

    def epoch_of(counter: tf.Tensor) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), counter])
        order = tf.random.experimental.stateless_shuffle(tf.range(number), seed=key)
        indices = tf.data.Dataset.from_tensor_slices(order)
        return indices.batch(batch_size, drop_remainder=True)

    def rows(indices: tf.Tensor) -> Any:
        return tf.nest.map_structure(lambda x: tf.gather(x, indices), tensors)

    dataset = tf.data.Dataset.counter().flat_map(epoch_of).map(rows)
    return checkpointable(dataset.prefetch(2))


def checkpointable(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Sets the options that exact, small iterator checkpoints need."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_symbolic_checkpoint = True
    return dataset.with_options(options)
