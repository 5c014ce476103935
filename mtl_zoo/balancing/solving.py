"""What the methods with a solver share."""

from __future__ import annotations

from typing import Any

from keras import ops

CONVERGED = 1e-4
"""Residual up to which a solver counts as converged."""


def float32(weights: Any) -> Any:
    """Return what a solver found in the dtype of the gradients."""
    return ops.cast(weights, "float32")
