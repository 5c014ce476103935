"""Heads: from the features of a trunk to the raw output of one task, and its decoding.

- `Classification`, `Ordinal`, `Rating`, `Regression`: one answer an input.
- `Segmentation`, `DenseRegression`: one answer a pixel.
- `Detection`: boxes with classes and scores.
- `Tagging`: a tag for each word of a text, decoded to entities.
- `WordClassification`: a class for each word, such as its part of speech.
- `DependencyParsing`: a head and a relation for each word, decoded to a tree.
"""

from mtl_zoo.heads.classification import Classification
from mtl_zoo.heads.dense_regression import DenseRegression
from mtl_zoo.heads.dependency_parsing import DependencyParsing
from mtl_zoo.heads.detection import Detection, decode_boxes
from mtl_zoo.heads.head import Head
from mtl_zoo.heads.ordinal import Ordinal
from mtl_zoo.heads.rating import Rating
from mtl_zoo.heads.regression import Regression
from mtl_zoo.heads.segmentation import Segmentation
from mtl_zoo.heads.tagging import Tagging
from mtl_zoo.heads.word_classification import WordClassification

__all__ = [
    "Classification",
    "DenseRegression",
    "DependencyParsing",
    "Detection",
    "Head",
    "Ordinal",
    "Rating",
    "Regression",
    "Segmentation",
    "Tagging",
    "WordClassification",
    "decode_boxes",
]
