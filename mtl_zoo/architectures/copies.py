"""Copies of trunks and stages, with weights of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import keras

from mtl_zoo.trunks.trunk import Trunk

LayerT = TypeVar("LayerT", bound=keras.layers.Layer)


def copy_of(layer: LayerT, name: str) -> LayerT:
    """Return a layer of the same configuration, not built, under another name."""
    config = keras.saving.serialize_keras_object(layer)
    config["config"] = {**config["config"], "name": name}
    return keras.saving.deserialize_keras_object(config)


def part_of(trunk: Trunk, stages: Iterable[str], name: str) -> Trunk:
    """Return a trunk of some stages of another, the very layers of that, no neck."""
    return Trunk(
        {stage: trunk.stages[stage] for stage in stages},
        freeze_batch_norm=trunk.freeze_batch_norm,
        name=name,
    )


def run_stages(
    stages: Mapping[str, keras.layers.Layer], x: Any, training: bool | None
) -> dict[str, Any]:
    """Run stages one after the other; return `{name: output}`."""
    found = {}
    for name, stage in stages.items():
        found[name] = x = stage(x, training=training)
    return found


def start_alike(
    first: keras.layers.Layer, copies: Iterable[keras.layers.Layer]
) -> None:
    """Give copies the weights of the first."""
    for copy in copies:
        copy.set_weights(first.get_weights())


def split_at(
    trunk: Trunk, first: str | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the stages in front of one, and of it and the others.

    Raises:
        ValueError: When there is no such stage.
    """
    names = tuple(trunk.stages)
    if first is None:
        return (), names
    if first not in names:
        raise ValueError(f"`first` must be one of {names}. Received: {first!r}")
    at = names.index(first)
    return names[:at], names[at:]


def check_trunk(trunk: Any) -> None:
    """Check that it is one.

    Raises:
        TypeError: When it is not.
    """
    if not isinstance(trunk, Trunk):
        raise TypeError(
            "`trunk` must be a mtl_zoo Trunk; make one with mtl_zoo.trunks. "
            f"Received: {trunk!r} of type {type(trunk).__name__}"
        )
