"""Images of any size in, predictions in their own pixels out."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mtl_zoo.export.preprocessing import check_preprocessing
from mtl_zoo.zoo import images
from mtl_zoo.zoo.images import Placement, place, restore

NATIVE = {"kind": "native", "multiple": 32, "max_side": 128}
FIT = {"kind": "fit", "size": 96, "multiple": 32}
RESIZE = {"kind": "resize", "size": 64}


def picture(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype="uint8")


def test_native_keeps_pixels_and_pads_with_0_at_bottom_and_right():
    image = picture(33, 64)
    placed, placement = place(image, NATIVE)
    assert placed.shape == (64, 64, 3) and placed.dtype == np.uint8
    np.testing.assert_array_equal(placed[:33, :64], image)
    assert not placed[33:].any()
    assert placement == Placement((33, 64), (33, 64), (64, 64))


@pytest.mark.parametrize(
    ("size", "content", "padded"),
    [
        ((256, 100), (128, 50), (128, 64)),  # half the size
        ((1, 1), (1, 1), (32, 32)),
        ((128, 128), (128, 128), (128, 128)),
        ((1000, 1), (128, 1), (128, 32)),  # never less than one pixel
    ],
)
def test_native_sizes(size, content, padded):
    placed, placement = place(picture(*size), NATIVE)
    assert (placement.content, placement.padded) == (content, padded)
    assert placed.shape == (*padded, 3)


def test_resize_stretches_to_a_square():
    placed, placement = place(picture(20, 200), RESIZE)
    assert placed.shape == (64, 64, 3)
    assert placement == Placement((20, 200), (64, 64), (64, 64))


@pytest.mark.parametrize(
    ("size", "content", "padded"),
    [
        ((48, 24), (96, 48), (96, 64)),  # enlarged
        ((100, 200), (48, 96), (64, 96)),  # made smaller
        ((96, 96), (96, 96), (96, 96)),
        ((1, 1000), (1, 96), (32, 96)),  # never less than one pixel
    ],
)
def test_fit_makes_the_longer_side_the_size(size, content, padded):
    placed, placement = place(picture(*size), FIT)
    assert placement == Placement(size, content, padded)
    assert placed.shape == (*padded, 3)
    assert not placed[content[0] :].any() and not placed[:, content[1] :].any()


@pytest.mark.parametrize("scene", [(60, 40), (30, 90)])
def test_fit_to_a_square_is_the_letterbox_of_the_pets(scene):
    """A smooth picture, so that both ways of resizing agree."""
    height, width = scene
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([2 * rows, columns, rows + columns], -1).astype("uint8")
    placed, placement = place(image, {"kind": "fit", "size": 96, "multiple": 96})
    resized = np.round(np.array(scene) * 96 / max(scene)).astype(int)
    expected = tf.image.resize(image.astype("float32"), resized)
    expected = tf.image.pad_to_bounding_box(expected, 0, 0, 96, 96)
    assert placement.padded == (96, 96) and placement.content == tuple(resized)
    np.testing.assert_allclose(placed, expected, atol=1.0)


@pytest.mark.parametrize("preprocessing", [NATIVE, FIT, RESIZE])
def test_boxes_come_back_where_they_were(preprocessing):
    image = picture(200, 80)
    _, placement = place(image, preprocessing)
    scale = np.array(placement.content) / placement.size
    original = np.array([[8.0, 20.0, 40.0, 180.0]], "float32")
    placed = original * np.tile(scale[::-1], 2)
    found = restore({"boxes": placed.astype("float32")}, placement)["boxes"]
    np.testing.assert_allclose(found, original, rtol=1e-6)


def test_boxes_in_the_padding_and_fillers_are_dropped_and_others_clipped():
    placement = Placement((40, 50), (40, 50), (64, 64))
    found = restore(
        {
            "boxes": np.array(
                [[10, 10, 60, 60], [0, 45, 20, 60], [51, 0, 60, 9], [-1] * 4], "float32"
            ),
            "scores": np.array([0.9, 0.8, 0.7, -1.0], "float32"),
            "labels": np.array([0, 0, 0, -1]),
            "count": np.array(3),
        },
        placement,
    )
    np.testing.assert_array_equal(found["boxes"], [[10, 10, 50, 40]])
    np.testing.assert_array_equal(found["scores"], np.float32([0.9]))
    assert set(found) == {"boxes", "scores", "labels"}


def test_maps_are_cut_and_resized_to_the_image():
    placement = Placement((80, 40), (40, 20), (64, 32))
    classes = np.zeros((64, 32), "int32")
    classes[:20] = 7
    shares = np.stack([classes / 7, 1 - classes / 7], axis=-1).astype("float32")
    outputs = {"label_map": classes, "probabilities": shares, "label": np.array(3)}
    found = restore(outputs, placement)
    assert found["label_map"].shape == (80, 40)
    assert set(np.unique(found["label_map"])) == {0, 7}
    assert (found["label_map"] == 7).sum() == 40 * 40
    assert found["probabilities"].shape == (80, 40, 2)
    np.testing.assert_allclose(found["probabilities"].sum(axis=-1), 1, atol=1e-6)
    assert found["label"] == 3


def test_maps_at_native_size_are_only_cut():
    placement = Placement((40, 20), (40, 20), (64, 32))
    classes = np.arange(64 * 32).reshape(64, 32)
    found = restore({"label_map": classes}, placement)["label_map"]
    np.testing.assert_array_equal(found, classes[:40, :20])


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"kind": "crop"},
        {"kind": "native", "multiple": 32},
        {"kind": "fit", "size": 224},
        {"kind": "resize", "size": 0},
        {"kind": "resize", "size": 64.0},
    ],
)
def test_wrong_preprocessing(wrong):
    with pytest.raises(ValueError, match=r"Expected.*Received"):
        check_preprocessing(wrong)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_is_read_as_rgb(tmp_path, mode):
    path = tmp_path / "image.tiff"
    Image.fromarray(picture(6, 4)).convert(mode).save(path)
    image = images.read_image(path)
    assert (image.shape, image.dtype) == ((6, 4, 3), np.uint8)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.array([[100, 600], [1100, 2100]], "uint16")).save(path)
    image = images.read_image(path)
    np.testing.assert_array_equal(image[..., 0], [[0, 64], [128, 255]])


def test_upright_as_the_camera_says(tmp_path):
    path = tmp_path / "image.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(picture(6, 4)).save(path, exif=exif)
    assert images.read_image(path).shape == (4, 6, 3)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
def test_broken_files(tmp_path, content):
    path = tmp_path / "image.png"
    if content == "cut":
        Image.fromarray(picture(60, 40)).save(path)
        content = path.read_bytes()[:2000]
    path.write_bytes(content)
    with pytest.raises(images.ImageError, match=r"image\.png"):
        images.read_image(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        images.read_image(tmp_path / "absent.png")
