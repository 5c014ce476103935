"""Pets (Oxford-IIIT): head box, foreground, breed and species of one animal an image.

Two sources of one element format: the subset archive of three breeds
(`OxfordPetSubset`, the default), and the full set of 37 breeds through TFDS
(`full=True`; TFDS downloads it where it is not prepared yet).

Head boxes exist for most of the official trainval images and for no test image.
`split_of` therefore divides trainval by a hash of the file name into `train`,
`validation` and `det_test` (a fifth of the images with a head box, to measure the
boxes on); `test` is the official one, for breed and foreground. The four are disjoint,
and an image is in the same split whichever source it comes from.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, hashing, stream
from mtl_zoo.data.augment import cut_and_resize, jitter_colours
from mtl_zoo.data.boxes import pad_boxes, visible_share
from mtl_zoo.data.targets import check_targets

__all__ = [
    "SPLITS",
    "TARGETS",
    "OxfordPetSubset",
    "breed_names",
    "evaluation_batches",
    "example_ids",
    "load",
    "num_examples",
    "split_of",
    "training_batches",
]

SPLITS = ("train", "validation", "test", "det_test")

TARGETS = ("head_box", "foreground", "breed", "species")
"""Names of the targets: `head_box` (boxes of one class, one row), `foreground` (int32 0
or 1, `(batch, H, W)`, weight 0 on the trimap's border), `breed` and `species` (int32
`(batch,)`; species 0 is cat, 1 is dog)."""

BORDER = 3
"""Trimap value of pixels that annotators left open; 1 is foreground, 2 background."""

_ENCODED = {
    "image": tfds.decode.SkipDecoding(),
    "segmentation_mask": tfds.decode.SkipDecoding(),
}


class OxfordPetSubset(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the three-breed archive, in the format of `oxford_iiit_pet`.

    Of an image with two heads the first box is kept, as TFDS does. The splits are the
    official `train` (trainval) and `test`; `load` divides them further.

    Args:
        source: The unpacked folder of the archive. Defaults to None: found by
            `archives.find`.
    """

    name = "oxford_pet_subset"
    code_path = None  # Nothing is downloaded, so there is no file of checksums.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Three breeds, 256 pixels on the short side."}

    def __init__(self, *, source: os.PathLike | None = None, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Three of the 37 breeds of the Oxford-IIIT Pet data set, resized to "
                "256 pixels on the short side: breed, species, trimap, and for the "
                "trainval part the box of the head."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(encoding_format="jpeg"),
                    "label": tfds.features.ClassLabel(
                        names=["Abyssinian", "american_bulldog", "Bengal"]
                    ),
                    "species": tfds.features.ClassLabel(names=["Cat", "Dog"]),
                    "file_name": tfds.features.Text(),
                    "segmentation_mask": tfds.features.Image(
                        shape=(None, None, 1), use_colormap=True, encoding_format="png"
                    ),
                    "head_bbox": tfds.features.BBoxFeature(),
                }
            ),
            homepage="https://www.robots.ox.ac.uk/~vgg/data/pets/",
            citation=(
                "@inproceedings{parkhi2012cats, title={Cats and Dogs}, "
                "author={Parkhi, Omkar M. and Vedaldi, Andrea and Zisserman, Andrew "
                "and Jawahar, C. V.}, booktitle={CVPR}, year={2012}}"
            ),
            license=(
                "CC BY-SA 4.0 for the labels; the images keep their owners' terms "
                "(research use). Do not redistribute."
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        source = pathlib.Path(self._source or archives.find(self.name))
        return {
            "train": self._generate_examples(source, "trainval"),
            "test": self._generate_examples(source, "test"),
        }

    def _generate_examples(
        self, source: pathlib.Path, split: str
    ) -> Iterator[tuple[str, dict]]:
        annotations = json.loads((source / "annotations.json").read_text())
        for entry in annotations["images"]:
            if entry["split"] != split:
                continue
            width, height = entry["size"]
            x1, y1, x2, y2 = (entry["head_boxes"] or [[0, 0, 0, 0]])[0][:4]
            yield (
                entry["id"],
                {
                    "image": source / "images" / f"{entry['id']}.jpg",
                    "label": entry["breed"],
                    "species": entry["species"].capitalize(),
                    "file_name": f"{entry['id']}.jpg",
                    "segmentation_mask": source / "trimaps" / f"{entry['id']}.png",
                    "head_bbox": tfds.features.BBox(
                        ymin=y1 / height,
                        xmin=x1 / width,
                        ymax=y2 / height,
                        xmax=x2 / width,
                    ),
                },
            )


def split_of(file_name: str, official_split: str, has_head_box: bool) -> str:
    """The split an image belongs to.

    Args:
        file_name: Such as `"Abyssinian_1.jpg"`; the ending does not matter.
        official_split: `"train"` (trainval) or `"test"`.
        has_head_box: Whether the image has a head box.

    Returns:
        One of `SPLITS`. Of trainval, a fifth of the images with a head box are
        `det_test` and a seventh of the rest `validation`.

    Example:
        >>> split_of("Abyssinian_10.jpg", "train", has_head_box=True)
        'det_test'
    """
    if official_split == "test":
        return "test"
    name = file_name.rsplit(".", 1)[0]
    number = hashing.number_of(name)
    if has_head_box and number % 5 == 0:
        return "det_test"
    return "validation" if number // 5 % 7 == 0 else "train"


def load(
    split: str = "train",
    *,
    full: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """The examples of a split, in a fixed order, in the format of TFDS.

    Args:
        split: One of `SPLITS`.
        full: Whether to use all 37 breeds through TFDS. Defaults to False.
        data_dir: Where the archive is (see `archives.find`); with `full`, the data
            folder of TFDS.

    Returns:
        A dataset of `{"image": (H, W, 3) uint8, "segmentation_mask": (H, W, 1) uint8,
        "label", "species", "file_name", "head_bbox": (4,)}`; `head_bbox` is `[y1, x1,
        y2, x2]` in 0..1 and all 0 where there is none.

    Raises:
        ValueError: If the split is unknown.
        DataNotFoundError: If the archive is not there.
    """
    return _select(split, full, data_dir)


def breed_names(
    *, full: bool = False, data_dir: str | os.PathLike | None = None
) -> list[str]:
    """Names of the breeds, in the order of their labels."""
    return _builder(full, data_dir).info.features["label"].names


def num_examples(
    split: str = "train",
    *,
    full: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> int:
    """Number of images of a split."""
    return len(example_ids(split, full=full, data_dir=data_dir))


def example_ids(
    split: str, *, full: bool = False, data_dir: str | os.PathLike | None = None
) -> list[str]:
    """File names of a split's images, in the order of `evaluation_batches`."""
    names, chosen = _membership(split, full, data_dir)
    return [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]


def training_batches(
    split: str = "train",
    *,
    targets: Sequence[str] = ("head_box", "foreground", "breed"),
    image_size: int = 224,
    batch_size: int = 16,
    seed: int = 0,
    area: tuple[float, float] = (0.5, 1.0),
    min_visible: float = 0.5,
    full: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Endless augmented batches; see the package docstring for the contract.

    A random window of the image (Inception's crop: a share of the area, sides within
    3:4 and 4:3) is resized to a square, flipped half of the time, and its colours are
    jittered. A head box that the window leaves less than `min_visible` of is unknown,
    weight 0, not absent: part of a head may still be there.

    Args:
        split: One of `SPLITS`.
        targets: Which of `TARGETS` to make.
        image_size: Side of the square images.
        batch_size: Images a batch.
        seed: Decides the whole stream.
        area: Range of the window's share of the image.
        min_visible: Least visible share of a head box that is given.
        full: Whether to use all 37 breeds through TFDS. Defaults to False.
        data_dir: As in `load`.

    Returns:
        A dataset of `(images, labels, weights)`; `images` is float32
        `(batch_size, image_size, image_size, 3)`, the weight of `foreground` is
        `(batch_size, image_size, image_size)` and all others are `(batch_size,)`.

    Raises:
        ValueError: If a target or the split is unknown.
        DataNotFoundError: If the archive is not there.

    Reference:
        - [Szegedy et al., 2015](https://arxiv.org/abs/1409.4842), section 6, for the
          random window.
    """
    check_targets(targets, TARGETS)
    examples = _Encoded.of(split, full, data_dir)

    def example(index: tf.Tensor, seed: tf.Tensor):
        image, trimap, box = examples.decode(index)
        keys = tf.unstack(tf.random.experimental.stateless_split(seed, 3))
        image, trimap, box = _random_window(
            image, trimap, box, image_size, area, keys[0]
        )
        image, trimap, box = _random_flip(image, trimap, box, keys[1])
        image = jitter_colours(image, keys[2])
        seen = visible_share(box, image_size, image_size) >= min_visible
        return examples.element(index, image, trimap, box, seen, image_size, targets)

    indices = stream.training_stream(examples.number, seed)
    return stream.batches(indices, example, batch_size, drop_remainder=True)


def evaluation_batches(
    split: str = "validation",
    *,
    targets: Sequence[str] = ("head_box", "foreground", "breed"),
    image_size: int = 224,
    batch_size: int = 16,
    full: bool = False,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """One pass over a split: whole images, undistorted, in the order of `example_ids`.

    The longer side is resized to `image_size`; the square is filled with 0 on the
    right or at the bottom, with pixel weight 0, so that metrics are those of the image
    alone. Boxes are in pixels of the resized image.

    Args:
        split: One of `SPLITS`.
        targets: Which of `TARGETS` to make.
        image_size: Side of the square images.
        batch_size: Images a batch; the last batch may be smaller.
        full: Whether to use all 37 breeds through TFDS. Defaults to False.
        data_dir: As in `load`.

    Returns:
        A dataset of `(images, labels, weights)` as from `training_batches`.

    Raises:
        ValueError: If a target or the split is unknown.
        DataNotFoundError: If the archive is not there.
    """
    check_targets(targets, TARGETS)
    examples = _Encoded.of(split, full, data_dir)

    def example(index: tf.Tensor):
        image, trimap, box = examples.decode(index)
        shape = tf.shape(trimap)
        resized = tf.cast(tf.round(shape * image_size / tf.reduce_max(shape)), tf.int32)
        box *= _width_height_twice(resized / shape)
        image, trimap = cut_and_resize(image, trimap, [0, 0], shape, resized)
        bottom, right = tf.unstack(image_size - resized)
        image = tf.pad(image, [[0, bottom], [0, right], [0, 0]])
        trimap = tf.pad(trimap, [[0, bottom], [0, right]], constant_values=BORDER)
        return examples.element(index, image, trimap, box, True, image_size, targets)

    indices = tf.data.Dataset.range(examples.number)
    return stream.batches(indices, example, batch_size)


@dataclasses.dataclass(frozen=True)
class _Encoded:
    """A split in memory: images and trimaps as encoded files."""

    images: tf.Tensor
    trimaps: tf.Tensor
    head_boxes: tf.Tensor
    breeds: tf.Tensor
    species: tf.Tensor

    @classmethod
    def of(
        cls, split: str, full: bool, data_dir: str | os.PathLike | None
    ) -> "_Encoded":
        rows = list(tfds.as_numpy(_select(split, full, data_dir, _ENCODED)))
        return cls(
            images=tf.constant([row["image"] for row in rows]),
            trimaps=tf.constant([row["segmentation_mask"] for row in rows]),
            head_boxes=tf.constant(np.stack([row["head_bbox"] for row in rows])),
            breeds=tf.constant([row["label"] for row in rows], tf.int32),
            species=tf.constant([row["species"] for row in rows], tf.int32),
        )

    @property
    def number(self) -> int:
        return len(self.breeds)

    def decode(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns image float32 `(H, W, 3)`, trimap int32 `(H, W)`, box `(4,)`."""
        image = tf.io.decode_image(
            self.images[index], channels=3, expand_animations=False
        )
        trimap = tf.cast(
            tf.io.decode_png(self.trimaps[index], channels=1)[..., 0], tf.int32
        )
        y1, x1, y2, x2 = tf.unstack(self.head_boxes[index])
        box = tf.stack([x1, y1, x2, y2]) * _width_height_twice(tf.shape(trimap))
        return tf.cast(image, tf.float32), trimap, box

    def element(
        self,
        index: tf.Tensor,
        image: tf.Tensor,
        trimap: tf.Tensor,
        box: tf.Tensor,
        box_is_known: tf.Tensor | bool,
        image_size: int,
        targets: Sequence[str],
    ) -> tuple[tf.Tensor, dict, dict]:
        """Puts together what the network sees, its labels and their weights."""
        image = tf.ensure_shape(image, (image_size, image_size, 3))
        trimap = tf.ensure_shape(trimap, (image_size, image_size))
        has_box = tf.reduce_any(self.head_boxes[index] > 0) & box_is_known
        box = tf.clip_by_value(box, 0.0, float(image_size))
        box = tf.boolean_mask(box[None], has_box[None])
        one = tf.ones(())
        made = {
            "head_box": (
                pad_boxes(box, tf.zeros_like(box[:, 0]), max_boxes=1),
                tf.cast(has_box, tf.float32),
            ),
            "foreground": (
                tf.cast(trimap == 1, tf.int32),
                tf.cast(trimap != BORDER, tf.float32),
            ),
            "breed": (self.breeds[index], one),
            "species": (self.species[index], one),
        }
        labels = {name: made[name][0] for name in targets}
        return image, labels, {name: made[name][1] for name in targets}


def _builder(
    full: bool, data_dir: str | os.PathLike | None
) -> tfds.core.DatasetBuilder:
    if not full:
        return archives.prepared(OxfordPetSubset, data_dir)
    builder = tfds.builder("oxford_iiit_pet:4.*.*", data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def _membership(
    split: str, full: bool, data_dir: str | os.PathLike | None
) -> tuple[list[str], list[bool]]:
    """File names of the official split, and which of them are in `split`."""
    if split not in SPLITS:
        raise ValueError(f"Expected a split of {SPLITS}. Received: split={split!r}")
    official = "test" if split == "test" else "train"
    rows = _builder(full, data_dir).as_dataset(
        split=official,
        shuffle_files=False,
        decoders=_ENCODED,
    )
    names, chosen = [], []
    for row in tfds.as_numpy(rows):
        name = row["file_name"].decode()
        names.append(name)
        chosen.append(split_of(name, official, bool(row["head_bbox"].any())) == split)
    return names, chosen


def _select(
    split: str,
    full: bool,
    data_dir: str | os.PathLike | None,
    decoders: dict | None = None,
) -> tf.data.Dataset:
    """The rows of one of `SPLITS`."""
    chosen = tf.constant(_membership(split, full, data_dir)[1])
    rows = _builder(full, data_dir).as_dataset(
        split="test" if split == "test" else "train",
        shuffle_files=False,
        decoders=decoders,
    )
    rows = rows.enumerate().filter(lambda number, row: chosen[number])
    return rows.map(lambda number, row: row)


def _random_window(
    image: tf.Tensor,
    trimap: tf.Tensor,
    box: tf.Tensor,
    size: int,
    area: tuple[float, float],
    key: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Resizes a random window to a square of `size`, and moves the box with it."""
    share, shape, *where = tf.unstack(tf.random.stateless_uniform((4,), key))
    full = tf.cast(tf.shape(trimap), tf.float32)
    pixels = tf.reduce_prod(full) * (area[0] + share * (area[1] - area[0]))
    aspect = tf.exp((2.0 * shape - 1.0) * np.log(4 / 3))
    cut = tf.sqrt(tf.stack([pixels / aspect, pixels * aspect]))
    cut = tf.maximum(tf.round(tf.minimum(cut, full)), 1.0)
    start = tf.minimum(tf.floor(tf.stack(where) * (full - cut + 1.0)), full - cut)
    box = (box - _width_height_twice(start)) * _width_height_twice(size / cut)
    image, trimap = cut_and_resize(
        image, trimap, tf.cast(start, tf.int32), tf.cast(cut, tf.int32), [size, size]
    )
    return image, trimap, box


def _random_flip(
    image: tf.Tensor, trimap: tf.Tensor, box: tf.Tensor, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mirrors left and right, half of the time."""
    x1, y1, x2, y2 = tf.unstack(box)
    width = tf.cast(tf.shape(image)[1], tf.float32)
    return tf.cond(
        tf.random.stateless_uniform((), key) < 0.5,
        lambda: (
            tf.reverse(image, [1]),
            tf.reverse(trimap, [1]),
            tf.stack([width - x2, y1, width - x1, y2]),
        ),
        lambda: (image, trimap, box),
    )


def _width_height_twice(height_width: tf.Tensor) -> tf.Tensor:
    """From `(height, width)` to float32 `(width, height, width, height)`."""
    return tf.cast(tf.tile(height_width[::-1], [2]), tf.float32)
