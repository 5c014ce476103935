"""Reviews of 16 domains, positive or negative (Liu, Qiu and Huang, 2017)."""

from __future__ import annotations

import gzip
import json
import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import text_sets

__all__ = ["DOMAINS", "LABELS", "FduMtl", "load"]

LABELS = ("negative", "positive")

DOMAINS = (
    "MR",
    "apparel",
    "baby",
    "books",
    "camera_photo",
    "dvd",
    "electronics",
    "health_personal_care",
    "imdb",
    "kitchen_housewares",
    "magazines",
    "music",
    "software",
    "sports_outdoors",
    "toys_games",
    "video",
)


class FduMtl(text_sets.TextSet):
    """TFDS builder. There is no official validation split.

    Of the test texts, `leaked` marks those that stand word for word in the train file
    of some domain. Nearly all texts of the domain `MR` are in `sentence_polarity` too.
    """

    name = "fdu_mtl"
    SPLITS = ("train", "test")
    DESCRIPTION = "Reviews of products and films, tokenised, in 16 domains."
    HOMEPAGE = "https://github.com/ccsasuke/man"
    CITATION = (
        "@inproceedings{liu2017adversarial, title={Adversarial Multi-task Learning for "
        "Text Classification}, author={Liu, Pengfei and Qiu, Xipeng and Huang, "
        "Xuanjing}, booktitle={ACL}, year={2017}}"
    )
    LICENSE = "none stated; reviews from Amazon, IMDB and Rotten Tomatoes"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=LABELS),
            "domain": tfds.features.ClassLabel(names=DOMAINS),
            "leaked": tfds.features.Scalar(dtype=tf.bool),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        leaks = json.loads((source / "test_leak.json").read_text(encoding="utf-8"))
        for domain in DOMAINS:
            leaked = set(
                leaks["leaked_test_indices"][domain] if split == "test" else ()
            )
            file = source / f"{domain}.task.{split}.gz"
            lines = gzip.decompress(file.read_bytes()).split(b"\n")
            for number, line in enumerate(filter(None, lines)):
                label, text = line.decode("utf-8", "replace").split("\t", 1)
                yield {
                    "text": text.strip(),
                    "label": int(label),
                    "domain": domain,
                    "leaked": number in leaked,
                }


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The reviews of a split, domain after domain.

    Args:
        split: `"train"` or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"text": string, "label": int64, number of LABELS, "domain":
        int64, number of DOMAINS, "leaked": bool}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(FduMtl, split, data_dir)
