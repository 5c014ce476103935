"""Auxiliary tasks of images: labels by hand, and a step with each of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl

aux = mtl.auxiliary
SIZE, PYRAMID = 32, ("pyramid_2", "pyramid_3")
DENSE = {"features": PYRAMID, "width": 8}

# Of each task: how it is made, and arguments of its head.
TASKS = {
    "Boundary": (aux.Boundary, DENSE),
    "Centres": (aux.Centres, DENSE),
    "Distance": (aux.Distance, DENSE),
    "Edges": (aux.Edges, DENSE),
    "Focus": (lambda: aux.Focus("seg", [2]), DENSE),
    "ImageReconstruction": (aux.ImageReconstruction, DENSE),
    "Rotation": (aux.Rotation, {"feature": "stride_8"}),
}


def trunk() -> mtl.trunks.Trunk:
    inputs = x = keras.Input((None, None, 3))
    for filters in (4, 6, 8):
        x = keras.layers.Conv2D(filters, 3, 2, padding="same", activation="relu")(x)
    neck = mtl.trunks.FeaturePyramid(width=8, levels=(2, 3))
    return mtl.trunks.from_backbone(keras.Model(inputs, x), neck=neck)


def data(batches: int = 3) -> tf.data.Dataset:
    """Batches of two images; the second has no boxes, and a corner without labels."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 155, (2 * batches, SIZE, SIZE, 3)).astype("float32")
    images += np.linspace(0, 100, SIZE, dtype="float32")[:, None, None]  # an upright
    instances = np.zeros((2 * batches, SIZE, SIZE), "int32")
    instances[:, 4:12, 4:12], instances[:, 4:12, 12:20] = 1, 2
    boxes = np.tile([[[4, 4, 12, 12], [12, 4, 20, 12], [-1] * 4]], (2 * batches, 1, 1))
    known = np.ones((2 * batches, SIZE, SIZE), "float32")
    known[1::2, -8:, -8:] = 0.0
    labels = {
        "boxes": {
            "boxes": boxes.astype("float32"),
            "labels": np.tile(np.int32([[0, 0, -1]]), (2 * batches, 1)),
        },
        "instances": instances,
        "seg": instances % 3,
    }
    weights = {
        "boxes": np.tile(np.float32([1, 0]), batches),
        "instances": known,
        "seg": known,
    }
    return tf.data.Dataset.from_tensor_slices((images, labels, weights)).batch(2)


def first(dataset):
    return next(iter(dataset))


@pytest.mark.parametrize("name", TASKS)
def test_trains_beside_a_main_task(name):
    """Its loss falls, it is no result, and what it reads is shared."""
    make, head = TASKS[name]
    auxiliary = make()
    segmentation = mtl.heads.Segmentation(3, **DENSE)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    seg = mtl.Task("seg", segmentation, loss)
    task = auxiliary.task(weight=0.5, **head)
    assert (task.role, task.weight, task.name) == ("auxiliary", 0.5, auxiliary.name)
    model = mtl.architectures.HardSharing(trunk(), [seg, task])
    model.build((None, SIZE, SIZE, 3))
    model.compile(keras.optimizers.Adam(0.01))
    labelled = auxiliary.add(data())
    before = model.evaluate(labelled, return_dict=True, verbose=0)
    own = [v.numpy() for v in model.task_variables(task.name)]
    model.fit(labelled.repeat(20 if name == "Rotation" else 8), verbose=0)
    after = model.evaluate(labelled, return_dict=True, verbose=0)
    assert after[f"{task.name}_loss"] < before[f"{task.name}_loss"]
    for start, variable in zip(own, model.task_variables(task.name), strict=True):
        assert (start != variable.numpy()).any(), variable.path
    assert set(model.predict_tasks(first(data())[0])) == {"seg"}


@pytest.mark.parametrize("name", TASKS)
def test_other_labels_stay(name):
    make, _ = TASKS[name]
    images, labels, weights = first(make().add(data()))
    old_images, old_labels, old_weights = first(data())
    np.testing.assert_array_equal(images[:2], old_images)
    for old, new in ((old_labels, labels), (old_weights, weights)):
        assert set(new) == {*old, make().name}
        for key, value in old.items():
            tf.nest.map_structure(
                lambda a, b: np.testing.assert_array_equal(a, b[:2]), value, new[key]
            )


@pytest.mark.parametrize("name", TASKS)
def test_same_data_again_and_from_a_checkpoint(name, tmp_path):
    """The stream is a function of its place, also where something is drawn."""
    make, _ = TASKS[name]
    stream = mtl.data.stream.row_batches(
        tf.nest.map_structure(lambda x: x.numpy(), first(data(4).unbatch().batch(8))),
        2,
        seed=0,
    )
    labelled = make().add(stream)
    iterator = iter(labelled)
    expected = [next(iterator) for _ in range(4)]
    iterator = iter(labelled)
    next(iterator), next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "place"))
    again = iter(labelled)
    tf.train.Checkpoint(iterator=again).read(path).assert_consumed()
    for batch in expected[2:]:
        tf.nest.map_structure(np.testing.assert_array_equal, batch, next(again))


def test_weights_are_ones_where_none_are_given():
    images, labels, _ = first(data())
    bare = tf.data.Dataset.from_tensors((images, {"seg": labels["seg"]}))
    _, _, weights = first(aux.Edges().add(bare))
    np.testing.assert_array_equal(weights["seg"], [1, 1])
    np.testing.assert_array_equal(weights["edges"], [1, 1])


def test_rotation_appends_turned_copies():
    turns = set()
    for images, labels, weights in aux.Rotation(seed=1).add(data(8)):
        assert images.shape[0] == 4
        for original, turned, label in zip(
            images[:2], images[2:], labels["rotation"][2:], strict=True
        ):
            np.testing.assert_array_equal(turned, np.rot90(original, int(label)))
            turns.add(int(label))
        np.testing.assert_array_equal(weights["rotation"], [0, 0, 1, 1])
        assert not weights["boxes"][2:].numpy().any()
        assert not weights["seg"][2:].numpy().any()
    assert turns == {0, 1, 2, 3}


def test_rotation_wants_squares():
    oblong = tf.data.Dataset.from_tensors((tf.ones((1, 4, 8, 3)), {}))
    with pytest.raises(ValueError, match="square"):
        aux.Rotation().add(oblong)


def test_reconstruction_is_the_image():
    images, labels, _ = first(aux.ImageReconstruction().add(data()))
    np.testing.assert_allclose(labels["image"] * 255.0, images, rtol=1e-6)


def test_edges_by_hand():
    """Sobel by NumPy, inside of the image."""
    images, labels, _ = first(aux.Edges().add(data()))
    grey = images.numpy().mean(axis=-1) / 255.0
    kernel = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    patch = grey[0, 5:8, 9:12]
    slope = np.hypot(np.sum(kernel * patch), np.sum(kernel.T * patch)) / 4
    assert labels["edges"].shape == (2, SIZE, SIZE, 1)
    assert float(labels["edges"][0, 6, 10, 0]) == pytest.approx(slope, rel=1e-5)


def test_centres_are_peaks():
    """Boxes around (8, 8) and (16, 8): between cells, 2 pixels from the middles."""
    _, labels, weights = first(aux.Centres(spread=0.5).add(data()))
    heat = labels["centres"].numpy()[0, :, :, 0]
    assert heat.shape == (8, 8)
    beside = np.exp(-((2 / 4) ** 2) / 2)  # along one axis
    np.testing.assert_allclose(heat[1:3, 1:5], beside**2, rtol=1e-6)
    assert heat.max() == pytest.approx(beside**2) and heat[7, 7] < 1e-6
    np.testing.assert_array_equal(weights["centres"], [1, 0])  # as of the boxes


def test_centres_without_a_box_are_nowhere():
    boxes = {"boxes": -tf.ones((1, 3, 4)), "labels": -tf.ones((1, 3), tf.int32)}
    bare = tf.data.Dataset.from_tensors((tf.ones((1, 32, 32, 3)), {"boxes": boxes}))
    assert not first(aux.Centres().add(bare))[1]["centres"].numpy().any()


def test_outlines_are_those_of_each_instance():
    _, labels, weights = first(aux.Distance().add(aux.Boundary().add(data())))
    row = labels["boundary"].numpy()[0, 8]
    np.testing.assert_array_equal(np.flatnonzero(row), [4, 11, 12, 19])
    distance = labels["distance"].numpy()[0, 8, :, 0]
    np.testing.assert_allclose(distance[4:12], np.array([1, 2, 3, 4, 4, 3, 2, 1]) / 4)
    for name in ("boundary", "distance"):
        np.testing.assert_array_equal(weights[name], weights["instances"])


def test_focus_is_on_the_classes():
    _, labels, weights = first(aux.Focus("seg", [1, 2]).add(data()))
    np.testing.assert_array_equal(labels["focus"], labels["seg"] > 0)
    np.testing.assert_array_equal(weights["focus"], weights["seg"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: aux.Focus("seg", []),
        lambda: aux.Centres(stride=0),
        lambda: aux.Centres(spread=0.0),
        lambda: aux.Boundary("masks").add(data()),
        lambda: aux.Centres("masks").add(data()),
    ],
)
def test_errors_say_what_was_received(make):
    with pytest.raises(ValueError, match="Received"):
        make()
