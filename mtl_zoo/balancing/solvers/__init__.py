"""Solvers for the small problems of gradient methods: `T` tasks, a `T x T` Gramian.

All are tensor code of `keras.ops` with at most a fixed number of iterations, so that
they run inside XLA and under `tf.distribute`; all take batches `(..., T, T)`, tell how
far they are from the optimum, and have the same answer for a Gramian times any factor.
They compute in float64 where the backend has it, at the accuracy that the dtype of the
Gramian can carry.
"""

from mtl_zoo.balancing.solvers.fairness import proportionally_fair
from mtl_zoo.balancing.solvers.normalised import Normalised, normalised, rounding_unit
from mtl_zoo.balancing.solvers.quadratic import nonnegative_minimum
from mtl_zoo.balancing.solvers.simplex import min_norm_point, onto_simplex
from mtl_zoo.balancing.solvers.spectral import Spectrum, inverse_cosines, spectrum
from mtl_zoo.balancing.solvers.trust_region import worst_improvement

__all__ = [
    "Normalised",
    "Spectrum",
    "inverse_cosines",
    "min_norm_point",
    "nonnegative_minimum",
    "normalised",
    "onto_simplex",
    "proportionally_fair",
    "rounding_unit",
    "spectrum",
    "worst_improvement",
]
