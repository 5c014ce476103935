"""Covariances by their spectrum: full, of low rank, diagonal or the identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

KINDS = ("full", "low_rank", "diagonal", "identity")

# Of a matrix of more rows and columns, a few eigenvectors are found by iteration.
LARGEST_EXACT = 512
ITERATIONS, OVERSAMPLES = 4, 8


def along(mode: int, tensor: Any, matrix: Any) -> Any:
    """Return the product of a matrix `(n, D_mode)` with one mode of a tensor.

    Args:
        mode: Which.
        tensor: `(D_1, ..., D_K)`.
        matrix: What each slice along the mode is multiplied by, from the left.

    Returns:
        The tensor with `n` in place of `D_mode`.
    """
    shape = list(tensor.shape)
    size, shape[mode] = shape[mode], matrix.shape[0]
    if mode == len(shape) - 1:  # as it lies in memory
        rows = ops.reshape(tensor, (-1, size))
        return ops.reshape(ops.matmul(rows, ops.transpose(matrix)), shape)
    first = ops.moveaxis(tensor, mode, 0)
    product = ops.matmul(matrix, ops.reshape(first, (size, -1)))
    moved = [matrix.shape[0], *shape[:mode], *shape[mode + 1 :]]
    return ops.moveaxis(ops.reshape(product, moved), 0, mode)


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

    def through(
        self, function: Callable[[Any], Any], tensor: Any, mode: int = 0
    ) -> Any:
        """Return the product of `f(S)`, of the eigenvalues, with a mode of a tensor.

        Args:
            function: Elementwise, such as `lambda x: 1 / x` for the inverse.
            tensor: `(D_1, ..., D_K)`, with `D` as `D_mode`.
            mode: Which mode. Defaults to `0`.

        Returns:
            A tensor of the same shape.
        """
        if self.rank == 0:
            behind = (1,) * (len(tensor.shape) - mode - 1)
            return ops.reshape(function(self.rest), (-1, *behind)) * tensor
        along_basis = function(self.variances)
        if self.rank == self.size:
            whole = ops.matmul(self.basis * along_basis, ops.transpose(self.basis))
            return along(mode, tensor, whole)
        around = function(self.rest[0])
        inside = along(mode, tensor, ops.transpose(self.basis))
        beyond = self.basis * (along_basis - around)
        return around * tensor + along(mode, inside, beyond)

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


def most_likely(
    samples: Any, kind: str, rank: int, near: Any | None = None
) -> Covariance:
    """Return the maximum-likelihood covariance of samples of mean 0.

    The mean square for each entry when diagonal; the scatter matrix itself when full;
    and of low rank, its largest eigenvalues, and across them the mean of the others
    (Tipping and Bishop, 1999, equation 8). Of more than 512 entries and samples, these
    are found by iteration: the more often it begins with what was found before, the
    nearer it is to them, and it is never less likely than that.

    Args:
        samples: `(D, n)`, one in each column.
        kind: `"full"`, `"low_rank"`, `"diagonal"` or `"identity"`.
        rank: Of a covariance of low rank, below `D`.
        near: `(D, rank)`, where to begin. Defaults to `None`: anywhere.

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
    few = min(size, count) <= max(LARGEST_EXACT, rank + OVERSAMPLES)
    variances, basis = (
        _largest(samples, rank) if few else _iterated(samples, rank, near)
    )
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


def _iterated(samples: Any, rank: int, near: Any | None) -> tuple[Any, Any]:
    """Return about the largest eigenvalues of the scatter matrix, and eigenvectors.

    By subspace iteration on a few more vectors than are wanted, which begins with
    `near` and random ones (Halko et al., 2011, algorithm 4.4).

    Reference:
        - [Halko et al., 2011](https://arxiv.org/abs/0909.4061)
    """
    size, count = samples.shape
    start = np.random.default_rng(0).normal(size=(size, rank + OVERSAMPLES))
    start = ops.convert_to_tensor(start, samples.dtype)
    if near is not None:
        start = ops.concatenate([near, start[:, rank:]], axis=1)
    for _ in range(ITERATIONS):
        found, _ = ops.qr(start)
        inside = ops.matmul(ops.transpose(found), samples)
        start = ops.matmul(samples, ops.transpose(inside))
    found, _ = ops.qr(start)
    inside = ops.matmul(ops.transpose(found), samples)
    scatter = ops.matmul(inside, ops.transpose(inside)) / count
    variances, turned = ops.eigh(scatter)
    return variances[-rank:], ops.matmul(found, turned[:, -rank:])


def _rounding_unit(dtype: Any) -> float:
    return float(np.finfo(keras.backend.standardize_dtype(dtype)).eps)
