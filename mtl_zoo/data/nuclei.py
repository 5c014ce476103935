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
import struct
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, instances, stream
from mtl_zoo.data.augment import cut_and_resize, jitter_colours
from mtl_zoo.data.boxes import pad_boxes
from mtl_zoo.data.targets import check_targets

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
    RELEASE_NOTES = {"1.0.0": "Stage 1 training images with the masks fixed."}

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


def num_examples(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> int:
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
    check_targets(targets, TARGETS)
    examples = _Encoded.of(split, data_dir)
    examples.check_counts(max_boxes)

    def example(index: tf.Tensor, seed: tf.Tensor):
        image, label_map = examples.decode(index)
        full_areas = tf.math.bincount(label_map, dtype=tf.float32)
        keys = tf.unstack(tf.random.experimental.stateless_split(seed, 4))
        image, label_map, magnification = _random_window(
            image, label_map, image_size, scale, keys[0]
        )
        image, label_map = _random_turn(image, label_map, keys[1])
        image = jitter_colours(image, keys[2])
        rest = image_size - tf.shape(label_map)
        before = _random_integers(rest + 1, keys[3])
        return _padded_element(
            image,
            label_map,
            margins=tf.stack([before, rest - before], axis=1),
            shape=(image_size, image_size),
            targets=targets,
            max_boxes=max_boxes,
            full_areas=full_areas * magnification**2,
        )

    windows = tf.constant(examples.windows(image_size))
    indices = stream.training_stream(len(windows), seed)
    indices = indices.map(lambda i, seed: (windows[i], seed))
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
    check_targets(targets, TARGETS)
    examples = _Encoded.of(split, data_dir)
    examples.check_counts(max_boxes)

    def example(index: tf.Tensor):
        image, label_map = examples.decode(index)
        rest = -tf.shape(label_map) % multiple
        return _padded_element(
            image,
            label_map,
            margins=tf.stack([tf.zeros_like(rest), rest], axis=1),
            shape=(None, None),
            targets=targets,
            max_boxes=max_boxes,
        )

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

    def windows(self, size: int) -> np.ndarray:
        """Indices of images, each as often as windows of `size` fit in its area.

        So that an epoch sees every pixel about equally often: metrics are pooled over
        pixels and boxes, and images differ in area by a factor of 22.
        """
        areas = [np.prod(_png_size(image.numpy())) for image in self.instances]
        times = np.maximum(np.rint(np.array(areas) / size**2), 1).astype(int)
        return np.repeat(np.arange(self.number), times)

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
        label_map = tf.io.decode_png(self.instances[index], channels=1, dtype=tf.uint16)
        return tf.cast(image, tf.float32), tf.cast(label_map[..., 0], tf.int32)


def _png_size(png: bytes) -> tuple[int, int]:
    """Returns width and height from the header of a PNG file (its IHDR chunk)."""
    return struct.unpack(">II", png[16:24])


def _random_window(
    image: tf.Tensor,
    label_map: tf.Tensor,
    size: int,
    scale: tuple[float, float],
    key: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Cuts a window of side `size / magnification` and magnifies it.

    Returns:
        Image and instance map of at most `size` a side (less where the window is
        larger than the image), and the magnification.
    """
    scale_key, place_key = tf.unstack(tf.random.experimental.stateless_split(key))
    low, high = np.log(scale)
    magnification = tf.exp(tf.random.stateless_uniform((), scale_key, low, high))
    side = tf.cast(tf.round(size / magnification), tf.int32)
    full = tf.shape(label_map)
    cut = tf.minimum(full, side)
    start = _random_integers(full - cut + 1, place_key)
    resized = tf.cast(tf.round(cut * size / side), tf.int32)
    return *cut_and_resize(image, label_map, start, cut, resized), magnification


def _random_integers(limits: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """For each limit, an integer of `0 .. limit - 1`."""
    share = tf.random.stateless_uniform(tf.shape(limits), key)
    integers = tf.cast(share * tf.cast(limits, tf.float32), tf.int32)
    return tf.minimum(integers, limits - 1)  # The product may round up.


def _random_turn(
    image: tf.Tensor, label_map: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """One of the eight flips and turns, all equally likely."""
    swap, down, right = tf.unstack(tf.random.stateless_uniform((3,), key) < 0.5)
    pair = (image, label_map[..., None])
    for chosen, change in (
        (swap, lambda x: tf.transpose(x, (1, 0, 2))),
        (down, lambda x: tf.reverse(x, [0])),
        (right, lambda x: tf.reverse(x, [1])),
    ):
        pair = _changed_if(chosen, change, pair)
    return pair[0], pair[1][..., 0]


def _changed_if(chosen: tf.Tensor, change: Callable, tensors: tuple) -> tuple:
    return tf.cond(
        chosen, lambda: tuple(change(tensor) for tensor in tensors), lambda: tensors
    )


def _padded_element(
    image: tf.Tensor,
    label_map: tf.Tensor,
    margins: tf.Tensor,
    shape: tuple[int | None, int | None],
    targets: Sequence[str],
    max_boxes: int,
    full_areas: tf.Tensor | None = None,
) -> tuple[tf.Tensor, dict, dict]:
    """Derives targets and weights, and pads everything.

    Targets are those of the map without its margins: a nucleus at the border of the
    image has no boundary there just because padding follows.

    Args:
        image: float32 `(height, width, 3)`.
        label_map: int32 `(height, width)`.
        margins: int32 `((top, bottom), (left, right))`.
        shape: Static height and width of the results.
        targets: Which of `TARGETS` to make.
        max_boxes: Rows of the box labels.
        full_areas: As in `instances.boxes_of`.
    """

    def pad(tensor: tf.Tensor) -> tf.Tensor:
        rest = tf.zeros((len(tensor.shape) - 2, 2), tf.int32)
        padded = tf.pad(tensor, tf.concat([margins, rest], axis=0))
        return tf.ensure_shape(padded, (*shape, *tensor.shape[2:]))

    labels: dict = {}
    weights: dict = {}
    for name in targets:
        if name == "boxes":
            left_top = tf.cast(margins[::-1, 0], tf.float32)
            boxes = instances.boxes_of(label_map, full_areas) + tf.tile(left_top, [2])
            labels[name] = pad_boxes(boxes, tf.zeros_like(boxes[:, 0]), max_boxes)
            weights[name] = tf.ones(())
        else:
            counts = label_map > 0 if name == "offsets" else tf.ones_like(label_map)
            labels[name] = pad(DENSE_TARGETS[name](label_map))
            weights[name] = pad(tf.cast(counts, tf.float32))
    return pad(image), labels, weights
