"""Compiles the shared trunk for named GPUs, on any host."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtl_zoo.export.xla_gpu import manifest
from mtl_zoo.export.xla_gpu.cache import CACHE_FOLDER, cpu_entries, write_cache
from mtl_zoo.export.xla_gpu.checks import check_compiled, check_same_hlo
from mtl_zoo.export.xla_gpu.gpu import Target, compile_module, find_target
from mtl_zoo.export.xla_gpu.hlo import Lowered, lower, text_hash
from mtl_zoo.export.xla_gpu.toolchain import Toolchain, find_toolchain, helper
from mtl_zoo.model import MultiTaskModel

FOLDER = os.path.join("assets.extra", "xla_gpu")


def compile_gpu(
    model: MultiTaskModel,
    version_dir: str | os.PathLike,
    targets: Sequence[str] = ("sm_80", "sm_90"),
    batch_sizes: Sequence[int] = (1, 8),
    image_size: int | tuple[int, int] = 224,
    cache: bool = False,
    encode: Callable[..., dict[str, Any]] | None = None,
    cuda_dir: str | os.PathLike | None = None,
) -> list[Path]:
    """Compile the shared trunk of `model` for GPUs that need not be there.

    Writes `version_dir/assets.extra/xla_gpu/<sm>/` for each target: for each batch
    size `b` the files `trunk_b<b>.*` (`hlo.txt`, `hlo.pb`: what XLA was given;
    `opt.hlo.txt`: what it made of it; `ptx`, `cubin`: the kernels; `launches.txt`:
    their order; `aot`: the serialised executable), and `manifest.json`. Folders of the
    same targets are replaced; those of others stay. All appear at the end or, on an
    error, none.

    What is written is compiled ahead of time and statically verified. It was not
    executed on a GPU and not autotuned, and convolutions call cuDNN.

    Args:
        model: A built model whose input is one tensor.
        version_dir: Folder of one version of an export.
        targets: Architectures, or files that describe a GPU; see `find_target`.
        batch_sizes: Batch sizes; XLA compiles for known sizes only.
        image_size: Side of images, or height and width, where the model takes any.
        cache: Whether to also write entries of TensorFlow's persistent XLA cache for
            the `*_xla` signatures of the export: an experiment, see `write_cache`.
        encode: What to compile: a function `encode(inputs, training=False)` on the
            model's variables. Defaults to `model.encode`.
        cuda_dir: Folder of ptxas and libdevice; see `find_toolchain`.

    Returns:
        The folders of the targets.

    Raises:
        ToolchainError: When g++, ptxas or TensorFlow's headers are missing.
        CompileError: When XLA can not compile the trunk.
        CheckError: When what it made fails a check.
        ValueError: When an argument is wrong.
        FileNotFoundError: When `version_dir` is no SavedModel.
    """
    version = Path(version_dir)
    if not (version / "saved_model.pb").is_file():
        raise FileNotFoundError(
            "Expected the folder of a version of an export, with saved_model.pb. "
            f"Received: {os.fspath(version_dir)!r}"
        )
    gpus = [find_target(name) for name in targets]
    if not gpus or len({gpu.sm for gpu in gpus}) < len(gpus):
        raise ValueError(f"Expected different targets. Received: {tuple(targets)}")
    if not batch_sizes or min(batch_sizes) < 1:
        raise ValueError(
            f"Expected batch sizes of 1 or more. Received: {tuple(batch_sizes)}"
        )
    toolchain = find_toolchain(cuda_dir)
    helper("aot")
    shape = input_shape(model, image_size)
    lowered = {
        f"trunk_b{batch}": _lower(model, encode or model.encode, (batch, *shape))
        for batch in batch_sizes
    }
    with _appearing(version / FOLDER, [gpu.sm for gpu in gpus]) as partial:
        contents = {
            gpu.sm: _compile_target(lowered, gpu, partial / gpu.sm, toolchain)
            for gpu in gpus
        }
        if cache:
            entries = cpu_entries(version, batch_sizes, shape)
            for gpu in gpus:
                folder = partial / gpu.sm / CACHE_FOLDER
                contents[gpu.sm]["cache"] = write_cache(entries, gpu, folder, toolchain)
        for sm, content in contents.items():
            manifest.write(partial / sm, content)
    return [version / FOLDER / gpu.sm for gpu in gpus]


def input_shape(
    model: MultiTaskModel, image_size: int | tuple[int, int]
) -> tuple[int, ...]:
    """Return the shape of one sample, with the image size put in where it is free.

    Raises:
        ValueError: When the model is not built, has several inputs, or has an unknown
            size that is none of an image.
    """
    if not model.built:
        raise ValueError(
            "The model has no variables yet. Build it first: model.build(input_shape). "
            f"Received: {model!r}"
        )
    shape = model.get_build_config()["input_shape"]
    if not all(size is None or isinstance(size, int) for size in shape):
        raise ValueError(
            "Only models whose input is one tensor can be compiled for a GPU. "
            f"Received: {model!r} on {shape}"
        )
    sides = (image_size, image_size) if isinstance(image_size, int) else image_size
    free = iter(sides if len(shape) == 4 else ())
    filled = [next(free, None) if size is None else size for size in shape[1:]]
    sizes = tuple(size for size in filled if size is not None)
    if len(sizes) < len(filled):
        raise ValueError(
            "XLA compiles for known sizes only; those of a batch and an image can be "
            f"filled in. Received: a model on {shape}"
        )
    return sizes


def _lower(
    model: MultiTaskModel, encode: Callable[..., Any], shape: tuple[int, ...]
) -> Lowered:
    lowered = lower(
        lambda x: encode(x, training=False),
        model.variables,
        tf.TensorSpec(shape, tf.float32),
    )
    check_same_hlo(lowered.text, lowered.cpu_text)
    return lowered


def _compile_target(
    lowered: dict[str, Lowered], gpu: Target, folder: Path, toolchain: Toolchain
) -> dict[str, Any]:
    """Compile every module for one target; return what its manifest says."""
    folder.mkdir()
    trunks, device = {}, ""
    for name, module in lowered.items():
        (folder / f"{name}.hlo.txt").write_text(module.text)
        hlo = folder / f"{name}.hlo.pb"
        hlo.write_bytes(module.serialised)
        device, attempts = compile_module(hlo, gpu, folder / name, toolchain)
        found = check_compiled(folder, name, gpu.sm)
        trunks[name] = {
            "inputs": module.inputs,
            "outputs": module.outputs,
            "hlo_sha256": text_hash(module.text),
            "xla_flags": list(attempts[-1].flags),
            "failed_attempts": [dataclasses.asdict(a) for a in attempts[:-1]],
            "operations": module.operations,
            "launches": found.launches,
            "library_calls": found.library_calls,
            "triton_gemms": found.triton_gemms,
            "bytes_op_by_op": module.bytes_op_by_op,
            "bytes_moved": found.bytes_moved,
            # Products of float32 that tensor cores round, as TensorFlow lets them.
            "tf32": ".tf32" in (folder / f"{name}.ptx").read_text(),
        }
    versions = {**toolchain.versions, "keras": importlib.metadata.version("keras")}
    return {
        "target": gpu.sm,
        "device_description": device,
        "toolchain": versions,
        "helper_sha256": manifest.sha256(Path(__file__).parent / "aot.cc"),
        "trunks": trunks,
    }


@contextmanager
def _appearing(directory: Path, names: Sequence[str]) -> Iterator[Path]:
    """Give an empty folder whose folders `names` move into `directory` at the end.

    Older folders of these names are replaced. When anything fails in between, all is
    as before.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=directory) as work:
        partial, old = Path(work, "new"), Path(work, "old")
        partial.mkdir()
        old.mkdir()
        yield partial
        for name in names:
            if (directory / name).exists():
                os.rename(directory / name, old / name)
            os.rename(partial / name, directory / name)
