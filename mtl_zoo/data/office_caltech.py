"""Office-Caltech10: ten kinds of things, photographed in four ways.

The domains are the tasks: product pictures (`amazon`), pictures of the web
(`caltech10`), and pictures taken in one office by a reflex camera (`dslr`) and a webcam
(`webcam`), partly of the same things. The splits are the lists of Long et al. for
5, 10 and 20 % of the images, without the lines that they repeat; the rest is the test.

Reference:
    - [Gong et al., 2012](https://doi.org/10.1109/CVPR.2012.6247911), the data.
    - [Long et al., 2017](https://arxiv.org/abs/1506.02117), the lists.
"""

from __future__ import annotations

import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np
import scipy.io
import tensorflow as tf

from mtl_zoo.data import archives

__all__ = ["ARCHIVE", "CLASSES", "DOMAINS", "PERCENTS", "Domain", "images", "load"]

ARCHIVE = "office_caltech10"
DOMAINS = ("amazon", "caltech10", "dslr", "webcam")
CLASSES = (
    "backpack",
    "bike",
    "calculator",
    "headphones",
    "keyboard",
    "laptop",
    "monitor",
    "mouse",
    "mug",
    "projector",
)
PERCENTS = (5, 10, 20)
FOLDS = 4


@dataclass(frozen=True)
class Domain:
    """The images of one domain that are in a split.

    Attributes:
        ids: `"class/file"`, without the ending; `n` of them.
        labels: int32 `(n,)`, numbers of `CLASSES`.
        surf: float32 `(n, 800)`, how often each visual word is in the image.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    surf: np.ndarray


def load(
    split: str = "train",
    percent: int = 20,
    fold: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> dict[str, Domain]:
    """The images of a split, by domain.

    The images for training are few: 10 of `dslr` in the lists of 5 %. `"train"` is all
    of them; to choose settings, train on `"train_fold"` and look at `"validation"`, its
    complement, for each of `FOLDS` folds.

    Args:
        split: `"train"`, `"test"`, `"train_fold"` or `"validation"`.
        percent: 5, 10 or 20: which lists.
        fold: 0 to 3, of the last two splits.
        data_dir: See `archives.find`.

    Returns:
        `{domain: Domain}` in the order of `DOMAINS`.

    Raises:
        ValueError: When there is no such split, percentage or fold.
        DataNotFoundError: When the archive is not there.
    """
    if split not in ("train", "test", "train_fold", "validation"):
        raise ValueError(
            "Expected 'train', 'test', 'train_fold' or 'validation'. "
            f"Received: split={split!r}"
        )
    if percent not in PERCENTS:
        raise ValueError(f"Expected one of {PERCENTS}. Received: percent={percent!r}")
    if fold not in range(FOLDS):
        raise ValueError(f"Expected 0 to {FOLDS - 1}. Received: fold={fold!r}")
    source = archives.find(ARCHIVE, data_dir)
    lists = json.loads((source / "mrn_splits.json").read_text())["lists"]
    found = {}
    for domain in DOMAINS:
        part = "test" if split == "test" else "train"
        ids = sorted(set(lists[domain][f"{part}_{percent}"]))
        if split in ("train_fold", "validation"):
            held_out = set(ids[fold::FOLDS])
            ids = [i for i in ids if (i in held_out) == (split == "validation")]
        every, histograms = _surf(source, domain)
        rows = [every[i] for i in ids]
        labels = [CLASSES.index(i.split("/")[0]) for i in ids]
        found[domain] = Domain(
            tuple(ids), np.array(labels, "int32"), histograms[rows].astype("float32")
        )
    return found


def images(
    domain: str,
    ids: tuple[str, ...],
    size: int = 224,
    data_dir: str | os.PathLike | None = None,
) -> np.ndarray:
    """The pictures of a domain, whole, resized to a square.

    Args:
        domain: One of `DOMAINS`.
        ids: As in `Domain`; `n` of them.
        size: Side in pixels. Defaults to `224`.
        data_dir: See `archives.find`.

    Returns:
        float32 `(n, size, size, 3)` in 0..255.

    Raises:
        DataNotFoundError: When the archive is not there.
    """
    folder = archives.find(ARCHIVE, data_dir) / "images" / domain
    made = []
    for one in ids:
        picture = tf.io.decode_jpeg((folder / f"{one}.jpg").read_bytes(), channels=3)
        made.append(tf.image.resize(picture, (size, size), antialias=True).numpy())
    return np.stack(made)


def _surf(source: pathlib.Path, domain: str) -> tuple[dict[str, int], np.ndarray]:
    """The row of each image, and the histograms of all."""
    table = scipy.io.loadmat(source / "features" / "surf" / f"{domain}.mat")
    files = sorted((source / "images" / domain).glob("*/*.jpg"))
    every = {f"{f.parent.name}/{f.stem}": row for row, f in enumerate(files)}
    labels = [CLASSES.index(one.split("/")[0]) + 1 for one in every]
    if labels != table["labels"].ravel().tolist():
        raise ValueError(
            f"Expected a row of features for each image of {domain}, in the order of "
            f"their names. Received {len(table['labels'])} rows for {len(files)} "
            "images, or other classes. Unpack the archive anew."
        )
    return every, table["fts"]
