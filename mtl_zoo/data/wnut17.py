"""WNUT-17: new and rare names in tweets, posts and comments, six types."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from mtl_zoo.data import conll_columns, text_sets
from mtl_zoo.entities import tag_names

__all__ = ["TAGS", "TYPES", "Wnut17", "load"]

TYPES = ("corporation", "creative-work", "group", "location", "person", "product")
TAGS = tag_names(TYPES)

_FILES = {
    "train": "wnut17train.conll",
    "validation": "emerging.dev.conll",
    "test": "emerging.test.annotated",
}


class Wnut17(text_sets.TextSet):
    """TFDS builder of the original files."""

    name = "wnut17"
    DESCRIPTION = "Noisy user text with six types of emerging entities, as BIO tags."
    HOMEPAGE = "https://noisy-text.github.io/2017/emerging-rare-entities.html"
    CITATION = (
        "@inproceedings{derczynski2017results, title={Results of the WNUT2017 Shared "
        "Task on Novel and Emerging Entity Recognition}, author={Derczynski, Leon and "
        "others}, booktitle={W-NUT}, year={2017}}"
    )
    LICENSE = "CC BY 4.0; the texts under their platforms' terms"

    def features(self) -> dict:
        """See `TextSet`."""
        return text_sets.tagged_words(TAGS)

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        for words, tags in conll_columns.read(source / _FILES[split]):
            yield {"words": words, "tags": conll_columns.to_bio(tags, "iob1")}


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The texts of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(Wnut17, split, data_dir)
