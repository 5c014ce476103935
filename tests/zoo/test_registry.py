"""Names, cards and loading of saved models."""

import json
import shutil

import numpy as np
import pytest

import mtl_zoo as mtl
from mtl_zoo.zoo import registry
from tests.zoo import tiny
from tests.zoo.tiny import NAME


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four folders, of which the two last are no saved models."""
    for name, version in (
        ("pets-mlp-breed", "1"),
        ("nuclei-mlp-det", "1"),
        ("nuclei-mlp-half", ""),
        ("nuclei-mlp-draft", "draft"),
    ):
        place = tmp_path / name
        (place / version).mkdir(parents=True)
        (place / "config.json").write_text("{}")
        if version:
            (place / version / "saved_model.pb").touch()
        (place / "README.md").write_text(f"# {name}\n\nA card.\n")
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(tmp_path))
    return tmp_path


def test_only_complete_models_are_listed_in_order(folder):
    assert mtl.list_models() == ["nuclei-mlp-det", "pets-mlp-breed"]


def test_patterns(folder):
    assert mtl.list_models("nuclei-*") == ["nuclei-mlp-det"]
    assert mtl.list_models("*ner*") == []


def test_no_folder_means_no_models(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", str(tmp_path / "absent"))
    assert mtl.list_models() == []
    with pytest.raises(LookupError, match="MTL_ZOO_SAVED_MODELS names another"):
        registry.find("anything")


def test_default_folder_is_beside_the_package(monkeypatch):
    monkeypatch.delenv("MTL_ZOO_SAVED_MODELS", raising=False)
    root = registry.saved_models_dir().parent
    assert (root / "mtl_zoo" / "zoo" / "registry.py").is_file()


def test_unknown_name_suggests_the_closest(folder):
    with pytest.raises(registry.ModelNotFoundError, match="mean nuclei-mlp-det"):
        registry.find("nuclei-mlp-dat")


def test_unlike_name_lists_all(folder):
    with pytest.raises(LookupError, match="nuclei-mlp-det, pets-mlp-breed"):
        registry.find("zzz")


def test_incomplete_folder_says_what_is_missing(folder):
    with pytest.raises(LookupError, match=r"config\.json and a numbered version"):
        registry.find(folder / "nuclei-mlp-half")


def test_paths_work_like_names(folder, monkeypatch):
    by_name = registry.find("pets-mlp-breed")
    monkeypatch.setenv("MTL_ZOO_SAVED_MODELS", "elsewhere")
    assert registry.find(folder / "pets-mlp-breed") == by_name


def test_highest_version_counts_as_a_number(folder):
    place = folder / "pets-mlp-breed"
    for version in ("9", "10"):
        (place / version).mkdir()
        (place / version / "saved_model.pb").touch()
    (place / "11").mkdir()  # not written yet
    assert registry.latest_version("pets-mlp-breed").name == "10"


def test_show_prints_the_card(folder, capsys):
    mtl.show("nuclei-mlp-det")
    assert capsys.readouterr().out == "# nuclei-mlp-det\n\nA card.\n"


def test_loaded_model_equals_the_saved_one(network, saved_models):
    loaded = mtl.load(NAME)
    images = tiny.images().astype("float32")
    expected, found = network(images), loaded(images)
    assert loaded.task_names == network.task_names == ("seg", "det")
    for task in network.task_names:
        np.testing.assert_array_equal(found[task], expected[task])


def test_loaded_model_goes_on_training(saved_models):
    loaded = mtl.load(NAME, compile=True)
    before = [v.numpy() for v in loaded.trainable_variables]
    labels = {
        "seg": np.ones((2, 64, 96), "int32"),
        "det": {
            "boxes": np.array([[[4.0, 4.0, 16.0, 16.0]]] * 2, "float32"),
            "labels": np.zeros((2, 1), "int32"),
        },
    }
    loaded.fit(tiny.images().astype("float32"), labels, batch_size=2, verbose=0)
    still = [
        variable.path
        for old, variable in zip(before, loaded.trainable_variables, strict=True)
        if np.array_equal(old, variable.numpy())
    ]
    assert still == []


def test_frozen_layers_stay_frozen(network, saved_models, tmp_path):
    place = tmp_path / NAME
    shutil.copytree(saved_models / NAME, place)
    config = json.loads((place / "config.json").read_text())
    stages = config["config"]["trunk"]["config"]["stages"]
    stages[1][1]["config"]["trainable"] = False
    (place / "config.json").write_text(json.dumps(config))
    loaded = mtl.load(place)
    kernels = len(network.trainable_variables) - len(loaded.trainable_variables)
    assert kernels == 2  # kernel and bias of the first convolution


def test_config_that_does_not_fit_the_variables(saved_models, tmp_path):
    place = tmp_path / NAME
    shutil.copytree(saved_models / NAME, place)
    config = json.loads((place / "config.json").read_text())
    config["config"]["tasks"][0]["head"]["config"].update(
        num_classes=3, class_names=None
    )
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"do not fit the model.*\(3,\).*\(2,\)"):
        mtl.load(place)
