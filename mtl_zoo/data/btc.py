"""The Broad Twitter Corpus: persons, places and organisations in tweets."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

import tensorflow as tf

from mtl_zoo.data import conll_columns, text_sets
from mtl_zoo.entities import tag_names

__all__ = ["TAGS", "TYPES", "Btc", "load"]

TYPES = ("LOC", "ORG", "PER")
TAGS = tag_names(TYPES)

VALIDATION = 1000
"""The last tweets of section H, which are the validation split."""

# The section whose annotators left the `@` of a handle out of its name.
_BARE_HANDLES = "b"

# Lines without a word.
_MALFORMED = {"f": 2, "h": 4}


class Btc(text_sets.TextSet):
    """TFDS builder: section F is the test; A, B, E, G and H are the rest.

    In all sections but B, the `@` of a handle is tagged as a name of its own, of the
    type of the handle; in B it is made so.
    """

    name = "btc"
    DESCRIPTION = "Tweets with three types of named entities, as BIO tags."
    HOMEPAGE = "https://github.com/GateNLP/broad_twitter_corpus"
    CITATION = (
        "@inproceedings{derczynski2016broad, title={Broad Twitter Corpus: A Diverse "
        "Named Entity Recognition Resource}, author={Derczynski, Leon and Bontcheva, "
        "Kalina and Roberts, Ian}, booktitle={COLING}, year={2016}}"
    )
    LICENSE = "CC BY 4.0; the tweets under their platform's terms"

    def features(self) -> dict:
        """See `TextSet`."""
        return text_sets.tagged_words(TAGS)

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        if split == "test":
            yield from _section(source, "f")
            return
        h = list(_section(source, "h"))
        if split == "validation":
            yield from h[-VALIDATION:]
            return
        for section in "abeg":
            yield from _section(source, section)
        yield from h[:-VALIDATION]


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The tweets of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` or `"test"` (section F), or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(Btc, split, data_dir)


def _section(source: pathlib.Path, name: str) -> Iterator[dict]:
    for words, tags in conll_columns.read(
        source / f"{name}.conll", malformed=_MALFORMED.get(name, 0)
    ):
        tags = conll_columns.to_bio(tags, "iob1")
        if name == _BARE_HANDLES:
            tags = _with_at_signs(words, tags)
        yield {"words": words, "tags": tags}


def _with_at_signs(words: Sequence[str], tags: Sequence[str]) -> list[str]:
    """Tag the `@` before a name as the other sections do: as one of the same type."""
    following = [*tags[1:], "O"]
    return [
        after if (word, tag) == ("@", "O") and after.startswith("B-") else tag
        for word, tag, after in zip(words, tags, following, strict=True)
    ]
