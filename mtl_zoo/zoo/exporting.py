"""Export a saved model with what it knows: real inputs, preprocessing, its card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mtl_zoo.export.preprocessing import NATIVE
from mtl_zoo.export.serving import to_serving
from mtl_zoo.zoo import registry


def export(
    name_or_path: str | os.PathLike, directory: str | os.PathLike, **options: Any
) -> Path:
    """Write a saved model for TensorFlow Serving.

    Args:
        name_or_path: A name that `list_models` knows, a path, or a `.keras` file.
        directory: The model's folder for the server.
        **options: `version`, `tasks`, `trunk` or `profile` of `to_serving`.

    Returns:
        The folder of the version.

    Raises:
        ModelNotFoundError: When there is no such model.
        FileExistsError: When the version exists.
        ValueError: As `to_serving`.
    """
    model = registry.load(name_or_path)
    if Path(name_or_path).suffix == ".keras":
        return to_serving(model, directory, **options)
    folder = registry.find(name_or_path)
    return to_serving(
        model,
        directory,
        preprocessing=registry.read_config(folder).get("preprocessing", NATIVE),
        example=registry.read_golden_inputs(folder),
        card=registry.read_card(folder),
        **options,
    )
