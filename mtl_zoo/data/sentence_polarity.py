"""Sentences of film reviews, positive or negative (Pang and Lee, 2005)."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import hashing, text_sets

__all__ = ["LABELS", "SentencePolarity", "load"]

LABELS = ("negative", "positive")

_FILES = {"negative": "rt-polarity.neg", "positive": "rt-polarity.pos"}
_SPLITS = {0: "test", 1: "validation"}


class SentencePolarity(text_sets.TextSet):
    """TFDS builder. There is no official split.

    The MD5 of a line without the space around it decides, modulo 10: 0 is the test, 1
    the validation.
    """

    name = "sentence_polarity"
    DESCRIPTION = "Sentences of film reviews, half of them positive."
    HOMEPAGE = "https://www.cs.cornell.edu/people/pabo/movie-review-data/"
    CITATION = (
        "@inproceedings{pang2005seeing, title={Seeing stars: Exploiting class "
        "relationships for sentiment categorization with respect to rating scales}, "
        "author={Pang, Bo and Lee, Lillian}, booktitle={ACL}, year={2005}}"
    )
    LICENSE = "CC BY 4.0"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=LABELS),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        for label, file in _FILES.items():
            for line in (source / file).read_bytes().split(b"\n"):
                line = line.strip()
                digit = hashing.number_of(line) % 10
                if line and _SPLITS.get(digit, "train") == split:
                    yield {"text": line.decode("utf-8"), "label": label}


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"text": string, "label": int64, number of LABELS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(SentencePolarity, split, data_dir)
