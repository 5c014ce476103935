"""Evaluation: results, delta_m against baselines, metrics.json, pictures."""

from mtl_zoo.evaluation.delta_m import CONVENTIONS, delta_m
from mtl_zoo.evaluation.report import check_metrics, markdown_table

__all__ = ["CONVENTIONS", "check_metrics", "delta_m", "markdown_table"]
