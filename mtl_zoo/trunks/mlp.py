"""A trunk of dense layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import keras

from mtl_zoo.trunks.trunk import Trunk


def mlp(
    units: Iterable[int],
    activation: str | Callable | None = "relu",
    dropout: float = 0.0,
    name: str = "mlp",
) -> Trunk:
    """Return a multi-layer perceptron, one stage a layer.

    Args:
        units: Width of each layer, in order.
        activation: Activation after each layer: a Keras name, a serialisable function
            or `None` for none. Defaults to `"relu"`.
        dropout: Share of each layer's outputs dropped while training, in `[0, 1)`.
            Defaults to `0.0`.
        name: Name of the trunk. Defaults to `"mlp"`.

    Returns:
        A `Trunk` with stages `layer_1`, `layer_2`, ... Inputs `(batch, ..., features)`,
        output of stage `i` `(batch, ..., units[i - 1])`.

    Raises:
        ValueError: When `units` is empty or not positive, or `dropout` out of range.

    Example:
        >>> trunk = mlp([16, 8], dropout=0.1)
        >>> list(trunk.stages)
        ['layer_1', 'layer_2']
        >>> tuple(trunk(keras.ops.ones((2, 4)))["layer_2"].shape)
        (2, 8)
    """
    units = tuple(units)
    if not units or min(units) < 1:
        raise ValueError(
            "`units` must name the width, 1 or more, of at least one layer. "
            f"Received: units={units}"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1). Received: dropout={dropout}")
    return Trunk(
        {
            f"layer_{index}": _layer(width, activation, dropout, f"layer_{index}")
            for index, width in enumerate(units, start=1)
        },
        name=name,
    )


def _layer(width: int, activation: Any, dropout: float, name: str) -> Any:
    if not dropout:
        return keras.layers.Dense(width, activation, name=name)
    dense = keras.layers.Dense(width, activation)
    return keras.Sequential([dense, keras.layers.Dropout(dropout)], name=name)
