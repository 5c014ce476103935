"""Targets that follow from an instance map: boxes, foreground, boundary, maps.

An instance map is an int32 tensor `(height, width)`: 0 is background, and the pixels
of one object share one positive id. The functions run inside a `tf.data` pipeline,
after the geometric augmentation, and are plain TensorFlow ops: `tf.numpy_function` was
tried first, and about half of the processes that left a prefetching iterator behind
hung at exit, its threads waiting for Python's lock.
"""

import tensorflow as tf

__all__ = [
    "boundary_map",
    "boxes_of",
    "distance_map",
    "foreground_map",
    "offset_map",
]

_FAR = 1e9
"""Squared distance to an outside that is not in the image."""


def boxes_of(
    instances: tf.Tensor,
    full_areas: tf.Tensor | None = None,
    min_visible: float = 0.2,
    min_area: int = 10,
) -> tf.Tensor:
    """Tight boxes of the instances, in the order of their ids.

    Cropping leaves slivers at the border that nobody could recognise. With
    `full_areas`, an instance counts only if at least `min_visible` of its area and
    `min_area` pixels are left; the rule is for boxes alone, dense targets keep every
    pixel.

    Args:
        instances: int32 `(height, width)`.
        full_areas: float32, area of instance `i` at position `i` before cropping, at
            the scale of `instances`. Defaults to None: every instance counts.
        min_visible: Least visible share of an instance.
        min_area: Least number of visible pixels.

    Returns:
        float32 `(n, 4)`, `[x1, y1, x2, y2]` with x2 and y2 exclusive.

    Example:
        >>> boxes_of(tf.constant([[0, 2, 2], [1, 0, 2]])).numpy().tolist()
        [[0.0, 1.0, 1.0, 2.0], [1.0, 0.0, 3.0, 2.0]]
    """
    y, x = _pixel_grid(instances)
    number = tf.reduce_max(instances) + 1
    areas = tf.math.bincount(instances, minlength=number, dtype=tf.float32)[1:]
    boxes = tf.stack(
        [
            tf.math.unsorted_segment_min(x, instances, number),
            tf.math.unsorted_segment_min(y, instances, number),
            tf.math.unsorted_segment_max(x + 1, instances, number),
            tf.math.unsorted_segment_max(y + 1, instances, number),
        ],
        axis=-1,
    )[1:]
    keep = areas > 0
    if full_areas is not None:
        enough = tf.maximum(float(min_area), min_visible * full_areas[1:number])
        keep &= areas >= enough
    return tf.cast(tf.boolean_mask(boxes, keep), tf.float32)


def foreground_map(instances: tf.Tensor) -> tf.Tensor:
    """Returns int32 `(height, width)`: 1 on instances, 0 elsewhere."""
    return tf.cast(instances > 0, tf.int32)


def boundary_map(instances: tf.Tensor) -> tf.Tensor:
    """Inner boundaries: instance pixels that touch another instance or background.

    Touching is by an edge (4-neighbours). The border of the image is no boundary.

    Returns:
        int32 `(height, width)`: 1 on boundaries, 0 elsewhere.

    Example:
        >>> boundary_map(tf.constant([[1, 1, 1, 0, 2, 3]])).numpy().tolist()
        [[0, 0, 1, 0, 1, 1]]
    """
    down = instances[1:] != instances[:-1]
    right = instances[:, 1:] != instances[:, :-1]
    touches = (
        tf.pad(down, [[1, 0], [0, 0]])
        | tf.pad(down, [[0, 1], [0, 0]])
        | tf.pad(right, [[0, 0], [1, 0]])
        | tf.pad(right, [[0, 0], [0, 1]])
    )
    return tf.cast(touches & (instances > 0), tf.int32)


def distance_map(instances: tf.Tensor) -> tf.Tensor:
    """Euclidean distance to the outside of the own instance, at most 1 in each.

    Distance is measured between pixel centres and divided by the instance's maximum.
    Beyond the border of the image nothing is known, so the border does not count as
    outside; an instance that fills the image is 1 throughout.

    The exact transform in two passes: distances along columns, then for each pixel the
    smallest sum of squares over the columns of its row. A pixel of another instance
    ends a run as background does, so touching instances keep their own distances.

    Returns:
        float32 `(height, width, 1)`, 0 on the background.

    Example:
        >>> distance_map(tf.constant([[0, 1, 1, 1, 0]])).numpy().ravel().tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0]

    Reference:
        - [Felzenszwalb & Huttenlocher, 2012](https://doi.org/10.4086/toc.2012.v008a019)
          for the decomposition; the second pass is a plain minimum over shifts, as
          objects are small.
    """
    shape = tf.shape(instances)
    inside = instances > 0
    columns = tf.where(inside, _squared_distance_along_column(instances), 0.0)

    def nearer(shift: tf.Tensor, squared: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        left, right = instances[:, :-shift], instances[:, shift:]
        same = tf.cast(left == right, tf.float32)
        step = tf.cast(shift * shift, tf.float32)
        from_right = step + same * columns[:, shift:]
        from_left = step + same * columns[:, :-shift]
        rest = tf.fill([shape[0], shift], _FAR)
        squared = tf.minimum(squared, tf.concat([from_right, rest], axis=1))
        squared = tf.minimum(squared, tf.concat([rest, from_left], axis=1))
        return shift + 1, squared

    def could_be_nearer(shift: tf.Tensor, squared: tf.Tensor) -> tf.Tensor:
        reach = tf.cast(shift * shift, tf.float32)
        return (shift < shape[1]) & (reach < tf.reduce_max(squared))

    _, squared = tf.while_loop(
        could_be_nearer, nearer, (1, columns), parallel_iterations=1
    )
    distance = tf.where(inside, tf.sqrt(squared), 0.0)
    number = tf.reduce_max(instances) + 1
    most = tf.math.unsorted_segment_max(distance, instances, number)
    return tf.math.divide_no_nan(distance, tf.gather(most, instances))[..., None]


def offset_map(instances: tf.Tensor) -> tf.Tensor:
    """Horizontal and vertical position of each pixel relative to its centroid.

    The maps of HoVer-Net: within an instance, `x - centre_x` and `y - centre_y`, the
    negative part divided by its largest magnitude and the positive part by its, so
    that both reach from -1 to 1.

    Returns:
        float32 `(height, width, 2)`, horizontal then vertical, 0 on the background.

    Example:
        >>> offset_map(tf.constant([[0, 1, 1, 1]])).numpy()[0, :, 0].tolist()
        [0.0, -1.0, 0.0, 1.0]

    Differences from the paper:
        The centre of mass is not rounded to a pixel.

    Reference:
        - [Graham et al., 2019](https://arxiv.org/abs/1812.06499), section III-A.
    """
    number = tf.reduce_max(instances) + 1
    offsets = []
    y, x = _pixel_grid(instances)
    for position in (x, y):
        position = tf.cast(position, tf.float32)
        centre = tf.math.unsorted_segment_mean(position, instances, number)
        offset = position - tf.gather(centre, instances)
        low = tf.math.unsorted_segment_min(offset, instances, number)
        high = tf.math.unsorted_segment_max(offset, instances, number)
        scale = tf.gather(tf.stack([-low, high], axis=-1), instances)
        scale = tf.where(offset < 0, scale[..., 0], scale[..., 1])
        offsets.append(tf.math.divide_no_nan(offset, scale))
    inside = tf.cast(instances > 0, tf.float32)[..., None]
    return tf.stack(offsets, axis=-1) * inside


def _pixel_grid(instances: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Rows and columns of the pixels, int32 `(height, width)` each."""
    height, width = tf.unstack(tf.shape(instances))
    y, x = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    return y, x


def _squared_distance_along_column(instances: tf.Tensor) -> tf.Tensor:
    """Squared distance to the nearest other id above or below, float32."""
    height = tf.shape(instances)[0]
    y, x = _pixel_grid(instances)
    changes = tf.cast(instances[1:] != instances[:-1], tf.int32)
    # Runs of one id in a column are numbered through, column by column.
    run = tf.cumsum(tf.pad(changes, [[1, 0], [0, 0]])) + x * height
    number = tf.size(instances)
    first = tf.gather(tf.math.unsorted_segment_min(y, run, number), run)
    last = tf.gather(tf.math.unsorted_segment_max(y, run, number), run)
    above = tf.where(first > 0, tf.cast(y - first + 1, tf.float32) ** 2, _FAR)
    below = tf.where(last < height - 1, tf.cast(last - y + 1, tf.float32) ** 2, _FAR)
    return tf.minimum(above, below)
