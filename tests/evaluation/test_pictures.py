"""Pictures: what is drawn, where, and that the rest stays."""

import numpy as np
import pytest
from PIL import Image

from mtl_zoo.evaluation import pictures

GREY = np.full((64, 96, 3), 100, "uint8")


def test_mask_tints_inside_outlines_the_edge_and_leaves_the_rest():
    mask = np.zeros((64, 96), "int32")
    mask[10:30, 20:50] = 1
    picture = pictures.draw_mask(GREY, mask, opacity=0.5)
    color = np.array(pictures.PALETTE[0], "float32")
    np.testing.assert_array_equal(picture[mask == 0], GREY[mask == 0])
    np.testing.assert_allclose(picture[20, 35], 100 + 0.5 * (color - 100), atol=1)
    assert np.abs(picture[10, 20] - color).max() < 12  # nearly opaque
    assert picture[10, 20].tolist() == picture[29, 49].tolist()


def test_mask_classes_have_colours_and_negative_and_background_none():
    mask = np.zeros((64, 96, 1), "int32")
    mask[:, :20], mask[:, 20:40], mask[:, 40:60] = 1, 2, -1
    picture = pictures.draw_mask(GREY, mask)
    assert len({tuple(picture[30, x]) for x in (10, 30)}) == 2
    assert picture[30, 50].tolist() == picture[30, 80].tolist() == [100] * 3
    swapped = pictures.draw_mask(GREY, mask, background=1)
    assert swapped[30, 10].tolist() == [100] * 3
    assert swapped[30, 80].tolist() == picture[30, 10].tolist()


def test_box_sides_are_coloured_and_its_inside_stays():
    picture = pictures.draw_boxes(GREY, [[20, 10, 60, 50]])
    for y, x in ((10, 40), (50, 40), (30, 20), (30, 60)):
        assert tuple(picture[y, x]) == pictures.PALETTE[0]
    assert (picture[13:48, 23:58] == 100).all()
    assert (picture[:8] == 100).all()


def test_padding_is_not_drawn():
    picture = pictures.draw_boxes(GREY, np.full((5, 4), -1.0), np.full(5, -1))
    np.testing.assert_array_equal(picture, GREY)


def test_few_boxes_have_words_and_a_crowd_has_none():
    image = np.full((256, 256, 3), 100, "uint8")
    one = [[100, 100, 200, 200]]
    plain = pictures.draw_boxes(image, one, [0])
    named = pictures.draw_boxes(image, one, [0], [0.9], ["cat"])
    assert (plain[:99] == 100).all()
    assert (named[85:98, 105:120] == pictures.PALETTE[0]).all(-1).any()
    crowd = np.array([[x, 100, x + 5, 105] for x in range(0, 210, 10)], float)
    assert len(crowd) == pictures.CROWD + 1
    picture = pictures.draw_boxes(image, crowd, np.zeros(21, int), [0.9] * 21, ["cat"])
    assert (picture[:99] == 100).all() and (picture[107:] == 100).all()


@pytest.mark.parametrize(
    "box", [[-30, -20, 40, 30], [80, 1, 300, 20], [50, 50, 20, 20]]
)
def test_boxes_that_leave_the_image_or_are_turned_over_do_no_harm(box):
    picture = pictures.draw_boxes(GREY, [box], [6], [0.5], ["a", *"bcdef", "x" * 40])
    assert picture.shape == GREY.shape and (picture != GREY).any()


def test_inputs_are_not_changed():
    image, mask = GREY.copy(), np.ones((64, 96), int)
    pictures.draw_boxes(pictures.draw_mask(image, mask), [[1, 1, 9, 9]])
    pictures.draw_boxes(image, [[1, 1, 9, 9]])
    np.testing.assert_array_equal(image, GREY)


def test_enlarge_scales_images_boxes_and_label_maps():
    image, boxes = pictures.enlarge(GREY, [[1, 2, 3, 4]], side=128)
    assert image.shape == (128, 192, 3)
    np.testing.assert_array_equal(boxes, [[2, 4, 6, 8]])
    mask = np.arange(64 * 96).reshape(64, 96)
    large = pictures.enlarge(mask, side=128)
    np.testing.assert_array_equal(large[1::2, ::2], mask)
    assert pictures.enlarge(GREY, side=10).shape == GREY.shape


def test_side_by_side():
    sheet = pictures.side_by_side([GREY, GREY])
    assert sheet.shape == (64 + 8, 2 * 96 + 12, 3)
    titled = pictures.side_by_side([GREY, GREY], ["left", "right"])
    assert titled.shape[0] > sheet.shape[0] and titled.shape[1] == sheet.shape[1]
    assert (titled[: -64 - 8] < 50).any()  # dark letters
    with pytest.raises(ValueError, match="2 images, 1 titles"):
        pictures.side_by_side([GREY, GREY], ["left"])


def test_png_round_trip(tmp_path):
    image = np.random.default_rng(0).uniform(-20, 280, (8, 9, 3)).astype("float32")
    pictures.write_png(image, tmp_path / "new" / "a.png")
    read = np.asarray(Image.open(tmp_path / "new" / "a.png"))
    np.testing.assert_array_equal(read, np.clip(np.round(image), 0, 255))


def test_errors():
    with pytest.raises(ValueError, match=r"one image out of a batch"):
        pictures.draw_boxes(GREY[None], [[0, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"mask \(2, 2\), image \(64, 96, 3\)"):
        pictures.draw_mask(GREY, np.ones((2, 2), int))
