"""Writing saved models and their index."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.zoo import saving
from tests.zoo import tiny
from tests.zoo.tiny import NAME


def save(network, directory, name=NAME, **changes):
    arguments = {
        "card": tiny.CARD,
        "metrics": tiny.metrics(),
        "example": tiny.images(),
        **changes,
    }
    return mtl.zoo.save(network, name, directory, **arguments)


def test_everything_that_ships_is_there(saved):
    files = sorted(path.name for path in (saved / NAME).iterdir())
    assert files == [
        "1",
        "README.md",
        "config.json",
        "golden.npz",
        "metrics.json",
        "sample.png",
    ]
    assert os.listdir(saved) == [NAME]


def test_golden_holds_inputs_raw_and_served_outputs(network, saved):
    golden = np.load(saved / NAME / "golden.npz")
    np.testing.assert_array_equal(golden["inputs/images"], tiny.images())
    assert golden["inputs/images"].dtype == np.uint8
    raw = network(tiny.images().astype("float32"))
    for task in network.task_names:
        np.testing.assert_allclose(golden[f"raw/{task}"], raw[task], atol=1e-4)
    served = tf.saved_model.load(str(saved / NAME / "1")).signatures["serving_default"]
    outputs = served(images=tf.constant(golden["inputs/images"]))
    assert {f"outputs/{name}" for name in outputs} < set(golden)
    for name, value in outputs.items():
        np.testing.assert_allclose(golden[f"outputs/{name}"], value, atol=1e-4)


def test_config_says_how_images_are_prepared(saved):
    config = json.loads((saved / NAME / "config.json").read_text())
    assert config["preprocessing"] == {
        "kind": "native",
        "multiple": 32,
        "max_side": 1024,
    }
    assert config["registered_name"] == "mtl_zoo>HardSharing"


def test_card_describes_the_signature_in_task_order(saved):
    text = (saved / NAME / "README.md").read_text()
    assert "| `images` | input | uint8 (batch, any, any, 3) |" in text
    assert "| `det_boxes` | output | float32 (batch, 5, 4) |" in text
    assert text.index("`seg_label_map`") < text.index("`det_boxes`")


def test_name_that_is_taken_is_left_alone(network, saved):
    before = (saved / NAME / "README.md").stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save(network, saved)
    assert (saved / NAME / "README.md").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["Nuclei-mlp-det", "nuclei", "a/b-c", "../a-b"])
def test_names_have_a_form(network, tmp_path, name):
    with pytest.raises(ValueError, match="<data>-<trunk>-<tasks>"):
        save(network, tmp_path, name=name)


def test_wrong_metrics_are_refused_before_anything_is_written(network, tmp_path):
    metrics = tiny.metrics()
    del metrics["seeds"]
    with pytest.raises(ValueError, match="seeds"):
        save(network, tmp_path, metrics=metrics)
    assert os.listdir(tmp_path) == []


def test_wrong_preprocessing_is_refused(network, tmp_path):
    with pytest.raises(ValueError, match='"kind": "native"'):
        save(network, tmp_path, preprocessing={"kind": "crop"})


def test_paths_of_this_machine_are_refused(network, tmp_path):
    metrics = {**tiny.metrics(), "command": f"python {os.getcwd()}/recipes/discs.py"}
    with pytest.raises(ValueError, match=r"metrics\.json would hold a path"):
        save(network, tmp_path, metrics=metrics)


def test_failure_on_the_way_leaves_nothing_and_keeps_the_old_one(
    network, tmp_path, monkeypatch
):
    old = tmp_path / NAME
    old.mkdir()
    (old / "mark").touch()

    def fail(*_, **__):
        raise RuntimeError("disk full")

    monkeypatch.setattr(saving, "write_version", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        save(network, tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == [NAME] and os.listdir(old) == ["mark"]


def test_overwrite_replaces_everything(network, tmp_path, monkeypatch):
    old = tmp_path / NAME
    old.mkdir()
    (old / "mark").touch()

    def export(model, directory, **_):
        (directory / "1").mkdir()
        return directory / "1"

    monkeypatch.setattr(saving, "write_version", export)
    monkeypatch.setattr(saving, "_write_golden", lambda *_: ({}, {}))
    save(network, tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == [NAME]
    assert sorted(os.listdir(old)) == ["1", "README.md", "config.json", "metrics.json"]


def test_index_has_a_row_and_a_server_entry_for_each_model(saved):
    texts = saving.index(saved)
    row = next(line for line in texts["README.md"].splitlines() if NAME in line)
    assert row == (
        f"| [{NAME}]({NAME}/README.md) | Finds discs in pictures. "
        "| seg accuracy 0.812 ± 0.010 (0.750 ± 0.010)<br>"
        "det f1 0.710 ± 0.010 (0.700 ± 0.010) | +4.880 ± 0.010 |"
    )
    assert f'base_path: "/models/{NAME}"' in texts["models.config"]


def test_write_index_writes_what_a_server_needs(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "models")
    mtl.zoo.write_index(folder)
    assert {path.name for path in folder.iterdir()} == {
        NAME,
        "README.md",
        "batching.config",
        "client.py",
        "docker-compose.yml",
        "kubernetes.yaml",
        "models.config",
        "monitoring.config",
    }
    mtl.export.check(folder)


def test_no_index_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected at least one saved model"):
        mtl.zoo.write_index(tmp_path)
    assert os.listdir(tmp_path) == []
