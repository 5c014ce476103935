"""SICK: pairs of sentences, how related they are and whether one entails the other."""

from __future__ import annotations

import csv
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import text_sets

__all__ = ["HIGHEST", "LABELS", "LOWEST", "Sick", "load"]

LABELS = ("contradiction", "entailment", "neutral")
LOWEST, HIGHEST = 1, 5

_FILES = {
    "train": "SICK_train.txt",
    "validation": "SICK_trial.txt",
    "test": "SICK_test_annotated.txt",
}
_COLUMNS = (
    "pair_ID",
    "sentence_A",
    "sentence_B",
    "relatedness_score",
    "entailment_judgment",
)


class Sick(text_sets.TextSet):
    """TFDS builder of the files of SemEval 2014, task 1; the trial set validates."""

    name = "sick"
    DESCRIPTION = "Pairs of English sentences with their relatedness and entailment."
    HOMEPAGE = "https://alt.qcri.org/semeval2014/task1/"
    CITATION = (
        "@inproceedings{marelli2014sick, title={A SICK cure for the evaluation of "
        "compositional distributional semantic models}, author={Marelli, Marco and "
        "Menini, Stefano and Baroni, Marco and Bentivogli, Luisa and Bernardi, "
        "Raffaella and Zamparelli, Roberto}, booktitle={LREC}, year={2014}}"
    )
    LICENSE = "CC BY-NC-SA 3.0"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            "first": tfds.features.Text(),
            "second": tfds.features.Text(),
            "relatedness": tfds.features.Scalar(tf.float32),
            "entailment": tfds.features.ClassLabel(names=LABELS),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        file = source / _FILES[split]
        with open(file, encoding="utf-8", newline=None) as lines:
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            if tuple(rows.fieldnames or ()) != _COLUMNS:
                raise ValueError(
                    f"Expected the columns {_COLUMNS} in {str(file)!r}. Received: "
                    f"{rows.fieldnames}"
                )
            for row in rows:
                yield {
                    "first": row["sentence_A"],
                    "second": row["sentence_B"],
                    "relatedness": float(row["relatedness_score"]),
                    "entailment": row["entailment_judgment"].lower(),
                }


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The pairs of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` (the trial set) or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"first": string, "second": string, "relatedness": float32,
        LOWEST to HIGHEST, "entailment": int64, number of LABELS}`: whether the first
        entails the second.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(Sick, split, data_dir)
