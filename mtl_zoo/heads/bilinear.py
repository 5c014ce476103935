"""Bilinear upsampling by a whole factor, for maps of any size."""

from typing import Any

from keras import ops


def upsample(maps: Any, factor: int) -> Any:
    """Upsamples by `factor` with bilinear interpolation.

    It is `keras.ops.image.resize`, also for sizes that are unknown when the graph is
    made, which that function (and so `keras.layers.UpSampling2D`) refuses.

    Args:
        maps: `(batch, height, width, channels)`.
        factor: Positive integer.

    Returns:
        `(batch, factor * height, factor * width, channels)`.

    Example:
        >>> row = ops.reshape(ops.array([0.0, 4.0]), (1, 1, 2, 1))
        >>> print(ops.convert_to_numpy(upsample(row, 2))[0, 0, :, 0])
        [0. 1. 3. 4.]
    """
    if factor == 1:
        return maps
    height, width = ops.shape(maps)[1:3]
    if isinstance(height, int) and isinstance(width, int):
        return ops.image.resize(maps, (factor * height, factor * width))
    return stretch(stretch(maps, factor, axis=1), factor, axis=2)


def stretch(maps: Any, factor: int, axis: int) -> Any:
    """Linear interpolation along one axis: each cell becomes `factor` cells.

    The new cells lie at offsets in (-1/2, 1/2) around the old one, and lean on its
    neighbour of that side; at the border, the cell is its own neighbour.

    Args:
        maps: `(batch, height, width, channels)`, at least one cell along `axis`.
        factor: Positive integer.
        axis: 1 or 2.

    Returns:
        The maps with `axis` longer by `factor`.
    """
    shape = ops.shape(maps)
    index = ops.arange(shape[axis])
    lower = ops.take(maps, ops.maximum(index - 1, 0), axis=axis) - maps
    upper = ops.take(maps, ops.minimum(index + 1, shape[axis] - 1), axis=axis) - maps
    cells = []
    for step in range(factor):
        offset = (step + 0.5) / factor - 0.5
        cells.append(maps + abs(offset) * (lower if offset < 0 else upper))
    return ops.reshape(
        ops.stack(cells, axis=axis + 1),
        (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :]),
    )
