"""Finds what compiling for a GPU needs, and builds the C++ helpers once."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# XLA has no stable C++ interface: the helpers are written against this series.
TENSORFLOW = "2.21."
# TensorFlow 2.21 writes PTX 8.5.
OLDEST_PTXAS = (12, 5)
CUDA_PACKAGE = "nvidia-cuda-nvcc-cu12==12.9.86"

_SOURCES = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O0", "-DNDEBUG", "-w", "-D_GLIBCXX_USE_CXX11_ABI=1")
_LIBRARIES = ("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2")


class ToolchainError(RuntimeError):
    """Something that compiling for a GPU needs is missing; says what and whence."""


@dataclass(frozen=True)
class Toolchain:
    """What was found.

    Attributes:
        cuda_dir: The folder with `bin/ptxas` and `nvvm/libdevice/`.
        versions: Of TensorFlow, g++ and ptxas.
    """

    cuda_dir: Path
    versions: dict[str, str]


def find_toolchain(cuda_dir: str | os.PathLike | None = None) -> Toolchain:
    """Return the tools that compiling for a GPU needs.

    Args:
        cuda_dir: Folder of the CUDA toolkit. Defaults to the environment variable
            `CUDA_HOME`, then to the PyPI package `nvidia-cuda-nvcc-cu12`.

    Raises:
        ToolchainError: When something is missing or too old; all of it is named.
    """
    problems: list[str] = []
    found: dict[str, Any] = {}
    finders = {"tensorflow": _tensorflow, "g++": _compiler}
    for name, find in {**finders, "ptxas": lambda: _cuda(cuda_dir)}.items():
        try:
            found[name] = find()
        except ToolchainError as error:
            problems.append(str(error))
    if problems:
        raise ToolchainError("Compiling for a GPU needs more: " + "; ".join(problems))
    folder = found["ptxas"][0]
    return Toolchain(folder, {name: version for name, (_, version) in found.items()})


def helper(name: str) -> Path:
    """Return the program built from `<name>.cc`, building it if that was not done.

    The first time takes about a minute and 1.5 GB of memory. The program is kept in
    `$XDG_CACHE_HOME/mtl_zoo/xla_gpu/` (`~/.cache/...`), by TensorFlow's version and
    place and the source's hash.

    Args:
        name: `"aot"` or `"evaluate"`.

    Raises:
        ToolchainError: When g++ or TensorFlow's headers are missing, or g++ fails.
    """
    root, version = _tensorflow()
    source = _SOURCES / f"{name}.cc"
    if not source.is_file():
        raise ToolchainError(
            f"the helper is called 'aot' or 'evaluate', a source beside {__file__}. "
            f"Received: {name!r}"
        )
    key = hashlib.sha256(
        b"\0".join([source.read_bytes(), os.fsencode(root), *map(str.encode, _FLAGS)])
    ).hexdigest()
    target = cache_dir() / f"{name}-{version}-{key[:16]}"
    if target.is_file():
        return target
    _compiler()
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.with_name(f"{target.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second process waits for the first
        if not target.is_file():
            _build(source, root, target)
    return target


def cache_dir() -> Path:
    """Return the folder of built helpers; it need not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mtl_zoo" / "xla_gpu"


def _build(source: Path, root: Path, target: Path) -> None:
    include = root / "include"
    external = include / "external"
    folders = [include, *sorted(external.iterdir()), external / "farmhash_archive/src"]
    for nested in sorted(external.rglob("_virtual_includes")):
        folders += sorted(nested.iterdir())
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as work:
        program = Path(work) / target.name
        command = ["g++", *_FLAGS, *(f"-I{folder}" for folder in folders)]
        command += [str(source), "-o", str(program), "-Wl,--no-as-needed", f"-L{root}"]
        command += [*_LIBRARIES, f"-Wl,-rpath,{root}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise ToolchainError(
                f"g++ can not build {source.name} against TensorFlow in {root}: "
                f"{_first_error(done.stderr)}"
            )
        os.rename(program, target)


def _first_error(said: str) -> str:
    lines = [
        line for line in said.splitlines() if "error" in line or "undefined" in line
    ]
    return (lines or said.splitlines()[-1:] or ["it says nothing"])[0]


def _tensorflow() -> tuple[Path, str]:
    """The folder of TensorFlow, which is not imported, and its version."""
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise ToolchainError(
            f"TensorFlow {TENSORFLOW}*: pip install tensorflow==2.21.*"
        )
    root = Path(spec.origin).parent
    version = importlib.metadata.version("tensorflow")
    if not version.startswith(TENSORFLOW):
        raise ToolchainError(
            f"TensorFlow {TENSORFLOW}*, whose XLA the helpers are written against, "
            f"while {version} is installed"
        )
    header = root / "include/xla/backends/gpu/target_config/target_config.h"
    if not header.is_file():
        raise ToolchainError(
            f"the C++ headers of TensorFlow's GPU build; there is no {header}"
        )
    return root, version


def _compiler() -> tuple[None, str]:
    if shutil.which("g++") is None:
        raise ToolchainError("g++ 9 or newer (on Debian: apt-get install g++)")
    return None, _run(["g++", "-dumpfullversion"]).strip()


def _cuda(cuda_dir: str | os.PathLike | None) -> tuple[Path, str]:
    wanted = (
        f"ptxas {OLDEST_PTXAS[0]}.{OLDEST_PTXAS[1]} or newer with libdevice (the "
        f"optional pip install --no-deps {CUDA_PACKAGE}, or a CUDA toolkit named by "
        "--cuda_dir or CUDA_HOME)"
    )
    named = cuda_dir or os.environ.get("CUDA_HOME")
    folders = [Path(named)] if named else _packaged()
    for folder in folders:
        ptxas, device = folder / "bin/ptxas", folder / "nvvm/libdevice/libdevice.10.bc"
        if not (ptxas.is_file() and device.is_file()):
            continue
        match = re.search(r"V((\d+)\.(\d+)\.\d+)", _run([str(ptxas), "--version"]))
        if match and (int(match[2]), int(match[3])) >= OLDEST_PTXAS:
            return folder, match[1]
        wanted += f", while {ptxas} is {match[1] if match else 'no ptxas'}"
    if named and "while" not in wanted:
        wanted += f", while {str(named)!r} lacks them"
    raise ToolchainError(wanted)


def _packaged() -> list[Path]:
    """Where PyPI's package keeps the tools, if it is installed."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvcc")
    except ModuleNotFoundError:
        return []
    places = spec.submodule_search_locations if spec else None
    return [Path(place) for place in places or ()]


def _run(command: Sequence[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
