"""CoNLL-2003, English: persons, places, organisations and others in news.

The text is the Reuters corpus, whose terms allow research; train and evaluate with it,
but ship no weights.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import conll_columns, text_sets
from mtl_zoo.entities import tag_names

__all__ = ["TAGS", "TYPES", "Conll2003", "load"]

TYPES = ("LOC", "MISC", "ORG", "PER")
TAGS = tag_names(TYPES)

_FILES = {"train": "eng.train", "validation": "eng.testa", "test": "eng.testb"}


class Conll2003(text_sets.TextSet):
    """TFDS builder of the original files, whose tags are IOB1."""

    name = "conll2003"
    DESCRIPTION = "English news with four types of named entities, as BIO tags."
    HOMEPAGE = "https://www.clips.uantwerpen.be/conll2003/ner/"
    CITATION = (
        "@inproceedings{tjongkimsang2003introduction, title={Introduction to the "
        "CoNLL-2003 Shared Task}, author={Tjong Kim Sang, Erik F. and De Meulder, "
        "Fien}, booktitle={CoNLL}, year={2003}}"
    )
    LICENSE = "Reuters Corpus: research only, not to be redistributed"

    def features(self) -> dict:
        """See `TextSet`."""
        return text_sets.tagged_words(TAGS)

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        for words, tags in conll_columns.read(source / _FILES[split]):
            yield {"words": words, "tags": conll_columns.to_bio(tags, "iob1")}


def load(
    split: str = "train",
    data_dir: str | os.PathLike | None = None,
    source: str = "archive",
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` (testa) or `"test"` (testb), or a slice of one.
        data_dir: See `archives.find`; with TFDS, its folder.
        source: `"archive"`, or `"tfds"` for the set as TensorFlow Datasets downloads
            it.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
        ValueError: When `source` is unknown.
    """
    if source == "archive":
        return text_sets.load(Conll2003, split, data_dir)
    if source != "tfds":
        raise ValueError(f"Expected 'archive' or 'tfds'. Received: source={source!r}")
    data, info = tfds.load(
        "conll2003",
        split=split.replace("validation", "dev"),
        data_dir=data_dir,
        with_info=True,
    )
    names = info.features["ner"].feature.names
    numbers = tf.constant([TAGS.index(name.upper()) for name in names], tf.int64)
    return data.map(
        lambda example: {
            "words": example["tokens"],
            "tags": tf.gather(numbers, example["ner"]),
        }
    )
