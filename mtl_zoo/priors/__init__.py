"""Priors on the weights that the tasks have in corresponding layers."""

from mtl_zoo.priors.normal import Normal
from mtl_zoo.priors.prior import Prior
from mtl_zoo.priors.tensor_normal import TensorNormal
from mtl_zoo.priors.trace_norm import TraceNorm

__all__ = ["Normal", "Prior", "TensorNormal", "TraceNorm"]
