"""CoNLL-U, the format of Universal Dependencies: words, their classes and their trees.

The syntactic words of a sentence are read, `do` and `n't` for `don't`, as the shared
task of CoNLL-2018 scores them; the surface tokens that they were written as, and words
that were left out in the text (`8.1`), are not.
"""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["RELATIONS", "UPOS", "Sentence", "read"]

UPOS = tuple(
    """
    ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X
    """.split()  # noqa: SIM905 (a list would have a line a class)
)
"""The universal parts of speech (Nivre et al., 2020)."""

RELATIONS = tuple(
    """
    acl acl:relcl advcl advcl:relcl advmod amod appos aux aux:pass case cc cc:preconj
    ccomp clf compound compound:prt conj cop csubj csubj:outer csubj:pass dep det
    det:predet discourse dislocated expl fixed flat goeswith iobj list mark nmod
    nmod:desc nmod:poss nmod:unmarked nsubj nsubj:outer nsubj:pass nummod obj obl
    obl:agent obl:unmarked orphan parataxis punct reparandum root vocative xcomp
    """.split()  # noqa: SIM905
)
"""The universal relations, and the subtypes that English treebanks have."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of a treebank.

    Attributes:
        words: Its words.
        upos: The part of speech of each, of `UPOS`.
        heads: The head of each: 0 for the root, `n` for the `n`-th word, from 1.
        relations: The relation of each to its head, of `RELATIONS`.
        comments: The lines in front of it that begin with `#`.
        columns: The ten columns of each word.
    """

    words: tuple[str, ...]
    upos: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]
    comments: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]


def read(path: str | os.PathLike) -> Iterator[Sentence]:
    """Yield the sentences of a file.

    Args:
        path: A file in UTF-8, compressed where its name ends in `.gz`.

    Raises:
        ValueError: When a line has not ten columns, a word, a class or a relation is
            unknown, or the heads of a sentence are no tree with one root.
    """
    name = os.fspath(path)
    opened = gzip.open if name.endswith(".gz") else open
    with opened(name, "rt", encoding="utf-8") as file:
        blocks = re.split(r"\n\s*\n", file.read())
    for block in blocks:
        lines = [line for line in block.split("\n") if line.strip()]
        comments = tuple(line for line in lines if line.startswith("#"))
        rows = [tuple(x.split("\t")) for x in lines if not x.startswith("#")]
        if wrong := [row for row in rows if len(row) != 10]:
            raise ValueError(
                f"Expected ten columns in each line of {name!r}. Received: {wrong[0]}"
            )
        words = [row for row in rows if row[0].isdigit()]
        if words:
            yield _checked(name, comments, words)


def _checked(name: str, comments: tuple[str, ...], rows: list) -> Sentence:
    numbers, forms, _, upos, _, _, heads, relations, *_ = zip(*rows, strict=True)
    heads = tuple(int(head) if head.isdigit() else -1 for head in heads)
    if (
        numbers != tuple(str(i) for i in range(1, len(rows) + 1))
        or not set(upos) <= set(UPOS)
        or not set(relations) <= set(RELATIONS)
        or not _is_tree(heads)
    ):
        raise ValueError(
            f"Expected words from 1, classes of {UPOS}, relations of {RELATIONS} and "
            f"heads that are a tree with one root in {name!r}. Received words "
            f"{forms} with classes {upos}, relations {relations} and heads {heads}."
        )
    return Sentence(forms, upos, heads, relations, comments, tuple(rows))


def _is_tree(heads: tuple[int, ...]) -> bool:
    """Whether every word leads to the root, and one alone hangs on it."""
    if heads.count(0) != 1 or min(heads) < 0 or max(heads) > len(heads):
        return False
    rooted = {0}
    for word in range(1, len(heads) + 1):
        way = []
        while word not in rooted and word not in way:
            way.append(word)
            word = heads[word - 1]
        if word not in rooted:
            return False
        rooted.update(way)
    return True
