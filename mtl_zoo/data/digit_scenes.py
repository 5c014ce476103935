"""Scenes of real handwritten digits: boxes, label map and count, without a download.

The digits are the 1,797 of scikit-learn (8 x 8 pixels, UCI "Optical Recognition of
Handwritten Digits", CC BY 4.0). They are divided into train, validation and test by a
hash of their number *before* scenes are composed, so that no test digit was ever seen.
A scene is a textured background on which one to six digits stand, enlarged two to
three times, each in its own colour; their frames do not overlap, so that boxes and
label map agree.

Scene `i` of a split depends on `i` and the seed only: asking for more scenes leaves
the first ones as they are. A thousand scenes take about a second.

Reference:
    - [Alpaydin & Kaynak, 1998](https://doi.org/10.24432/C50P49), the digits.
"""

import functools
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from scipy import ndimage
from sklearn import datasets

from mtl_zoo.data import hashing, stream
from mtl_zoo.data.targets import check_targets

__all__ = [
    "IMAGE_SIZE",
    "MAX_DIGITS",
    "SPLITS",
    "TARGETS",
    "evaluation_batches",
    "scenes",
    "training_batches",
]

SPLITS = ("train", "validation", "test")

TARGETS = ("boxes", "label_map", "count")
"""Names of the targets: `boxes` (10 classes, 6 rows), `label_map` (int32 `(batch, 64,
64)`, 0 background, else 1 + digit), `count` (int32 `(batch,)`, 1 to 6)."""

IMAGE_SIZE = 64
MAX_DIGITS = 6

_MAGNIFICATIONS = (2.0, 2.5, 3.0)
_INK = 0.35
"""Least intensity, of 1, at which a pixel belongs to its digit."""

_ENLARGE = ndimage.zoom(np.eye(8), (IMAGE_SIZE / 8, 1), order=1)
"""Linear interpolation from 8 points to the image's rows (or columns), `(64, 8)`."""


def scenes(split: str, number: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Composes scenes.

    Args:
        split: One of `SPLITS`: whose digits to use.
        number: How many scenes.
        seed: Another seed makes other scenes of the same digits.

    Returns:
        `images` uint8 `(number, 64, 64, 3)`; `label_map` uint8 `(number, 64, 64)`;
        `boxes` float32 `(number, 6, 4)` and `labels` int32 `(number, 6)`, padded with
        -1; `count` int32 `(number,)`.

    Raises:
        ValueError: If the split is unknown.

    Example:
        >>> made = scenes("train", number=2)
        >>> made["images"].shape, bool((made["count"] >= 1).all())
        ((2, 64, 64, 3), True)
    """
    if split not in SPLITS:
        raise ValueError(f"Expected a split of {SPLITS}. Received: split={split!r}")
    size = IMAGE_SIZE
    made: dict[str, np.ndarray] = {
        "images": np.empty((number, size, size, 3), np.uint8),
        "label_map": np.zeros((number, size, size), np.uint8),
        "boxes": np.full((number, MAX_DIGITS, 4), -1, np.float32),
        "labels": np.full((number, MAX_DIGITS), -1, np.int32),
        "count": np.zeros(number, np.int32),
    }
    for index in range(number):
        rng = np.random.default_rng([seed, SPLITS.index(split), index])
        _compose({name: array[index] for name, array in made.items()}, split, rng)
        made["count"][index] = (made["labels"][index] >= 0).sum()
    return made


def training_batches(
    split: str = "train",
    *,
    targets: Sequence[str] = TARGETS,
    number: int = 2048,
    batch_size: int = 32,
    seed: int = 0,
    labelled: Mapping[str, float] | None = None,
) -> tf.data.Dataset:
    """Endless batches; see the package docstring for the contract.

    Args:
        split: One of `SPLITS`.
        targets: Which of `TARGETS` to give.
        number: How many scenes the set has.
        batch_size: Scenes a batch.
        seed: Decides the order. The scenes, and which of them are labelled, are always
            the same.
        labelled: Share of the scenes that keep their label, for some targets, such as
            `{"boxes": 0.5}`. The others get weight 0. Defaults to None: all do.

    Returns:
        A dataset of `(images, labels, weights)`; `images` is float32
        `(batch_size, 64, 64, 3)`, the weight of `label_map` is `(batch_size, 64, 64)`
        and all others are `(batch_size,)`.

    Raises:
        ValueError: If the split or a target is unknown, or a share is not in 0..1.
    """
    columns = _columns(split, targets, number, labelled or {})
    indices = stream.training_stream(number, seed)
    return stream.batches(
        indices,
        lambda index, _: _element(columns, index),
        batch_size,
        drop_remainder=True,
    )


def evaluation_batches(
    split: str = "validation",
    *,
    targets: Sequence[str] = TARGETS,
    number: int = 256,
    batch_size: int = 32,
) -> tf.data.Dataset:
    """One pass over the first `number` scenes of a split, in their order.

    Args:
        split: One of `SPLITS`.
        targets: Which of `TARGETS` to give.
        number: How many scenes.
        batch_size: Scenes a batch; the last batch may be smaller.

    Returns:
        A dataset of `(images, labels, weights)` as from `training_batches`.

    Raises:
        ValueError: If the split or a target is unknown.
    """
    columns = _columns(split, targets, number, {})
    indices = tf.data.Dataset.range(number)
    return stream.batches(indices, lambda index: _element(columns, index), batch_size)


@functools.cache
def _digits(split: str) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Digits of a split: intensities in 0..1 at each magnification, and classes."""
    data = datasets.load_digits()
    chosen = [i for i in range(len(data.target)) if _split_of_digit(i) == split]
    glyphs = [
        [
            np.clip(ndimage.zoom(data.images[i] / 16.0, factor, order=1), 0.0, 1.0)
            for factor in _MAGNIFICATIONS
        ]
        for i in chosen
    ]
    return glyphs, data.target[chosen]


def _split_of_digit(index: int) -> str:
    """Of twenty digits, fourteen train, three validate and three test."""
    place = hashing.number_of(str(index)) % 20
    return "train" if place < 14 else "validation" if place < 17 else "test"


def _compose(scene: dict, split: str, rng: np.random.Generator) -> None:
    """Fills the arrays of one scene in place."""
    image = _background(rng)
    glyphs, classes = _digits(split)
    frames: list[tuple[int, int, int, int]] = []
    wanted = rng.integers(1, MAX_DIGITS + 1)
    for _ in range(40 * wanted):  # A crowded scene may find no room for its last digit.
        if len(frames) == wanted:
            break
        which = rng.integers(len(classes))
        glyph = glyphs[which][rng.integers(len(_MAGNIFICATIONS))]
        height, width = glyph.shape
        top = rng.integers(IMAGE_SIZE - height + 1)
        left = rng.integers(IMAGE_SIZE - width + 1)
        frame = (left, top, left + width, top + height)
        if any(_overlap(frame, other) for other in frames):
            continue
        window = slice(top, top + height), slice(left, left + width)
        ink = glyph >= _INK
        rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
        place = len(frames)
        scene["boxes"][place] = (
            left + columns[0],
            top + rows[0],
            left + columns[-1] + 1,
            top + rows[-1] + 1,
        )
        scene["labels"][place] = classes[which]
        scene["label_map"][window][ink] = 1 + classes[which]
        paint = _contrasting_colour(image[window], rng)
        image[window] += glyph[..., None] * (paint - image[window])
        frames.append(frame)
    noisy = image + 6.0 * rng.standard_normal(image.shape, np.float32)
    scene["images"][:] = np.clip(noisy, 0, 255)


def _background(rng: np.random.Generator) -> np.ndarray:
    """A smooth texture about a random colour, float64 `(64, 64, 3)`."""
    colour = rng.uniform(40, 215, 3)
    coarse = rng.normal(0.0, 22.0, (1, 8, 8)) + rng.normal(0.0, 8.0, (3, 8, 8))
    texture = _ENLARGE @ coarse @ _ENLARGE.T
    return np.clip(colour + np.moveaxis(texture, 0, -1), 0, 255)


def _contrasting_colour(under: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random colour at least 60 lighter or darker than what is under the digit."""
    mean = under.mean()
    towards = 255.0 if mean < 128 else 0.0
    share = rng.uniform(60, 120) / 127.0
    return np.clip(
        mean + share * (towards - mean) + rng.uniform(-25, 25, 3), 0.0, 255.0
    )


def _overlap(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _columns(
    split: str, targets: Sequence[str], number: int, labelled: Mapping[str, float]
) -> dict[str, tf.Tensor]:
    """The scenes as tensors, and for each target whether it is labelled."""
    check_targets([*targets, *labelled], TARGETS)
    columns = {
        name: tf.constant(array) for name, array in scenes(split, number).items()
    }
    known = {name: _known(name, number, labelled.get(name, 1.0)) for name in targets}
    return {**columns, "known": known}


def _known(target: str, number: int, share: float) -> tf.Tensor:
    """1 for `share` of the scenes, chosen by the target's name, and 0 for the rest."""
    if not 0.0 <= share <= 1.0:
        raise ValueError(
            "A labelled share must be in 0..1. "
            f"Received: labelled={{{target!r}: {share}}}"
        )
    order = np.random.default_rng(zlib.crc32(target.encode())).permutation(number)
    known = np.zeros(number, np.float32)
    known[order[: round(share * number)]] = 1.0
    return tf.constant(known)


def _element(columns: dict, index: tf.Tensor) -> tuple[tf.Tensor, dict, dict]:
    weights = {name: known[index] for name, known in columns["known"].items()}
    labels = {
        "boxes": {"boxes": columns["boxes"][index], "labels": columns["labels"][index]},
        "label_map": tf.cast(columns["label_map"][index], tf.int32),
        "count": columns["count"][index],
    }
    if "label_map" in weights:
        weights["label_map"] = tf.fill([IMAGE_SIZE] * 2, weights["label_map"])
    image = tf.cast(columns["images"][index], tf.float32)
    return image, {name: labels[name] for name in weights}, weights
