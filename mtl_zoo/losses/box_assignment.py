"""Which cell of a feature pyramid learns which box, in time O(boxes)."""

from collections.abc import Sequence
from typing import Any

from keras import ops


def assign_boxes(
    boxes: Any,
    labels: Any,
    location: Any,
    strides: Sequence[int],
    level_sizes: Sequence[float],
) -> Any:
    """Assigns to each cell of a feature pyramid the box it shall predict, or none.

    1. A box of size `sqrt(width * height)` belongs to the first level whose
       `level_sizes` is larger than that, or to the last level.
    2. There, the cell with the box's centre is a candidate, and so are those of its
       eight neighbours whose own centres lie inside the box (centre sampling).
    3. A cell that several boxes want goes to one whose centre is in it, if there is
       one; among equals to the one with the smallest area.

    So each box with a centre cell of its own gets that at least, and a box gets nine
    cells at most. Nothing of size boxes x cells is computed.

    Args:
        boxes: Float `(batch, M, 4)`, xyxy in pixels, `M >= 1`.
        labels: Integer `(batch, M)`; negative where there is no box. Boxes without
            positive width and height count as none too.
        location: Float `(locations, 3)`: x and y of the centre of each cell, in pixels,
            and its stride; level by level, row by row, as `heads.Detection` gives them.
        strides: The levels' strides, finest first. Levels without a cell get no box.
        level_sizes: For each level but the last, the size that its boxes are below.

    Returns:
        int32 `(batch, locations)`: index of the box in `[0, M)`, or -1.
    """
    batch, num_boxes = ops.shape(labels)[:2]
    num_locations = ops.shape(location)[0]
    boxes = ops.cast(boxes, "float32")
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    valid = (labels >= 0) & (width > 0) & (height > 0)
    area = ops.where(valid, width * height, 0.0)

    size = ops.sqrt(area)
    limits = ops.convert_to_tensor(level_sizes, "float32")
    level = ops.sum(ops.cast(size[..., None] >= limits, "int32"), axis=-1)

    # The 3 x 3 cells around the centre, all (batch, M, 9); number 4 is the middle.
    first_cell, rows, columns = (
        ops.take(grid, level)[..., None] for grid in _grids(location, strides)
    )
    stride = ops.take(ops.convert_to_tensor(strides, "float32"), level)[..., None]
    left, top, right, bottom = ops.split(boxes, 4, axis=-1)
    middle = ops.arange(9) == 4
    column = _cell(left + right, stride) + ops.arange(9) % 3 - 1
    row = _cell(top + bottom, stride) + ops.arange(9) // 3 - 1
    x = (ops.cast(column, "float32") + 0.5) * stride
    y = (ops.cast(row, "float32") + 0.5) * stride
    inside = (left < x) & (x < right) & (top < y) & (y < bottom)
    on_grid = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    candidate = (inside | middle) & on_grid & valid[..., None]

    # One scatter-max: the key says who wins the cell, and names the box by its rank.
    order = ops.argsort(area, axis=1)  # smallest area first
    rank = ops.cast(ops.argsort(order, axis=1), "int32")[..., None]
    key = ops.where(middle, num_boxes, 0) + num_boxes - 1 - rank
    cell = first_cell + row * columns + column
    image = ops.arange(batch)[:, None, None]
    winner = ops.segment_max(
        ops.reshape(ops.where(candidate, key, -1), (-1,)),
        ops.reshape(ops.where(candidate, image * num_locations + cell, 0), (-1,)),
        num_segments=batch * num_locations,
    )
    winner = ops.reshape(winner, (batch, num_locations))
    rank = num_boxes - 1 - ops.maximum(winner, 0) % num_boxes
    index = ops.take_along_axis(ops.cast(order, "int32"), rank, axis=1)
    return ops.where(winner >= 0, index, -1)


def _grids(location: Any, strides: Sequence[int]) -> tuple[Any, Any, Any]:
    """Returns the levels' first cells, rows and columns, int32 `(levels,)` each."""
    stride = ops.convert_to_tensor(strides, "float32")
    on_level = location[:, 2:] == stride
    cells = ops.sum(ops.cast(on_level, "int32"), axis=0)
    in_first_row = on_level & (location[:, 1:2] == stride / 2.0)
    columns = ops.sum(ops.cast(in_first_row, "int32"), axis=0)
    return ops.cumsum(cells) - cells, cells // ops.maximum(columns, 1), columns


def _cell(twice_the_centre: Any, stride: Any) -> Any:
    """Returns the row or column in which a box's centre lies."""
    return ops.cast(ops.floor(twice_the_centre / (2.0 * stride)), "int32")
