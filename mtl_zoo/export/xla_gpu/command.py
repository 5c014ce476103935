"""The command `mtl-zoo compile-gpu`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Flags:
    """Flags of `compile-gpu`."""

    target: tuple[str, ...] = ("sm_80", "sm_90")  # architectures, of sm_80, 86, 89, ...
    target_file: str = ""  # instead: a file that describes a GPU (GpuTargetConfigProto)
    batch: tuple[int, ...] = (1, 8)  # batch sizes; XLA compiles for known sizes only
    image_size: int = 224  # side of the images, where the model takes any
    trunk: Literal["xla_native", "conv"] = (
        "xla_native"  # rewritten for XLA, or as it is
    )
    cache: bool = False  # also make entries of the persistent XLA cache; experimental
    on_device: bool = False  # instead: let TensorFlow compile and tune on a GPU here
    cuda_dir: str = ""  # folder of ptxas and libdevice; else CUDA_HOME, else from PyPI


class CommandError(Exception):
    """The command failed for a reason that one line explains."""


def run(name: str, directory: str, flags: Flags) -> list[Path]:
    """Compile the shared trunk of a saved model for GPUs, into an export of it.

    Args:
        name: Of a saved model.
        directory: A model's folder, of which the last version is taken, or the folder
            of one version, as `mtl-zoo export` writes them.
        flags: The flags.

    Returns:
        The folders that were written.

    Raises:
        CommandError: When it can not be done; says why on one line.
        mtl_zoo.zoo.registry.ModelNotFoundError: When there is no such saved model.
    """
    from mtl_zoo.zoo import registry

    registry.find(name)
    version = find_version(directory)
    from mtl_zoo.export.xla_gpu.checks import CheckError
    from mtl_zoo.export.xla_gpu.gpu import CompileError
    from mtl_zoo.export.xla_gpu.toolchain import ToolchainError, find_toolchain
    from mtl_zoo.export.xla_gpu.warm import WarmError

    try:
        if not flags.on_device:
            find_toolchain(flags.cuda_dir or None)  # before the model is loaded
        return _run(name, version, flags)
    except (ToolchainError, CompileError, CheckError, WarmError) as error:
        raise CommandError(str(error)) from error
    except (ValueError, TypeError, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from error


def find_version(directory: str) -> Path:
    """Return the folder of a version: `directory`, or the last version in it.

    Raises:
        CommandError: When there is none.
    """
    from mtl_zoo.export.versions import versions

    folder = Path(directory)
    if (folder / "saved_model.pb").is_file():
        return folder
    found = versions(folder)
    if not found:
        raise CommandError(
            f"{directory!r} holds no export; make one: mtl-zoo export NAME {directory}"
        )
    return folder / str(found[-1])


def _run(name: str, version: Path, flags: Flags) -> list[Path]:
    from mtl_zoo.zoo import registry

    model = registry.load(name)
    if flags.on_device:
        from mtl_zoo.export.xla_gpu.compile import input_shape
        from mtl_zoo.export.xla_gpu.on_device import warm_on_device

        shape = input_shape(model, flags.image_size)
        return [warm_on_device(version, flags.batch, shape)]
    from mtl_zoo.export.xla_gpu.compile import compile_gpu
    from mtl_zoo.export.xla_native import native_encode

    return compile_gpu(
        model,
        version,
        targets=(flags.target_file,) if flags.target_file else flags.target,
        batch_sizes=flags.batch,
        image_size=flags.image_size,
        cache=flags.cache,
        encode=native_encode(model) if flags.trunk == "xla_native" else None,
        cuda_dir=flags.cuda_dir or None,
    )
