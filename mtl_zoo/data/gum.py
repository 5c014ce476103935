"""GUM: names, parts of speech and dependency trees in edited English of six genres.

The corpus (Zeldes, 2017) marks every mention of an entity, pronouns and descriptions
too, nested. A *name* here is made of them: of a mention of a person, place or
organisation whose head is a proper noun, the proper nouns around that head, with what
joins them (`University of Oxford`) and without title (`Mr.`) or article; of nested ones
the outer. Offices and institutions that are written like names but name no one in
particular (`the Secretary`, `the Court`), and peoples (`Americans`), are none. The
genres are those whose texts have open licences.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import conllu, text_sets
from mtl_zoo.entities import tag_names

__all__ = [
    "GENRES",
    "RELATIONS",
    "SENTENCE_TYPES",
    "TAGS",
    "TYPES",
    "UPOS",
    "Gum",
    "load",
]

TYPES = ("LOC", "ORG", "PER")
TAGS = tag_names(TYPES)
UPOS, RELATIONS = conllu.UPOS, conllu.RELATIONS

# Declarative, fragment, gerund, imperative, infinitive, interjection, several, another,
# yes-no question, subjunctive, wh-question.
SENTENCE_TYPES = (
    *("decl", "frag", "ger", "imp", "inf", "intj"),
    *("multiple", "other", "q", "sub", "wh"),
)

GENRES = ("academic", "bio", "court", "interview", "news", "voyage")

_FILES = {"train": "gum_train", "validation": "gum_dev", "test": "gum_test"}
_TYPE_OF = {"place": "LOC", "organization": "ORG", "person": "PER"}
_BRACKET = re.compile(r"\((\d+)-([a-z]+)[^()]*|(\d*)\)")
_JOINING = ("of", "the", "de", "la", "von", "van", "for", "&", "-", "'s")
_TITLES = ("mr.", "mrs.", "ms.", "dr.", "prof.", "mr", "mrs", "ms", "dr", "sir")
_NO_NAMES = frozenset(_JOINING).union(
    """
    attorney chancellor chief commander counsel emperor general governor honor judge
    justice king lord major mayor minister pope president prince princess professor
    queen secretary senator solicitor your agency army board bureau church city
    college commission committee company council county court department district
    government house island lake league library ministry museum navy party river
    school state states territory town union university village
    """.split()  # noqa: SIM905 (a list would have a line a word)
)


class Gum(text_sets.TextSet):
    """TFDS builder of the CoNLL-U files, open genres alone."""

    name = "gum"
    VERSION = tfds.core.Version("1.1.0")  # parts of speech, trees, types
    DESCRIPTION = (
        "Edited English with three types of named entities, as BIO tags, parts of "
        "speech, dependency trees and the kind of each sentence."
    )
    HOMEPAGE = "https://gucorpling.org/gum/"
    CITATION = (
        "@article{zeldes2017gum, title={The GUM Corpus: Creating Multilayer Resources "
        "in the Classroom}, author={Zeldes, Amir}, journal={LREJ}, volume={51}, "
        "number={3}, pages={581--612}, year={2017}}"
    )
    LICENSE = "CC BY 4.0 (annotations; academic, court), CC BY-SA 3.0 (bio, voyage), \
CC BY 2.5 (news, interview)"

    def features(self) -> dict:
        """See `TextSet`."""
        return {
            **text_sets.tagged_words(TAGS),
            **text_sets.parsed_words(UPOS, RELATIONS),
            "sentence_type": tfds.features.ClassLabel(names=SENTENCE_TYPES),
        }

    def examples(self, source: pathlib.Path, split: str) -> Iterator[dict]:
        """See `TextSet`."""
        genre = sentence_type = ""
        for sentence in conllu.read(source / f"{_FILES[split]}.conllu.gz"):
            for line in sentence.comments:
                if line.startswith("# newdoc id = GUM_"):
                    genre = line.split("_")[1]
                elif line.startswith("# s_type = "):
                    sentence_type = line.removeprefix("# s_type = ").strip()
            if genre in GENRES:
                tokens = [_Token.of(columns) for columns in sentence.columns]
                yield {
                    **text_sets.parsed(sentence),
                    "tags": _tags(tokens),
                    "sentence_type": sentence_type,
                }


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The sentences of a split, in a fixed order.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a slice of one.
        data_dir: See `archives.find`.

    Returns:
        A dataset of `{"words": strings (n,), "tags": int64 (n,), numbers of TAGS,
        "upos": int64 (n,), numbers of UPOS, "heads": int64 (n,), 0 for the root and
        words from 1, "relations": int64 (n,), numbers of RELATIONS, "sentence_type":
        int64, number of SENTENCE_TYPES}`.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    return text_sets.load(Gum, split, data_dir)


@dataclass(frozen=True)
class _Token:
    """A word's columns in CoNLL-U."""

    word: str
    is_name: bool
    is_plural: bool
    head: int  # index of the governing token in the sentence, -1 for the root
    brackets: str

    @classmethod
    def of(cls, columns: Sequence[str]) -> _Token:
        entity = [x for x in columns[9].split("|") if x.startswith("Entity=")]
        return cls(
            word=columns[1],
            is_name=columns[4] in ("NNP", "NNPS"),
            is_plural=columns[4] == "NNPS",
            head=int(columns[6]) - 1,
            brackets=entity[0].removeprefix("Entity=") if entity else "",
        )


def _tags(tokens: list[_Token]) -> list[str]:
    tags = ["O"] * len(tokens)
    mentions = sorted(_mentions(tokens), key=lambda m: (m[0] - m[1], m[0]))
    for start, end, kind in mentions:
        name = _name(tokens, start, end, kind)
        if name is None or any(tags[i] != "O" for i in range(*name)):
            continue
        for i in range(*name):
            tags[i] = f"{'B' if i == name[0] else 'I'}-{_TYPE_OF[kind]}"
    return tags


def _mentions(tokens: list[_Token]) -> Iterator[tuple[int, int, str]]:
    """Yield begin, end (exclusive) and type of the mentions of the three types."""
    open_mentions: list[tuple[str, int, str]] = []
    for index, token in enumerate(tokens):
        for number, kind, closed in _BRACKET.findall(token.brackets):
            if number:
                open_mentions.append((number, index, kind))
                continue
            places = [
                i
                for i, mention in enumerate(open_mentions)
                if closed in ("", mention[0])
            ]
            if not places:
                continue  # began in another sentence
            _, start, found = open_mentions.pop(places[-1])
            if found in _TYPE_OF:
                yield start, index + 1, found


def _name(
    tokens: list[_Token], start: int, end: int, kind: str
) -> tuple[int, int] | None:
    """Return where the name in a mention is, `None` where there is none."""
    inside = range(start, end)
    heads = [i for i in inside if tokens[i].head not in inside]
    if not heads or not tokens[heads[0]].is_name:
        return None
    if kind == "person" and tokens[heads[0]].is_plural:
        return None
    joining = (*_JOINING, "and") if kind == "organization" else _JOINING
    first = last = heads[0]
    for step in (-1, 1):
        place = edge = heads[0]
        while (place := place + step) in inside:
            if tokens[place].is_name:
                edge = place
            elif tokens[place].word.lower() not in joining:
                break
        first, last = min(first, edge), max(last, edge)
    while first < last and tokens[first].word.lower() in _TITLES:
        first += 1
    words = {token.word.lower() for token in tokens[first : last + 1]}
    return None if words <= _NO_NAMES else (first, last + 1)
