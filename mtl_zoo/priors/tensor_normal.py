"""Weights of all tasks related along features, along classes and along tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.priors.covariance import KINDS, Covariance, most_likely
from mtl_zoo.priors.prior import Prior

LARGEST_FULL = 512


def log_density(
    tensor: Any, covariances: Sequence[Covariance | None], variance: Any
) -> Any:
    """Return the logarithm of the tensor-normal density of mean 0.

    `vec(W)` is normal with the covariance `v S_1 x ... x S_K`, `x` being the Kronecker
    product and `vec` row by row:
    `-1/2 (vec(W)' (v S_1 x ... x S_K)^-1 vec(W) + D ln(2 pi v) + sum_k D/D_k ln|S_k|)`
    with `D` the product of the `D_k`. Its gradient is that by the tensor alone.

    Args:
        tensor: `W`, `(D_1, ..., D_K)`.
        covariances: `S_k`, of `(D_k, D_k)`; `None` for the identity.
        variance: `v`, a scalar.

    Returns:
        A scalar.

    Reference:
        - [Long et al., 2017](https://arxiv.org/abs/1506.02117), equation 3
    """
    total = math.prod(tensor.shape)
    held = solved = ops.stop_gradient(tensor)
    determinants = 0.0
    for mode, one in enumerate(covariances):
        if one is not None:
            solved = one.through(_inverse, solved, mode)
            determinants += total // one.size * one.log_determinant()
    variance = ops.convert_to_tensor(variance, tensor.dtype)
    # W'AW with its gradient 2AW, for which `through` need not be gone back.
    square = ops.sum((2.0 * tensor - held) * solved) / variance
    return -0.5 * (square + determinants + total * ops.log(2.0 * math.pi * variance))


def half_step(
    tensor: Any,
    covariances: Sequence[Covariance | None],
    mode: int,
    kind: str,
    rank: int,
) -> tuple[Covariance, Any]:
    """Return the most likely covariance of one mode, given the others, and variance.

    The other modes are whitened; then the slices along this one are samples of it
    (Long et al., 2017, equation 5; Ohlson et al., 2013). The covariance comes with a
    trace of `D_mode`, its scale being that of the variance. Together they are the most
    likely ones; weights of 0, which have none, give the identity.

    Args:
        tensor: `(D_1, ..., D_K)`.
        covariances: The present ones; `None` for the identity.
        mode: Which to maximise over.
        kind: Of the covariance; see `most_likely`.
        rank: Of one of low rank.

    Reference:
        - [Ohlson et al., 2013](https://doi.org/10.1016/j.jmva.2011.05.015)
    """
    white = tensor
    for other, one in enumerate(covariances):
        if other != mode and one is not None:
            white = one.through(_root, white, other)
    first = ops.moveaxis(white, mode, 0)
    samples = ops.reshape(first, (first.shape[0], -1))
    present = covariances[mode]
    near = present.basis if kind == "low_rank" and present is not None else None
    found = most_likely(samples, kind, rank, near)
    variance = ops.mean(ops.square(samples))
    scale = found.trace() / found.size
    there = scale > 0
    shared = found.scaled(1.0 / ops.where(there, scale, ops.ones_like(scale)))
    nothing = 1.0 - ops.cast(there, samples.dtype)
    return shared.scaled(1.0, nothing), variance


def _inverse(x: Any) -> Any:
    return 1.0 / x


def _root(x: Any) -> Any:
    return 1.0 / ops.sqrt(x)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TensorNormal(Prior):
    """A tensor-normal prior whose covariances are learned from the weights.

    Each mode of the weights has a covariance; that of the last mode says which tasks
    are alike. `updated` goes once through all modes ("flip-flop"), each time to the
    covariance and variance that are most likely, given the weights and the others.

    The covariances have a trace of `D_k`: only their product is determined. The
    variance of the weights is a factor of its own, and by default it stays what it is:
    learned, it leaves the posterior without a maximum, as smaller weights make the
    prior narrower and that makes them smaller. So the covariances are those of the most
    likely distribution, but with another variance; with `learn_variance` and an
    `epsilon` of 0, every step increases the likelihood. What changes here against the
    paper: this; an `epsilon` that shrinks towards the identity instead of adding to the
    scatter matrix; and the covariance of many features, which has more entries than the
    weights could tell, may be of low rank or diagonal.

    Where a mode has more rows than there are slices along it, as for the tasks if they
    are many and have few weights, a full covariance has directions of the variance
    `epsilon` alone, and the weights can hardly leave those that they had at the first
    update: take a low rank there.

    Args:
        kinds: Kind of the covariance of each mode: `"full"`, `"low_rank"`,
            `"diagonal"` or `"identity"`. Defaults to `None`: full, and of low rank for
            modes of more than 512 rows.
        rank: Of those of low rank. Defaults to `8`.
        epsilon: Share of the identity in each covariance, 0 to below 1; one for all, or
            one for each mode. That of the tasks bounds how alike they can become, to a
            correlation of `1 - epsilon`; those of the others keep weights from being
            held where they are. Defaults to `0.01`.
        variance: Of the weights. Defaults to `None`: `1 / D_1`, as layers are
            initialised.
        learn_variance: Whether it follows the weights. Defaults to `False`.

    Attributes:
        variance: The variance, a variable.

    Raises:
        ValueError: When there is no such kind, not one for each mode, or a number is
            out of range.

    Example:
        >>> prior = TensorNormal(kinds=("diagonal", "identity", "full"))
        >>> round(float(prior(ops.zeros((4, 3, 2)))), 3), prior.correlation(2).shape
        (0.0, (2, 2))

    Reference:
        - [Long et al., 2017](https://arxiv.org/abs/1506.02117)
    """

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        rank: int = 8,
        epsilon: float | Sequence[float] = 0.01,
        variance: float | None = None,
        learn_variance: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kinds = None if kinds is None else tuple(kinds)
        if unknown := sorted(set(self.kinds or ()) - set(KINDS)):
            raise ValueError(f"`kinds` must be among {KINDS}. Received: {unknown}")
        if rank < 1:
            raise ValueError(f"`rank` must be at least 1. Received: rank={rank}")
        self.epsilon: float | tuple[float, ...] = (
            tuple(epsilon) if isinstance(epsilon, Sequence) else epsilon
        )
        shares = self.epsilon if isinstance(self.epsilon, tuple) else (self.epsilon,)
        if not all(0 <= share < 1 for share in shares):
            raise ValueError(
                f"`epsilon` must be at least 0 and below 1. Received: epsilon={epsilon}"
            )
        if variance is not None and not variance > 0:
            raise ValueError(
                f"`variance` must be positive or None. Received: variance={variance}"
            )
        self.rank = rank
        self.start_variance = variance
        self.learn_variance = learn_variance

    def build(self, input_shape: tuple) -> None:
        """Create covariances, the identity each, and the variance."""
        kinds = self.kinds or tuple(
            "full" if size <= LARGEST_FULL else "low_rank" for size in input_shape
        )
        if len(kinds) != len(input_shape):
            raise ValueError(
                f"Expected weights of {len(kinds)} modes, one for each of {kinds}. "
                f"Received: shape {tuple(input_shape)}"
            )
        if isinstance(self.epsilon, tuple) and len(self.epsilon) != len(kinds):
            raise ValueError(
                f"Expected one `epsilon`, or {len(kinds)}: one for each mode. "
                f"Received: epsilon={self.epsilon}"
            )
        self.shape = tuple(input_shape)
        # Of low rank is only what has more rows than that.
        self.forms = tuple(
            "full" if kind == "low_rank" and size <= self.rank else kind
            for kind, size in zip(kinds, self.shape, strict=True)
        )
        self.factors = []
        for mode, (size, kind) in enumerate(zip(self.shape, self.forms, strict=True)):
            rank = {"full": size, "low_rank": self.rank}.get(kind, 0)
            self.factors.append(
                [
                    self.add_state((size, rank), f"basis_{mode}", "identity"),
                    self.add_state((rank,), f"variances_{mode}", "ones"),
                    self.add_state((size,), f"rest_{mode}", "ones"),
                ]
            )
        variance = self.start_variance or 1.0 / self.shape[0]
        constant = keras.initializers.Constant(variance)
        self.variance = self.add_state((), "variance", constant)

    @property
    def covariances(self) -> list[Covariance]:
        """The covariance of each mode."""
        return [
            Covariance(*(ops.convert_to_tensor(v) for v in factor))
            for factor in self.factors
        ]

    def call(self, weights: Any) -> Any:
        weights = ops.cast(weights, self.variance.dtype)
        # Without what is constant: 0 for weights of 0 and covariances at their start.
        count = math.prod(self.shape)
        start = self.start_variance or 1.0 / self.shape[0]
        constant = -0.5 * count * math.log(2.0 * math.pi * start)
        return constant - log_density(
            weights, self._related(self.covariances), self.variance
        )

    def of_inputs(self, name: str) -> Prior:
        kinds = ("low_rank" if self.kinds is None else self.kinds[0], "identity")
        changes = {"kinds": kinds, "epsilon": (self._share(0), 0.0), "name": name}
        return type(self).from_config({**self.get_config(), **changes})

    def _related(self, covariances: list[Covariance]) -> list[Covariance | None]:
        """The covariances, without those that are the identity and stay it."""
        pairs = zip(self.forms, covariances, strict=True)
        return [None if form == "identity" else found for form, found in pairs]

    def _share(self, mode: int) -> float:
        """The share of the identity in the covariance of a mode."""
        return self.epsilon[mode] if isinstance(self.epsilon, tuple) else self.epsilon

    def updated(self, weights: Any) -> list[Any]:
        weights = ops.cast(weights, self.variance.dtype)
        # Training that diverges is to end with a loss that says so, not in `eigh`.
        weights = ops.where(ops.isfinite(weights), weights, 0.0)
        covariances = self.covariances
        related = self._related(covariances)
        variance = ops.convert_to_tensor(self.variance)
        for mode, kind in enumerate(self.forms):
            if kind == "identity":
                continue
            found, fitted = half_step(weights, related, mode, kind, self.rank)
            share = self._share(mode)
            covariances[mode] = related[mode] = found.scaled(1.0 - share, share)
            variance = fitted if self.learn_variance else variance
        return [value for factor in covariances for value in factor] + [variance]

    def covariance(self, mode: int) -> np.ndarray:
        """Return the covariance `(D_mode, D_mode)` of a mode."""
        return ops.convert_to_numpy(self.covariances[mode].matrix())

    def correlation(self, mode: int) -> np.ndarray:
        """Return the correlations `(D_mode, D_mode)` of a mode."""
        found = self.covariance(mode)
        deviations = np.sqrt(np.diagonal(found))
        return found / np.outer(deviations, deviations)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kinds": self.kinds,
            "rank": self.rank,
            "epsilon": self.epsilon,
            "variance": self.start_variance,
            "learn_variance": self.learn_variance,
        }
