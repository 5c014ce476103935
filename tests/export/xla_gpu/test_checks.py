"""The checks that need no GPU, on made-up files and on compiled ones."""

import json
import re
import shutil
import struct

import pytest

from mtl_zoo.export.xla_gpu import checks, hlo, manifest
from mtl_zoo.export.xla_gpu.gpu import CompileError

PTX = ".visible .entry add(\n)\n.visible .entry mul(\n)\n"
LAUNCHES = (
    "kernel_thunk add add.1\nkernel_thunk mul mul.1\nkernel_thunk add add.2\n"
    "convolution_thunk - conv.1\n"
)
FOUND = hlo.Statistics(4, {"__cudnn$convForward": 1}, 0, 0)


def elf(machine=190, flags=0x500550, version=7, kind=b"\x7fELF"):
    """A header, flags as in the cubins that ptxas 12.9 writes."""
    header = bytearray(64)
    header[:5] = kind + b"\x02"
    header[8] = version
    struct.pack_into("<H", header, 18, machine)
    struct.pack_into("<I", header, 48, flags)
    return bytes(header)


def test_same_hlo():
    checks.check_same_hlo("a\nb", "a\nb")
    with pytest.raises(checks.CheckError, match="differ first in 'b' and 'c'"):
        checks.check_same_hlo("a\nb", "a\nc")
    with pytest.raises(checks.CheckError, match="must equal"):
        checks.check_same_hlo("a\nb", "a")


@pytest.mark.parametrize(
    ("flags", "version", "sm"),
    [
        (0x500550, 7, "sm_80"),
        (0x590559, 7, "sm_89"),
        (0x5A0D5A, 7, "sm_90"),  # for sm_90a
        (0x0600640A, 8, "sm_100"),
    ],
)
def test_architecture_of_a_cubin_as_ptxas_12_9_86_writes_it(flags, version, sm):
    assert checks.cubin_architecture(elf(flags=flags, version=version)) == sm


def test_a_cubin_for_another_architecture():
    checks.check_cubin(elf(), "sm_80")
    with pytest.raises(checks.CheckError, match=r"for sm_90\. Received: one for sm_80"):
        checks.check_cubin(elf(), "sm_90")


@pytest.mark.parametrize("binary", [b"", elf(kind=b"\x7fELG"), elf(machine=62)])
def test_no_cubin(binary):
    with pytest.raises(checks.CheckError, match="Expected a"):
        checks.check_cubin(binary, "sm_80")


def test_launches():
    checks.check_launches(LAUNCHES, PTX, FOUND)


@pytest.mark.parametrize(
    ("launches", "ptx", "message"),
    [
        (LAUNCHES, PTX.replace("mul", "sub"), r"entry: \['mul'\].*launch: \['sub'\]"),
        (LAUNCHES, PTX + ".entry idle(", r"without a launch: \['idle'\]"),
        (LAUNCHES + "kernel_thunk add add.3\n", PTX, "has 5 launches"),
        (LAUNCHES.replace("convolution", "copy"), PTX, "0 library calls"),
        (LAUNCHES.replace("convolution", "gemm"), PTX, None),
    ],
)
def test_launches_that_do_not_fit(launches, ptx, message):
    if message is None:
        checks.check_launches(launches, ptx, FOUND)
        return
    with pytest.raises(checks.CheckError, match=message):
        checks.check_launches(launches, ptx, FOUND)


def test_library_calls():
    checks.check_library_calls(FOUND, {"__cudnn$convForward": 1})
    with pytest.raises(checks.CheckError, match=r"exactly the library calls \{\}"):
        checks.check_library_calls(FOUND, {})


@pytest.mark.parametrize("sm", ["sm_80", "sm_90"])
def test_the_exact_library_calls_of_the_tiny_trunk(compiled, sm):
    conv = checks.check_compiled(compiled.conv[sm], "trunk_b2", sm)
    native = checks.check_compiled(compiled.native[sm], "trunk_b2", sm)
    checks.check_library_calls(conv, {"__cudnn$convForward": 4})
    checks.check_library_calls(native, {"__cudnn$convForward": 1})
    assert native.bytes_moved < conv.bytes_moved


@pytest.mark.parametrize("kind", ["conv", "native"])
@pytest.mark.parametrize("sm", ["sm_80", "sm_90"])
def test_the_optimised_module_computes_the_same(compiled, kind, sm):
    folder = getattr(compiled, kind)[sm]
    original, optimised = folder / "trunk_b2.hlo.pb", folder / "trunk_b2.opt.hlo.txt"
    found = checks.check_equal_results(original, optimised)
    assert found["elements"] == 2 * 4 * 4 * 16


def test_a_mutant_computes_something_else(compiled, tmp_path):
    folder = compiled.native["sm_80"]
    text = (folder / "trunk_b2.opt.hlo.txt").read_text()
    mutant = tmp_path / "mutant.txt"
    add = re.compile(r" add\((%[\w.]+), (%[\w.]+)\)")
    changed = add.sub(r" subtract(\1, \2)", text, count=1)
    assert changed != text
    mutant.write_text(changed)
    with pytest.raises(checks.CheckError, match="more than the tolerance"):
        checks.check_equal_results(folder / "trunk_b2.hlo.pb", mutant)


def test_the_evaluator_explains(tools, compiled, tmp_path):
    original = compiled.native["sm_80"] / "trunk_b2.hlo.pb"
    with pytest.raises(CompileError, match="can not read"):
        checks.evaluate(original, tmp_path / "none")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CompileError, match="can not compare: evaluate: "):
        checks.evaluate(original, tmp_path / "text")


@pytest.fixture
def copy(compiled, tmp_path):
    """A copy of a compiled folder, to be tampered with."""
    return shutil.copytree(compiled.native["sm_80"], tmp_path / "sm_80")


def test_verify(copy):
    content = checks.verify(copy)
    assert content["target"] == "sm_80"
    assert content["device_description"].startswith("NVIDIA A100")


@pytest.mark.parametrize("suffix", ["ptx", "cubin", "aot", "opt.hlo.txt"])
def test_verify_refuses_a_changed_file(copy, suffix):
    with open(copy / f"trunk_b2.{suffix}", "ab") as file:
        file.write(b" ")
    with pytest.raises(manifest.ManifestError, match=f"changed .* trunk_b2.{suffix}"):
        checks.verify(copy)


def test_verify_refuses_a_cubin_that_was_swapped_with_its_hash(copy, compiled):
    shutil.copy(compiled.native["sm_90"] / "trunk_b2.cubin", copy)
    content = json.loads((copy / manifest.NAME).read_text())
    manifest.write(copy, content)
    rewritten = json.loads((copy / manifest.NAME).read_text())
    rewritten["files"]["trunk_b2.cubin"] = manifest.sha256(copy / "trunk_b2.cubin")
    (copy / manifest.NAME).write_text(json.dumps(rewritten))
    with pytest.raises(checks.CheckError, match="one for sm_90"):
        checks.verify(copy)


def test_verify_refuses_figures_that_are_not_so(copy):
    content = json.loads((copy / manifest.NAME).read_text())
    content["trunks"]["trunk_b2"]["bytes_moved"] -= 1
    (copy / manifest.NAME).write_text(json.dumps(content))
    with pytest.raises(checks.CheckError, match="bytes_moved of trunk_b2"):
        checks.verify(copy)
