"""Entries of TensorFlow's persistent XLA cache, made without a GPU: an experiment.

TensorFlow can fill such a cache only where it can run what it compiles. So it fills one
for the CPU; each entry names the module it was made from, which is then compiled for
the GPU and put under the same name for the GPU. That the entries load was seen; that a
GPU finds and runs them was not. The model of the GPU is no part of an entry's name, so
each architecture has a folder, and TensorFlow must be shown the right one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mtl_zoo.export.xla_gpu.gpu import Target, compile_module
from mtl_zoo.export.xla_gpu.toolchain import Toolchain
from mtl_zoo.export.xla_gpu.warm import WarmError, warm

CACHE_FOLDER = "cache"
_CPU, _GPU = "XLA_CPU_JIT", "XLA_GPU_JIT"


@dataclass(frozen=True)
class Entry:
    """A file of the cache.

    Attributes:
        name: Of the file.
        content: `XlaSerializedCacheEntry`, serialised.
    """

    name: str
    content: bytes


def cpu_entries(
    version: Path, batch_sizes: Sequence[int], shape: Sequence[int]
) -> list[Entry]:
    """Return the entries that TensorFlow makes for an export's `*_xla` signatures.

    Args:
        version: Folder of one version of an export.
        batch_sizes: Batch sizes.
        shape: Shape of one sample, where the export takes any.

    Raises:
        WarmError: When there are no such signatures, or none is compiled.
    """
    with tempfile.TemporaryDirectory() as work:
        warm(version, Path(work), "CPU", batch_sizes, shape)
        files = sorted(Path(work).glob(f"*{_CPU}*.pb"))
        if not files:
            raise WarmError(f"TensorFlow cached nothing when it ran {version}")
        return [Entry(file.name, file.read_bytes()) for file in files]


def write_cache(
    entries: Sequence[Entry], gpu: Target, folder: Path, toolchain: Toolchain
) -> dict[str, Any]:
    """Write the entries for a GPU, from those for the CPU.

    Args:
        entries: From `cpu_entries`.
        gpu: The GPU.
        folder: Where to; made here.
        toolchain: From `find_toolchain`.

    Returns:
        What the manifest says of them.

    Raises:
        CompileError: When XLA can not compile a module for the GPU.
        ValueError: When an entry is not one for the CPU.
    """
    folder.mkdir()
    flags = []
    for entry in entries:
        with tempfile.TemporaryDirectory() as work:
            hlo, prefix = Path(work, "entry.pb"), Path(work, "entry")
            hlo.write_bytes(module_of(entry))
            _, attempts = compile_module(hlo, gpu, prefix, toolchain)
            flags.append(list(attempts[-1].flags))
            converted = for_gpu(entry, prefix.with_suffix(".aot").read_bytes())
        (folder / converted.name).write_bytes(converted.content)
    return {
        "experimental": True,
        "entries": len(entries),
        "xla_flags": flags,
        "use": f"TF_XLA_FLAGS=--tf_xla_persistent_cache_directory=<{CACHE_FOLDER}/>"
        " --tf_xla_persistent_cache_read_only"
        " --tf_xla_persistent_cache_device_types=GPU",
    }


def module_of(entry: Entry) -> bytes:
    """Return the serialised `HloModuleProto` that an entry was made from."""
    return _parsed(entry).hlo_module


def for_gpu(entry: Entry, executable: bytes) -> Entry:
    """Return an entry for the CPU as one for the GPU, with another executable.

    Raises:
        ValueError: When it is not one for the CPU.
    """
    message = _parsed(entry)
    if message.key.device_type != _CPU or _CPU not in entry.name:
        raise ValueError(
            f"Expected an entry for {_CPU}. Received: {entry.name}, for "
            f"{message.key.device_type!r}"
        )
    message.key.device_type = _GPU
    message.executable = executable
    return Entry(entry.name.replace(_CPU, _GPU), message.SerializeToString())


def _parsed(entry: Entry) -> Any:
    message = _message()()
    message.ParseFromString(entry.content)
    return message


def _message() -> Any:
    """The class of `XlaSerializedCacheEntry`; fields not named here are kept."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="entry.proto", package="entry")
    key = file.message_type.add(name="Key")
    key.field.add(name="device_type", number=3, type=field.TYPE_STRING, label=1)
    whole = file.message_type.add(name="Entry")
    whole.field.add(
        name="key", number=1, type=field.TYPE_MESSAGE, type_name="Key", label=1
    )
    whole.field.add(name="hlo_module", number=2, type=field.TYPE_BYTES, label=1)
    whole.field.add(name="executable", number=3, type=field.TYPE_BYTES, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("entry.Entry"))
