"""Column files with a word and its tag a line, and the ways to write tags."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

__all__ = ["SCHEMES", "read", "to_bio"]

SCHEMES = ("iob1", "bio", "io")

_DOCUMENT = "-DOCSTART-"


def read(
    path: str | os.PathLike, tag_column: int = -1, malformed: int = 0
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the sentences of a file as words and tags.

    Sentences are separated by empty lines; columns by tabs where there is one, else by
    blanks; the word is the first. Lines that begin a document (`-DOCSTART-`) are left
    out.

    Args:
        path: A file in UTF-8.
        tag_column: Number of the tags' column. Defaults to the last.
        malformed: How many lines without a word or a tag are left out, as the set's
            own description says. Defaults to `0`.

    Raises:
        ValueError: When another number of lines has no word or no tag.
    """
    words: list[str] = []
    tags: list[str] = []
    wrong = []
    text = pathlib.Path(path).read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            if words:
                yield words, tags
            words, tags = [], []
            continue
        columns = line.split("\t") if "\t" in line else line.split(" ")
        columns = [column.strip() for column in columns]
        if columns[0] == _DOCUMENT:
            continue
        if len(columns) < 2 or not columns[0] or not columns[tag_column]:
            wrong.append(number)
            continue
        words.append(columns[0])
        tags.append(columns[tag_column])
    if words:
        yield words, tags
    if len(wrong) != malformed:
        raise ValueError(
            f"Expected a word and a tag in each line of {os.fspath(path)!r}, but for "
            f"{malformed} lines. Received {len(wrong)} others: {wrong[:10]}"
        )


def to_bio(tags: Sequence[str], scheme: str) -> list[str]:
    """Return the tags of one sentence as BIO (IOB2): `B-` begins every entity.

    Args:
        tags: `O`, `B-<type>` and `I-<type>`.
        scheme: `"iob1"`, where `B-` stands only between two entities of one type;
            `"bio"`; or `"io"`, where neighbours of one type are one entity.

    Raises:
        ValueError: When the scheme is unknown or a tag does not belong to it.

    Example:
        >>> to_bio(["I-PER", "I-PER", "B-PER", "O", "I-LOC"], "iob1")
        ['B-PER', 'I-PER', 'B-PER', 'O', 'B-LOC']
    """
    if scheme not in SCHEMES:
        raise ValueError(f"Expected a scheme of {SCHEMES}. Received: {scheme!r}")
    found: list[str] = []
    before = "O"
    for tag in tags:
        prefix, _, name = tag.partition("-")
        allowed = ("I",) if scheme == "io" else ("B", "I")
        if tag != "O" and (prefix not in allowed or not name):
            raise ValueError(
                f"Expected tags of the scheme {scheme!r}: O or "
                f"{' or '.join(f'{p}-<type>' for p in allowed)}. Received: {tag!r}"
            )
        follows = before not in ("O", "") and before[2:] == name
        if prefix == "I" and not follows:
            if scheme == "bio":
                raise ValueError(
                    f"In BIO, {tag!r} follows its own type. Received it behind "
                    f"{before!r}; is this IOB1?"
                )
            tag = f"B-{name}"
        found.append(tag)
        before = tag
    return found
