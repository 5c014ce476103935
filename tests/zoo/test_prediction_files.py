"""Predictions for files and folders."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from mtl_zoo.zoo.prediction_files import (
    PredictionError,
    _stems,
    _write_maps,
    draw_prediction,
    predict_files,
)
from tests.zoo import tiny
from tests.zoo.tiny import NAME


@pytest.fixture
def pictures(tmp_path):
    """Two images of different sizes and a text file."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(tiny.images(1, 40, 50)[0]).save(folder / "a.png")
    Image.fromarray(tiny.images(1, 70, 30)[0]).save(folder / "b.jpg")
    (folder / "notes.txt").write_text("hello")
    return folder


def test_writes_json_pictures_and_maps(saved, pictures, tmp_path):
    out = tmp_path / "new" / "out"
    assert predict_files(saved / NAME, [pictures], out) == 2
    assert sorted(os.listdir(out)) == [
        "a.json",
        "a.png",
        "a.seg.png",
        "b.json",
        "b.png",
        "b.seg.png",
        "predictions.json",
    ]
    everything = json.loads((out / "predictions.json").read_text())
    assert everything["class_names"] == {"seg": ["ground", "disc"], "det": ["disc"]}
    first = everything["images"][0]
    assert first == json.loads((out / "a.json").read_text())
    assert (first["image"], first["height"], first["width"]) == ("a.png", 40, 50)
    assert first["picture"] == "a.png"
    assert first["tasks"]["seg"] == {"label_map": "a.seg.png"}
    det = first["tasks"]["det"]
    assert len(det["boxes"]) == len(det["scores"]) == len(det["labels"])
    assert Image.open(out / "b.seg.png").size == (30, 70)
    assert set(np.unique(Image.open(out / "b.seg.png"))) <= {0, 1}


def test_maps_without_classes_are_arrays_and_many_classes_fit(tmp_path):
    values = np.ones((4, 5, 1), "float32")
    files = _write_maps(tmp_path, "a", "depth", {"value_map": values})
    assert files == {"value_map": "a.depth.value_map.npy"}
    np.testing.assert_array_equal(np.load(tmp_path / files["value_map"]), values)
    classes = np.array([[0, 300]])
    files = _write_maps(tmp_path, "a", "seg", {"label_map": classes})
    found = np.asarray(Image.open(tmp_path / files["label_map"]))
    np.testing.assert_array_equal(found, classes)


def test_picture_shows_masks_boxes_and_the_label_of_the_image():
    image = np.zeros((64, 64, 3), "uint8")
    half = np.zeros((64, 64), "int32")
    half[32:] = 1
    boxes = {"boxes": np.array([[8.0, 8, 24, 24]]), "labels": np.array([0])}
    plain = draw_prediction(image, {}, {})
    masked = draw_prediction(image, {"seg": {"label_map": half}}, {})
    boxed = draw_prediction(image, {"det": boxes}, {"det": ["disc"]})
    assert not plain.any()
    assert not masked[: len(masked) // 2 - 8].any() and masked[-8:].any()
    assert boxed.any() and not boxed[-8:].any()
    titled = draw_prediction(
        image, {"cls": {"label": np.array(1)}}, {"cls": ["cat", "dog"]}
    )
    assert titled.shape[0] > plain.shape[0]


def test_other_files_in_the_output_folder_stay(saved, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    (out / "a.json").write_text("old")
    predict_files(saved / NAME, [pictures / "a.png"], out)
    assert (out / "mine.txt").read_text() == "keep"
    assert json.loads((out / "a.json").read_text())["image"] == "a.png"


def test_broken_image_stops_before_anything_is_written(saved, pictures, tmp_path):
    (pictures / "c.png").write_bytes(b"no image")
    with pytest.raises(PredictionError, match=r"c\.png' is not an image"):
        predict_files(saved / NAME, [pictures], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failure_while_predicting_leaves_nothing(
    saved, pictures, tmp_path, monkeypatch
):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("mtl_zoo.zoo.predictor.Predictor.__call__", fail)
    for out in (tmp_path / "new", tmp_path):
        with pytest.raises(RuntimeError):
            predict_files(saved / NAME, [pictures], out)
    assert os.listdir(tmp_path) == ["pictures"]


def test_paths_that_do_not_do(saved, tmp_path):
    (tmp_path / "empty").mkdir()
    out = tmp_path / "out"
    with pytest.raises(PredictionError, match="no file or folder 'absent'"):
        predict_files(saved / NAME, ["absent"], out)
    with pytest.raises(PredictionError, match="has no image in it"):
        predict_files(saved / NAME, [tmp_path / "empty"], out)
    assert not out.exists()


def test_output_that_can_not_be_written(saved, pictures, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PredictionError, match="can not write to"):
        predict_files(saved / NAME, [pictures], tmp_path / "file" / "out")


def test_results_do_not_go_where_the_images_are(saved, pictures):
    with pytest.raises(PredictionError, match="choose another folder"):
        predict_files(saved / NAME, [pictures / "a.png"], pictures)
    assert len(os.listdir(pictures)) == 3


def test_names_of_results_are_unique(tmp_path):
    names = ["x/a.png", "x/a.jpg", "y/a.png", "predictions.png"]
    found = _stems([tmp_path / name for name in names])
    assert found == ["a", "a-2", "a-3", "predictions-2"]
