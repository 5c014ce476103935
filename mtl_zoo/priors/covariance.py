"""Covariances by their spectrum: full, of low rank, diagonal or the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

KINDS = ("full", "low_rank", "diagonal", "identity")


class Covariance(NamedTuple):
    """A symmetric positive definite `S` of `D` rows, in any float dtype.

    `S = basis diag(variances) basis' + diag(rest)` without what `rest` has along the
    basis: the columns of the basis are eigenvectors, and `rest` is what lies across
    them. Where both are there, all of `rest` is one number.

    Attributes:
        basis: `(D, rank)`, of orthonormal columns; `rank` may be 0 to `D`.
        variances: `(rank,)`, the eigenvalues.
        rest: `(D,)`; not used when `rank` is `D`.
    """

    basis: Any
    variances: Any
    rest: Any

    @property
    def size(self) -> int:
        """`D`."""
        return self.rest.shape[0]

    @property
    def rank(self) -> int:
        """How many eigenvectors are known one by one."""
        return self.variances.shape[0]

    def through(self, function: Callable[[Any], Any], matrix: Any) -> Any:
        """Return `f(S) matrix`, with `f` applied to the eigenvalues.

        Args:
            function: Elementwise, such as `lambda x: 1 / x` for the inverse.
            matrix: `(D, n)`.

        Returns:
            `(D, n)`.
        """
        around = ops.expand_dims(function(self.rest), -1)
        if self.rank == 0:
            return around * matrix
        along = ops.expand_dims(function(self.variances), -1)
        inside = ops.matmul(ops.transpose(self.basis), matrix)
        if self.rank == self.size:
            return ops.matmul(self.basis, along * inside)
        beyond = (along - around[:1]) * inside
        return around * matrix + ops.matmul(self.basis, beyond)

    def matrix(self) -> Any:
        """Return `S`, `(D, D)`."""
        return self.through(lambda x: x, ops.eye(self.size, dtype=self.rest.dtype))

    def log_determinant(self) -> Any:
        """Return `ln |S|`."""
        along = ops.sum(ops.log(self.variances))
        if self.rank == self.size:
            return along
        if self.rank == 0:
            return ops.sum(ops.log(self.rest))
        return along + (self.size - self.rank) * ops.log(self.rest[0])

    def trace(self) -> Any:
        """Return the sum of the variances of the `D` entries."""
        if self.rank == self.size:
            return ops.sum(self.variances)
        if self.rank == 0:
            return ops.sum(self.rest)
        return ops.sum(self.variances) + (self.size - self.rank) * self.rest[0]

    def scaled(self, factor: Any, added: Any = 0.0) -> Covariance:
        """Return `factor S + added I`."""
        return Covariance(
            self.basis, factor * self.variances + added, factor * self.rest + added
        )


def identity(size: int, rank: int = 0, dtype: str = "float32") -> Covariance:
    """Return the identity, with so many of its eigenvectors one by one."""
    return Covariance(
        ops.eye(size, rank, dtype=dtype),
        ops.ones((rank,), dtype=dtype),
        ops.ones((size,), dtype=dtype),
    )


def most_likely(samples: Any, kind: str, rank: int) -> Covariance:
    """Return the maximum-likelihood covariance of samples of mean 0.

    The mean square for each entry when diagonal; the scatter matrix itself when full;
    and of low rank, its largest eigenvalues, and across them the mean of the others
    (Tipping and Bishop, 1999, equation 8).

    Args:
        samples: `(D, n)`, one in each column.
        kind: `"full"`, `"low_rank"`, `"diagonal"` or `"identity"`.
        rank: Of a covariance of low rank, below `D`.

    Reference:
        - [Tipping and Bishop, 1999](https://doi.org/10.1111/1467-9868.00196)
    """
    size, count = samples.shape
    dtype = samples.dtype
    if kind == "identity":
        return identity(size, dtype=dtype)
    if kind == "diagonal":
        squares = ops.mean(ops.square(samples), axis=-1)
        return identity(size, dtype=dtype)._replace(rest=squares)
    if kind == "full":
        scatter = ops.matmul(samples, ops.transpose(samples)) / count
        variances, basis = ops.eigh(scatter)
        floor = _rounding_unit(dtype) * ops.max(variances)
        return Covariance(
            basis, ops.maximum(variances, floor), ops.ones_like(variances)
        )
    variances, basis = _largest(samples, rank)
    total = ops.sum(ops.square(samples)) / count
    rest = (total - ops.sum(variances)) / (size - rank)
    rest = ops.maximum(rest, _rounding_unit(dtype) * total / size)
    return Covariance(
        basis, ops.maximum(variances, rest), rest * ops.ones((size,), dtype)
    )


def _largest(samples: Any, rank: int) -> tuple[Any, Any]:
    """Return the largest eigenvalues of the scatter matrix, and their eigenvectors.

    By the smaller of the two Gramians of the samples. Eigenvalues of 0, such as there
    are where samples are fewer than the rank, have eigenvectors of 0.
    """
    size, count = samples.shape
    if size <= count:
        scatter = ops.matmul(samples, ops.transpose(samples)) / count
        variances, basis = ops.eigh(scatter)
        return variances[-rank:], basis[:, -rank:]
    variances, weights = ops.eigh(ops.matmul(ops.transpose(samples), samples) / count)
    variances, weights = variances[-rank:], weights[:, -rank:]
    there = variances > _rounding_unit(samples.dtype) * ops.max(variances)
    length = ops.sqrt(count * ops.where(there, variances, ops.ones_like(variances)))
    basis = ops.matmul(samples, weights) / length
    variances = ops.where(there, variances, ops.zeros_like(variances))
    basis = ops.where(there, basis, ops.zeros_like(basis))
    missing = max(0, rank - count)
    return ops.pad(variances, [(missing, 0)]), ops.pad(basis, [(0, 0), (missing, 0)])


def _rounding_unit(dtype: Any) -> float:
    return float(np.finfo(keras.backend.standardize_dtype(dtype)).eps)
