"""A tiny trunk, compiled once; what needs g++ or ptxas skips where they are missing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import pytest

import mtl_zoo as mtl
from mtl_zoo.export.xla_gpu import toolchain
from mtl_zoo.export.xla_gpu.compile import compile_gpu
from mtl_zoo.export.xla_native import native_encode

SIDE = 16


@dataclass(frozen=True)
class Compiled:
    """Folders of the tiny trunk by target, as it is and rewritten for XLA."""

    conv: dict[str, Path]
    native: dict[str, Path]


@pytest.fixture(scope="session")
def tools() -> toolchain.Toolchain:
    """The tools, with both helpers built; the build is kept for the next run."""
    try:
        found = toolchain.find_toolchain()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(toolchain.helper, ("aot", "evaluate")))
    except toolchain.ToolchainError as error:
        pytest.skip(f"XLA:GPU COMPILATION IS NOT TESTED HERE. {error}")
    return found


@pytest.fixture(scope="session")
def separable() -> Any:
    """A model whose trunk is a stem, a depthwise and two pointwise convolutions."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    images = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False)(images)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(32, 1, use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, 2, "same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Conv2D(16, 1, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    trunk = mtl.trunks.Trunk({"stride_4": keras.Model(images, x)}, name="separable")
    task = mtl.Task(
        "kind",
        mtl.heads.Classification(3, feature="stride_4"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model = mtl.architectures.HardSharing(trunk, [task])
    model.build((None, None, None, 3))
    return model


@pytest.fixture(scope="session")
def version(tmp_path_factory) -> Path:
    """What passes for a version of an export."""
    folder = tmp_path_factory.mktemp("export") / "1"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    return folder


@pytest.fixture(scope="session")
def compiled(tools, separable, tmp_path_factory) -> Compiled:
    """The tiny trunk for two architectures. Don't change it."""

    def folders(encode: Any) -> dict[str, Path]:
        version = tmp_path_factory.mktemp("compiled")
        (version / "saved_model.pb").touch()
        made = compile_gpu(
            separable, version, batch_sizes=(2,), image_size=SIDE, encode=encode
        )
        return {folder.name: folder for folder in made}

    return Compiled(conv=folders(None), native=folders(native_encode(separable)))
