"""Saved models by name.

A saved model is a folder with `config.json` and at least one version, a folder with a
number for a name that holds a SavedModel. Nothing here imports TensorFlow until `load`
is called.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtl_zoo.model import MultiTaskModel

ENVIRONMENT = "MTL_ZOO_SAVED_MODELS"


class ModelNotFoundError(LookupError):
    """There is no saved model of that name or at that path."""


def saved_models_dir() -> Path:
    """Return the folder of saved models.

    That is the one which the environment variable `MTL_ZOO_SAVED_MODELS` names, else
    `saved_models` beside the package, where a clone of the repository has it.
    """
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else Path(__file__).parents[2] / "saved_models"


def list_models(
    pattern: str = "*", directory: str | os.PathLike | None = None
) -> list[str]:
    """Return the names of saved models, sorted.

    Args:
        pattern: Shell-style pattern: `*` stands for anything, `?` for one character.
            Defaults to all.
        directory: Folder to look into. Defaults to `saved_models_dir()`.

    Example:
        >>> list_models("no such model, *")
        []
    """
    folder = saved_models_dir() if directory is None else Path(directory)
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if _is_saved_model(path)]
    return sorted(fnmatch.filter(names, pattern))


def find(name_or_path: str | os.PathLike) -> Path:
    """Return the folder of a saved model.

    Args:
        name_or_path: A name that `list_models` knows, or the path of such a folder.

    Raises:
        ModelNotFoundError: When there is none; names the closest ones that exist.
    """
    text = os.fspath(name_or_path)
    for path in (saved_models_dir() / text, Path(text)):
        if _is_saved_model(path):
            return path
    if os.path.isdir(text):
        raise ModelNotFoundError(
            "Expected the folder of a saved model, with config.json and a numbered "
            f"version such as 1/saved_model.pb. Received: {text!r}"
        )
    names = list_models()
    close = difflib.get_close_matches(text, names, n=3, cutoff=0.5)
    if close:
        hint = f"Did you mean {' or '.join(close)}?"
    elif names:
        hint = f"There are: {', '.join(names)}."
    else:
        hint = (
            f"There are none in {str(saved_models_dir())!r}; {ENVIRONMENT} names "
            "another folder."
        )
    raise ModelNotFoundError(f"There is no saved model called {text!r}. {hint}")


def show(name_or_path: str | os.PathLike) -> None:
    """Print the card of a saved model.

    Args:
        name_or_path: A name that `list_models` knows, or a path.

    Raises:
        ModelNotFoundError: When there is no such model.
    """
    print(read_card(name_or_path))


def read_card(name_or_path: str | os.PathLike) -> str:
    """Return the card of a saved model, Markdown."""
    return (find(name_or_path) / "README.md").read_text(encoding="utf-8").rstrip()


def read_config(name_or_path: str | os.PathLike) -> dict[str, Any]:
    """Return `config.json` of a saved model."""
    return json.loads((find(name_or_path) / "config.json").read_text(encoding="utf-8"))


def takes_text(name_or_path: str | os.PathLike) -> bool:
    """Return whether a saved model is one for texts."""
    trunk = read_config(name_or_path)["config"].get("trunk", {})
    return bool(trunk.get("config", {}).get("prepare"))


def read_metrics(name_or_path: str | os.PathLike) -> dict[str, Any]:
    """Return `metrics.json` of a saved model."""
    return json.loads((find(name_or_path) / "metrics.json").read_text(encoding="utf-8"))


def read_golden_inputs(name_or_path: str | os.PathLike) -> Any:
    """Return the inputs that the recorded outputs of a saved model belong to.

    An array, such as uint8 images `(batch, height, width, 3)` or texts `(batch,)`, or a
    dict of arrays for a model of several inputs.
    """
    import numpy as np

    with np.load(find(name_or_path) / "golden.npz", allow_pickle=False) as golden:
        inputs = {
            key.removeprefix("inputs/"): golden[key]
            for key in golden.files
            if key.startswith("inputs/")
        }
    single = len(inputs) == 1 and set(inputs) <= {"images", "inputs", "text"}
    return next(iter(inputs.values())) if single else inputs


def latest_version(name_or_path: str | os.PathLike) -> Path:
    """Return the SavedModel of the highest version of a saved model."""
    return max(_versions(find(name_or_path)), key=lambda path: int(path.name))


def load(name_or_path: str | os.PathLike, compile: bool = False) -> MultiTaskModel:
    """Build the Keras model of a saved model and restore its variables.

    The structure comes from `config.json`, the variables from the SavedModel of the
    highest version. The result predicts, and can be trained further.

    Args:
        name_or_path: A name that `list_models` knows, the path of such a folder, or the
            path of a `.keras` file, such as a recipe writes.
        compile: Whether the model is also compiled as it was for training; from a
            folder, with a fresh optimizer and balancing. Defaults to `False`.

    Raises:
        ModelNotFoundError: When there is no such model.
        ValueError: When config and variables do not fit together.
    """
    path = Path(name_or_path)
    is_file = path.suffix == ".keras" and path.is_file()
    folder = path if is_file else find(name_or_path)
    import keras

    _register_classes()
    if is_file:
        return keras.saving.load_model(path, compile=compile)
    from mtl_zoo.export.variables import restore_variables

    config = read_config(folder)
    if "keras_hub" in json.dumps(config):
        import keras_hub  # noqa: F401 (registers its layers)
    if not compile:
        config.pop("compile_config", None)
    model = keras.saving.deserialize_keras_object(config)
    restore_variables(model, latest_version(folder))
    return model


def _register_classes() -> None:
    """Import what Keras needs to know to build our models; the package is lazy."""
    import mtl_zoo

    for package in ("architectures", "balancing", "evaluation", "heads", "losses"):
        getattr(mtl_zoo, package)


def _versions(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.name.isdecimal() and (path / "saved_model.pb").is_file()
    ]


def _is_saved_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and bool(_versions(folder))
