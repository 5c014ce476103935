"""The eigenvalues of a Gramian, those that are only rounding left out."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from mtl_zoo.balancing.solvers.normalised import Normalised


class Spectrum(NamedTuple):
    """`A = V diag(values) V'`.

    Attributes:
        values: `(..., T)` increasing, 0 where they are rounding.
        vectors: `V`, `(..., T, T)`, in columns.
        kept: `(..., T)` bool, which values are more than rounding.
    """

    values: Any
    vectors: Any
    kept: Any

    def inverse(self, power: float = 1.0) -> Any:
        """Return the pseudo-inverse of `A ** power`, `(..., T, T)`."""
        safe = ops.where(self.kept, self.values, ops.ones_like(self.values))
        inverse = ops.where(self.kept, safe**-power, ops.zeros_like(safe))
        scaled = self.vectors * ops.expand_dims(inverse, -2)
        return ops.matmul(scaled, ops.swapaxes(self.vectors, -1, -2))


def spectrum(matrix: Any, accuracy: float) -> Spectrum:
    """Return eigenvalues and vectors.

    Args:
        matrix: `A`, `(..., T, T)`, symmetric and positive semi-definite up to rounding.
        accuracy: Rounding unit of the data behind it: values up to `T accuracy` times
            the largest count as 0.
    """
    values, vectors = ops.eigh(matrix)
    kept = values > matrix.shape[-1] * accuracy * values[..., -1:]
    return Spectrum(ops.where(kept, values, ops.zeros_like(values)), vectors, kept)


def inverse_cosines(parts: Normalised) -> Any:
    """Return the pseudo-inverse of the cosines, 0 for masked tasks, `(..., T, T)`."""
    here = ops.cast(parts.present, parts.cosines.dtype)
    both = ops.expand_dims(here, -1) * ops.expand_dims(here, -2)
    return spectrum(parts.cosines * both, parts.accuracy).inverse()
