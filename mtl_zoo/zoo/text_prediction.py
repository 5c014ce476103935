"""Texts from arguments, files and standard input; predictions for a terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

STANDARD_INPUT = "-"

_RESET, _BOLD, _FAINT = "\033[0m", "\033[1m", "\033[2m"
_COLOURS = [f"\033[{number}m" for number in (36, 33, 35, 32, 34, 31)]


class TextError(Exception):
    """A text can not be read."""


def read_texts(
    arguments: Sequence[str], standard_input: BinaryIO, whole: bool = False
) -> Iterator[bytes]:
    """Yield the texts that the arguments of a command mean.

    Args:
        arguments: Files, `-` for standard input, or else texts themselves; none means
            standard input.
        standard_input: Where `-` is read from.
        whole: Whether a file is one text. Defaults to `False`: each line is one.

    Raises:
        TextError: When what looks like a file is none, or can not be read.
    """
    for argument in arguments or [STANDARD_INPUT]:
        if argument == STANDARD_INPUT:
            yield from _texts_of(standard_input.read(), whole)
        elif os.path.isfile(argument):
            try:
                content = Path(argument).read_bytes()
            except OSError as error:
                raise TextError(f"can not read {argument!r}: {error}") from None
            yield from _texts_of(content, whole)
        elif os.path.isdir(argument):
            raise TextError(f"{argument!r} is a folder; name the files in it")
        elif _looks_like_a_file(argument):
            raise TextError(
                f"there is no file {argument!r}; to predict for these words, send "
                "them to standard input"
            )
        else:
            yield os.fsencode(argument)


def coloured(prediction: Mapping[str, Any]) -> str:
    r"""Return a prediction of `TextPredictor` with the colours of a terminal.

    Example:
        >>> name = {"start": 3, "end": 7, "type": "LOC", "score": 0.9, "text": "Oslo"}
        >>> print(ascii(coloured({"text": "In Oslo", "ner": [name]})))
        'In \x1b[1m\x1b[36mOslo\x1b[0m\x1b[2m[LOC .90]\x1b[0m'
    """
    text = _printable(prediction["text"])
    marks = [
        (entity, _COLOURS[_number(entity["type"]) % len(_COLOURS)])
        for found in prediction.values()
        if isinstance(found, list)
        for entity in found
        if "type" in entity
    ]
    for entity, colour in sorted(marks, key=lambda m: m[0]["start"], reverse=True):
        start, end = entity["start"], entity["end"]
        score = f"{entity['score']:.2f}".lstrip("0")
        note = f"{_FAINT}[{entity['type']} {score}]{_RESET}"
        text = (
            f"{text[:start]}{_BOLD}{colour}{text[start:end]}{_RESET}{note}{text[end:]}"
        )
    lines = [text]
    for task, found in prediction.items():
        if isinstance(found, Mapping) and "label" in found:
            colour = _COLOURS[_number(found["label"]) % len(_COLOURS)]
            chance = found["probabilities"][found["label"]]
            lines.append(
                f"  {_FAINT}{task}{_RESET} {_BOLD}{colour}{found['label']}{_RESET} "
                f"{chance:.2f}"
            )
        elif isinstance(found, Mapping) and isinstance(found.get("value"), float):
            value = f"{_BOLD}{found['value']:.2f}{_RESET}"
            lines.append(f"  {_FAINT}{task}{_RESET} {value}")
        elif isinstance(found, list) and found and "type" not in found[0]:
            words = " ".join(map(_word, found))
            lines.append(f"  {_FAINT}{task}{_RESET} {words}")
    return "\n".join(lines)


def _word(word: Mapping[str, Any]) -> str:
    """Return a word with its class, or with its head and relation."""
    head = f"{word['head']}:" if "head" in word else ""
    text = _printable(word["text"])
    return f"{text}{_FAINT}/{head}{word.get('label', word.get('relation'))}{_RESET}"


def _texts_of(content: bytes, whole: bool) -> list[bytes]:
    if whole:
        return [content]
    lines = content.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()  # the end of the last line is no line
    return [line.removesuffix(b"\r") for line in lines]


def _looks_like_a_file(argument: str) -> bool:
    path = Path(argument[-100:])
    one_word = len(argument.split()) == 1
    return one_word and (path.suffix in (".txt", ".md", ".csv") or "/" in argument)


def _printable(text: str) -> str:
    """Return the text without characters that could steer a terminal."""
    return "".join(
        c if c.isprintable() or c in "\t " else "\ufffd" if c != "\n" else " "
        for c in text
    )


def _number(name: str) -> int:
    """Return a number that belongs to a name, the same in every process."""
    return sum(name.encode("utf-8"))
