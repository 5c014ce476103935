"""Faster products on CPUs that know bfloat16."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

_OPTION = "auto_mixed_precision_onednn_bfloat16"


@contextlib.contextmanager
def bfloat16_products(on: bool = True) -> Iterator[None]:
    """Compute matrix products in bfloat16 in the graphs that first run inside.

    TensorFlow's rewriter does it, with oneDNN, on CPUs that have the instructions
    (AVX-512 BF16, AMX) and elsewhere leaves the graphs as they are. Variables, losses
    and gradients between the products stay float32, and so does a model that is saved:
    unlike a dtype policy, this is a property of the run.

    Args:
        on: Whether to do it at all. Defaults to `True`.

    Example:
        >>> with bfloat16_products():
        ...     float(tf.function(lambda x: x @ x)(tf.ones((1, 1)))[0, 0])
        1.0
    """
    before = tf.config.optimizer.get_experimental_options().get(_OPTION, False)
    tf.config.optimizer.set_experimental_options({_OPTION: on})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OPTION: before})
