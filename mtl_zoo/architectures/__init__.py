"""Architectures: who shares what. One file a paper."""

from mtl_zoo.architectures.deep_relationship import DeepRelationship
from mtl_zoo.architectures.hard_sharing import HardSharing

__all__ = ["DeepRelationship", "HardSharing"]
