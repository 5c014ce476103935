"""Trunks: named stages in order, shared by the tasks of a model."""

from mtl_zoo.trunks.efficientnet_lite import efficientnet_lite0
from mtl_zoo.trunks.mlp import mlp
from mtl_zoo.trunks.pyramid import FeaturePyramid
from mtl_zoo.trunks.trunk import Trunk
from mtl_zoo.trunks.vision import from_backbone

__all__ = ["FeaturePyramid", "Trunk", "efficientnet_lite0", "from_backbone", "mlp"]
