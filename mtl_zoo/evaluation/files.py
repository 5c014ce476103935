"""Files that are complete or absent, never half written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def write_file(path: str | os.PathLike, write: Callable[[IO[bytes]], Any]) -> None:
    """Let `write` fill a temporary file beside `path`, then move it there in one step.

    A process that is killed meanwhile, or a `write` that raises, leaves what was at
    `path` before. Missing folders are made.

    Args:
        path: The file to make or replace.
        write: Takes the open binary file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_file(f"{folder}/new/a.txt", lambda file: file.write(b"hello"))
        ...     Path(folder, "new", "a.txt").read_text()
        'hello'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a text file as UTF-8 the way `write_file` does."""
    write_file(path, lambda file: file.write(text.encode()))
