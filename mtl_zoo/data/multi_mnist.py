"""Multi-MNIST: two handwritten digits that overlap, one task for each.

The digits are the 10,000 of MNIST's test file (28 x 28 pixels), the archive
`mnist_t10k`; the 60,000 of the training file are not used. A fixed order divides them
into three pools *before* they are paired: 7,000 train, 1,000 validate, 2,000 test. No
image is in two pools; a writer may be, since the file does not name the writers.

A pair is an image of 36 x 36 pixels, the pixelwise maximum of one digit in the top left
corner and one in the bottom right corner, so that 20 x 20 pixels belong to both. Pairs
come in rounds: in a round over a pool, every digit is once on the left and once on the
right, each in a random order of its own. Pair `i` of a split depends on the seed and
`i` only. Training goes on with fresh pairs for ever; the pairs of validation (2 rounds,
2,000) and test (5 rounds, 10,000) are fixed, the first ones of seed 0.

Differences from the papers:
    Sabour et al. pair digits of different classes, and shift each by up to 4 pixels.
    Here, as with Sener and Koltun, classes may be the same, and even the image (in one
    of 7,000 training pairs). They put the second digit 6 pixels down and right, not 8,
    shrink the result to 28 x 28, and train on 60,000 fixed pairs of the training file's
    digits. Both test on digits of the test file, all of which are in three parts here.

Reference:
    - [LeCun et al., 1998](https://doi.org/10.1109/5.726791), the digits.
    - [Sabour et al., 2017](https://arxiv.org/abs/1710.09829), the pairs.
    - [Sener & Koltun, 2018](https://arxiv.org/abs/1810.04650), as two tasks.
"""

import gzip
import hashlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, stream
from mtl_zoo.data.targets import check_targets

__all__ = [
    "ARCHIVE",
    "IMAGE_SIZE",
    "ROUNDS",
    "SPLITS",
    "TARGETS",
    "MultiMnist",
    "evaluation_batches",
    "load",
    "pairs",
    "training_batches",
]

SPLITS = ("train", "validation", "test")

TARGETS = ("left", "right")
"""Names of the targets, both int32 `(batch,)`, the digits 0 to 9: `left` is the one in
the top left corner, `right` the one in the bottom right corner."""

ROUNDS = {"train": 8, "validation": 2, "test": 5}
"""How many rounds over its pool a split has where a number of pairs is not given:
56,000, 2,000 and 10,000 pairs. Training batches go on after that."""

ARCHIVE = "mnist_t10k"
DIGIT_SIZE = 28
IMAGE_SIZE = 36

_IMAGES, _LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
_MARGIN = IMAGE_SIZE - DIGIT_SIZE


class MultiMnist(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the fixed pairs, for code that takes any TFDS set, and exchange.

    An example is `{"image": (36, 36, 1) uint8, "left": () int64, "right": () int64}`.
    The splits have `ROUNDS` rounds: 56,000 for training, 2,000 and 10,000.

    Args:
        source: The unpacked folder of the archive. Defaults to None: found by
            `archives.find`.
    """

    name = "multi_mnist"
    code_path = None  # Nothing is downloaded, so there is no file of checksums.
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Pairs of the 10,000 digits of MNIST's test file."}

    def __init__(self, *, source: os.PathLike | None = None, **kwargs):
        self._source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        digit = tfds.features.ClassLabel(names=[str(digit) for digit in range(10)])
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "Two handwritten digits in one image, 20 x 20 of its 36 x 36 pixels "
                "shared: which is top left, which is bottom right? Made of the 10,000 "
                "digits of MNIST's test file; no digit is in two splits."
            ),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(
                        shape=(IMAGE_SIZE, IMAGE_SIZE, 1), encoding_format="png"
                    ),
                    "left": digit,
                    "right": digit,
                }
            ),
            disable_shuffling=True,  # Pairs are random already.
            homepage="https://arxiv.org/abs/1710.09829",
            citation=(
                "@inproceedings{sabour2017dynamic, title={Dynamic Routing Between "
                "Capsules}, author={Sabour, Sara and Frosst, Nicholas and Hinton, "
                "Geoffrey E.}, booktitle={NeurIPS}, year={2017}}"
            ),
            license="CC BY-SA 3.0 as generally listed; the archive's source says none",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        source = pathlib.Path(self._source or archives.find(ARCHIVE))
        return {split: self._generate_examples(source, split) for split in SPLITS}

    def _generate_examples(
        self, source: pathlib.Path, split: str
    ) -> Iterator[tuple[int, dict]]:
        pool = _Pool.of(split, source)
        made = pool.pairs(pool.number(split), seed=0)
        for index, image in enumerate(made["images"]):
            left, right = made["left"][index], made["right"][index]
            yield index, {"image": image, "left": left, "right": right}


def load(
    split: str = "train", data_dir: str | os.PathLike | None = None
) -> tf.data.Dataset:
    """The fixed pairs of a split, in their order, as TFDS gives them.

    The first call prepares the set in the cache, which takes half a minute; later calls
    only read it.

    Args:
        split: `"train"`, `"validation"` or `"test"`, or a TFDS slice of one.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `{"image": (36, 36, 1) uint8, "left", "right"}`, the digits int64.

    Raises:
        DataNotFoundError: If the archive is not there.
    """
    builder = archives.prepared(MultiMnist, data_dir, archive=ARCHIVE)
    return builder.as_dataset(split=split, shuffle_files=False)


def pairs(
    split: str,
    number: int | None = None,
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
) -> dict[str, np.ndarray]:
    """The first pairs of a split, as arrays.

    Args:
        split: One of `SPLITS`: whose pool of digits to use.
        number: How many pairs. Defaults to None: as many as `ROUNDS` says.
        seed: Another seed makes other pairs of the same pool.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        `images` uint8 `(number, 36, 36, 1)`; `left` and `right` int32 `(number,)`, 0 to
        9; `digits` int32 `(number, 2)`, the places of the left and of the right digit
        in the archive's file.

    Raises:
        ValueError: If the split is unknown, the number is not positive, or the files
            are not those of MNIST.
        DataNotFoundError: If the archive is not there.
    """
    pool = _Pool.of(split, archives.find(ARCHIVE, data_dir))
    return pool.pairs(pool.number(split, number), seed)


def training_batches(
    split: str = "train",
    *,
    targets: Sequence[str] = TARGETS,
    batch_size: int = 256,
    seed: int = 0,
    labelled: Mapping[str, float] | None = None,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """Endless batches of fresh pairs; see the package docstring for the contract.

    Args:
        split: One of `SPLITS`: whose pool of digits to use.
        targets: Which of `TARGETS` to give.
        batch_size: Pairs a batch.
        seed: Decides the whole stream. Which digits are labelled is always the same.
        labelled: Share of the pool's digits whose label is known where they are a
            target, such as `{"left": 0.1}`: a pair with another digit there has weight
            0, in every round. Defaults to None: all labels are known.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `(images, labels, weights)`; `images` is float32 `(batch_size, 36,
        36, 1)` in 0..255, each label is int32 and each weight float32 `(batch_size,)`.

    Raises:
        ValueError: If the split or a target is unknown, a share is not in 0..1, or the
            files are not those of MNIST.
        DataNotFoundError: If the archive is not there.
    """
    check_targets(targets, TARGETS)
    check_targets(list(labelled or TARGETS), TARGETS)
    pool = _Pool.of(split, archives.find(ARCHIVE, data_dir))
    known = {name: pool.known(name, (labelled or {}).get(name, 1)) for name in targets}
    return _batches(pool, pool.stream(seed), known, batch_size, drop_remainder=True)


def evaluation_batches(
    split: str = "validation",
    *,
    targets: Sequence[str] = TARGETS,
    number: int | None = None,
    batch_size: int = 256,
    data_dir: str | os.PathLike | None = None,
) -> tf.data.Dataset:
    """One pass over the first `number` fixed pairs of a split, in their order.

    Args:
        split: One of `SPLITS`.
        targets: Which of `TARGETS` to give.
        number: How many pairs. Defaults to None: as many as `ROUNDS` says.
        batch_size: Pairs a batch; the last batch may be smaller.
        data_dir: Where the archive is; see `archives.find`.

    Returns:
        A dataset of `(images, labels, weights)` as from `training_batches`.

    Raises:
        ValueError: If the split or a target is unknown, the number is not positive, or
            the files are not those of MNIST.
        DataNotFoundError: If the archive is not there.
    """
    check_targets(targets, TARGETS)
    pool = _Pool.of(split, archives.find(ARCHIVE, data_dir))
    indices = pool.stream(seed=0).take(pool.number(split, number))
    known = {name: pool.known(name, 1) for name in targets}
    return _batches(pool, indices, known, batch_size, drop_remainder=False)


@dataclass(frozen=True)
class _Pool:
    """The `n` digits of a split.

    Attributes:
        top_left: uint8 `(n, 36, 36, 1)`, each in its corner of an empty image.
        bottom_right: The same in the other corner.
        classes: int32 `(n,)`.
        places: int32 `(n,)`, where each is in the archive's file.
    """

    top_left: tf.Tensor
    bottom_right: tf.Tensor
    classes: tf.Tensor
    places: tf.Tensor

    @classmethod
    def of(cls, split: str, source: pathlib.Path) -> "_Pool":
        if split not in SPLITS:
            raise ValueError(f"Expected a split of {SPLITS}. Received: split={split!r}")
        images, classes = _read(source)
        order = _fixed_order(len(classes), "pools")
        train, rest = 7 * len(order) // 10, 8 * len(order) // 10
        parts = np.split(order, [train, rest])
        places = parts[SPLITS.index(split)]
        digits, before, after = images[places, ..., None], (_MARGIN, 0), (0, _MARGIN)
        return cls(
            top_left=tf.constant(np.pad(digits, [(0, 0), after, after, (0, 0)])),
            bottom_right=tf.constant(np.pad(digits, [(0, 0), before, before, (0, 0)])),
            classes=tf.constant(classes[places], tf.int32),
            places=tf.constant(places, tf.int32),
        )

    def number(self, split: str, wanted: int | None = None) -> int:
        """How many pairs a split has, or the number that is asked for."""
        if wanted is not None and wanted < 1:
            raise ValueError(f"Expected at least one pair. Received: number={wanted}")
        return wanted or ROUNDS[split] * len(self.classes)

    def known(self, target: str, share: float) -> tf.Tensor:
        """1 for `share` of the digits, chosen by the target's name, 0 for the rest."""
        if not 0 <= share <= 1:
            raise ValueError(
                "A labelled share must be in 0..1. "
                f"Received: labelled={{{target!r}: {share}}}"
            )
        known = np.zeros(len(self.classes), np.float32)
        known[_fixed_order(len(known), target)[: round(share * len(known))]] = 1.0
        return tf.constant(known)

    def stream(self, seed: int) -> tf.data.Dataset:
        """Endless pairs of indices of digits, `(left (), right ())`, both int64."""
        number = len(self.classes)
        fold_in = tf.random.experimental.stateless_fold_in

        def a_round(counter: tf.Tensor) -> tf.data.Dataset:
            orders = [
                tf.random.experimental.index_shuffle(
                    tf.range(number, dtype=tf.int64),
                    seed=fold_in(tf.constant([seed, side], tf.int64), counter),
                    max_index=number - 1,
                )
                for side in range(2)
            ]
            return tf.data.Dataset.from_tensor_slices(tuple(orders))

        endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
        return tf.data.Dataset.counter().flat_map(a_round).apply(endless)

    def compose(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Images uint8 `(batch, 36, 36, 1)` of the digits with these indices."""
        return tf.maximum(
            tf.gather(self.top_left, left), tf.gather(self.bottom_right, right)
        )

    def pairs(self, number: int, seed: int) -> dict[str, np.ndarray]:
        """See `pairs`."""
        drawn = self.stream(seed).take(number).batch(number)
        left, right = drawn.get_single_element()
        made = {
            "images": self.compose(left, right),
            "left": tf.gather(self.classes, left),
            "right": tf.gather(self.classes, right),
            "digits": tf.gather(self.places, tf.stack([left, right], axis=1)),
        }
        return {name: tensor.numpy() for name, tensor in made.items()}


def _batches(
    pool: _Pool,
    indices: tf.data.Dataset,
    known: Mapping[str, tf.Tensor],
    batch_size: int,
    drop_remainder: bool,
) -> tf.data.Dataset:
    """Composes whole batches at once: a digit is too small for an op of its own."""

    def batch(left: tf.Tensor, right: tf.Tensor) -> tuple[tf.Tensor, dict, dict]:
        of = {"left": left, "right": right}
        return (
            tf.cast(pool.compose(left, right), tf.float32),
            {name: tf.gather(pool.classes, of[name]) for name in known},
            {name: tf.gather(known[name], of[name]) for name in known},
        )

    batched = indices.batch(batch_size, drop_remainder=drop_remainder)
    dataset = batched.map(batch, num_parallel_calls=tf.data.AUTOTUNE)
    return stream.checkpointable(dataset.prefetch(2))


def _fixed_order(number: int, what: str) -> np.ndarray:
    """An order of `0 .. number - 1` for each purpose, by hashes: always the same."""
    hashes = [
        hashlib.md5(f"{what} {i}".encode(), usedforsecurity=False).digest()
        for i in range(number)
    ]
    return np.array(sorted(range(number), key=hashes.__getitem__))


def _read(source: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 28, 28)` and labels `(n,)`, both uint8, from the archive's files."""
    images, labels = _read_idx(source / _IMAGES, 3), _read_idx(source / _LABELS, 1)
    size = (len(labels), DIGIT_SIZE, DIGIT_SIZE)
    if images.shape != size or len(labels) < 10 or labels.max() > 9:
        raise ValueError(
            f"Expected in {source} ten or more images of 28 x 28 pixels and as many "
            f"labels of 0..9. Received images {images.shape} and labels "
            f"{labels.shape}, the largest {labels.max(initial=0)}. Unpack the archive "
            "anew."
        )
    return images, labels


def _read_idx(path: pathlib.Path, rank: int) -> np.ndarray:
    """An array of bytes in the format of http://yann.lecun.com/exdb/mnist.

    Two zeros, 8 for unsigned bytes, the rank, each dimension as a big-endian int32;
    then the values, the last dimension fastest.
    """
    with gzip.open(path) as file:
        data = file.read()
    head = 4 + 4 * rank
    shape = tuple(np.frombuffer(data[4:head], ">i4").tolist())
    if data[:4] != bytes([0, 0, 8, rank]) or len(data) != head + np.prod(shape):
        raise ValueError(
            f"Expected in {path} an idx file: the bytes 0, 0, 8, {rank}, then {rank} "
            f"sizes, then as many bytes as they say. Received {len(data)} bytes, "
            f"starting with {list(data[:4])} and the sizes {shape}. Unpack the archive "
            "anew."
        )
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
