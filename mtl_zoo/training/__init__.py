"""Training: callbacks for `fit`, flags for recipes, studies over seeds."""

from mtl_zoo.training.adaptive_sharing import AdaptiveSharing
from mtl_zoo.training.affinity import InterTaskAffinity
from mtl_zoo.training.balancing_diagnostics import BalancingDiagnostics
from mtl_zoo.training.early_stopping import DeltaMEarlyStopping
from mtl_zoo.training.fade import Fade
from mtl_zoo.training.fit import fit
from mtl_zoo.training.flags import config_from_flags, define_flags, main
from mtl_zoo.training.nan_guard import (
    NonFiniteError,
    NonFiniteLossError,
    RaiseOnNonFiniteLoss,
)
from mtl_zoo.training.policy_search import PolicySearch
from mtl_zoo.training.precision import bfloat16_products
from mtl_zoo.training.relations import Relations
from mtl_zoo.training.resume import Resume
from mtl_zoo.training.reversal import ReversalRamp
from mtl_zoo.training.soup import average_weights, soup
from mtl_zoo.training.study import study
from mtl_zoo.training.successive import SuccessiveRegularization

__all__ = [
    "AdaptiveSharing",
    "BalancingDiagnostics",
    "DeltaMEarlyStopping",
    "Fade",
    "InterTaskAffinity",
    "NonFiniteError",
    "NonFiniteLossError",
    "PolicySearch",
    "RaiseOnNonFiniteLoss",
    "Relations",
    "Resume",
    "ReversalRamp",
    "SuccessiveRegularization",
    "average_weights",
    "bfloat16_products",
    "config_from_flags",
    "define_flags",
    "fit",
    "main",
    "soup",
    "study",
]
