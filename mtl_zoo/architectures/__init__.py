"""Architectures: who shares what. One file a paper."""

from mtl_zoo.architectures.adapters import Adapters
from mtl_zoo.architectures.adashare import AdaShare
from mtl_zoo.architectures.branched import Branched
from mtl_zoo.architectures.cross_stitch import CrossStitch
from mtl_zoo.architectures.deep_relationship import DeepRelationship
from mtl_zoo.architectures.dselect_k import DSelectK
from mtl_zoo.architectures.hard_sharing import HardSharing
from mtl_zoo.architectures.joint_many_task import JointManyTask
from mtl_zoo.architectures.learning_to_branch import LearningToBranch
from mtl_zoo.architectures.mmoe import MMoE
from mtl_zoo.architectures.mtan import MTAN
from mtl_zoo.architectures.nddr import NDDR
from mtl_zoo.architectures.ple import PLE
from mtl_zoo.architectures.selected_blocks import SelectedBlocks
from mtl_zoo.architectures.shared_private import SharedPrivate
from mtl_zoo.architectures.sluice import Sluice
from mtl_zoo.architectures.soft_sharing import SoftSharing
from mtl_zoo.architectures.towers import SeparateTowers

__all__ = [
    "MTAN",
    "NDDR",
    "PLE",
    "AdaShare",
    "Adapters",
    "Branched",
    "CrossStitch",
    "DSelectK",
    "DeepRelationship",
    "HardSharing",
    "JointManyTask",
    "LearningToBranch",
    "MMoE",
    "SelectedBlocks",
    "SeparateTowers",
    "SharedPrivate",
    "Sluice",
    "SoftSharing",
]
