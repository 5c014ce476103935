"""Images of any size in, predictions in the pixels of those images out.

What a model wants is in the `preprocessing` of its `config.json`; the forms are
those of `mtl_zoo.export.preprocessing`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mtl_zoo.export.preprocessing import check_preprocessing


class ImageError(ValueError):
    """A file is not an image that can be read."""


@dataclass(frozen=True)
class Placement:
    """Where an image lies in what the network gets.

    Attributes:
        size: Height and width of the image.
        content: Height and width that it has in the network's input, at the upper left.
        padded: Height and width of the network's input.
    """

    size: tuple[int, int]
    content: tuple[int, int]
    padded: tuple[int, int]


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Return an image file as uint8 RGB `(height, width, 3)`, upright.

    Raises:
        FileNotFoundError: When there is no such file.
        ImageError: When it is broken or no image.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return np.asarray(_eight_bit(upright).convert("RGB"))
    except FileNotFoundError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{os.fspath(path)!r} is not an image file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"{os.fspath(path)!r} can not be read: {error}") from None


def place(
    image: np.ndarray, preprocessing: Mapping[str, Any]
) -> tuple[np.ndarray, Placement]:
    """Return the network's input for one image, and where the image lies in it.

    Args:
        image: uint8 `(height, width, 3)`.
        preprocessing: What the model wants, see there.

    Returns:
        uint8 `(padded height, padded width, 3)` and the `Placement`.

    Example:
        >>> image = np.zeros((100, 50, 3), "uint8")
        >>> place(image, {"kind": "native", "multiple": 32, "max_side": 64})[1]
        Placement(size=(100, 50), content=(64, 32), padded=(64, 32))
    """
    check_preprocessing(preprocessing)
    height, width = image.shape[:2]
    if preprocessing["kind"] == "resize":
        side = preprocessing["size"]
        content, multiple = (side, side), 1
    else:
        longer = max(height, width)
        if preprocessing["kind"] == "fit":
            scale = preprocessing["size"] / longer
        else:
            scale = min(1.0, preprocessing["max_side"] / longer)
        content = (max(1, round(height * scale)), max(1, round(width * scale)))
        multiple = preprocessing["multiple"]
    if content != (height, width):
        image = _resize(image, content)
    padded = (
        -(-content[0] // multiple) * multiple,
        -(-content[1] // multiple) * multiple,
    )
    bottom, right = padded[0] - content[0], padded[1] - content[1]
    image = np.pad(image, [(0, bottom), (0, right), (0, 0)])
    return image, Placement((height, width), content, padded)


def restore(outputs: Mapping[str, np.ndarray], placement: Placement) -> dict[str, Any]:
    """Map one task's decoded outputs of one image back to the image's own pixels.

    Boxes are scaled, and those that begin in the padding dropped with their scores and
    labels, like the entries that only fill up; maps are cut and resized, those of
    integers to the nearest. Everything else stays as it is.

    Args:
        outputs: Decoded outputs by name, without the batch axis.
        placement: What `place` returned.
    """
    if "boxes" in outputs:
        return _restore_boxes(outputs, placement)
    return {name: _restore_map(value, placement) for name, value in outputs.items()}


def _restore_boxes(outputs: Mapping[str, np.ndarray], placement: Placement) -> dict:
    (height, width), (inner_height, inner_width) = placement.size, placement.content
    boxes = outputs["boxes"]
    inside = (boxes[:, 0] < inner_width) & (boxes[:, 1] < inner_height)
    keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & inside
    scale = np.array([width / inner_width, height / inner_height] * 2, "float32")
    limit = np.array([width, height] * 2, "float32")
    kept = {
        name: value[keep]
        for name, value in outputs.items()
        if value.ndim >= 1 and len(value) == len(boxes)
    }
    return {**kept, "boxes": np.clip(boxes[keep] * scale, 0.0, limit)}


def _restore_map(value: np.ndarray, placement: Placement) -> np.ndarray:
    if value.ndim < 2 or value.shape[:2] != placement.padded:
        return value
    value = value[: placement.content[0], : placement.content[1]]
    if placement.content == placement.size:
        return value
    if value.ndim == 2:
        return _resize(value, placement.size)
    channels = [_resize(value[..., i], placement.size) for i in range(value.shape[-1])]
    return np.stack(channels, axis=-1)


def _resize(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a uint8 image or a map `(height, width)` of integers or floats."""
    width_height = (size[1], size[0])
    if array.ndim == 3:
        resized = Image.fromarray(array).resize(width_height, Image.Resampling.BILINEAR)
        return np.asarray(resized)
    whole = array.dtype.kind in "iub"
    picture = Image.fromarray(array.astype("int32" if whole else "float32"))
    how = Image.Resampling.NEAREST if whole else Image.Resampling.BILINEAR
    return np.asarray(picture.resize(width_height, how)).astype(array.dtype)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale the 16-bit grey of microscopes to 8 bits, which `convert` would clip."""
    if image.mode not in ("I", "I;16", "I;16B", "I;16L", "F"):
        return image
    values = np.asarray(image, "float64")
    low, high = values.min(), values.max()
    if image.mode.startswith("I;16") or high > 255 or low < 0:
        values = (values - low) * (255.0 / max(high - low, 1.0))
    return Image.fromarray(np.rint(values).astype("uint8"))
