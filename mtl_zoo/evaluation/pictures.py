"""Pictures of predictions: boxes, masks and words on an image."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtl_zoo.evaluation.files import write_file

# Colours that people with any colour vision tell apart (Okabe and Ito), bright first.
PALETTE = (
    (255, 176, 0),
    (86, 180, 233),
    (0, 200, 140),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)

# More boxes than this are drawn thin and without words.
CROWD = 20


def draw_mask(
    image: Any,
    mask: Any,
    opacity: float = 0.35,
    background: int = 0,
    colors: Sequence[tuple[int, int, int]] = PALETTE,
) -> np.ndarray:
    """Tint the classes of a label map and draw their outlines.

    Args:
        image: `(height, width, 3)`, values 0 to 255.
        mask: Integer `(height, width)` or `(height, width, 1)`. The `background` and
            negative values (no label) stay clear.
        opacity: Of the tint, 0 to 1. Defaults to `0.35`.
        background: Class that stays clear. Defaults to `0`.
        colors: Colour of each further class in turn.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: When the sizes differ.

    Example:
        >>> picture = draw_mask(np.zeros((4, 4, 3)), np.eye(4, dtype=int))
        >>> picture.dtype, picture.shape
        (dtype('uint8'), (4, 4, 3))
    """
    image = _as_uint8(image)
    mask = np.asarray(mask)
    mask = mask[..., 0] if mask.ndim == 3 else mask
    if mask.shape != image.shape[:2]:
        raise ValueError(
            "A mask must have the height and width of the image. Received: "
            f"mask {mask.shape}, image {image.shape}"
        )
    picture = image.astype("float32")
    thickness = max(1, round(min(mask.shape) / 300))
    classes = [int(c) for c in np.unique(mask) if c >= 0 and c != background]
    for label in classes:
        inside = mask == label
        color = np.array(_color(label - (label > background), colors), "float32")
        core = inside
        for _ in range(thickness):
            core = _eroded(core)
        edge = inside & ~core
        picture[inside] += opacity * (color - picture[inside])
        picture[edge] += 0.9 * (color - picture[edge])
    return _as_uint8(picture)


def draw_boxes(
    image: Any,
    boxes: Any,
    labels: Any | None = None,
    scores: Any | None = None,
    class_names: Sequence[str] | None = None,
    colors: Sequence[tuple[int, int, int]] = PALETTE,
) -> np.ndarray:
    """Draw boxes, and up to 20 of them with class and score.

    Args:
        image: `(height, width, 3)`, values 0 to 255.
        boxes: `(n, 4)`, xyxy in pixels. With `labels`, rows of label -1 are padding.
        labels: Optional integer `(n,)`. They choose colour and name.
        scores: Optional `(n,)`.
        class_names: Optional name of each class.
        colors: Colour of each class in turn.

    Returns:
        uint8 `(height, width, 3)`.
    """
    picture = Image.fromarray(_as_uint8(image))
    boxes = np.asarray(boxes, "float64").reshape(-1, 4)
    labels = np.zeros(len(boxes), int) if labels is None else np.asarray(labels)
    real = np.flatnonzero(labels >= 0).tolist()
    crowded = len(real) > CROWD
    side = min(picture.size)
    width = max(1, round(side / (400 if crowded else 180)))
    draw = ImageDraw.Draw(picture)
    for index in real:
        box = [round(value) for value in boxes[index]]
        box[2:] = [max(box[0], box[2]), max(box[1], box[3])]
        if not crowded:  # a dark rim, for bright surroundings
            rim = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
            draw.rectangle(rim, outline=(0, 0, 0), width=width + 2)
        draw.rectangle(box, outline=_color(int(labels[index]), colors), width=width)
    if not crowded:
        for index in real:
            words = _words(index, labels, scores, class_names)
            color = _color(int(labels[index]), colors)
            _tag(draw, words, boxes[index], color, side)
    return np.asarray(picture)


def enlarge(image: Any, boxes: Any | None = None, side: int = 512) -> Any:
    """Scale an image up so that its shorter side has about `side` pixels.

    Thin lines and words then fit into pictures of small images. Larger images stay.

    Args:
        image: `(height, width, channels)` or an integer label map `(height, width)`,
            which keeps its values.
        boxes: Optional `(n, 4)`, xyxy, to be scaled alike.
        side: Wanted length of the shorter side. Defaults to `512`.

    Returns:
        The image, or with boxes the pair of both.
    """
    image = np.asarray(image)
    factor = max(1, round(side / min(image.shape[:2])))
    if image.ndim == 3 and image.shape[-1] == 3:
        size = (image.shape[1] * factor, image.shape[0] * factor)
        picture = Image.fromarray(_as_uint8(image))
        large = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    else:
        large = image.repeat(factor, axis=0).repeat(factor, axis=1)
    return large if boxes is None else (large, np.asarray(boxes) * factor)


def side_by_side(images: Sequence[Any], titles: Sequence[str] = ()) -> np.ndarray:
    """Put images of one height in a row, on white, with a title above each.

    Raises:
        ValueError: When there is no image, or not one title for each.
    """
    pictures = [Image.fromarray(_as_uint8(image)) for image in images]
    if not pictures or (titles and len(titles) != len(pictures)):
        raise ValueError(
            "Expected at least one image and, if any, a title for each. Received: "
            f"{len(pictures)} images, {len(titles)} titles"
        )
    height = max(picture.height for picture in pictures)
    gap = max(4, height // 40)
    size = max(12, height // 22)
    font = ImageFont.load_default(size)
    top = (round(1.2 * size) + gap if titles else 0) + gap
    width = sum(picture.width + gap for picture in pictures) + gap
    sheet = Image.new("RGB", (width, top + height + gap), "white")
    draw = ImageDraw.Draw(sheet)
    left = gap
    for index, picture in enumerate(pictures):
        if titles:
            middle = left + picture.width / 2
            draw.text(
                (middle, top - gap), titles[index], "black", font=font, anchor="md"
            )
        sheet.paste(picture, (left, top))
        left += picture.width + gap
    return np.asarray(sheet)


def write_png(image: Any, path: str | os.PathLike) -> None:
    """Write `(height, width, 3)`, values 0 to 255, as a PNG file, in one step."""
    picture = Image.fromarray(_as_uint8(image))
    write_file(path, lambda file: picture.save(file, format="PNG", optimize=True))


def _as_uint8(image: Any) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(
            "A picture is one image (height, width, 3). Received an array of shape "
            f"{image.shape}. Take one image out of a batch."
        )
    if image.dtype == np.uint8:
        return image
    return np.clip(np.round(image.astype("float32")), 0, 255).astype("uint8")


def _color(label: int, colors: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    return colors[label % len(colors)]


def _eroded(inside: np.ndarray) -> np.ndarray:
    """The pixels of which all four neighbours are inside, too, or off the image."""
    padded = np.pad(inside, 1, constant_values=True)
    return (
        inside
        & padded[:-2, 1:-1]
        & padded[2:, 1:-1]
        & padded[1:-1, :-2]
        & padded[1:-1, 2:]
    )


def _words(
    index: int, labels: np.ndarray, scores: Any | None, class_names: Any | None
) -> str:
    words = [] if class_names is None else [class_names[int(labels[index])]]
    if scores is not None and math.isfinite(scores[index]):
        words.append(f"{float(scores[index]):.0%}")
    return " ".join(words)


def _tag(
    draw: ImageDraw.ImageDraw,
    words: str,
    box: np.ndarray,
    color: tuple[int, int, int],
    side: int,
) -> None:
    """Write `words` on a plate on top of the box, inside it if there is no room."""
    if not words:
        return
    size = max(10, side // 26)
    font = ImageFont.load_default(size)
    pad = max(2, side // 170)
    width = math.ceil(draw.textlength(words, font=font)) + 2 * pad
    height = round(1.2 * size) + pad
    x = min(max(round(box[0]), 0), max(draw.im.size[0] - width, 0))
    y = round(box[1]) - height
    y = y if y >= 0 else max(round(box[1]), 0)
    draw.rectangle([x, y, x + width - 1, y + height - 1], fill=color)
    dark = sum(c * w for c, w in zip(color, (0.3, 0.59, 0.11), strict=True)) < 120
    ink = "white" if dark else "black"
    draw.text((x + pad, y + height / 2), words, ink, font=font, anchor="lm")
