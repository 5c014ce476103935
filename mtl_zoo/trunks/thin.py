"""A narrow trunk from a wide one: the units that explain the others best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from mtl_zoo.trunks.trunk import Trunk

# Layers that have a weight for each channel, or none.
_CHANNELWISE = (
    keras.layers.Activation,
    keras.layers.AveragePooling2D,
    keras.layers.BatchNormalization,
    keras.layers.Dropout,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.MaxPooling2D,
    keras.layers.ReLU,
)
_LINEAR = (keras.layers.Conv2D, keras.layers.Dense)


def thin(trunk: Trunk, widths: Mapping[str, int], name: str = "thin") -> Trunk:
    """Return a trunk with fewer units in each stage, chosen from a wide one.

    The thin start of adaptive feature sharing (Lu et al., 2017, section 3.2): of each
    layer's weights, one row a unit, those rows are kept from which all others can be
    combined best, by simultaneous orthogonal matching pursuit; the next layer loses the
    inputs that are gone. For chains of `Dense` and `Conv2D`, alone or in `Sequential`
    stages with normalisation, activations and poolings between them.

    Args:
        trunk: A built `Trunk`, such as a pretrained one.
        widths: `{stage: units}` for every stage; each linear layer of it gets as many.
        name: Name of the new trunk. Defaults to `"thin"`.

    Returns:
        A built `Trunk`, without a neck.

    Raises:
        ValueError: When the trunk is not built, a width is missing or not below that of
            the stage, or a layer is of another kind.

    Example:
        >>> from mtl_zoo.trunks import mlp
        >>> wide = mlp([8, 6])
        >>> _ = wide(keras.ops.ones((1, 3)))
        >>> narrow = thin(wide, {"layer_1": 4, "layer_2": 2})
        >>> tuple(narrow(keras.ops.ones((1, 3)))["layer_2"].shape)
        (1, 2)

    Reference:
        - [Lu et al., 2017](https://arxiv.org/abs/1611.05377)
        - [Tropp et al., 2006](https://doi.org/10.1016/j.sigpro.2005.05.030)
    """
    if set(widths) != set(trunk.stages):
        raise ValueError(
            f"`widths` must name the stages {tuple(trunk.stages)}. Received: "
            f"{sorted(widths)}"
        )
    stages, weights = {}, []
    kept: np.ndarray | None = None
    for stage_name, stage in trunk.stages.items():
        if not stage.built:
            raise ValueError(f"Expected a built trunk. Stage {stage_name!r} is not.")
        layers = stage.layers if isinstance(stage, keras.Sequential) else [stage]
        made = []
        for layer in layers:
            copied, values, kept = _thinned(layer, widths[stage_name], kept)
            made.append(copied)
            weights.append((copied, values))
        stages[stage_name] = (
            keras.Sequential(made, name=stage.name)
            if isinstance(stage, keras.Sequential)
            else made[0]
        )
    thin_trunk = Trunk(stages, freeze_batch_norm=trunk.freeze_batch_norm, name=name)
    first = next(iter(trunk.stages.values()))
    thin_trunk.build(first.get_build_config()["input_shape"])
    for layer, values in weights:
        layer.set_weights(values)
    return thin_trunk


def _thinned(
    layer: Any, width: int, kept: np.ndarray | None
) -> tuple[Any, list[np.ndarray], np.ndarray | None]:
    """Return a layer with fewer units, its weights, and which units are kept."""
    config = layer.get_config()
    values = layer.get_weights()
    if isinstance(layer, _LINEAR):
        kernel = values[0]
        if kept is not None:
            kernel = kernel[..., kept, :]
        units = kernel.shape[-1]
        if not 1 <= width <= units:
            raise ValueError(
                f"Expected a width of 1 to {units} for layer {layer.name!r}. Received: "
                f"{width}"
            )
        chosen = matching_pursuit(kernel.reshape(-1, units).T, width)
        key = "units" if isinstance(layer, keras.layers.Dense) else "filters"
        made = type(layer).from_config({**config, key: width})
        return made, [kernel[..., chosen], *(v[chosen] for v in values[1:])], chosen
    if isinstance(layer, _CHANNELWISE):
        made = type(layer).from_config(config)
        return made, [v if kept is None else v[kept] for v in values], kept
    raise ValueError(
        "Only chains of Dense and Conv2D with normalisation, activations and poolings "
        f"can be thinned. Received: {type(layer).__name__} {layer.name!r}"
    )


def matching_pursuit(rows: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the rows that span the others best, in their order.

    Greedy: each time the row whose direction the residuals of all rows have most of,
    by the sum of absolute inner products; then all chosen rows are projected out.

    Args:
        rows: float `(n, m)`.
        count: How many to choose, 1 to `n`.

    Returns:
        int `(count,)`, increasing.

    Example:
        >>> rows = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
        >>> matching_pursuit(rows, 2).tolist()
        [0, 2]
    """
    rows = np.asarray(rows, "float64")
    norms = np.linalg.norm(rows, axis=1)
    units = rows / np.maximum(norms, 1e-30)[:, None]
    residual = rows.copy()
    chosen: list[int] = []
    for _ in range(count):
        scores = np.abs(units @ residual.T).sum(axis=1)
        scores[chosen] = -1.0
        chosen.append(int(np.argmax(scores)))
        basis, _ = np.linalg.qr(rows[chosen].T)
        residual = rows - (rows @ basis) @ basis.T
    return np.sort(np.array(chosen))
