"""Evaluation: results, delta_m against baselines, metrics.json, pictures."""

from mtl_zoo.evaluation.attachment_score import LAS, UAS
from mtl_zoo.evaluation.box_f1 import BoxF1
from mtl_zoo.evaluation.coco import CocoBoxes
from mtl_zoo.evaluation.cost import cost
from mtl_zoo.evaluation.delta_m import CONVENTIONS, delta_m
from mtl_zoo.evaluation.entity_f1 import EntityF1
from mtl_zoo.evaluation.evaluate import directions, evaluate
from mtl_zoo.evaluation.foreground_iou import ForegroundIoU
from mtl_zoo.evaluation.heat_map import draw_correlations
from mtl_zoo.evaluation.macro_f1 import MacroF1
from mtl_zoo.evaluation.mean_box_iou import MeanBoxIoU
from mtl_zoo.evaluation.pearson import Pearson
from mtl_zoo.evaluation.pictures import (
    draw_boxes,
    draw_mask,
    enlarge,
    side_by_side,
    write_png,
)
from mtl_zoo.evaluation.report import check_metrics, markdown_table, write_json
from mtl_zoo.evaluation.sharing import draw_sharing
from mtl_zoo.evaluation.tables import tables
from mtl_zoo.evaluation.thresholds import choose_thresholds
from mtl_zoo.evaluation.two_class_auc import TwoClassAUC
from mtl_zoo.evaluation.word_accuracy import WordAccuracy

__all__ = [
    "CONVENTIONS",
    "LAS",
    "UAS",
    "BoxF1",
    "CocoBoxes",
    "EntityF1",
    "ForegroundIoU",
    "MacroF1",
    "MeanBoxIoU",
    "Pearson",
    "TwoClassAUC",
    "WordAccuracy",
    "check_metrics",
    "choose_thresholds",
    "cost",
    "delta_m",
    "directions",
    "draw_boxes",
    "draw_correlations",
    "draw_mask",
    "draw_sharing",
    "enlarge",
    "evaluate",
    "markdown_table",
    "side_by_side",
    "tables",
    "write_json",
    "write_png",
]
