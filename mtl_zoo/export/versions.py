"""Version folders: what is in a model's folder, and how a version appears there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def versions(directory: str | os.PathLike) -> list[int]:
    """Return the versions in a model's folder in rising order."""
    folder = Path(directory)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def next_version(directory: str | os.PathLike) -> int:
    """Return the number after the last version in a model's folder, at least 1."""
    return max(versions(directory), default=0) + 1


@contextmanager
def new_version(
    directory: str | os.PathLike, version: int | None
) -> Iterator[tuple[Path, Path]]:
    """Give an empty folder and `directory/<version>/`, which it becomes at the end.

    A server takes any folder with a numeric name within a second, so until then it has
    another one. When anything fails in between, nothing is left of it.

    Args:
        directory: The model's folder, made if need be.
        version: Number of the version, or `None` for the next free one.

    Raises:
        FileExistsError: When the version exists; it is left as it was.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    version = next_version(directory) if version is None else version
    target = directory / str(version)
    if target.exists():
        raise FileExistsError(
            f"Version {version} exists in {directory}, and a version never changes. "
            f"The next free one is {next_version(directory)}."
        )
    partial = tempfile.mkdtemp(prefix=".tmp-", dir=directory)
    try:
        yield Path(partial), target
        os.chmod(partial, 0o755)
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
