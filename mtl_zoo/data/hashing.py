"""Numbers that divide data without an official split, the same on every machine."""

from __future__ import annotations

import hashlib

__all__ = ["number_of"]


def number_of(key: str | bytes) -> int:
    """Return the MD5 digest of a key, such as a text or a file name, as a number.

    Its remainder says which part of a set the key belongs to: equal keys are never
    parted, and more data change nothing for what is there already.

    Example:
        >>> number_of("a") % 10, number_of(b"a") % 10
        (7, 7)
    """
    data = key.encode() if isinstance(key, str) else key
    return int(hashlib.md5(data, usedforsecurity=False).hexdigest(), 16)
