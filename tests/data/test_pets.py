import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from mtl_zoo.data import archives, pets


def annotations(folder):
    root = archives.find("oxford_pet_subset", folder)
    entries = json.loads((root / "annotations.json").read_text())["images"]
    return {f"{entry['id']}.jpg": entry for entry in entries}


def training(folder, **arguments):
    given = {"image_size": 64, "batch_size": 8, "targets": pets.TARGETS}
    return pets.training_batches(**{**given, **arguments}, data_dir=folder)


def evaluation(folder, split, **arguments):
    given = {"image_size": 64, "batch_size": 5, "targets": pets.TARGETS}
    return pets.evaluation_batches(split, **{**given, **arguments}, data_dir=folder)


def tight_box(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def test_splits_divide_the_images(pets_dir):
    splits = [set(pets.example_ids(s, data_dir=pets_dir)) for s in pets.SPLITS]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 48
    assert all(splits)


def test_real_counts_and_det_split(real_data):
    folder = real_data("oxford_pet_subset")
    entries = annotations(folder)
    ids = {s: pets.example_ids(s, data_dir=folder) for s in pets.SPLITS}
    assert {s: len(names) for s, names in ids.items()} == {
        "train": 208,
        "validation": 33,
        "test": 298,
        "det_test": 59,
    }
    # The archive's own lists of images with head boxes follow the same rule.
    assert {entries[name]["det_split"] for name in ids["det_test"]} == {"det_test"}
    assert {entries[name]["split"] for name in ids["test"]} == {"test"}
    rest = ids["train"] + ids["validation"]
    assert {entries[name].get("det_split") for name in rest} == {"det_train", None}


def test_real_head_boxes(real_data):
    folder = real_data("oxford_pet_subset")
    entries = annotations(folder)
    names = iter(pets.example_ids("det_test", data_dir=folder))
    for _, labels, weights in evaluation(folder, "det_test", image_size=224):
        assert np.all(weights["head_box"] == 1)
        for boxes in labels["head_box"]["boxes"].numpy():
            entry = entries[next(names)]
            scale = 224 / max(entry["size"])
            expected = np.array(entry["head_boxes"][0][:4]) * scale
            np.testing.assert_allclose(boxes[0], expected, atol=1.0)


def test_split_depends_on_the_name_alone():
    assert pets.split_of("Bengal_7.jpg", "test", False) == "test"
    for number in range(50):
        split = pets.split_of(f"Bengal_{number}.jpg", "train", True)
        assert split == pets.split_of(f"Bengal_{number}", "train", True)
        if split == "det_test":  # Only images with a head box can be.
            assert pets.split_of(f"Bengal_{number}", "train", False) != "det_test"


@pytest.mark.parametrize("split", ["validation", "det_test", "test"])
def test_evaluation_keeps_the_whole_image(pets_dir, split):
    entries = annotations(pets_dir)
    names = iter(pets.example_ids(split, data_dir=pets_dir))
    breeds = pets.breed_names(data_dir=pets_dir)
    for images, labels, weights in evaluation(pets_dir, split):
        for at in range(len(images)):
            entry = entries[next(names)]
            width, height = np.round(np.array(entry["size"]) * 64 / max(entry["size"]))
            assert breeds[labels["breed"][at]] == entry["breed"]
            assert labels["species"][at] == (entry["species"] == "dog")
            weight = weights["foreground"][at].numpy()
            assert not weight[int(height) :].any() and not weight[:, int(width) :].any()
            assert not weight[0].any()  # the trimap's border
            assert weight[2 : int(height), : int(width)].all()
            foreground = labels["foreground"][at].numpy() > 0
            assert (images[at].numpy().mean(-1) > 140)[foreground].mean() > 0.9
            has_head = entry["head_boxes"] is not None
            assert weights["head_box"][at] == has_head
            if has_head:
                box = labels["head_box"]["boxes"][at, 0]
                np.testing.assert_allclose(box, tight_box(foreground), atol=1.0)
            else:
                assert np.all(labels["head_box"]["boxes"][at] == -1)
                assert np.all(labels["head_box"]["labels"][at] == -1)
    assert next(names, None) is None


def test_training_moves_image_box_and_mask_together(pets_dir):
    seen = {0.0: 0, 1.0: 0}
    for images, labels, weights in training(pets_dir, area=(0.3, 1.0)).take(6):
        for at in range(8):
            given = float(weights["head_box"][at])
            seen[given] += 1
            foreground = labels["foreground"][at].numpy() > 0
            if given:
                box = labels["head_box"]["boxes"][at, 0].numpy()
                np.testing.assert_allclose(box, tight_box(foreground), atol=1.5)
                assert labels["head_box"]["labels"][at, 0] == 0
                grey = images[at].numpy().mean(-1)
                assert grey[foreground].mean() > grey[~foreground].mean() + 20
            else:
                assert np.all(labels["head_box"]["boxes"][at] == -1)
    assert seen[0.0] > 0 and seen[1.0] > 20


def test_a_head_mostly_outside_is_unknown(pets_dir):
    strict = [w for _, _, w in training(pets_dir, min_visible=1.01).take(2)]
    assert not any(np.any(w["head_box"]) for w in strict)
    known = [w for _, _, w in training(pets_dir, min_visible=0.0).take(2)]
    assert any(np.any(w["head_box"]) for w in known)


def test_unknown_split_and_target(pets_dir):
    with pytest.raises(ValueError, match=r"det_test.*split='val'"):
        pets.training_batches("val", data_dir=pets_dir)
    with pytest.raises(ValueError, match=r"head_box.*'mask'"):
        pets.training_batches(targets=["mask"], data_dir=pets_dir)


def test_missing_archive_says_what_to_do(tmp_path):
    with pytest.raises(archives.DataNotFoundError, match=r"oxford_pet_subset\.tar\.gz"):
        pets.training_batches(data_dir=tmp_path)


def test_load_gives_the_features_of_tfds(pets_dir):
    rows = list(pets.load("det_test", data_dir=pets_dir).as_numpy_iterator())
    assert len(rows) == pets.num_examples("det_test", data_dir=pets_dir)
    for row in rows:
        assert row["image"].shape[:2] == row["segmentation_mask"].shape[:2]
        assert set(np.unique(row["segmentation_mask"])) <= {1, 2, 3}
        assert row["head_bbox"].max() > 0


def test_full_set_comes_through_tfds(pets_dir, monkeypatch):
    """The subset's rows, given out as TFDS's own set, take the same way."""
    subset = archives.prepared(pets.OxfordPetSubset, pets_dir)
    asked = []

    def builder(name, data_dir=None):
        asked.append((name, data_dir))
        return subset

    monkeypatch.setattr(tfds, "builder", builder)
    full = pets.evaluation_batches(
        "det_test", full=True, data_dir="tfds", image_size=64, batch_size=5
    )
    assert set(asked) == {("oxford_iiit_pet:4.*.*", "tfds")}
    ours = evaluation(pets_dir, "det_test", targets=["head_box", "foreground", "breed"])
    for one, other in zip(full, ours, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
