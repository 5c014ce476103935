"""Trunks: named stages in order, shared by the tasks of a model."""

from mtl_zoo.trunks.efficientnet_lite import efficientnet_lite0
from mtl_zoo.trunks.mlp import mlp
from mtl_zoo.trunks.pyramid import FeaturePyramid
from mtl_zoo.trunks.recurrent import bilstm
from mtl_zoo.trunks.text import from_text_backbone, from_text_preset, minilm_l6
from mtl_zoo.trunks.text_features import TextFeatures
from mtl_zoo.trunks.thin import thin
from mtl_zoo.trunks.trunk import Trunk
from mtl_zoo.trunks.vision import from_backbone
from mtl_zoo.trunks.word_pieces import WordPieces

__all__ = [
    "FeaturePyramid",
    "TextFeatures",
    "Trunk",
    "WordPieces",
    "bilstm",
    "efficientnet_lite0",
    "from_backbone",
    "from_text_backbone",
    "from_text_preset",
    "minilm_l6",
    "mlp",
    "thin",
]
