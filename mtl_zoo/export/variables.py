"""The variables of a model under names that a SavedModel keeps and `load` finds again.

A Keras variable's own path is no such name: it depends on which layer built it and on
how many layers the process had made before. The position in `model.variables` depends
on the model's config alone, so a name is the position, and for the reader the path:
`0003-hard_sharing-mlp-layer_1-kernel`.
"""

from __future__ import annotations

import os
import re
from typing import Any

import keras
import tensorflow as tf

# The attribute of the exported module that holds the variables, the first part of
# their keys in the checkpoint.
ATTRIBUTE = "weights"

_KEY = re.compile(rf"{ATTRIBUTE}/((\d+)-[^/]*)/\.ATTRIBUTES/VARIABLE_VALUE")


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Return all variables of `model` but its balancing's, by stable and unique names.

    The balancing object belongs to training: it comes and goes with `compile`.
    """
    balancing = getattr(model, "balancing", None)
    left_out = {id(v) for v in balancing.variables} if balancing is not None else set()
    kept = [v for v in model.variables if id(v) not in left_out]
    return {
        f"{index:04d}-{re.sub(r'[^A-Za-z0-9_]+', '-', v.path)}": v
        for index, v in enumerate(kept)
    }


def restore_variables(model: keras.Model, directory: str | os.PathLike) -> None:
    """Set every variable of `model` from a SavedModel that `to_serving` wrote.

    Args:
        model: A built model, made from the config of the one that was saved.
        directory: The version folder, the one with `saved_model.pb`.

    Raises:
        FileNotFoundError: When there is no checkpoint in `directory`.
        ValueError: When a variable is missing, is left over or has another shape. No
            variable has been changed then.
    """
    prefix = os.path.join(os.fspath(directory), "variables", "variables")
    if not os.path.exists(f"{prefix}.index"):
        raise FileNotFoundError(
            "Expected a SavedModel, that is a folder with saved_model.pb and "
            f"variables/variables.index. Received: {os.fspath(directory)!r}"
        )
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    stored = {int(m[2]): (m[1], m[0]) for m in map(_KEY.fullmatch, shapes) if m}
    wanted = named_variables(model)

    problems = [] if len(stored) == len(wanted) else [f"it stores {len(stored)}"]
    for index, (name, variable) in enumerate(wanted.items()):
        found, key = stored.get(index, ("nothing", None))
        kind = re.sub(r"[^A-Za-z0-9_]+", "-", variable.name)
        if key is None or not found.endswith(kind):
            problems.append(f"for {name} it stores {found}")
        elif tuple(shapes[key]) != tuple(variable.shape):
            problems.append(
                f"{name} has the shape {tuple(variable.shape)} in the model and "
                f"{tuple(shapes[key])} in it"
            )
    if problems:
        raise ValueError(
            f"The variables in {os.fspath(directory)!r} do not fit the model, which "
            f"has {len(wanted)}: {_first(problems)}. Build the model from the config "
            "that was saved with them."
        )
    for index, variable in enumerate(wanted.values()):
        variable.assign(reader.get_tensor(stored[index][1]))


def _first(problems: list[Any], most: int = 3) -> str:
    rest = len(problems) - most
    return "; ".join(problems[:most]) + (f"; and {rest} more" if rest > 0 else "")
