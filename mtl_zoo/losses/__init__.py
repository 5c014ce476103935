"""Losses that Keras lacks. Any `keras.losses.Loss` works in a task.

- `BoxDetection`: the loss of `heads.Detection`.
- `Dependencies`: the loss of `heads.DependencyParsing`.
- `OrderedClasses`: the loss of `heads.Ordinal`.
- `Ratings`: the loss of `heads.Rating`.
- `Tags`: the loss of `heads.Tagging` and `heads.WordClassification`.
- `overlap`, `quality_focal`, `assign_boxes`: parts of the first, as functions on
  tensors.
"""

from mtl_zoo.losses.box_assignment import assign_boxes
from mtl_zoo.losses.box_detection import BoxDetection
from mtl_zoo.losses.dependencies import Dependencies
from mtl_zoo.losses.generalized_iou import overlap
from mtl_zoo.losses.ordinal import OrderedClasses
from mtl_zoo.losses.quality_focal import quality_focal
from mtl_zoo.losses.ratings import Ratings
from mtl_zoo.losses.tagging import Tags

__all__ = [
    "BoxDetection",
    "Dependencies",
    "OrderedClasses",
    "Ratings",
    "Tags",
    "assign_boxes",
    "overlap",
    "quality_focal",
]
