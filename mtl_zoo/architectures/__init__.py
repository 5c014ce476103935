"""Architectures: who shares what. One file a paper."""

from mtl_zoo.architectures.hard_sharing import HardSharing

__all__ = ["HardSharing"]
