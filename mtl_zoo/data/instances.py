"""Targets that follow from an instance map: boxes, foreground, boundary, maps.

An instance map is an integer array `(height, width)`: 0 is background, and the pixels
of one object share one positive id. Everything here is NumPy and pure, so that it can
run inside `tf.numpy_function`, after the geometric augmentation.
"""

import numpy as np
from scipy import ndimage

__all__ = [
    "boundary_map",
    "boxes_of",
    "distance_map",
    "foreground_map",
    "offset_map",
]


def boxes_of(
    instances: np.ndarray,
    full_areas: np.ndarray | None = None,
    min_visible: float = 0.2,
    min_area: int = 10,
) -> np.ndarray:
    """Tight boxes of the instances, in the order of their ids.

    Cropping leaves slivers at the border that nobody could recognise. With
    `full_areas`, an instance counts only if at least `min_visible` of its area and
    `min_area` pixels are left; the rule is for boxes alone, dense targets keep every
    pixel.

    Args:
        instances: Integer array `(height, width)`.
        full_areas: Area of instance `i` at position `i`, before cropping and at the
            scale of `instances`. Defaults to None: every instance counts.
        min_visible: Least visible share of an instance.
        min_area: Least number of visible pixels.

    Returns:
        float32 `(n, 4)`, `[x1, y1, x2, y2]` with x2 and y2 exclusive.

    Example:
        >>> boxes_of(np.array([[0, 2, 2], [1, 0, 2]])).tolist()
        [[0.0, 1.0, 1.0, 2.0], [1.0, 0.0, 3.0, 2.0]]
    """
    slices = ndimage.find_objects(instances)
    if full_areas is not None:
        areas = np.bincount(instances.ravel(), minlength=len(slices) + 1)
        ids = np.arange(1, len(slices) + 1)
        enough = np.maximum(min_area, min_visible * full_areas[ids])
        keep = areas[ids] >= enough
    else:
        keep = np.ones(len(slices), bool)
    boxes = [
        (s[1].start, s[0].start, s[1].stop, s[0].stop)
        for s, kept in zip(slices, keep, strict=True)
        if s is not None and kept
    ]
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def foreground_map(instances: np.ndarray) -> np.ndarray:
    """Returns int32 `(height, width)`: 1 on instances, 0 elsewhere."""
    return (instances > 0).astype(np.int32)


def boundary_map(instances: np.ndarray) -> np.ndarray:
    """Inner boundaries: instance pixels that touch another instance or background.

    Touching is by an edge (4-neighbours). The border of the image is no boundary.

    Returns:
        int32 `(height, width)`: 1 on boundaries, 0 elsewhere.
    """
    differs = np.zeros(instances.shape, bool)
    down = instances[1:] != instances[:-1]
    right = instances[:, 1:] != instances[:, :-1]
    differs[1:] |= down
    differs[:-1] |= down
    differs[:, 1:] |= right
    differs[:, :-1] |= right
    return (differs & (instances > 0)).astype(np.int32)


def distance_map(instances: np.ndarray) -> np.ndarray:
    """Euclidean distance to the outside of the own instance, at most 1 in each.

    Distance is measured between pixel centres and divided by the instance's maximum.
    Beyond the border of the image nothing is known, so the border does not count as
    outside; an instance that fills the image is 1 throughout.

    Returns:
        float32 `(height, width, 1)`, 0 on the background.
    """
    distance = np.zeros(instances.shape, np.float32)
    for index, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        window = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in box)
        mask = instances[window] == index
        inside = (
            np.ones(mask.shape) if mask.all() else ndimage.distance_transform_edt(mask)
        )
        distance[window] += (inside / inside.max()).astype(np.float32)
    return distance[..., None]


def offset_map(instances: np.ndarray) -> np.ndarray:
    """Horizontal and vertical position of each pixel relative to its centroid.

    The maps of HoVer-Net: within an instance, `x - centre_x` and `y - centre_y`, the
    negative part divided by its largest magnitude and the positive part by its, so
    that both reach from -1 to 1.

    Returns:
        float32 `(height, width, 2)`, horizontal then vertical, 0 on the background.

    Differences from the paper:
        The centre of mass is not rounded to a pixel.

    Reference:
        - [Graham et al., 2019](https://arxiv.org/abs/1812.06499), section III-A.
    """
    offsets = np.zeros((*instances.shape, 2), np.float32)
    for index, box in enumerate(ndimage.find_objects(instances), start=1):
        if box is None:
            continue
        y, x = np.nonzero(instances[box] == index)
        window = offsets[box]
        for channel, position in enumerate((x, y)):
            offset = position - position.mean()
            low, high = -offset.min(), offset.max()
            scale = np.where(offset < 0, low or 1.0, high or 1.0)
            window[y, x, channel] = offset / scale
    return offsets
