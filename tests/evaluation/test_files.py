"""Files that are complete or absent."""

import pytest

from mtl_zoo.evaluation.files import write_file


def test_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in (b"first", b"second"):
        write_file(path, lambda file, text=text: file.write(text))
        assert path.read_bytes() == text
    assert [entry.name for entry in path.parent.iterdir()] == ["b.txt"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("full disk")

    with pytest.raises(RuntimeError, match="full disk"):
        write_file(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
