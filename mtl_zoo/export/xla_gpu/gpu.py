"""The GPUs that can be compiled for, and one compilation by the C++ helper."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtl_zoo.export.xla_gpu.toolchain import Toolchain, helper

# Architectures whose device XLA describes itself, and those described here.
KNOWN = ("sm_80", "sm_86", "sm_90", "sm_100")
_DESCRIBED = {"sm_89": Path(__file__).parent / "targets" / "l4_sm_89.textproto"}

# What the helper writes, by what follows the prefix.
SUFFIXES = (".aot", ".cubin", ".hlo.pb", ".launches.txt", ".opt.hlo.txt", ".ptx")

# Without a GPU nothing is tuned, and XLA takes the first tiling of its list. For deep
# products that splits the sum, which its Triton kernels then refuse: they fall back to
# cuBLAS. Unsplit tilings keep every product in a kernel of XLA's own.
FLAGS = ("--xla_gpu_enable_split_k_autotuning=false",)
# Added one after the other when XLA finds no tiling ("Couldn't find output tile
# sizes"). Before sm_90 it lets channels come first in convolutions, and products that
# read those transpose on the way, for which its first tiling may not fit; with channels
# last it does. The last resort always works, and calls cuBLAS.
RETRIES: tuple[tuple[str, ...], ...] = (
    (),
    ("--xla_gpu_force_conv_nhwc=true",),
    ("--xla_gpu_enable_triton_gemm=false",),
)


class CompileError(RuntimeError):
    """XLA could not compile a module for a GPU."""


@dataclass(frozen=True)
class Target:
    """A GPU to compile for.

    Attributes:
        sm: The architecture, such as `sm_80`.
        argument: What the helper takes: the same, or the path of a description.
    """

    sm: str
    argument: str


@dataclass(frozen=True)
class Attempt:
    """One run of the compiler.

    Attributes:
        flags: XLA's flags.
        error: What it said when it failed, else empty.
    """

    flags: tuple[str, ...]
    error: str = ""


def find_target(name: str) -> Target:
    """Return the GPU called `name`.

    Args:
        name: An architecture, or the path of a file with a GpuTargetConfigProto in
            text form (`*.textproto`, `*.txtpb`).

    Raises:
        ValueError: When there is no such architecture, or the file describes none.
    """
    if name in KNOWN:
        return Target(name, name)
    path = _DESCRIBED.get(name, Path(name))
    if not path.is_file():
        raise ValueError(
            f"A target is one of {[*KNOWN, *_DESCRIBED]}, or a file that describes a "
            f"GPU as a GpuTargetConfigProto in text form. Received: {name!r}"
        )
    found = re.search(
        r"cuda_compute_capability\s*:?\s*\{\s*major:\s*(\d+)\s*minor:\s*(\d+)",
        path.read_text(errors="replace"),
    )
    if found is None:
        raise ValueError(
            "Expected a GpuTargetConfigProto in text form, with "
            f"cuda_compute_capability {{ major: .. minor: .. }}. Received: {name!r}"
        )
    return Target(f"sm_{found[1]}{found[2]}", os.fspath(path.resolve()))


def compile_module(
    hlo: Path, target: Target, prefix: Path, toolchain: Toolchain
) -> tuple[str, list[Attempt]]:
    """Compile a serialised module; see `aot.cc` for the files it becomes.

    Args:
        hlo: File of the module.
        target: The GPU.
        prefix: How the files begin: `prefix.ptx` and so on.
        toolchain: From `find_toolchain`.

    Returns:
        The name of the device, and what was tried, the attempt that worked last.

    Raises:
        CompileError: When no attempt works. No file is left then.
    """
    attempts: list[Attempt] = []
    for more in RETRIES:
        flags = (*FLAGS, *more)
        done = _run(flags, hlo.resolve(), target, prefix.resolve(), toolchain)
        if done.returncode == 0:
            return done.stdout.strip(), [*attempts, Attempt(flags)]
        attempts.append(Attempt(flags, reason(done)))
    said = "; ".join(f"[{' '.join(a.flags)}] {a.error}" for a in attempts)
    raise CompileError(f"XLA can not compile {hlo.name} for {target.sm}: {said}")


def reason(done: subprocess.CompletedProcess) -> str:
    """Return why a helper failed, on one line of at most 300 characters."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    own = [line for line in lines if re.match(r"(aot|evaluate): ", line)]
    last = (own or lines or [f"exit code {done.returncode}"])[-1]
    return last if len(last) <= 300 else last[:300] + "..."


def _run(
    flags: Sequence[str], hlo: Path, target: Target, prefix: Path, toolchain: Toolchain
) -> subprocess.CompletedProcess:
    """Run the helper, without a GPU and with no flags but those that are recorded."""
    environment = {
        **os.environ,
        # XLA writes its flags into the executable, where no path of this host belongs.
        "XLA_FLAGS": " ".join(["--xla_gpu_cuda_data_dir=./cuda", *flags]),
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    with tempfile.TemporaryDirectory() as work:
        os.symlink(toolchain.cuda_dir.resolve(), Path(work, "cuda"))
        command: list[str | Path] = [helper("aot"), hlo, target.argument, prefix]
        return subprocess.run(
            command, env=environment, cwd=work, capture_output=True, text=True
        )
