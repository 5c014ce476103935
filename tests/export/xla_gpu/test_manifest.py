"""A folder is what its manifest says, or is refused."""

import json

import pytest

from mtl_zoo.export.xla_gpu import manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.ptx").write_text("a")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "b.pb").write_text("b")
    manifest.write(tmp_path, {"target": "sm_80"})
    return tmp_path


def change(folder, **values):
    content = json.loads((folder / manifest.NAME).read_text())
    (folder / manifest.NAME).write_text(json.dumps({**content, **values}))


def test_round_trip(folder):
    content = manifest.read(folder)
    assert content["target"] == "sm_80"
    assert list(content["files"]) == ["a.ptx", "cache/b.pb"]
    assert content["autotuned"] is False and content["executed_on_device"] is False
    assert "not executed on a GPU, not autotuned" in content["claim"]


def test_sha256(tmp_path):
    (tmp_path / "empty").touch()
    assert manifest.sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_changed_file(folder):
    (folder / "a.ptx").write_text("A")
    with pytest.raises(manifest.ManifestError, match=r"changed after.*: a\.ptx\. Comp"):
        manifest.read(folder)


def test_a_missing_file(folder):
    (folder / "cache" / "b.pb").unlink()
    with pytest.raises(manifest.ManifestError, match=r"lacks cache/b\.pb"):
        manifest.read(folder)


def test_a_file_too_much(folder):
    (folder / "c").touch()
    with pytest.raises(manifest.ManifestError, match="does not list: c"):
        manifest.read(folder)


def test_a_claim_too_much(folder):
    change(folder, autotuned=True)
    with pytest.raises(manifest.ManifestError, match="must say autotuned: false"):
        manifest.read(folder)


def test_no_manifest(tmp_path):
    with pytest.raises(manifest.ManifestError, match="compile-gpu"):
        manifest.read(tmp_path)
    (tmp_path / manifest.NAME).write_text("{")
    with pytest.raises(manifest.ManifestError, match="compile-gpu"):
        manifest.read(tmp_path)
    (tmp_path / manifest.NAME).write_text("{}")
    with pytest.raises(manifest.ManifestError, match="format 1"):
        manifest.read(tmp_path)
