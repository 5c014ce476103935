"""Runs the `*_xla` signatures of a SavedModel once, in a process of its own.

    python warm.py DIR CPU|GPU SIZES BATCH...

TensorFlow reads `TF_XLA_FLAGS` when it starts, and loads a SavedModel in a Session as
TF Serving does; entries of its persistent cache carry names that the Python loader
would give differently. SIZES is `224x224x3`. Prints the name of the device.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_SUFFIX = "_xla"
_NO_GPU = 3


class WarmError(RuntimeError):
    """The signatures could not be run."""


class NoGpuError(WarmError):
    """There is no GPU that TensorFlow can use."""


def warm(
    version: Path,
    cache: Path,
    device: str,
    batch_sizes: Sequence[int],
    shape: Sequence[int],
) -> str:
    """Let TensorFlow fill a persistent XLA cache, in a process of its own.

    Args:
        version: Folder of one version of an export.
        cache: Folder of the cache, made if need be.
        device: `"CPU"` or `"GPU"`.
        batch_sizes: Batch sizes to run.
        shape: Shape of one sample, where the export takes any.

    Returns:
        The name of the device.

    Raises:
        NoGpuError: When `device` is `"GPU"` and there is none.
        WarmError: When the export has no `*_xla` signatures, or running one fails.
    """
    flags = [f"--tf_xla_persistent_cache_directory={cache}"]
    flags += [f"--tf_xla_persistent_cache_device_types={device}"]
    environment = {**os.environ, "TF_XLA_FLAGS": " ".join(flags)}
    environment["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if device == "CPU":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    sizes = "x".join(map(str, shape))
    command = [sys.executable, "-P", __file__, str(version), device, sizes]
    command += map(str, batch_sizes)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        kind = NoGpuError if done.returncode == _NO_GPU else WarmError
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise kind(lines[-1] if lines else f"exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str]) -> int:
    """Do what the module says."""
    import tensorflow as tf

    directory, device, sizes, *batches = arguments
    gpus = tf.config.list_physical_devices("GPU")
    name = "CPU"
    if device == "GPU":
        if not gpus:
            print(
                "TensorFlow sees no GPU here; run this on the host that will serve, "
                "with an NVIDIA driver and `pip install tensorflow[and-cuda]==2.21.*`",
                file=sys.stderr,
            )
            return _NO_GPU
        name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "")
    shape = [int(size) for size in sizes.split("x")]
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        loaded = v1.saved_model.load(session, ["serve"], directory)
        twins = [
            signature
            for key, signature in sorted(loaded.signature_def.items())
            if key.endswith(_SUFFIX)
            # Those of image files run the same trunk.
            and all(t.dtype != tf.string for t in signature.inputs.values())
        ]
        if not twins:
            print(f"the export has no *{_SUFFIX} signatures", file=sys.stderr)
            return 1
        for signature in twins:
            outputs = [tensor.name for tensor in signature.outputs.values()]
            for batch in map(int, batches):
                session.run(outputs, _feeds(signature.inputs, batch, shape))
    print(json.dumps(name))
    return 0


def _feeds(inputs: Any, batch: int, shape: Sequence[int]) -> dict:
    """Zeros for every input of a signature."""
    import numpy as np
    import tensorflow as tf

    feeds = {}
    for tensor in inputs.values():
        known = [size.size for size in tensor.tensor_shape.dim][1:]
        sizes = [s if k < 0 else k for k, s in zip(known, shape, strict=True)]
        dtype = tf.as_dtype(tensor.dtype).as_numpy_dtype
        feeds[tensor.name] = np.zeros([batch, *sizes], dtype)
    return feeds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
