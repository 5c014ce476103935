"""What every data set promises: the same stream from the same seed, and resuming it."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.data import digit_scenes, multi_mnist, nuclei, pets

SETS = ("nuclei", "pets", "digit_scenes", "multi_mnist")


@pytest.fixture
def training(nuclei_dir, pets_dir, mnist_dir):
    def batches(name, **arguments):
        return {
            "nuclei": lambda: nuclei.training_batches(
                targets=nuclei.TARGETS,
                image_size=64,
                batch_size=4,
                max_boxes=32,
                data_dir=nuclei_dir,
                **arguments,
            ),
            "pets": lambda: pets.training_batches(
                targets=pets.TARGETS,
                image_size=64,
                batch_size=4,
                data_dir=pets_dir,
                **arguments,
            ),
            "digit_scenes": lambda: digit_scenes.training_batches(
                number=20, batch_size=8, labelled={"boxes": 0.5}, **arguments
            ),
            "multi_mnist": lambda: multi_mnist.training_batches(
                batch_size=16, labelled={"left": 0.5}, data_dir=mnist_dir, **arguments
            ),
        }[name]()

    return batches


def assert_equal(one, other):
    tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def digest(batch):
    arrays = [np.ascontiguousarray(leaf) for leaf in tf.nest.flatten(batch)]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()


@pytest.mark.parametrize("name", SETS)
def test_seed_decides_the_stream_and_a_checkpoint_continues_it(
    training, name, tmp_path
):
    iterator = iter(training(name, seed=1))
    before = [next(iterator) for _ in range(3)]  # It stops in the midst of an epoch.
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    after = [next(iterator) for _ in range(3)]  # Into the next epoch.

    same = iter(training(name, seed=1))
    assert_equal(next(same), before[0])
    tf.train.Checkpoint(iterator=same).restore(path).assert_consumed()
    for batch in after:
        assert_equal(next(same), batch)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 10_000

    other = next(iter(training(name, seed=2)))
    assert np.any(other[0] != before[0][0])


CONTINUE = """
import sys
import tensorflow as tf
from mtl_zoo.data import nuclei
from tests.data.test_contract import digest

iterator = iter(
    nuclei.training_batches(
        targets=nuclei.TARGETS, image_size=64, batch_size=4, max_boxes=32,
        data_dir=sys.argv[1], seed=1,
    )
)
tf.train.Checkpoint(iterator=iterator).restore(sys.argv[2]).assert_consumed()
print("digest", digest(next(iterator)), digest(next(iterator)))
"""


def test_stream_continues_in_a_new_process_which_then_ends(
    training, nuclei_dir, tmp_path
):
    """Leaving the endless iterator behind must not keep the process alive."""
    iterator = iter(training("nuclei", seed=1))
    for _ in range(3):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "state"))
    done = subprocess.run(
        [sys.executable, "-c", CONTINUE, str(nuclei_dir), path],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=dict(os.environ),
    )
    expected = ["digest", digest(next(iterator)), digest(next(iterator))]
    assert done.stdout.split() == expected


@pytest.mark.parametrize("name", SETS)
def test_images_boxes_and_weights_are_as_promised(training, name):
    images, labels, weights = next(iter(training(name)))
    channels = 1 if name == "multi_mnist" else 3
    assert images.dtype == tf.float32 and images.shape[-1] == channels
    assert np.min(images) >= 0 and 5 < np.max(images) <= 255
    assert list(labels) == list(weights)
    for target, weight in weights.items():
        assert weight.dtype == tf.float32
        leaf = tf.nest.flatten(labels[target])[0]
        assert weight.shape == leaf.shape[: len(weight.shape)]
        assert set(np.unique(weight)) <= {0.0, 1.0}
    for label in labels.values():
        if isinstance(label, dict):
            boxes, classes = label["boxes"].numpy(), label["labels"].numpy()
            real = classes >= 0
            assert (boxes[~real] == -1).all() and (classes[~real] == -1).all()
            height, width = images.shape[1:3]
            x1, y1, x2, y2 = boxes[real].T
            assert ((x1 >= 0) & (x1 < x2) & (x2 <= width)).all()
            assert ((y1 >= 0) & (y1 < y2) & (y2 <= height)).all()
