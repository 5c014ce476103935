import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from mtl_zoo.data import instances


def random_map(seed, shape=(33, 47)):
    """Blobs that touch each other and the border; some ids are not used."""
    rng = np.random.default_rng(seed)
    blobs, _ = ndimage.label(ndimage.gaussian_filter(rng.normal(size=shape), 2) > 0)
    cut = np.arange(shape[1]) > shape[1] // 2  # Divides what crosses the middle.
    return np.where(blobs > 0, 2 * blobs + cut, 0).astype(np.int32)


EMPTY = np.zeros((4, 5), np.int32)
FULL = np.ones((4, 5), np.int32)
MAPS = [random_map(0), random_map(1), random_map(2, (1, 9)), random_map(3, (9, 1))]


def test_boxes_by_hand_skip_unused_ids():
    label_map = tf.constant([[0, 0, 3, 3], [1, 0, 3, 0], [1, 1, 0, 0]])
    boxes = instances.boxes_of(label_map)
    np.testing.assert_array_equal(boxes, [[0, 1, 2, 3], [2, 0, 4, 2]])


@pytest.mark.parametrize("label_map", MAPS)
def test_boxes_are_scipys(label_map):
    expected = [
        (s[1].start, s[0].start, s[1].stop, s[0].stop)
        for s in ndimage.find_objects(label_map)
        if s is not None
    ]
    boxes = instances.boxes_of(tf.constant(label_map))
    np.testing.assert_array_equal(boxes, np.reshape(expected, (-1, 4)))


def test_slivers_have_no_box():
    label_map = np.zeros((12, 12), np.int32)
    label_map[:, 0] = 1  # 12 of 100 pixels: under a fifth
    label_map[:4, 2:5] = 2  # 12 of 12 pixels
    label_map[:3, 6:9] = 3  # 9 pixels, all of it, but under ten
    label_map[6:, 6:] = 4  # 36 of 180 pixels: a fifth
    full_areas = tf.constant([0.0, 100.0, 12.0, 9.0, 180.0, 50.0])
    boxes = instances.boxes_of(tf.constant(label_map), full_areas)
    np.testing.assert_array_equal(boxes, [[2, 0, 5, 4], [6, 6, 12, 12]])


def test_foreground_by_hand():
    foreground = instances.foreground_map(tf.constant([[0, 5], [1, 0]]))
    np.testing.assert_array_equal(foreground, [[0, 1], [1, 0]])
    assert foreground.dtype == tf.int32


def test_boundary_by_hand():
    label_map = [
        [1, 1, 1, 2],
        [1, 1, 1, 2],
        [1, 1, 1, 0],
    ]
    expected = [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 1, 0],
    ]
    np.testing.assert_array_equal(
        instances.boundary_map(tf.constant(label_map)), expected
    )


@pytest.mark.parametrize("label_map", MAPS)
def test_boundary_is_a_pixel_with_another_neighbour(label_map):
    padded = np.pad(label_map, 1, mode="edge")
    neighbours = [
        padded[2:, 1:-1],
        padded[:-2, 1:-1],
        padded[1:-1, 2:],
        padded[1:-1, :-2],
    ]
    expected = (label_map > 0) & np.any([n != label_map for n in neighbours], axis=0)
    np.testing.assert_array_equal(
        instances.boundary_map(tf.constant(label_map)), expected
    )


def test_distance_by_hand():
    # Five columns of one object between background columns: 1 2 3 2 1, over 3.
    label_map = tf.constant([[0, 1, 1, 1, 1, 1, 0]] * 3)
    distance = instances.distance_map(label_map)[..., 0]
    np.testing.assert_allclose(distance, [[0, 1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]] * 3)


@pytest.mark.parametrize("label_map", MAPS)
def test_distance_is_scipys_of_each_instance(label_map):
    expected = np.zeros(label_map.shape)
    for number in np.unique(label_map[label_map > 0]):
        mask = label_map == number
        inside = np.ones(mask.shape)
        if not mask.all():
            inside = ndimage.distance_transform_edt(mask)
        expected[mask] = (inside / inside.max())[mask]
    distance = instances.distance_map(tf.constant(label_map))
    np.testing.assert_allclose(distance[..., 0], expected, atol=1e-6)


def test_offsets_by_hand():
    # Columns 1, 2, 4 of one row have their centre at 7/3: -4/3, -1/3, 5/3.
    offsets = instances.offset_map(tf.constant([[0, 1, 1, 0, 1]]))
    np.testing.assert_allclose(offsets[0, :, 0], [0, -1, -0.25, 0, 1], atol=1e-6)
    np.testing.assert_array_equal(offsets[0, :, 1], [0] * 5)


@pytest.mark.parametrize("label_map", MAPS[:2])
def test_offsets_reach_one_both_ways_in_every_instance(label_map):
    offsets = instances.offset_map(tf.constant(label_map)).numpy()
    assert (offsets[label_map == 0] == 0).all()
    for number, s in enumerate(ndimage.find_objects(label_map), start=1):
        if s is None:
            continue
        own = offsets[label_map == number]
        for channel, axis in ((0, 1), (1, 0)):
            reach = 1.0 if s[axis].stop - s[axis].start > 1 else 0.0
            assert own[:, channel].max() == pytest.approx(reach, abs=1e-5)
            assert own[:, channel].min() == pytest.approx(-reach, abs=1e-5)


@pytest.mark.parametrize("label_map", [EMPTY, FULL])
def test_no_instance_and_nothing_else(label_map):
    given = tf.constant(label_map)
    assert instances.boxes_of(given).shape == (label_map.max(), 4)
    assert not np.any(instances.boundary_map(given))
    np.testing.assert_array_equal(instances.distance_map(given)[..., 0], label_map)
    assert np.isfinite(instances.offset_map(given)).all()


@pytest.mark.parametrize("label_map", MAPS[:2])
def test_mirrored_map_gives_mirrored_targets(label_map):
    given, mirrored = tf.constant(label_map), tf.constant(label_map[:, ::-1])
    for target in (
        instances.foreground_map,
        instances.boundary_map,
        instances.distance_map,
    ):
        np.testing.assert_allclose(
            target(mirrored), target(given)[:, ::-1], atol=1e-6, err_msg=target.__name__
        )
    signs = [-1.0, 1.0]  # Left and right change places.
    np.testing.assert_allclose(
        instances.offset_map(mirrored),
        instances.offset_map(given)[:, ::-1] * signs,
        atol=1e-4,
    )
    x1, y1, x2, y2 = np.split(instances.boxes_of(given).numpy(), 4, axis=1)
    width = label_map.shape[1]
    np.testing.assert_array_equal(
        instances.boxes_of(mirrored), np.hstack([width - x2, y1, width - x1, y2])
    )
