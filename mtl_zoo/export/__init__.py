"""Export of trained models to other programs."""

from mtl_zoo.export.serving import to_serving

__all__ = ["to_serving"]
