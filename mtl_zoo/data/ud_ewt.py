"""English Web Treebank: parts of speech and dependency trees of what people write.

Weblogs, newsgroups, e-mails, reviews and answers (Silveira et al., 2014), in Universal
Dependencies.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from mtl_zoo.data import conllu, text_sets

__all__ = ["RELATIONS", "UPOS", "UdEwt", "load"]

UPOS, RELATIONS = conllu.UPOS, conllu.RELATIONS

_FILES = {"train": "train", "validation": "dev", "test": "test"}


class UdEwt(text_sets.TextSet):
    """TFDS builder of the CoNLL-U files."""

    name = "ud_ewt"
    DESCRIPTION = "Parts of speech and dependency trees of English from the web."
    HOMEPAGE = "https://universaldependencies.org/treebanks/en_ewt/"
    CITATION = (
        "@inproceedings{silveira2014gold, title={A Gold Standard Dependency Corpus for "
        "English}, author={Silveira, Natalia and Dozat, Timothy and de Marneffe, "
        "Marie-Catherine and Bowman, Samuel and Connor, Miriam and Bauer, John and "
        "Manning, Christopher D.}, booktitle={LREC}, year={2014}}"
    )
    LICENSE = "CC BY-SA 4.0"

    def features(self) -> dict:
        """See `TextSet`."""
        return text_sets.parsed_words(UPOS, RELATIONS)

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        file = source / f"en_ewt-ud-{_FILES[split]}.conllu.gz"
        for sentence in conllu.read(file):
            yield text_sets.parsed(sentence)


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` (dev) or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "upos": int64 (n,), numbers of UPOS,
        "heads": int64 (n,), 0 for the root and words from 1, "relations": int64 (n,),
        numbers of RELATIONS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(UdEwt, split, data_dir)
