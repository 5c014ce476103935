"""Nuclei in microscopy images (Data Science Bowl 2018): boxes and dense targets.

One instance map gives every target, *after* the geometric augmentation, so that they
agree by construction: see `TARGETS`. An image is a window of random size and place of
the original, resized to `image_size`, flipped and turned by multiples of 90 degrees
(nuclei have no upright), with its colours jittered.

Augmentation is `tf.image.stateless_*` and plain slicing; `stream` says why not Keras's
random layers. Examples are kept in memory as the encoded files (about 30 MB), and
decoded when used.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, instances, stream
from mtl_zoo.data.augment import cut_and_resize, jitter_colours
from mtl_zoo.data.boxes import pad_boxes

__all__ = [
    "TARGETS",
    "Dsb2018Nuclei",
    "evaluation_batches",
    "example_ids",
    "load",
    "num_examples",
    "training_batches",
]

KINDS = ("fluor_dark", "histology_color", "bright_gray")

DENSE_TARGETS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "foreground": instances.foreground_map,
    "boundary": instances.boundary_map,
    "distance": instances.distance_map,
    "offsets": instances.offset_map,
}
TARGETS = ("boxes", *DENSE_TARGETS)
"""Names of the targets: `boxes` (of one class), `foreground` and `boundary` (int32 0 or
1, `(batch, H, W)`), `distance` (float32 `(batch, H, W, 1)`), `offsets` (float32
`(batch, H, W, 2)`, weighted inside nuclei only: elsewhere there is no centre)."""

MAX_BOXES = 384  # The fullest image has 375 nuclei.


class Dsb2018Nuclei(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the set; `load` and the batches below go through it.

    Args:
        source: The unpacked folder of the archive. Defaults to None: found by
            `archives.find`.
    """

    name = "dsb2018_nuclei"
    code_path = None  # Nothing is downloaded, so there is no file of checksums.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Stage 1 training images with the masks fixed."}  # noqa: RUF012

    def __init__(self, *, source: os.PathLike | None = None, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Microscopy images of cell nuclei of several kinds (fluorescence, "
                "stained tissue, bright field) with one instance map each: stage 1 "
                "training images of the Data Science Bowl 2018, BBBC038, with the "
                "community's fixes of the masks. The split is not official: it is "
                "stratified by kind and size."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "instances": tfds.features.Image(
                        shape=(None, None, 1), dtype=np.uint16, encoding_format="png"
                    ),
                    "id": tfds.features.Text(),
                    "kind": tfds.features.ClassLabel(names=KINDS),
                    "count": tfds.features.Scalar(np.int32),
                }
            ),
            homepage="https://bbbc.broadinstitute.org/BBBC038",
            citation=(
                "@article{caicedo2019nucleus, title={Nucleus segmentation across "
                "imaging experiments: the 2018 Data Science Bowl}, author={Caicedo, "
                "Juan C. and others}, journal={Nature Methods}, volume={16}, "
                "pages={1247--1253}, year={2019}, doi={10.1038/s41592-019-0612-7}}"
            ),
            license="CC0 1.0",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        source = pathlib.Path(self._source or archives.find(self.name))
        return {
            name: self._generate_examples(source, key)
            for name, key in (
                ("train", "train"),
                ("validation", "val"),
                ("test", "test"),
            )
        }

    def _generate_examples(
        self, source: pathlib.Path, split: str
    ) -> Iterator[tuple[str, dict]]:
        annotations = json.loads((source / "annotations.json").read_text())
        for entry in annotations["images"]:
            if entry["split"] == split:
                yield (
                    entry["id"],
                    {
                        "image": source / entry["file"],
                        "instances": source / "instances" / f"{entry['id']}.png",
                        "id": entry["id"],
                        "kind": entry["kind"],
                        "count": entry["n"],
                    },
                )


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The examples of a split, in a fixed order, as TFDS gives them.

    The first call prepares the set in the cache; later calls only read it.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a TFDS slice of one.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `{"image": (H, W, 3) uint8, "instances": (H, W, 1) uint16, "id",
        "kind", "count"}`.
    """
    builder = archives.prepared(Dsb2018Nuclei, data_dir)
    return builder.as_dataset(split=split, shuffle_files=False)


def num_examples(split: str = "train", data_dir=None) -> int:
    """Number of images of a split."""
    builder = archives.prepared(Dsb2018Nuclei, data_dir)
    return builder.info.splits[split].num_examples


def example_ids(split: str, data_dir: str | os.PathLike | None = None) -> list[str]:
    """The ids of a split's images, in the order of `evaluation_batches`."""
    return [i.decode() for i in _Encoded.of(split, data_dir).ids]


def training_batches(
    split: str = "train",
    *,
    targets: Sequence[str] = ("boxes", "foreground"),
    image_size: int = 256,
    batch_size: int = 8,
    seed: int = 0,
    scale: tuple[float, float] = (0.7, 1.4),
    max_boxes: int = MAX_BOXES,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Endless augmented batches; see the package docstring for the contract.

    Nuclei that the crop leaves less than a fifth of, or fewer than 10 pixels, get no
    box (`instances.boxes_of`); their pixels stay in the dense targets. Where the
    window is larger than the image, the rest is 0 with pixel weight 0.

    Args:
        split: `"train"`, or a TFDS slice such as `"train[:10%]"`.
        targets: Which of `TARGETS` to make; only these are computed.
        image_size: Side of the square images.
        batch_size: Images a batch.
        seed: Decides the whole stream.
        scale: Range of the magnification, drawn log-uniformly for each image.
        max_boxes: Rows of the box labels.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `(images, labels, weights)`; `images` is float32
        `(batch_size, image_size, image_size, 3)`, the weight of `boxes` is
        `(batch_size,)` and all others are `(batch_size, image_size, image_size)`.

    Raises:
        ValueError: If a target is unknown or an image holds more than `max_boxes`.
        DataNotFoundError: If the archive is not there.
    """
    _check_targets(targets)
    examples = _Encoded.of(split, data_dir)
    examples.check_counts(max_boxes)

    def example(index: tf.Tensor, seed: tf.Tensor):
        image, label_map = examples.decode(index)
        full_areas = tf.math.bincount(label_map)
        keys = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        image, label_map, inside, magnification = _random_window(
            image, label_map, image_size, scale, keys[0]
        )
        image = jitter_colours(image, keys[1]) * inside[..., None]
        image, label_map, inside = _random_turn(image, label_map, inside, keys[2])
        full_areas = tf.cast(full_areas, tf.float32) * magnification**2
        shape = (image_size, image_size)
        image = tf.ensure_shape(image, (*shape, 3))
        return image, *_labels(
            label_map, inside, targets, max_boxes, shape, full_areas
        )

    indices = stream.training_stream(examples.number, seed)
    return stream.batches(indices, example, batch_size, drop_remainder=True)


def evaluation_batches(
    split: str = "validation",
    *,
    targets: Sequence[str] = ("boxes", "foreground"),
    multiple: int = 32,
    max_boxes: int = MAX_BOXES,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """One pass over a split at its own resolution, one image a batch.

    Images are padded on the right and at the bottom with 0 to multiples of `multiple`;
    the pixel weight is 0 there, so that metrics are those of the true image. Every
    nucleus has its box. The order is that of `example_ids`.

    Args:
        split: `"validation"`, `"test"` or `"train"`, or a TFDS slice of one.
        targets: Which of `TARGETS` to make.
        multiple: The largest stride of the network.
        max_boxes: Rows of the box labels.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `(images, labels, weights)` as from `training_batches`, with
        dynamic height and width.

    Raises:
        ValueError: If a target is unknown or an image holds more than `max_boxes`.
        DataNotFoundError: If the archive is not there.
    """
    _check_targets(targets)
    examples = _Encoded.of(split, data_dir)
    examples.check_counts(max_boxes)

    def example(index: tf.Tensor):
        image, label_map = examples.decode(index)
        height, width = tf.unstack(tf.shape(label_map))
        bottom, right = -height % multiple, -width % multiple
        image = tf.pad(image, [[0, bottom], [0, right], [0, 0]])
        inside = tf.pad(tf.ones_like(label_map, tf.float32), [[0, bottom], [0, right]])
        label_map = tf.pad(label_map, [[0, bottom], [0, right]])
        return image, *_labels(label_map, inside, targets, max_boxes, (None, None))

    indices = tf.data.Dataset.range(examples.number)
    return stream.batches(indices, example, batch_size=1)


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A split as encoded files in memory."""

    images: tf.Tensor
    instances: tf.Tensor
    ids: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, split: str, data_dir: str | os.PathLike | None) -> "_Encoded":
        builder = archives.prepared(Dsb2018Nuclei, data_dir)
        skip = tfds.decode.SkipDecoding()
        dataset = builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={"image": skip, "instances": skip},
        )
        rows = list(tfds.as_numpy(dataset))
        return cls(
            images=tf.constant([row["image"] for row in rows]),
            instances=tf.constant([row["instances"] for row in rows]),
            ids=np.array([row["id"] for row in rows]),
            counts=np.array([row["count"] for row in rows]),
        )

    @property
    def number(self) -> int:
        return len(self.ids)

    def check_counts(self, max_boxes: int) -> None:
        most = int(self.counts.max())
        if most > max_boxes:
            raise ValueError(
                "Every nucleus must find a row in the box labels: expected max_boxes "
                f">= {most}, the largest number in one image. "
                f"Received: max_boxes={max_boxes}"
            )

    def decode(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns image float32 `(H, W, 3)` and instance map int32 `(H, W)`."""
        image = tf.io.decode_image(
            self.images[index], channels=3, expand_animations=False
        )
        label_map = tf.io.decode_png(
            self.instances[index], channels=1, dtype=tf.uint16
        )
        return tf.cast(image, tf.float32), tf.cast(label_map[..., 0], tf.int32)


def _check_targets(targets: Sequence[str]) -> None:
    unknown = set(targets) - set(TARGETS)
    if unknown or not targets:
        raise ValueError(
            f"Expected one or more of the targets {TARGETS}. "
            f"Received: targets={tuple(targets)}"
        )


def _random_window(
    image: tf.Tensor,
    label_map: tf.Tensor,
    size: int,
    scale: tuple[float, float],
    key: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts a window of side `size / magnification` and resizes it to `size`.

    Returns:
        Image, instance map, 1 where the window lies inside the image and 0 elsewhere,
        and the magnification.
    """
    log_scale, *where = tf.unstack(tf.random.stateless_uniform((5,), key))
    low, high = np.log(scale)
    side = tf.round(size / tf.exp(low + log_scale * (high - low)))
    magnification = size / side

    full = tf.cast(tf.shape(label_map), tf.float32)
    cut = tf.minimum(full, side)
    start = tf.cast(tf.stack(where[:2]) * (full - cut + 1.0), tf.int32)
    cut_size = tf.cast(cut, tf.int32)
    start = tf.minimum(start, tf.shape(label_map) - cut_size)
    resized = tf.cast(tf.round(cut * magnification), tf.int32)
    image, label_map = cut_and_resize(image, label_map, start, cut_size, resized)

    rest = size - resized
    before = tf.cast(tf.stack(where[2:]) * tf.cast(rest + 1, tf.float32), tf.int32)
    before = tf.minimum(before, rest)
    margins = tf.stack([before, rest - before], axis=1)
    image = tf.pad(image, tf.concat([margins, [[0, 0]]], axis=0))
    inside = tf.pad(tf.ones(resized), margins)
    return image, tf.pad(label_map, margins), inside, magnification


def _random_turn(
    image: tf.Tensor, label_map: tf.Tensor, inside: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One of the eight flips and turns of a square, all equally likely."""
    stack = tf.concat(
        [image, tf.cast(label_map, tf.float32)[..., None], inside[..., None]], axis=-1
    )
    swap, down, right = tf.unstack(tf.random.stateless_uniform((3,), key) < 0.5)
    stack = tf.cond(swap, lambda: tf.transpose(stack, (1, 0, 2)), lambda: stack)
    flipped = stack
    stack = tf.cond(down, lambda: tf.reverse(flipped, [0]), lambda: flipped)
    turned = stack
    stack = tf.cond(right, lambda: tf.reverse(turned, [1]), lambda: turned)
    return stack[..., :3], tf.cast(stack[..., 3], tf.int32), stack[..., 4]


def _labels(
    label_map: tf.Tensor,
    inside: tf.Tensor,
    targets: Sequence[str],
    max_boxes: int,
    shape: tuple[int | None, int | None],
    full_areas: tf.Tensor | None = None,
) -> tuple[dict, dict]:
    """Targets and weights of one image from its instance map."""
    label_map = tf.ensure_shape(label_map, shape)
    inside = tf.ensure_shape(inside, shape)
    labels: dict = {}
    weights: dict = {}
    for name in targets:
        if name == "boxes":
            boxes = instances.boxes_of(label_map, full_areas)
            classes = tf.zeros(tf.shape(boxes)[:1], tf.int32)
            labels[name] = pad_boxes(boxes, classes, max_boxes)
            weights[name] = tf.ones(())
            continue
        labels[name] = DENSE_TARGETS[name](label_map)
        weights[name] = inside
        if name == "offsets":
            weights[name] = inside * tf.cast(label_map > 0, tf.float32)
    return labels, weights
