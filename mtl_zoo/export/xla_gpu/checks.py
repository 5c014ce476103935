"""What can be verified of compiled kernels without a GPU."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
from pathlib import Path
from typing import Any

from mtl_zoo.export.xla_gpu import manifest
from mtl_zoo.export.xla_gpu.gpu import CompileError, reason
from mtl_zoo.export.xla_gpu.hlo import Statistics, statistics
from mtl_zoo.export.xla_gpu.toolchain import helper

_EM_CUDA = 190
# How the executable names launches of kernels of its own, and of a library.
_KERNEL = "kernel_thunk"
_COPIES = {"copy_thunk", "device_to_device_copy_thunk", "memzero_thunk"}
_COPIES |= {"memset32bit_value_thunk"}


class CheckError(ValueError):
    """A compiled artefact is not what it should be."""


def check_same_hlo(gpu: str, cpu: str) -> None:
    """Check that XLA was given the same module for the GPU as for the CPU.

    Raises:
        CheckError: When a line differs; it is shown.
    """
    if gpu == cpu:
        return
    lines = zip(gpu.splitlines(), cpu.splitlines(), strict=False)
    pair = next(
        (p for p in lines if p[0] != p[1]), ("more lines", "fewer, or the like")
    )
    raise CheckError(
        "The module for the GPU must equal that for the CPU. They differ first in "
        f"{pair[0].strip()!r} and {pair[1].strip()!r}."
    )


def cubin_architecture(cubin: bytes) -> str:
    """Return the architecture of a CUDA binary, such as `sm_80`, from its ELF header.

    Raises:
        CheckError: When it is no 64-bit ELF file for CUDA.
    """
    if len(cubin) < 64 or cubin[:4] != b"\x7fELF" or cubin[4] != 2:
        raise CheckError(
            f"Expected a cubin, a 64-bit ELF file. Received: {cubin[:8]!r}..."
        )
    (machine,) = struct.unpack_from("<H", cubin, 18)
    if machine != _EM_CUDA:
        raise CheckError(
            f"Expected an ELF file for CUDA, machine {_EM_CUDA}. Received: {machine}"
        )
    (flags,) = struct.unpack_from("<I", cubin, 48)
    # The eighth version of the interface moved the number up by a byte.
    return f"sm_{(flags >> 8 if cubin[8] >= 8 else flags) & 0xFF}"


def check_cubin(cubin: bytes, sm: str) -> None:
    """Check that `cubin` is a CUDA binary for the architecture `sm`.

    Raises:
        CheckError: When it is none, or for another architecture.
    """
    found = cubin_architecture(cubin)
    if found != sm:
        raise CheckError(f"Expected a cubin for {sm}. Received: one for {found}")


def check_launches(launches: str, ptx: str, found: Statistics) -> None:
    """Check that each launch is a kernel in the PTX or a library call in the HLO.

    Args:
        launches: Lines `KIND KERNEL INSTRUCTION`, as `aot` writes them.
        ptx: The assembly.
        found: Of the optimised module.

    Raises:
        CheckError: When a launch has no kernel, a kernel no launch, or the executable
            and the module differ in the number of launches or library calls.
    """
    rows = [line.split(" ", 2) for line in launches.splitlines() if line]
    entries = set(re.findall(r"\.entry\s+([\w$]+)", ptx))
    kernels = {row[1] for row in rows if row[0] == _KERNEL}
    missing, idle = sorted(kernels - entries), sorted(entries - kernels)
    if missing or idle:
        raise CheckError(
            "Every launch needs an entry in the PTX, and every entry a launch. "
            f"Without an entry: {missing}; without a launch: {idle}"
        )
    library = [row for row in rows if row[0] not in {_KERNEL, *_COPIES}]
    for what, here, there in (
        ("launches", len(rows), found.launches),
        ("library calls", len(library), sum(found.library_calls.values())),
    ):
        if here != there:
            raise CheckError(
                f"The executable has {here} {what}, the optimised module {there}."
            )


def check_library_calls(found: Statistics, expected: dict[str, int]) -> None:
    """Check the exact list of library calls, `{target: number}`.

    Raises:
        CheckError: When there are others, or others in number.
    """
    if found.library_calls != expected:
        raise CheckError(
            f"Expected exactly the library calls {expected}. "
            f"Received: {found.library_calls}"
        )


def evaluate(hlo: Path, optimised: Path, seed: int = 0) -> dict[str, float]:
    """Run a module and its optimised form in XLA's evaluator, on the CPU.

    For tiny trunks: the evaluator is slow.

    Args:
        hlo: File of the serialised module.
        optimised: File of the text of the optimised one.
        seed: Of the random arguments. Defaults to `0`.

    Returns:
        `max_difference`, `max_magnitude` of the original's results, and `elements`.

    Raises:
        ToolchainError: When the evaluator can not be built.
        CompileError: When it can not run a module.
    """
    command: list[str | Path] = [helper("evaluate"), hlo, optimised, str(seed)]
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise CompileError(f"XLA's evaluator can not compare: {reason(done)}")
    return json.loads(done.stdout)


def check_equal_results(
    hlo: Path, optimised: Path, tolerance: float = 1e-5
) -> dict[str, float]:
    """Check that a module and its optimised form give the same, up to rounding.

    Args:
        hlo: File of the serialised module.
        optimised: File of the text of the optimised one.
        tolerance: Largest difference allowed, relative to the largest result.

    Returns:
        What `evaluate` does.

    Raises:
        CheckError: When they differ by more, or the results are all 0.
    """
    found = evaluate(hlo, optimised)
    if not found["max_magnitude"] > 0:
        raise CheckError("All results are 0, and show nothing.")
    error = found["max_difference"] / found["max_magnitude"]
    if not error <= tolerance:
        raise CheckError(
            f"The optimised module differs by {error:.2g} of the largest result, more "
            f"than the tolerance {tolerance:.2g}."
        )
    return found


def check_compiled(directory: Path, name: str, sm: str) -> Statistics:
    """Check the files `name.*` in a folder against each other; see the functions above.

    Returns:
        The statistics of the optimised module.

    Raises:
        CheckError: When a check fails.
    """
    found = statistics((directory / f"{name}.opt.hlo.txt").read_text())
    check_cubin((directory / f"{name}.cubin").read_bytes(), sm)
    check_launches(
        (directory / f"{name}.launches.txt").read_text(),
        (directory / f"{name}.ptx").read_text(),
        found,
    )
    return found


def verify(directory: str | os.PathLike) -> dict[str, Any]:
    """Verify the folder of one architecture, as `compile_gpu` wrote it.

    Every file is compared with the manifest, the files with each other, and the figures
    in the manifest with the files.

    Args:
        directory: Such as `<version>/assets.extra/xla_gpu/sm_80`.

    Returns:
        The manifest.

    Raises:
        ManifestError: When a file is missing, too much or changed.
        CheckError: When files do not fit each other or the manifest's figures.
    """
    folder = Path(directory)
    content = manifest.read(folder)
    for name, said in content["trunks"].items():
        found = check_compiled(folder, name, content["target"])
        check_library_calls(found, said["library_calls"])
        for figure in ("launches", "triton_gemms", "bytes_moved"):
            if said[figure] != getattr(found, figure):
                raise CheckError(
                    f"The manifest says {said[figure]} {figure} of {name}, the "
                    f"optimised module {getattr(found, figure)}."
                )
    return content
