"""`mtl-zoo compile-gpu`, without its roof."""

import shutil

import pytest

from mtl_zoo.export.xla_gpu import command, verify
from mtl_zoo.training import flags as recipe_flags
from mtl_zoo.zoo import registry
from tests.zoo import tiny


def test_flags_are_those_of_a_command_line():
    parsed, rest = recipe_flags.parse(
        command.Flags, ["name", "dir", "--target=sm_80,sm_89", "--batch=4", "--cache"]
    )
    assert rest == ["name", "dir"]
    assert parsed == command.Flags(target=("sm_80", "sm_89"), batch=(4,), cache=True)


def test_find_version(tmp_path):
    with pytest.raises(command.CommandError, match="mtl-zoo export NAME"):
        command.find_version(str(tmp_path))
    for version in ("1", "10", "2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert command.find_version(str(tmp_path)) == tmp_path / "10"
    assert command.find_version(str(tmp_path / "2")) == tmp_path / "2"


def test_unknown_model(saved_models, tmp_path):
    with pytest.raises(registry.ModelNotFoundError):
        command.run("no-such-model", str(tmp_path), command.Flags())


def test_missing_tools_are_one_line(saved_models, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = command.Flags(cuda_dir=str(tmp_path))
    with pytest.raises(command.CommandError) as error:
        command.run(tiny.NAME, str(exported), flags)
    assert "\n" not in str(error.value) and "g++" in str(error.value)


def test_wrong_flags_are_one_line(tools, saved_models, exported):
    flags = command.Flags(target=("sm_7",), trunk="conv")
    with pytest.raises(command.CommandError, match="A target is one of") as error:
        command.run(tiny.NAME, str(exported), flags)
    assert "\n" not in str(error.value)


def test_no_gpu_is_one_line(saved_models, exported):
    flags = command.Flags(on_device=True, batch=(1,), image_size=64)
    with pytest.raises(command.CommandError, match="TensorFlow sees no GPU here"):
        command.run(tiny.NAME, str(exported), flags)


def test_run(tools, saved_models, exported, tmp_path):
    directory = shutil.copytree(exported, tmp_path / "discs")
    flags = command.Flags(target=("sm_80",), batch=(1,), image_size=64, trunk="conv")
    (folder,) = command.run(tiny.NAME, str(directory), flags)
    assert folder == directory / "1" / "assets.extra" / "xla_gpu" / "sm_80"
    assert list(verify(folder)["trunks"]) == ["trunk_b1"]
