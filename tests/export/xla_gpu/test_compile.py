"""From a model to a folder for each target."""

import os
from pathlib import Path

import keras
import pytest

import mtl_zoo as mtl
from mtl_zoo.export.xla_gpu import checks, compile_gpu
from mtl_zoo.export.xla_gpu import compile as compiling
from mtl_zoo.export.xla_gpu.gpu import SUFFIXES, CompileError
from mtl_zoo.export.xla_native import native_encode
from tests.export.xla_gpu.conftest import SIDE


def contents(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def test_what_is_written(compiled):
    folder = compiled.native["sm_90"]
    assert folder.parts[-3:] == ("assets.extra", "xla_gpu", "sm_90")
    assert sorted(os.listdir(folder.parent)) == ["sm_80", "sm_90"]
    suffixes = ["hlo.txt", *(suffix[1:] for suffix in SUFFIXES)]
    assert contents(folder) == [
        "manifest.json",
        *sorted(f"trunk_b2.{suffix}" for suffix in suffixes),
    ]


def test_what_the_manifest_says(compiled):
    content = checks.verify(compiled.native["sm_80"])
    trunk = content["trunks"]["trunk_b2"]
    assert trunk["inputs"][-1] == {
        "name": "inputs",
        "shape": [2, SIDE, SIDE, 3],
        "dtype": "float32",
    }
    assert trunk["outputs"] == [
        {"name": "stride_4", "shape": [2, 4, 4, 16], "dtype": "float32"}
    ]
    assert trunk["failed_attempts"] == []
    assert 0 < trunk["bytes_moved"] < trunk["bytes_op_by_op"]
    assert set(content["toolchain"]) == {"tensorflow", "g++", "ptxas", "keras"}
    assert trunk["tf32"] is True


def test_no_path_of_this_machine_is_written(compiled):
    here = str(Path(__file__).parents[3]).encode()
    files = list(compiled.native["sm_80"].iterdir())
    assert files and not [file.name for file in files if here in file.read_bytes()]


def test_a_described_gpu_and_an_older_folder(tools, separable, version):
    old = version / compiling.FOLDER / "sm_89" / "old"
    other = version / compiling.FOLDER / "sm_90" / "kept"
    for file in (old, other):
        file.parent.mkdir(parents=True)
        file.touch()
    (folder,) = compile_gpu(
        separable,
        version,
        targets=("sm_89",),
        batch_sizes=(1,),
        image_size=(SIDE, 2 * SIDE),
        encode=native_encode(separable),
    )
    assert checks.verify(folder)["device_description"] == "NVIDIA L4"
    assert not old.exists() and other.exists()
    assert sorted(os.listdir(version / compiling.FOLDER)) == ["sm_89", "sm_90"]


def test_an_error_leaves_all_as_it_was(tools, separable, version, monkeypatch):
    def fails(hlo, target, prefix, toolchain):
        prefix.with_suffix(".ptx").touch()
        raise CompileError("XLA is tired")

    before = contents(version)
    monkeypatch.setattr(compiling, "compile_module", fails)
    with pytest.raises(CompileError, match="tired"):
        compile_gpu(separable, version, image_size=SIDE)
    extra = {"assets.extra", "assets.extra/xla_gpu"}
    assert set(contents(version)) - extra == set(before) - extra


def test_wrong_arguments(separable, version, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"saved_model\.pb"):
        compile_gpu(separable, tmp_path)
    with pytest.raises(ValueError, match="A target is one of"):
        compile_gpu(separable, version, targets=("sm_1",))
    with pytest.raises(ValueError, match="different targets"):
        compile_gpu(separable, version, targets=("sm_80", "sm_80"))
    with pytest.raises(ValueError, match="different targets"):
        compile_gpu(separable, version, targets=())
    with pytest.raises(ValueError, match="batch sizes of 1 or more"):
        compile_gpu(separable, version, batch_sizes=(0,))


def test_input_shape(separable):
    assert compiling.input_shape(separable, 32) == (32, 32, 3)
    assert compiling.input_shape(separable, (32, 64)) == (32, 64, 3)


def test_input_shape_of_what_can_not_be_compiled():
    task = mtl.Task(
        "t",
        mtl.heads.Regression(1, feature="layer_1"),
        keras.losses.MeanSquaredError(),
    )
    model = mtl.architectures.HardSharing(mtl.trunks.mlp([4]), [task])
    with pytest.raises(ValueError, match="Build it first"):
        compiling.input_shape(model, 32)
    model.build((None, 6))
    assert compiling.input_shape(model, 32) == (6,)
    model.get_build_config = lambda: {"input_shape": {"a": (None, 6)}}
    with pytest.raises(ValueError, match="input is one tensor"):
        compiling.input_shape(model, 32)
    model.get_build_config = lambda: {"input_shape": (None, None, 6)}
    with pytest.raises(ValueError, match="known sizes only"):
        compiling.input_shape(model, 32)
