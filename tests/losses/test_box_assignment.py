import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.losses import assign_boxes

STRIDES, SIZES = (4, 8, 16, 32), (32, 64, 128)


def grid(height, width, strides=STRIDES):
    cells = []
    for s in strides:
        for row in range(-(-height // s)):
            for column in range(-(-width // s)):
                cells.append(((column + 0.5) * s, (row + 0.5) * s, s))
    return np.float32(cells)


def random_scene(seed, height, width, valid, padded, largest):
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(np.log(2), np.log(largest), (valid, 2)))
    size = np.minimum(size, [width - 1, height - 1])
    corner = rng.uniform(0, 1, (valid, 2)) * ([width, height] - size)
    boxes = np.full((padded, 4), -1.0)
    boxes[:valid] = np.hstack([corner, corner + size])
    labels = np.full(padded, -1)
    labels[:valid] = rng.integers(0, 3, valid)
    order = rng.permutation(padded)  # padding anywhere
    return np.float32(boxes[order]), np.int32(labels[order])


def assign_slowly(boxes, labels, location, strides=STRIDES, sizes=SIZES):
    """Every cell asks every box, after the docstring's three rules."""
    result = np.full(len(location), -1)
    for i, (x, y, stride) in enumerate(location):
        best = None
        for j, (x1, y1, x2, y2) in enumerate(boxes):
            if labels[j] < 0 or x2 <= x1 or y2 <= y1:
                continue
            area = (x2 - x1) * (y2 - y1)
            level = next(
                (k for k, s in enumerate(sizes) if np.sqrt(area) < s), len(sizes)
            )
            if strides[level] != stride:
                continue
            dx = np.floor((x1 + x2) / 2 / stride) - np.floor(x / stride)
            dy = np.floor((y1 + y2) / 2 / stride) - np.floor(y / stride)
            middle = dx == 0 and dy == 0
            inside = x1 < x < x2 and y1 < y < y2
            if middle or (inside and max(abs(dx), abs(dy)) <= 1):
                best = min(best or (2, 0, 0), (not middle, area, j))
        if best is not None:
            result[i] = best[2]
    return result


def assign(boxes, labels, location, strides=STRIDES, sizes=SIZES):
    return np.array(
        assign_boxes(
            ops.array(boxes), ops.array(labels), ops.array(location), strides, sizes
        )
    )


@pytest.mark.parametrize(
    ("height", "width", "valid", "largest"),
    [(128, 128, 60, 40), (96, 160, 90, 150), (250, 70, 30, 200), (64, 64, 0, 9)],
)
def test_equals_slow_numpy(height, width, valid, largest):
    location = grid(height, width)
    scenes = [random_scene(s, height, width, valid, 100, largest) for s in range(2)]
    boxes, labels = (np.stack(a) for a in zip(*scenes, strict=True))
    got = assign(boxes, labels, location)
    expected = [assign_slowly(b, c, location) for b, c in scenes]
    np.testing.assert_array_equal(got, expected)
    assert (got >= 0).any() == (valid > 0)


def test_by_hand():
    # A 10 x 10 box at (10, 10): centre (15, 15), in row and column 3 of stride 4. The
    # centres of columns 2, 3, 4 are at 10, 14, 18; 10 is on the border, so outside.
    got = assign([[[10, 10, 20, 20]]], [[0]], grid(64, 64))
    np.testing.assert_array_equal(
        np.flatnonzero(got[0] == 0), [3 * 16 + 3, 3 * 16 + 4, 4 * 16 + 3, 4 * 16 + 4]
    )


def test_levels_by_size():
    location = grid(512, 512)
    for size, stride in ((31, 4), (32, 8), (63, 8), (64, 16), (128, 32), (500, 32)):
        got = assign([[[4, 4, 4 + size, 4 + size]]], [[0]], location)
        assert set(location[got[0] >= 0, 2]) == {stride}, size


def test_a_tiny_box_gets_its_cell():
    # 1 px in the corner of a cell whose centre it does not reach.
    got = assign([[[4.1, 8.1, 5.0, 9.0]]], [[0]], grid(64, 64))
    np.testing.assert_array_equal(np.flatnonzero(got[0] == 0), [2 * 16 + 1])


def test_each_of_400_boxes_with_a_cell_of_its_own_gets_it():
    rng = np.random.default_rng(0)
    cells = rng.choice(64 * 64, 400, replace=False)
    centre = np.stack([cells % 64, cells // 64], 1) * 4 + rng.uniform(
        0.1, 3.9, (400, 2)
    )
    half = rng.uniform(2, 15, (400, 2))
    boxes = np.float32(np.hstack([centre - half, centre + half]))
    got = assign(boxes[None], np.zeros((1, 400), "int32"), grid(256, 256))
    np.testing.assert_array_equal(got[0, cells], np.arange(400))
    assert np.bincount(got[got >= 0], minlength=400).max() <= 9


def test_of_two_on_one_cell_the_smaller_wins():
    boxes = [[[8, 8, 28, 28], [15, 15, 21, 21]]]  # both centred at (18, 18)
    got = assign(boxes, [[0, 0]], grid(64, 64))[0].reshape(-1)[: 16 * 16]
    assert got.reshape(16, 16)[4, 4] == 1
    assert (got == 0).any()  # the larger one keeps neighbours


def test_boxes_without_positive_size_count_as_none():
    location = grid(32, 32)
    flat = [[[5, 5, 5, 9], [9, 9, 5, 5], [0, 0, 0, 0]]]
    assert (assign(flat, [[0, 0, 0]], location) == -1).all()


def test_one_level():
    location = grid(32, 32, (8,))
    boxes, labels = random_scene(0, 32, 32, 9, 12, 30)
    got = assign(boxes[None], labels[None], location, (8,), ())
    expected = assign_slowly(boxes, labels, location, (8,), ())
    np.testing.assert_array_equal(got[0], expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_with_unknown_shapes_equals_eager(jit_compile):
    @tf.function(
        jit_compile=jit_compile,
        input_signature=[
            tf.TensorSpec((None, None, 4)),
            tf.TensorSpec((None, None), tf.int32),
            tf.TensorSpec((None, 3)),
        ],
    )
    def graph(boxes, labels, location):
        return assign_boxes(boxes, labels, location, STRIDES, SIZES)

    for size in ((64, 64), (96, 32)):
        boxes, labels = random_scene(3, *size, 20, 25, 30)
        args = boxes[None], labels[None], grid(*size)
        np.testing.assert_array_equal(graph(*args), assign(*args))
