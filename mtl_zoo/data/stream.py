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

import tensorflow as tf

__all__ = ["batches", "checkpointable", "training_stream"]


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


def checkpointable(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Sets the options that exact, small iterator checkpoints need."""
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_symbolic_checkpoint = True
    return dataset.with_options(options)
