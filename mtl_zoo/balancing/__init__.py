"""Balancing: how T task losses become one training step."""

from mtl_zoo.balancing.balancing import Balancing, GradientBalancing, LossBalancing
from mtl_zoo.balancing.equal import Equal

__all__ = ["Balancing", "Equal", "GradientBalancing", "LossBalancing"]
