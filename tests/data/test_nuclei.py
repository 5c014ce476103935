import collections
import json

import numpy as np
import pytest
from scipy import ndimage

from mtl_zoo.data import archives, nuclei


def annotations(folder):
    root = archives.find("dsb2018_nuclei", folder)
    return json.loads((root / "annotations.json").read_text())["images"]


def assert_boxes_are_those_of_the_file(folder, split, file_split):
    entries = {e["id"]: e for e in annotations(folder) if e["split"] == file_split}
    ids = nuclei.example_ids(split, folder)
    assert sorted(ids) == sorted(entries)
    batches = nuclei.evaluation_batches(split, targets=["boxes"], data_dir=folder)
    for number, (images, labels, _) in zip(ids, batches, strict=True):
        entry = entries[number]
        boxes, classes = labels["boxes"]["boxes"][0], labels["boxes"]["labels"][0]
        np.testing.assert_array_equal(boxes[: entry["n"]], entry["boxes"])
        np.testing.assert_array_equal(classes[: entry["n"]], np.zeros(entry["n"]))
        assert np.all(boxes[entry["n"] :] == -1)
        assert np.all(classes[entry["n"] :] == -1)
        width, height = entry["size"]
        assert images.shape[1] - height in range(32)
        assert images.shape[2] - width in range(32)


def test_boxes_from_the_maps_are_those_of_the_file(nuclei_dir):
    assert_boxes_are_those_of_the_file(nuclei_dir, "test", "test")


def test_real_boxes_from_the_maps_are_those_of_the_file(real_data):
    folder = real_data("dsb2018_nuclei")
    assert_boxes_are_those_of_the_file(folder, "validation", "val")


def test_real_counts(real_data):
    folder = real_data("dsb2018_nuclei")
    counts = collections.Counter(e["split"] for e in annotations(folder))
    for split, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        assert nuclei.num_examples(split, folder) == counts[key]
    assert (counts["train"], counts["val"]) == (465, 66)
    assert max(e["n"] for e in annotations(folder)) <= nuclei.MAX_BOXES


def test_load_gives_the_features(nuclei_dir):
    rows = list(nuclei.load("validation", nuclei_dir).as_numpy_iterator())
    assert len(rows) == nuclei.num_examples("validation", nuclei_dir) == 2
    entries = {e["id"]: e for e in annotations(nuclei_dir)}
    for row in rows:
        entry = entries[row["id"].decode()]
        assert row["image"].shape == (*entry["size"][::-1], 3)
        assert row["instances"].shape == (*entry["size"][::-1], 1)
        assert row["instances"].max() == row["count"] == entry["n"]


def test_evaluation_pads_right_and_bottom_with_weight_zero(nuclei_dir):
    entries = {e["id"]: e for e in annotations(nuclei_dir)}
    ids = nuclei.example_ids("validation", nuclei_dir)
    batches = nuclei.evaluation_batches(targets=nuclei.TARGETS, data_dir=nuclei_dir)
    for number, (images, labels, weights) in zip(ids, batches, strict=True):
        width, height = entries[number]["size"]
        expected = np.zeros(images.shape[1:3])
        expected[:height, :width] = 1
        for name in ("foreground", "boundary", "distance"):
            np.testing.assert_array_equal(weights[name][0], expected)
        np.testing.assert_array_equal(weights["offsets"], labels["foreground"])
        assert np.all(images[0][expected == 0] == 0)
        np.testing.assert_array_equal(weights["boxes"], [1.0])


def test_padding_makes_no_boundary(nuclei_dir):
    # The first column of nuclei touches the left border: its edge there stays open.
    _, labels, _ = next(
        iter(nuclei.evaluation_batches(targets=nuclei.TARGETS, data_dir=nuclei_dir))
    )
    foreground, boundary = (
        labels["foreground"][0].numpy(),
        labels["boundary"][0].numpy(),
    )
    touching = foreground[:, 0] == 1
    inner = ndimage.binary_erosion(touching)
    assert inner.any()
    assert not boundary[inner, 0].any()
    # Seen in a larger training window, too.
    for _, labels, weights in training(nuclei_dir, scale=(0.4, 0.5)).take(2):
        inside = weights["foreground"].numpy() > 0
        for at in range(len(inside)):
            outside_next = inside[at] & ~ndimage.binary_erosion(inside[at])
            label = labels["boundary"][at].numpy()
            assert (
                label[outside_next].mean()
                < labels["foreground"][at].numpy()[outside_next].mean()
            )


def training(folder, **arguments):
    given = {"image_size": 64, "batch_size": 4, "targets": nuclei.TARGETS}
    return nuclei.training_batches(**{**given, **arguments}, data_dir=folder)


@pytest.mark.parametrize("scale", [(0.5, 0.6), (0.9, 1.1), (1.7, 2.0)])
def test_image_boxes_and_maps_move_together(nuclei_dir, scale):
    for images, labels, weights in training(nuclei_dir, scale=scale).take(3):
        for at in range(4):
            foreground = labels["foreground"][at].numpy() > 0
            covered = np.zeros_like(foreground)
            boxes = labels["boxes"]["boxes"][at].numpy()
            assert (labels["boxes"]["labels"][at].numpy() == 0).sum() > 0
            for x1, y1, x2, y2 in boxes[boxes[:, 0] >= 0].astype(int):
                # The nuclei are rectangles: each fills its box, and ends with it
                # unless another is there.
                assert foreground[y1:y2, x1:x2].all()
                covered[y1:y2, x1:x2] = True
            # What has no box is cut by the border, or smaller than ten pixels.
            slivers, _ = ndimage.label(foreground & ~covered)
            for number, sliver in enumerate(ndimage.find_objects(slivers), start=1):
                cut = any(s.start == 0 or s.stop == 64 for s in sliver)
                assert cut or (slivers == number).sum() < 10
            grey = images[at].numpy().mean(-1)
            inside = weights["foreground"][at].numpy() > 0
            core = ndimage.binary_erosion(foreground)
            rest = ndimage.binary_erosion(~foreground & inside)
            assert grey[core].min() > grey[rest].max()
            assert (grey[~inside] == 0).all()


def test_instance_targets_agree(nuclei_dir):
    for _, labels, weights in training(nuclei_dir).take(2):
        foreground = labels["foreground"].numpy() > 0
        np.testing.assert_array_equal(
            labels["distance"].numpy()[..., 0] > 0, foreground
        )
        assert not labels["boundary"].numpy()[~foreground].any()
        assert not labels["offsets"].numpy()[~foreground].any()
        assert np.abs(labels["offsets"].numpy()).max() <= 1 + 1e-5
        np.testing.assert_array_equal(weights["offsets"].numpy() > 0, foreground)


def test_only_the_targets_asked_for(nuclei_dir):
    _, labels, weights = next(iter(training(nuclei_dir, targets=["distance"])))
    assert list(labels) == list(weights) == ["distance"]


def test_static_shapes(nuclei_dir):
    images, labels, weights = training(nuclei_dir, max_boxes=20).element_spec
    assert images.shape == (4, 64, 64, 3)
    assert labels["boxes"]["boxes"].shape == (4, 20, 4)
    assert labels["offsets"].shape == (4, 64, 64, 2)
    assert labels["distance"].shape == (4, 64, 64, 1)
    assert weights["boxes"].shape == (4,)
    assert weights["offsets"].shape == (4, 64, 64)


def test_unknown_target(nuclei_dir):
    with pytest.raises(ValueError, match=r"boundary.*Received.*borders"):
        nuclei.training_batches(targets=["borders"], data_dir=nuclei_dir)


def test_too_few_rows_for_boxes_fail_before_training(nuclei_dir):
    with pytest.raises(ValueError, match=r"max_boxes >= \d+.*max_boxes=2"):
        nuclei.training_batches(max_boxes=2, data_dir=nuclei_dir)


def test_missing_archive_says_what_to_do(tmp_path):
    with pytest.raises(archives.DataNotFoundError, match=r"dsb2018_nuclei\.tar\.gz"):
        nuclei.training_batches(data_dir=tmp_path)
