"""Balancing: how T task losses become one training step."""

from mtl_zoo.balancing.aligned_mtl import AlignedMTL
from mtl_zoo.balancing.balancing import (
    LEVELS,
    PROMISES,
    Balancing,
    GradientBalancing,
    LossBalancing,
)
from mtl_zoo.balancing.cagrad import CAGrad
from mtl_zoo.balancing.conflict_free import ConFIG
from mtl_zoo.balancing.db_mtl import DBMTL
from mtl_zoo.balancing.dwa import DWA
from mtl_zoo.balancing.equal import Equal
from mtl_zoo.balancing.excess_mtl import ExcessMTL
from mtl_zoo.balancing.fairgrad import FairGrad
from mtl_zoo.balancing.famo import FAMO
from mtl_zoo.balancing.fixed import Fixed
from mtl_zoo.balancing.gls import GLS
from mtl_zoo.balancing.graddrop import GradDrop
from mtl_zoo.balancing.gradient_similarity import GradientSimilarity
from mtl_zoo.balancing.gradnorm import GradNorm
from mtl_zoo.balancing.gradvac import GradVac
from mtl_zoo.balancing.imtl_g import IMTLG
from mtl_zoo.balancing.imtl_l import IMTLL
from mtl_zoo.balancing.mgda import MGDA
from mtl_zoo.balancing.moco import MoCo
from mtl_zoo.balancing.nash_mtl import NashMTL
from mtl_zoo.balancing.pcgrad import PCGrad
from mtl_zoo.balancing.rlw import RLW
from mtl_zoo.balancing.scheduled import Scheduled
from mtl_zoo.balancing.sdmgrad import SDMGrad
from mtl_zoo.balancing.stch import STCH
from mtl_zoo.balancing.uncertainty import UncertaintyWeighting
from mtl_zoo.balancing.upgrad import UPGrad

__all__ = [
    "DBMTL",
    "DWA",
    "FAMO",
    "GLS",
    "IMTLG",
    "IMTLL",
    "LEVELS",
    "MGDA",
    "PROMISES",
    "RLW",
    "STCH",
    "AlignedMTL",
    "Balancing",
    "CAGrad",
    "ConFIG",
    "Equal",
    "ExcessMTL",
    "FairGrad",
    "Fixed",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GradientBalancing",
    "GradientSimilarity",
    "LossBalancing",
    "MoCo",
    "NashMTL",
    "PCGrad",
    "SDMGrad",
    "Scheduled",
    "UPGrad",
    "UncertaintyWeighting",
]
