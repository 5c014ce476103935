"""What is found, what is said when it is not, and that a build happens once."""

import os
import stat
from pathlib import Path

import pytest

from mtl_zoo.export.xla_gpu import toolchain

PTXAS = "#!/bin/sh\necho 'Cuda compilation tools, release {0}, V{0}.86'\n"
# Writes what it was told to build, and counts its runs.
COMPILER = """#!/bin/sh
[ "$1" = -dumpfullversion ] && { echo 12.2.0; exit; }
echo run >> "$COUNT"
[ -n "$BROKEN" ] && { echo 'x.cc:1: error: no such thing' >&2; exit 1; }
while [ "$1" != -o ]; do shift; done
echo program > "$2"
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def cuda(tmp_path):
    """A folder that looks like CUDA 12.9."""
    folder = tmp_path / "cuda"
    script(folder / "bin" / "ptxas", PTXAS.format("12.9"))
    (folder / "nvvm" / "libdevice").mkdir(parents=True)
    (folder / "nvvm" / "libdevice" / "libdevice.10.bc").touch()
    return folder


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """A stand-in for g++, and an empty cache; gives the file that counts its runs."""
    script(tmp_path / "bin" / "g++", COMPILER)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    return tmp_path / "count"


def test_a_folder_that_is_named(cuda, compiler):
    found = toolchain.find_toolchain(cuda)
    assert found.cuda_dir == cuda
    assert found.versions["ptxas"] == "12.9.86"
    assert found.versions["g++"] == "12.2.0"
    assert found.versions["tensorflow"].startswith(toolchain.TENSORFLOW)


def test_a_folder_that_the_environment_names(cuda, compiler, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(cuda))
    assert toolchain.find_toolchain().cuda_dir == cuda


def test_all_that_is_missing_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(toolchain.ToolchainError) as error:
        toolchain.find_toolchain(tmp_path)
    text = str(error.value)
    assert "apt-get install g++" in text
    assert f"pip install --no-deps {toolchain.CUDA_PACKAGE}" in text
    assert f"{str(tmp_path)!r} lacks them" in text


def test_ptxas_that_is_too_old(cuda, compiler):
    script(cuda / "bin" / "ptxas", PTXAS.format("12.4"))
    with pytest.raises(
        toolchain.ToolchainError, match=r"12\.5 or newer.* is 12\.4\.86"
    ):
        toolchain.find_toolchain(cuda)


def test_another_tensorflow(monkeypatch):
    monkeypatch.setattr(toolchain.importlib.metadata, "version", lambda _: "2.22.0")
    with pytest.raises(toolchain.ToolchainError, match=r"while 2\.22\.0 is installed"):
        toolchain.helper("aot")


def test_a_helper_is_built_once(compiler):
    program = toolchain.helper("aot")
    assert program.read_text() == "program\n"
    assert program.parent == toolchain.cache_dir()
    assert toolchain.helper("aot") == program
    assert toolchain.helper("evaluate") != program
    assert compiler.read_text() == "run\nrun\n"


def test_a_build_that_fails_leaves_nothing(compiler, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(toolchain.ToolchainError, match="error: no such thing"):
        toolchain.helper("aot")
    left = [p for p in toolchain.cache_dir().iterdir() if p.suffix != ".lock"]
    assert left == []


def test_no_such_helper(compiler):
    with pytest.raises(toolchain.ToolchainError, match="'aot' or 'evaluate'"):
        toolchain.helper("optimise")


def test_the_cache_follows_the_environment(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert toolchain.cache_dir() == Path.home() / ".cache" / "mtl_zoo" / "xla_gpu"
