"""Targets, and what happens when XLA finds no tiling."""

import os
import stat
from pathlib import Path

import pytest

from mtl_zoo.export.xla_gpu import gpu
from mtl_zoo.export.xla_gpu.toolchain import Toolchain

# Fails with the message that XLA has until it is given the flag $WORKS_WITH.
HELPER = """#!/bin/sh
echo "$XLA_FLAGS" >> "$SEEN"
case "$XLA_FLAGS" in
  *"$WORKS_WITH"*) echo "NVIDIA Made-Up"; exit 0;;
esac
echo "W0000 something else" >&2
echo "aot: INTERNAL: Couldn't find output tile sizes" >&2
exit 1
"""


@pytest.fixture
def helper(tmp_path, monkeypatch):
    path = tmp_path / "aot"
    path.write_text(HELPER)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(gpu, "helper", lambda name: path)
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_of_the_user=true")
    return tmp_path / "seen"


def compile_module(tmp_path):
    tools = Toolchain(Path("/cuda"), {})
    target = gpu.find_target("sm_80")
    return gpu.compile_module(tmp_path / "m.pb", target, tmp_path / "m", tools)


@pytest.mark.parametrize("name", gpu.KNOWN)
def test_targets_that_xla_knows(name):
    assert gpu.find_target(name) == gpu.Target(name, name)


def test_a_target_that_is_described_here():
    found = gpu.find_target("sm_89")
    assert found.sm == "sm_89" and os.path.isfile(found.argument)


def test_a_target_of_the_user(tmp_path):
    file = tmp_path / "mine.textproto"
    file.write_text("gpu_device_info { cuda_compute_capability { major: 7 minor: 5 } }")
    assert gpu.find_target(str(file)) == gpu.Target("sm_75", str(file))


def test_no_target(tmp_path):
    with pytest.raises(ValueError, match=r"'sm_80'.*Received: 'sm_42'"):
        gpu.find_target("sm_42")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="cuda_compute_capability"):
        gpu.find_target(str(tmp_path / "empty"))


def test_works_at_once(helper, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKS_WITH", "split_k")
    device, attempts = compile_module(tmp_path)
    assert device == "NVIDIA Made-Up"
    assert attempts == [gpu.Attempt(gpu.FLAGS)]
    # Only flags that are recorded, and where the tools are.
    assert helper.read_text() == f"--xla_gpu_cuda_data_dir=./cuda {gpu.FLAGS[0]}\n"


def test_tries_again_with_other_flags(helper, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKS_WITH", "enable_triton_gemm=false")
    _, attempts = compile_module(tmp_path)
    said = "aot: INTERNAL: Couldn't find output tile sizes"
    assert [a.error for a in attempts] == [said, said, ""]
    assert attempts[-1].flags == (*gpu.FLAGS, "--xla_gpu_enable_triton_gemm=false")


def test_nothing_works(helper, tmp_path, monkeypatch):
    monkeypatch.setenv("WORKS_WITH", "no flag")
    with pytest.raises(
        gpu.CompileError, match=r"can not compile m\.pb for sm_80.*tile"
    ):
        compile_module(tmp_path)


def test_the_real_helper_explains(tools, tmp_path):
    target = gpu.find_target("sm_80")
    with pytest.raises(gpu.CompileError, match="can not read"):
        gpu.compile_module(tmp_path / "no.pb", target, tmp_path / "no", tools)
    (tmp_path / "bad.pb").write_text("no module")
    with pytest.raises(gpu.CompileError, match="is no HloModuleProto"):
        gpu.compile_module(tmp_path / "bad.pb", target, tmp_path / "bad", tools)
    assert os.listdir(tmp_path) == ["bad.pb"]
