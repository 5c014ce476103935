import json
import os
import tarfile
import threading

import pytest

from mtl_zoo.data import archives


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MTL_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_archive(folder, text="1"):
    folder.mkdir(exist_ok=True)
    source = folder / "source" / "birds"
    source.mkdir(parents=True, exist_ok=True)
    (source / "annotations.json").write_text(json.dumps(text))
    with tarfile.open(folder / "birds.tar.gz", "w:gz") as tar:
        tar.add(source, arcname="birds")
    return folder


def test_no_folder_known(monkeypatch):
    monkeypatch.delenv("MTL_ZOO_DATA", raising=False)
    with pytest.raises(archives.DataNotFoundError, match=r"MTL_ZOO_DATA.*birds\.tar"):
        archives.find("birds")


def test_not_in_the_folder(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        archives.find("birds", tmp_path)
    for said in ("birds.tar.gz", str(tmp_path), "MTL_ZOO_DATA", "data_dir="):
        assert said in str(error.value)


def test_unpacked_folder_is_used_in_place(tmp_path, cache):
    (tmp_path / "birds").mkdir()
    assert archives.find("birds", tmp_path) == tmp_path / "birds"
    assert not cache.exists()


def test_environment_names_the_folder(tmp_path, cache, monkeypatch):
    (tmp_path / "birds").mkdir()
    monkeypatch.setenv("MTL_ZOO_DATA", str(tmp_path))
    assert archives.find("birds") == tmp_path / "birds"


def test_archive_is_unpacked_once(tmp_path, cache):
    folder = write_archive(tmp_path / "data")
    found = archives.find("birds", folder)
    (found / "kept").touch()
    assert (archives.find("birds", folder) / "kept").exists()
    assert cache in found.parents


def test_another_archive_is_not_mistaken_for_the_first(tmp_path, cache):
    folder = write_archive(tmp_path / "data", "first")
    first = archives.find("birds", folder)
    write_archive(folder, "second, longer")
    os.utime(folder / "birds.tar.gz", (1, 1))
    second = archives.find("birds", folder)
    assert first != second
    assert "second" in (second / "annotations.json").read_text()


def test_failure_leaves_nothing_behind(tmp_path):
    def fail(folder):
        (folder / "half").touch()
        raise OSError("disc full")

    with pytest.raises(OSError, match="disc full"):
        archives.made_once(tmp_path / "made", fail)
    assert list(tmp_path.iterdir()) == []


def test_racing_writers_agree_on_one_whole_folder(tmp_path):
    together = threading.Barrier(4)
    found = []

    def write(folder):
        (folder / "a").write_text("a")
        together.wait()  # All write at once; all but one lose the rename.
        (folder / "b").write_text("b")

    def make():
        found.append(archives.made_once(tmp_path / "made", write))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert found == [tmp_path / "made"] * 4
    assert {p.name for p in tmp_path.iterdir()} == {"made"}
    assert {p.name for p in (tmp_path / "made").iterdir()} == {"a", "b"}
