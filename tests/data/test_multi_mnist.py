import collections
import gzip
import hashlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, multi_mnist

SIZES = {"train": 70, "validation": 10, "test": 20}  # of the pools of the made-up set


def batches(folder, **arguments):
    given = {"batch_size": 7, "data_dir": folder}
    return multi_mnist.training_batches(**{**given, **arguments})


def taken(dataset, count):
    """Images, labels and weights of the first `count` batches, joined."""
    rows = list(dataset.take(count).as_numpy_iterator())
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *rows)


def file(folder):
    """The digits of an archive as they are in its files, read without mtl_zoo."""
    root = archives.find("mnist_t10k", folder)
    images = gzip.decompress((root / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((root / "t10k-labels-idx1-ubyte.gz").read_bytes())
    labels = np.frombuffer(labels, np.uint8)[8:]
    return np.frombuffer(images, np.uint8)[16:].reshape(-1, 28, 28), labels


def assert_pairs_are_of_the_file(folder, split, number):
    digits, labels = file(folder)
    made = multi_mnist.pairs(split, number, data_dir=folder)
    assert {name: (array.dtype, array.shape) for name, array in made.items()} == {
        "images": (np.uint8, (number, 36, 36, 1)),
        "left": (np.int32, (number,)),
        "right": (np.int32, (number,)),
        "digits": (np.int32, (number, 2)),
    }
    for image, left, right, (one, other) in zip(*made.values(), strict=True):
        expected = np.zeros((36, 36), np.uint8)
        expected[:28, :28] = digits[one]
        expected[8:, 8:] = np.maximum(expected[8:, 8:], digits[other])
        np.testing.assert_array_equal(image[..., 0], expected)
        assert (left, right) == (labels[one], labels[other])


@pytest.mark.parametrize("split", multi_mnist.SPLITS)
def test_images_and_labels_are_those_of_two_digits(mnist_dir, split):
    assert_pairs_are_of_the_file(mnist_dir, split, 50)


def test_splits_share_no_digit_and_leave_none_out(mnist_dir):
    pools = {
        split: set(multi_mnist.pairs(split, data_dir=mnist_dir)["digits"].flat)
        for split in multi_mnist.SPLITS
    }
    assert {split: len(pool) for split, pool in pools.items()} == SIZES
    assert set().union(*pools.values()) == set(range(100))


@pytest.mark.parametrize("split", multi_mnist.SPLITS)
def test_in_a_round_every_digit_is_once_left_and_once_right(mnist_dir, split):
    size, rounds = SIZES[split], multi_mnist.ROUNDS[split]
    digits = multi_mnist.pairs(split, data_dir=mnist_dir)["digits"]
    assert len(digits) == rounds * size
    # One order for each round and side: (rounds, size, 2) to (2 rounds, size).
    orders = digits.reshape(rounds, size, 2).swapaxes(1, 2).reshape(-1, size)
    pool = np.unique(digits)
    np.testing.assert_array_equal(np.sort(orders), np.tile(pool, (2 * rounds, 1)))
    assert len({tuple(order) for order in orders}) == 2 * rounds


def test_pair_depends_on_its_number_and_the_seed_only(mnist_dir):
    few, many, other = (
        multi_mnist.pairs("train", number, seed, mnist_dir)
        for number, seed in ((5, 0), (200, 0), (5, 1))
    )
    for name in few:
        np.testing.assert_array_equal(few[name], many[name][:5])
    assert (few["digits"] != other["digits"]).any()


def test_training_goes_on_with_the_pairs_of_its_seed(mnist_dir):
    """Whatever the batch size, over the ends of rounds, into round 10."""
    expected = multi_mnist.pairs("train", 700, seed=4, data_dir=mnist_dir)
    for size in (7, 50):
        found = batches(mnist_dir, batch_size=size, seed=4)
        images, labels, weights = taken(found, 700 // size)
        assert images.dtype == np.float32
        np.testing.assert_array_equal(images, expected["images"])
        for name in multi_mnist.TARGETS:
            np.testing.assert_array_equal(labels[name], expected[name])
            np.testing.assert_array_equal(weights[name], np.ones(700))


def test_evaluation_is_the_fixed_pairs_in_order(mnist_dir):
    found = multi_mnist.evaluation_batches("test", batch_size=32, data_dir=mnist_dir)
    assert [len(images) for images, _, _ in found] == [32, 32, 32, 4]
    expected = multi_mnist.pairs("test", data_dir=mnist_dir)
    images, labels, weights = taken(found, -1)
    np.testing.assert_array_equal(images, expected["images"])
    for name in multi_mnist.TARGETS:
        np.testing.assert_array_equal(labels[name], expected[name])
        np.testing.assert_array_equal(weights[name], np.ones(100))
    few = multi_mnist.evaluation_batches("test", number=3, data_dir=mnist_dir)
    np.testing.assert_array_equal(taken(few, -1)[0], images[:3])


def test_number_of_batches_is_known(mnist_dir):
    assert batches(mnist_dir).cardinality() == tf.data.INFINITE_CARDINALITY
    found = multi_mnist.evaluation_batches("test", batch_size=32, data_dir=mnist_dir)
    assert found.cardinality() == 4


def test_stream_goes_on_after_a_restart_in_another_round(mnist_dir, tmp_path):
    iterator = iter(batches(mnist_dir, seed=2))
    for _ in range(23):  # 161 pairs: round 2 has begun
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    again = iter(batches(mnist_dir, seed=2))
    tf.train.Checkpoint(iterator=again).restore(path).assert_consumed()
    for _ in range(12):
        tf.nest.map_structure(
            np.testing.assert_array_equal, next(again), next(iterator)
        )
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000


def test_only_the_targets_asked_for(mnist_dir):
    _, labels, weights = batches(mnist_dir, targets=["right"]).element_spec
    assert list(labels) == list(weights) == ["right"]


def test_shapes_and_dtypes_of_training(mnist_dir):
    images, labels, weights = batches(mnist_dir).element_spec
    assert images == tf.TensorSpec((7, 36, 36, 1), tf.float32)
    vectors = {tf.int32: labels, tf.float32: weights}
    for dtype, found in vectors.items():
        assert found == dict.fromkeys(("left", "right"), tf.TensorSpec((7,), dtype))


def test_labelled_share_is_exact_in_every_round_and_each_targets_own(mnist_dir):
    shares = {"left": 0.5, "right": 0.1}
    found = batches(mnist_dir, batch_size=70, labelled=shares)
    for _, _, weights in found.take(4):
        assert np.sum(weights["left"]) == 35
        assert np.sum(weights["right"]) == 7
    for _, _, weights in batches(mnist_dir, labelled={"left": 0.0}).take(12):
        assert not np.any(weights["left"]) and np.all(weights["right"] == 1)


def test_the_same_digits_are_labelled_whatever_the_seed_and_the_round(mnist_dir):
    known = collections.defaultdict(set)
    for seed in (0, 3):
        digits = multi_mnist.pairs("train", 210, seed, mnist_dir)["digits"]
        found = batches(mnist_dir, seed=seed, labelled={"left": 0.3, "right": 0.3})
        _, _, weights = taken(found, 30)
        for side, name in enumerate(multi_mnist.TARGETS):
            known[name] |= set(digits[weights[name] == 1, side])
    assert len(known["left"]) == len(known["right"]) == 21
    assert known["left"] != known["right"]


def test_tfds_set_is_the_fixed_pairs(mnist_dir):
    for split in multi_mnist.SPLITS:
        expected = multi_mnist.pairs(split, data_dir=mnist_dir)
        rows = taken(multi_mnist.load(split, mnist_dir).batch(100), -1)
        assert set(rows) == {"image", "left", "right"}
        np.testing.assert_array_equal(rows["image"], expected["images"])
        for name in multi_mnist.TARGETS:
            np.testing.assert_array_equal(rows[name], expected[name])
    builder = archives.prepared(multi_mnist.MultiMnist, mnist_dir, archive="mnist_t10k")
    assert builder.info.features["left"].names == [str(digit) for digit in range(10)]
    assert builder.info.features["image"].shape == (36, 36, 1)


def test_builder_is_prepared_from_a_folder_and_known_to_tfds(mnist_dir, tmp_path):
    builder = tfds.builder(
        "multi_mnist", source=mnist_dir / "mnist_t10k", data_dir=tmp_path
    )
    assert isinstance(builder, multi_mnist.MultiMnist)
    builder.download_and_prepare()
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    assert counts == {"train": 560, "validation": 20, "test": 100}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, r"'train'.*split='val'"),
        ({"targets": ["top"]}, r"left.*top"),
        ({"targets": "left"}, "targets='left'"),
        ({"labelled": {"top": 0.5}}, "top"),
        ({"labelled": {"left": 1.5}}, r"0\.\.1.*{'left': 1.5}"),
        ({"labelled": {"left": -0.1}}, "-0.1"),
    ],
)
def test_errors_name_what_was_received(mnist_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(mnist_dir, **arguments)


def test_no_pairs_are_refused(mnist_dir):
    with pytest.raises(ValueError, match=r"at least one pair.*number=0"):
        multi_mnist.pairs("test", 0, data_dir=mnist_dir)
    with pytest.raises(ValueError, match="number=-1"):
        multi_mnist.evaluation_batches(number=-1, data_dir=mnist_dir)


def test_missing_archive_says_what_to_do(tmp_path):
    for function in (
        multi_mnist.training_batches,
        multi_mnist.evaluation_batches,
        multi_mnist.load,
    ):
        with pytest.raises(archives.DataNotFoundError, match=r"mnist_t10k\.tar\.gz"):
            function(data_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("images-idx3", lambda data: b"\0\0\r\3" + data[4:], r"\[0, 0, 13, 3\]"),
        ("images-idx3", lambda data: data[:-1], r"idx3.*as many bytes as they say"),
        ("labels-idx1", lambda data: b"", r"idx1.*0 bytes"),
        (
            "labels-idx1",
            lambda data: bytes([0, 0, 8, 1, 0, 0, 0, 99]) + data[9:],
            r"\(100, 28, 28\) and labels \(99,\)",
        ),
        ("labels-idx1", lambda data: data[:-1] + b"\n", "the largest 10"),
    ],
)
def test_files_of_another_kind_are_refused(mnist_dir, tmp_path, name, change, message):
    shutil.copytree(mnist_dir, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "mnist_t10k" / f"t10k-{name}-ubyte.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    with pytest.raises(ValueError, match=message):
        multi_mnist.pairs("train", 1, data_dir=tmp_path)


def test_real_counts_and_labels(real_data):
    folder = real_data("mnist_t10k")
    _, labels = file(folder)
    # The published counts of the digits 0 to 9 in the test file.
    published = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(labels).tolist() == published
    pools = {}
    for split, pool, number in (
        ("train", 7000, 56000),
        ("validation", 1000, 2000),
        ("test", 2000, 10000),
    ):
        digits = multi_mnist.pairs(split, data_dir=folder)["digits"]
        pools[split] = set(digits.flat)
        assert (len(digits), len(pools[split])) == (number, pool)
    assert set().union(*pools.values()) == set(range(10000))
    assert_pairs_are_of_the_file(folder, "test", 200)


def test_real_test_pairs_stay_what_they_are_own_regression(real_data):
    """Another TensorFlow or NumPy must not change what results were measured on."""
    digits = multi_mnist.pairs("test", data_dir=real_data("mnist_t10k"))["digits"]
    digest = hashlib.sha256(digits.astype("<i4").tobytes()).hexdigest()[:16]
    assert digest == "949ed84c912eeb86"
