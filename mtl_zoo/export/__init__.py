"""Export of trained models to other programs."""

from mtl_zoo.export.linter import check, lint
from mtl_zoo.export.serving import to_serving, write_version

__all__ = ["check", "lint", "to_serving", "write_version"]
