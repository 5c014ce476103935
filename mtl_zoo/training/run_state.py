"""Nested values and arrays in a JSON and an NPZ file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mtl_zoo.evaluation.files import write_file

_ARRAY = "__array__"


def write(state: Any, path: Path) -> None:
    """Write `state`, made of dicts, lists, JSON values and arrays, to two files.

    Args:
        state: The value. Floats keep every bit.
        path: Path without extension, for a `.json` and a `.npz` file.

    Raises:
        TypeError: When a part of the state is of another type.
    """
    arrays: dict[str, np.ndarray] = {}

    def take(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays[str(len(arrays))] = value
            return {_ARRAY: str(len(arrays) - 1)}
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(
            "A saved state is made of dicts, lists, numbers, strings and NumPy arrays. "
            f"Received: {value!r} of type {type(value).__name__}"
        )

    text = json.dumps(state, default=take)
    write_file(f"{path}.npz", lambda file: np.savez(file, allow_pickle=False, **arrays))
    write_file(f"{path}.json", lambda file: file.write(text.encode()))


def read(path: Path) -> Any:
    """Return what `write` was given."""
    with np.load(f"{path}.npz") as arrays:

        def put(value: dict) -> Any:
            return arrays[value[_ARRAY]] if _ARRAY in value else value

        return json.loads(Path(f"{path}.json").read_text(), object_hook=put)
