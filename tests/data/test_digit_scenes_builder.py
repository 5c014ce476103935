import numpy as np
import pytest
import tensorflow_datasets as tfds

from mtl_zoo.data import digit_scenes
from mtl_zoo.data.digit_scenes_builder import DigitScenes, DigitScenesConfig

SIZES = {"train": 12, "validation": 3, "test": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def builder(folder):
    made = DigitScenes(config=DigitScenesConfig(**SIZES, seed=3), data_dir=folder)
    made.download_and_prepare()
    return made


@pytest.mark.parametrize("split", digit_scenes.SPLITS)
def test_examples_are_the_scenes_in_their_order(builder, split):
    expected = digit_scenes.scenes(split, SIZES[split], seed=3)
    rows = list(tfds.as_numpy(builder.as_dataset(split=split)))
    assert len(rows) == builder.info.splits[split].num_examples == SIZES[split]
    for index, row in enumerate(rows):
        real = expected["labels"][index] >= 0
        np.testing.assert_array_equal(row["image"], expected["images"][index])
        np.testing.assert_array_equal(
            row["label_map"][..., 0], expected["label_map"][index]
        )
        np.testing.assert_array_equal(
            row["objects"]["bbox"][:, [1, 0, 3, 2]] * digit_scenes.IMAGE_SIZE,
            expected["boxes"][index][real],
        )
        np.testing.assert_array_equal(
            row["objects"]["label"], expected["labels"][index][real]
        )
        assert row["count"] == expected["count"][index] == real.sum()


def test_features_are_in_the_form_of_tfds(builder):
    features = builder.info.features
    assert features["image"].shape == (64, 64, 3)
    assert features["label_map"].shape == (64, 64, 1)
    assert features["image"].dtype == features["label_map"].dtype == np.uint8
    assert isinstance(features["objects"]["bbox"], tfds.features.BBoxFeature)
    assert features["objects"]["label"].names == list("0123456789")
    assert features["count"].dtype == np.int32


def test_each_size_and_seed_has_its_folder(builder, folder):
    def place(**config):
        return DigitScenes(
            config=DigitScenesConfig(**config), data_dir=folder
        ).data_path

    same = place(**SIZES, seed=3)
    assert same == builder.data_path and same.is_dir()
    others = {place(**SIZES, seed=4), place(**{**SIZES, "test": 6}, seed=3)}
    assert len({same, *others}) == 3


def test_tfds_finds_it_by_name_with_the_sizes_of_the_recipe(folder):
    found = tfds.builder("digit_scenes", data_dir=folder)
    assert isinstance(found, DigitScenes)
    assert found.builder_config.train == 2048


def test_empty_split_is_refused():
    with pytest.raises(ValueError, match=r"at least one.*validation=0"):
        DigitScenesConfig(validation=0)
