import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from mtl_zoo.evaluation.box_f1 import BoxF1
from mtl_zoo.heads import Detection
from mtl_zoo.losses import BoxDetection

STRIDES, SIZES, CLASSES = (4, 8), (16,), 2


def scene(seed=0, images=3, padded=6):
    """Raw outputs and boxes on 32 x 24 pixels; the last image has no box."""
    rng = np.random.default_rng(seed)
    cells = [
        ((column + 0.5) * s, (row + 0.5) * s, s)
        for s in STRIDES
        for row in range(24 // s)
        for column in range(32 // s)
    ]
    location = np.tile(cells, (images, 1, 1))
    logits = rng.normal(-2, 2, (*location.shape[:2], CLASSES))
    distances = rng.uniform(1, 12, (*location.shape[:2], 4))
    predicted = np.concatenate(
        [
            location[..., :2] - distances[..., :2],
            location[..., :2] + distances[..., 2:],
        ],
        -1,
    )
    raw = np.concatenate([logits, predicted, location], -1).astype("float32")
    boxes, labels = np.full((images, padded, 4), -1.0), np.full((images, padded), -1)
    for image, count in enumerate([4, 2, 0]):
        size = rng.uniform(3, 20, (count, 2))
        corner = rng.uniform(0, 1, (count, 2)) * ([32, 24] - size)
        boxes[image, :count] = np.hstack([corner, corner + size])
        labels[image, :count] = rng.integers(0, CLASSES, count)
    return raw, {"boxes": np.float32(boxes), "labels": np.int32(labels)}


def numpy_loss(raw, boxes, labels, owner, box_weight=2.0):
    """The docstring's formula for one image, cell by cell in float64."""
    raw, boxes = np.float64(raw), np.float64(boxes)
    classes = regression = 0.0
    for cell, j in zip(raw, owner, strict=True):
        y = np.zeros(CLASSES)
        if j >= 0:
            a, b = boxes[j], cell[CLASSES : CLASSES + 4]
            size = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
            both = np.prod(np.maximum(size, 0))
            union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both
            around = np.prod(np.maximum(a[2:], b[2:]) - np.minimum(a[:2], b[:2]))
            y[labels[j]] = both / union
            regression += 1 - both / union + (around - union) / around
        s = 1 / (1 + np.exp(-cell[:CLASSES]))
        classes -= np.sum((y - s) ** 2 * ((1 - y) * np.log(1 - s) + y * np.log(s)))
    return classes + box_weight * regression


def test_numpy_float64():
    raw, y = scene()
    loss = BoxDetection(STRIDES, SIZES)
    owner = np.array(loss._assign(y, ops.array(raw)))
    expected = [
        numpy_loss(*image)
        for image in zip(raw, y["boxes"], y["labels"], owner, strict=True)
    ]
    np.testing.assert_allclose(loss.call(y, raw), expected, rtol=1e-5)
    np.testing.assert_array_equal(loss.count(y, raw), np.sum(owner >= 0, axis=1))
    assert (np.array(loss.count(y, raw)) > 0).tolist() == [True, True, False]


def test_perfect_prediction_has_no_box_loss_and_score_one():
    raw, y = scene()
    loss = BoxDetection(STRIDES, SIZES)
    owner = np.array(loss._assign(y, ops.array(raw)))
    raw[..., :CLASSES] = -20
    for image, cell in zip(*np.nonzero(owner >= 0), strict=True):
        j = owner[image, cell]
        raw[image, cell, y["labels"][image, j]] = 20
        raw[image, cell, CLASSES : CLASSES + 4] = y["boxes"][image, j]
    np.testing.assert_allclose(loss.call(y, raw), 0, atol=1e-4)


def test_padding_and_order_of_boxes_do_not_matter():
    raw, y = scene()
    loss = BoxDetection(STRIDES, SIZES)
    order = np.random.default_rng(0).permutation(6)
    shuffled = {name: value[:, order] for name, value in y.items()}
    more = {
        name: np.concatenate([value, np.full_like(value, -1)], 1)
        for name, value in y.items()
    }
    for other in (shuffled, more):
        np.testing.assert_allclose(loss.call(other, raw), loss.call(y, raw), rtol=1e-6)
        np.testing.assert_array_equal(loss.count(other, raw), loss.count(y, raw))


def gradient(loss, y, raw):
    raw = tf.convert_to_tensor(raw)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        total = tf.reduce_sum(loss.call(y, raw))
    return tape.gradient(total, raw)


def test_gradient_reaches_logits_everywhere_and_boxes_of_positive_cells():
    raw, y = scene()
    loss = BoxDetection(STRIDES, SIZES)
    owner = np.array(loss._assign(y, ops.array(raw)))
    g = np.array(gradient(loss, y, raw))
    assert (g[..., :CLASSES] != 0).all()
    moved = (g[..., CLASSES : CLASSES + 4] != 0).any(-1)
    np.testing.assert_array_equal(moved, owner >= 0)
    assert (g[..., -3:] == 0).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_finite_for_degenerate_boxes(dtype):
    raw, y = scene()
    raw[0, :, CLASSES : CLASSES + 4] = 5  # predictions without area
    raw[1, :, :CLASSES] = 1e4
    y["boxes"][0, 0] = [5, 5, 5, 5]
    y["boxes"][1, 0] = [9, 9, 3, 3]
    loss = BoxDetection(STRIDES, SIZES)
    raw = raw.astype(dtype)
    assert loss.call(y, raw).dtype == "float32"
    assert np.isfinite(loss.call(y, raw)).all()
    assert np.isfinite(gradient(loss, y, raw)).all()


def test_xla_equals_eager():
    raw, y = scene()
    loss = BoxDetection(STRIDES, SIZES)
    y = {name: tf.constant(value) for name, value in y.items()}
    compiled = tf.function(
        lambda y, raw: (loss.call(y, raw), loss.count(y, raw), gradient(loss, y, raw)),
        jit_compile=True,
    )
    expected = loss.call(y, raw), loss.count(y, raw), gradient(loss, y, raw)
    for got, wanted in zip(compiled(y, tf.constant(raw)), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_config_and_errors():
    loss = BoxDetection(STRIDES, SIZES, box_weight=3.0, beta=1.5)
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(loss)
    )
    raw, y = scene()
    np.testing.assert_array_equal(again.call(y, raw), loss.call(y, raw))
    assert BoxDetection().level_sizes == (32, 64, 128)
    with pytest.raises(ValueError, match=r"level_sizes=\(16, 32\)"):
        BoxDetection((4, 8), (16, 32))


def picture(rng, size=64, pitch=11):
    """25 bright boxes of 5 to 9 px on one grey box over most of the image."""
    big = [4, 4, size - 4, size - 4]
    image = np.zeros((size, size, 3), "float32")
    image[4 : size - 4, 4 : size - 4] = 60
    boxes = [big]
    for cell in range(25):
        width, height = rng.integers(5, 10, 2)
        x = 5 + cell % 5 * pitch + rng.integers(0, pitch - width)
        y = 5 + cell // 5 * pitch + rng.integers(0, pitch - height)
        image[y : y + height, x : x + width] = rng.integers(140, 255, 3)
        boxes.append([x, y, x + width, y + height])
    return image, np.float32(boxes), np.int32([1] + [0] * 25)


def test_detection_learns_small_boxes_and_a_big_one():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, boxes, labels = (
        np.stack(a) for a in zip(picture(rng), picture(rng), strict=True)
    )
    y = {"boxes": tf.constant(boxes), "labels": tf.constant(labels)}

    x = image = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu")(x)
    levels = {}
    for name in ("a", "b", "c"):
        x = keras.layers.Conv2D(32, 3, 2, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        levels[name] = x
    strides = (4, 8, 16)
    head = Detection(2, tuple(levels), strides, width=32, depth=1)
    model = keras.Model(image, head(levels))
    loss = BoxDetection(strides)
    optimizer = keras.optimizers.Adam(5e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            raw = model(images, training=True)
            total = tf.reduce_sum(loss.call(y, raw)) / tf.reduce_sum(loss.count(y, raw))
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return total

    losses = [float(step()) for _ in range(80)]
    assert losses[-1] < 0.2 * losses[0]
    raw = model(images)
    metric = BoxF1(score_threshold=0.3)
    metric.update_state(y, raw)
    assert float(metric.result()) > 0.9
    # The big one, too: the only box of its class.
    decoded = head.decode(raw)
    best = np.argmax(decoded["labels"] == 1, axis=1)
    found = decoded["boxes"].numpy()[[0, 1], best]
    np.testing.assert_allclose(found, boxes[:, 0], atol=8)
