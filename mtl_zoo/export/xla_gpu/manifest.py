"""`manifest.json`: what is in the folder of one architecture, and how it was made."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

NAME = "manifest.json"
FORMAT = 1

CLAIM = (
    "XLA:GPU kernels for the named architecture, compiled ahead of time by "
    "TensorFlow's own XLA, statically verified, not executed on a GPU, not autotuned; "
    "convolutions call cuDNN."
)


class ManifestError(ValueError):
    """A folder is not what its manifest says."""


def write(directory: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a folder, with the hashes of all other files in it."""
    manifest = {
        "format": FORMAT,
        "claim": CLAIM,
        **content,
        "autotuned": False,
        "executed_on_device": False,
        "files": {name: sha256(directory / name) for name in _files(directory)},
    }
    (directory / NAME).write_text(json.dumps(manifest, indent=1) + "\n")


def read(directory: str | os.PathLike) -> dict[str, Any]:
    """Return a folder's manifest after comparing every file with it.

    Raises:
        ManifestError: When the manifest is missing, is no manifest or claims more than
            is true, or when a file is missing, is there too much or has been changed.
    """
    folder = Path(directory)
    try:
        manifest = json.loads((folder / NAME).read_text())
    except (OSError, ValueError) as error:
        raise ManifestError(
            f"Expected {folder / NAME}, as `mtl-zoo compile-gpu` writes it: {error}"
        ) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ManifestError(
            f"{folder / NAME} is no manifest of format {FORMAT}. Compile again."
        )
    for fact in ("autotuned", "executed_on_device"):
        if manifest.get(fact) is not False:
            raise ManifestError(
                f"{folder / NAME} must say {fact}: false, for nothing here was. "
                f"Received: {manifest.get(fact)!r}"
            )
    listed, found = manifest.get("files", {}), _files(folder)
    for problem, names in (
        ("lacks", sorted(set(listed) - set(found))),
        (
            "has files that its manifest does not list:",
            sorted(set(found) - set(listed)),
        ),
        (
            "has files that were changed after they were written:",
            [n for n in found if n in listed and sha256(folder / n) != listed[n]],
        ),
    ):
        if names:
            raise ManifestError(
                f"{folder} {problem} {', '.join(names)}. Compile again."
            )
    return manifest


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    found = (p for p in folder.rglob("*") if p.is_file())
    names = sorted(p.relative_to(folder).as_posix() for p in found)
    return [name for name in names if name != NAME]
