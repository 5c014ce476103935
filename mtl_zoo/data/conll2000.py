"""CoNLL-2000: the chunks of news, such as noun phrases without what hangs on them.

The text is that of the Wall Street Journal (sections 15-18 and 20 of the Penn
Treebank); train and evaluate with it, but ship no weights.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from mtl_zoo.data import conll_columns, hashing, text_sets
from mtl_zoo.entities import tag_names

__all__ = ["TAGS", "TYPES", "Conll2000", "load"]

TYPES = (
    "ADJP",
    "ADVP",
    "CONJP",
    "INTJ",
    "LST",
    "NP",
    "PP",
    "PRT",
    "SBAR",
    "UCP",
    "VP",
)
TAGS = tag_names(TYPES)


class Conll2000(text_sets.TextSet):
    """TFDS builder of the original files, which have no validation split.

    The MD5 of a sentence of the training file, its words joined by blanks, decides,
    modulo 10: 0 is the validation. The test is the official one.
    """

    name = "conll2000"
    DESCRIPTION = "English news with eleven types of chunks, as BIO tags."
    HOMEPAGE = "https://www.clips.uantwerpen.be/conll2000/chunking/"
    CITATION = (
        "@inproceedings{tjongkimsang2000introduction, title={Introduction to the "
        "CoNLL-2000 Shared Task: Chunking}, author={Tjong Kim Sang, Erik F. and "
        "Buchholz, Sabine}, booktitle={CoNLL}, year={2000}}"
    )
    LICENSE = "Wall Street Journal text: research only, not to be redistributed"

    def features(self) -> dict:
        """See `TextSet`."""
        return text_sets.tagged_words(TAGS)

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        file = source / ("test.txt" if split == "test" else "train.txt")
        for words, tags in conll_columns.read(file):
            held_out = hashing.number_of(" ".join(words)) % 10 == 0
            if split == "test" or held_out == (split == "validation"):
                yield {"words": words, "tags": conll_columns.to_bio(tags, "bio")}


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` (a tenth of the training file, see
            `Conll2000`) or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(Conll2000, split, data_dir)
