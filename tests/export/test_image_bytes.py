"""Files become what `mtl_zoo.zoo.images` makes of them, in the graph."""

from __future__ import annotations

import io

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from PIL import Image

from mtl_zoo.export.image_bytes import Placed, place_bytes, restore_boxes
from mtl_zoo.zoo import images

NATIVE = {"kind": "native", "multiple": 32, "max_side": 128}
FIT = {"kind": "fit", "size": 96, "multiple": 32}
SQUARE = {"kind": "fit", "size": 96, "multiple": 96}
RESIZE = {"kind": "resize", "size": 64}

PHOTO = skimage.data.chelsea()


def file(array: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def place(files, preprocessing, max_pixels=10**6) -> Placed:
    run = tf.function(lambda f: place_bytes(f, preprocessing, max_pixels))
    return run(tf.constant(files))


@pytest.mark.parametrize("preprocessing", [NATIVE, FIT, SQUARE, RESIZE])
@pytest.mark.parametrize("size", [(90, 128), (40, 33), (300, 451), (1, 200)])
def test_as_pillow_does_it(preprocessing, size):
    photo = PHOTO[: size[0], : size[1]]
    expected, placement = images.place(photo, preprocessing)
    placed = place([file(photo)], preprocessing)
    assert tuple(placed.sizes[0].numpy()) == placement.size
    assert tuple(placed.contents[0].numpy()) == placement.content
    found = placed.images[0].numpy()
    assert found.shape == expected.shape and found.dtype == np.uint8
    # Pillow rounds between its two passes.
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_jpeg_files_as_pillow_reads_them():
    jpeg = file(PHOTO, "JPEG")
    found = place([jpeg], {**NATIVE, "max_side": 1024}).images[0, :300, :451]
    expected = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert np.abs(found.numpy().astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P"])
def test_other_kinds_of_png(mode):
    out = io.BytesIO()
    picture = Image.fromarray(PHOTO[:64, :64]).convert(mode)
    picture.save(out, "PNG")
    found = place([out.getvalue()], NATIVE).images[0].numpy()
    np.testing.assert_array_equal(found, np.asarray(picture.convert("RGB")))


def test_a_batch_is_padded_to_the_largest():
    placed = place([file(PHOTO[:40, :100]), file(PHOTO[:100, :40])], NATIVE)
    assert placed.images.shape == (2, 128, 128, 3)
    assert placed.contents.numpy().tolist() == [[40, 100], [100, 40]]
    np.testing.assert_array_equal(placed.images[0, :40, :100], PHOTO[:40, :100])
    assert not placed.images[0, 40:].numpy().any()
    assert not placed.images[1, :, 40:].numpy().any()


PNG, JPEG = file(PHOTO), file(PHOTO, "JPEG")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b"", "Expected the bytes of a JPEG or PNG file"),
        (b"Dear server,", "Expected the bytes of a JPEG or PNG file.*68 101 97"),
        (file(PHOTO, "GIF"), "Expected the bytes of a JPEG or PNG file.*71 73 70"),
        (PNG[:20], "Expected a whole PNG file"),
        (PNG[: len(PNG) // 2], "PNG"),
        (JPEG[: len(JPEG) // 2], "JPEG"),
        (JPEG[:40], "JPEG"),
        (file(np.zeros((1001, 1000, 3), "uint8")), "at most 1000000 pixels.*1001000"),
    ],
    ids=["empty", "text", "gif", "header", "png", "jpeg", "jpeg-header", "large"],
)
def test_what_is_no_image_is_refused(broken, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        place([PNG, broken], NATIVE)


def test_boxes_go_back_to_the_file_as_predictions_do():
    """`restore_boxes` against `images.restore`, which works outside the graph."""
    rng = np.random.default_rng(0)
    photo = PHOTO[:300, :200]
    placed = place([file(photo)], SQUARE)
    start = rng.uniform(-4, 90, (12, 2))
    boxes = np.concatenate([start, start + rng.uniform(1, 40, (12, 2))], 1)
    boxes = boxes.astype("float32")
    scores = np.sort(rng.uniform(size=12).astype("float32"))[::-1].copy()
    boxes[9:], scores[9:] = -1, -1  # nothing was found there
    decoded = {"boxes": boxes, "scores": scores, "labels": np.arange(12)}
    batch = {key: tf.constant(value[None]) for key, value in decoded.items()}
    found = restore_boxes({**batch, "count": tf.constant([9])}, placed)
    _, placement = images.place(photo, SQUARE)
    expected = images.restore(decoded, placement)
    count = int(found["count"][0])
    assert 0 < count == len(expected["boxes"]) < 9  # some began in the padding
    for key, value in expected.items():
        np.testing.assert_allclose(found[key][0, :count], value, rtol=1e-5)
        assert np.all(found[key][0, count:].numpy() == -1)


def test_other_outputs_stay():
    decoded = {"label": tf.constant([1])}
    assert restore_boxes(decoded, place([PNG], RESIZE)) == decoded
