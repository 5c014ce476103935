"""How words are written: with which of their letters as capitals."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

CASES = ("no capital", "first letter", "all letters", "some letters")


def letter_cases(words: Any) -> tf.Tensor:
    r"""Return the case of each word, int32, a number in `CASES`.

    A single capital counts as a first letter. What an uncased vocabulary loses is of
    use to who looks for names.

    Args:
        words: Strings of any shape, UTF-8.

    Example:
        >>> letter_cases(["oslo", "Oslo", "OSLO", "iPhone", "A", "U2", "7"]).numpy()
        array([0, 1, 2, 3, 1, 1, 0], dtype=int32)
    """
    words = tf.convert_to_tensor(words)

    def matches(pattern: str) -> tf.Tensor:
        return tf.strings.regex_full_match(words, f"(?s){pattern}")

    some = matches(r".*\p{Lu}.*")
    first = matches(r"[^\p{L}]*\p{Lu}[^\p{Lu}]*")
    every = matches(r"[^\p{Ll}]*\p{Lu}[^\p{Ll}]*\p{Lu}[^\p{Ll}]*")
    return tf.where(some, tf.where(first, 1, tf.where(every, 2, 3)), 0)
