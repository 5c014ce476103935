"""What a training run is made of, so that a checkpoint of another one is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import keras

Fingerprint = dict[str, Any]


def fingerprint(
    model: keras.Model, variables: Iterable[keras.Variable], **settings: Any
) -> Fingerprint:
    """Return a flat, JSON-compatible description of a compiled, built model.

    Names that Keras numbers by how many layers the process has made (`dense_3`) are
    replaced by their order of appearance, so that the same code gives the same
    description in every process.

    Args:
        model: The model. Its config counts only if it has one.
        variables: All variables of the training, in a fixed order.
        **settings: Further values that must not change, such as `steps_per_epoch`.

    Returns:
        `{where: value}`.
    """
    flat: Fingerprint = dict(settings)
    for part, get_config in (
        ("model", model.get_config),
        ("compile", model.get_compile_config),
    ):
        try:
            config = get_config()
        except NotImplementedError:  # a model without a config
            continue
        config = json.loads(json.dumps(config, default=repr))
        names: dict[str, str] = {}
        _collect_names(config, names)
        _flatten(config, part, names, flat)
    for index, variable in enumerate(variables):
        # An optimizer's variable has the path of the model's in it, joined by "_".
        path = re.sub(r"_\d+(?=[/_]|$)", "", variable.path)
        flat[f"variable {index}"] = f"{path} {variable.dtype} {tuple(variable.shape)}"
    return flat


def differences(saved: Fingerprint, now: Fingerprint) -> list[str]:
    """Return one line for each entry that differs."""
    absent = "(absent)"
    return [
        f"{key}: saved {saved.get(key, absent)}, now {now.get(key, absent)}"
        for key in {**saved, **now}
        if saved.get(key, absent) != now.get(key, absent)
    ]


def _collect_names(config: Any, names: dict[str, str]) -> None:
    if isinstance(config, dict):
        name = config.get("name")
        if isinstance(name, str):
            stem = re.sub(r"_\d+(?=(CLONE)*$)", "", name)  # Keras clones inputs
            names.setdefault(name, f"{stem}#{len(names)}")
        config = list(config.values())
    if isinstance(config, list):
        for value in config:
            _collect_names(value, names)


def _flatten(config: Any, where: str, names: dict[str, str], flat: Fingerprint) -> None:
    if isinstance(config, dict | list):
        pairs = config.items() if isinstance(config, dict) else enumerate(config)
        for key, value in pairs:
            _flatten(value, f"{where}.{key}", names, flat)
    else:
        flat[where] = names.get(config, config) if isinstance(config, str) else config
