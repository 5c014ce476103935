"""Copies of trunks and stages, with weights of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import keras

from mtl_zoo.trunks.trunk import Trunk

LayerT = TypeVar("LayerT", bound=keras.layers.Layer)


def copy_of(layer: LayerT, name: str) -> LayerT:
    """Return a layer of the same configuration, not built, under another name."""
    config = _without_identity(keras.saving.serialize_keras_object(layer))
    config["config"] = {**config["config"], "name": name}
    return keras.saving.deserialize_keras_object(config)


def _without_identity(config: Any) -> Any:
    """Return a configuration without the ids by which Keras knows an object again.

    While it loads a model it gives a second copy of a layer an id, and hands the same
    object out for a third.
    """
    if isinstance(config, list | tuple):
        return type(config)(_without_identity(part) for part in config)
    if not isinstance(config, dict):
        return config
    parts = config.items()
    return {k: _without_identity(v) for k, v in parts if k != "shared_object_id"}


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
    give_weights((first, copy) for copy in copies)


def give_weights(
    pairs: Iterable[tuple[keras.layers.Layer, keras.layers.Layer]],
) -> None:
    """Give the second of each pair the weights of the first."""
    for source, target in pairs:
        target.set_weights(source.get_weights())


def run_on_each(stage: keras.layers.Layer, states: list, training: bool | None) -> list:
    """Run a stage on the state of each task; once, as long as they have the same."""
    if all(x is states[0] for x in states):
        return [stage(states[0], training=training)] * len(states)
    return [stage(x, training=training) for x in states]


def last_kernel(variables: Iterable[keras.Variable]) -> list[keras.Variable]:
    """Return the last variable of two or more dimensions, if there is one."""
    return [v for v in variables if len(v.shape) >= 2][-1:]


def run_bottom(
    bottom: Trunk | None, inputs: Any, training: bool | None
) -> tuple[dict[str, Any], Any]:
    """Run the stages that all share; return their features, and what comes next.

    Where the inputs are a mapping, that is in front of the features.
    """
    found = dict(inputs) if isinstance(inputs, Mapping) else {}
    if bottom is None:
        return found, inputs
    own = run_stages(bottom.stages, inputs, training)
    return {**found, **own}, own[list(own)[-1]]


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
