"""A Gramian as cosines and norms, the tasks without a gradient masked."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops


class Normalised(NamedTuple):
    """A Gramian `A` as `A_ij = norm_i norm_j cosine_ij`, in float64.

    Attributes:
        cosines: `(..., T, T)`, of diagonal 1; zero elsewhere in the rows and columns of
            masked tasks.
        norms: `(..., T)`, relative to the largest; 1 for masked tasks.
        scale: `(...)`, the largest norm.
        present: `(..., T)` bool: tasks that are active and have a gradient.
        accuracy: How exact the entries are: the rounding unit of the given dtype.
    """

    cosines: Any
    norms: Any
    scale: Any
    present: Any
    accuracy: float


def rounding_unit(tensor: Any) -> float:
    """Return the rounding unit of a tensor's dtype."""
    return float(np.finfo(keras.backend.standardize_dtype(tensor.dtype)).eps)


def normalised(gramian: Any, active: Any | None = None) -> Normalised:
    """Return the cosines and norms of a Gramian.

    A task that is absent from the batch, or has a gradient of zero, has nothing to win
    or to lose in the step. Left in with a row of zeros, it gets all the weight of
    MGDA, and infinite weights from others.

    Args:
        gramian: `(..., T, T)` float32 or float64.
        active: `(..., T)` bool. Defaults to all.

    Returns:
        `Normalised`.
    """
    diagonal = ops.diagonal(gramian, axis1=-2, axis2=-1)
    present = diagonal > 0
    if active is not None:
        present = ops.logical_and(present, active)
    top = ops.max(ops.where(present, diagonal, 0.0), axis=-1, keepdims=True)
    top = ops.where(top > 0, top, ops.ones_like(top))
    # Divided before the cast: products of tiny norms stay in range.
    relative = ops.cast(gramian / ops.expand_dims(top, -1), "float64")
    squares = ops.cast(diagonal / top, "float64")
    norms = ops.sqrt(ops.where(present, squares, ops.ones_like(squares)))
    cosines = relative / (ops.expand_dims(norms, -1) * ops.expand_dims(norms, -2))
    both = ops.logical_and(ops.expand_dims(present, -1), ops.expand_dims(present, -2))
    unit = ops.eye(gramian.shape[-1], dtype="float64")
    cosines = ops.where(both, cosines, ops.zeros_like(cosines)) * (1.0 - unit) + unit
    scale = ops.squeeze(ops.sqrt(ops.cast(top, "float64")), -1)
    return Normalised(cosines, norms, scale, present, rounding_unit(gramian))
