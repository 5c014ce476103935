"""Warms TensorFlow's persistent XLA cache on a host with a GPU: the production route.

TensorFlow itself compiles there, with autotuning, for the GPU at hand. Take the folder
along to hosts with the same GPU, driver and TensorFlow, and name it in `TF_XLA_FLAGS`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mtl_zoo.export.xla_gpu.warm import NoGpuError, WarmError, warm

__all__ = ["FOLDER", "NoGpuError", "WarmError", "warm_on_device"]

FOLDER = os.path.join("assets.extra", "xla_gpu_on_device")


def warm_on_device(
    version_dir: str | os.PathLike,
    batch_sizes: Sequence[int],
    shape: Sequence[int],
) -> Path:
    """Fill a cache by running every `*_xla` signature on this host's first GPU.

    Not tried on a GPU by the authors: where there is none, it says so.

    Args:
        version_dir: Folder of one version of an export.
        batch_sizes: Batch sizes.
        shape: Shape of one sample, where the export takes any.

    Returns:
        `version_dir/assets.extra/xla_gpu_on_device`, with `cache/` and `device.json`.

    Raises:
        NoGpuError: When TensorFlow sees no GPU.
        WarmError: When the export has no such signatures, or one fails.
        FileExistsError: When the folder exists.
    """
    version = Path(version_dir)
    target = version / FOLDER
    if target.exists():
        raise FileExistsError(f"{target} exists. Remove it to warm the cache anew.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=target.parent) as work:
        partial = Path(work, "new")
        (partial / "cache").mkdir(parents=True)
        device = warm(version, partial / "cache", "GPU", batch_sizes, shape)
        if not any((partial / "cache").iterdir()):
            raise WarmError("TensorFlow cached nothing while the signatures ran")
        about = {"device": device, "batch_sizes": list(batch_sizes)}
        (partial / "device.json").write_text(json.dumps(about, indent=1) + "\n")
        os.rename(partial, target)
    return target
