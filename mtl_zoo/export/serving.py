"""Export to a SavedModel that a stock TF Serving runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from mtl_zoo.export import signatures as sigs
from mtl_zoo.export.deployment import BATCH_SIZES, write_deployment
from mtl_zoo.export.inputs import are_images, named_inputs
from mtl_zoo.export.linter import check
from mtl_zoo.export.parity import batches_of, check_export
from mtl_zoo.export.preprocessing import NATIVE, check_preprocessing
from mtl_zoo.export.variables import ATTRIBUTE, named_variables
from mtl_zoo.export.versions import new_version
from mtl_zoo.export.warmup import write_warmup
from mtl_zoo.model import MultiTaskModel

PROFILES = ("plain", "xla_cpu", "xla_gpu")

ABOUT = Path("assets.extra") / "mtl_zoo.json"


def to_serving(
    model: MultiTaskModel,
    directory: str | os.PathLike,
    version: int | None = None,
    *,
    tasks: Iterable[str] | None = None,
    trunk: str = "conv",
    profile: str = "plain",
    preprocessing: Mapping[str, Any] = NATIVE,
    max_pixels: int = 25_000_000,
    example: Any = None,
    card: str = "",
    tolerance: float = 1e-4,
) -> Path:
    """Write `model` for TF Serving: `directory/<version>/`, and what serves it.

    The version folder is what `write_version` makes. Beside it appear, for all versions
    there, `models.config` with the labels `stable` and `canary`, `batching.config`,
    `monitoring.config`, `docker-compose.yml`, `kubernetes.yaml`, the client
    `client.py`, and `README.md`, which says how to use them.

    Args:
        model: A built model.
        directory: The model's folder, whose name is the model's name on the server.
            Made if need be.
        version: Number of the version. Defaults to the next free one.
        tasks: Names of the tasks to export, each with its head; the others are left
            out. Defaults to the main tasks, and the variables of all.
        trunk: See `write_version`. Defaults to `"conv"`.
        profile: How the server will be run: `"plain"`, or with XLA switched on,
            `"xla_cpu"` or `"xla_gpu"`. Defaults to `"plain"`.
        preprocessing: See `write_version`.
        max_pixels: See `write_version`. Defaults to 25 million.
        example: See `write_version`.
        card: The model card, Markdown, for `README.md`. Defaults to none.
        tolerance: See `write_version`. Defaults to `1e-4`.

    Returns:
        The folder of the version.

    Raises:
        FileExistsError: When the version exists; it is left as it was.
        ValueError: As `write_version`. Nothing is left behind then.
    """
    version_dir = write_version(
        model,
        directory,
        version,
        tasks=tasks,
        trunk=trunk,
        profile=profile,
        preprocessing=preprocessing,
        max_pixels=max_pixels,
        example=example,
        tolerance=tolerance,
    )
    write_deployment(directory, profile=profile, card=card)
    return version_dir


def write_version(
    model: MultiTaskModel,
    directory: str | os.PathLike,
    version: int | None = None,
    *,
    name: str | None = None,
    tasks: Iterable[str] | None = None,
    trunk: str = "conv",
    profile: str = "plain",
    preprocessing: Mapping[str, Any] = NATIVE,
    max_pixels: int = 25_000_000,
    example: Any = None,
    tolerance: float = 1e-4,
) -> Path:
    """Write `model` as the SavedModel `directory/<version>/`.

    Signatures, none of which needs Keras or code of this package:

    - `serving_default` answers for all tasks at one pass through the trunk;
    - one a task, named like it, for that task alone;
    - `raw` gives what the heads return before decoding, `<task>`;
    - `features` gives what the heads read of the trunk's outputs;
    - `serving_bytes`, for image models, takes JPEG or PNG files, `image_bytes`,
      string `(batch,)`, and does the preprocessing. Boxes are in the pixels of the
      file, maps in those of the network's input, whose rows and columns
      `content_size` hold the image; `image_size` is height and width of the file.
      The images of one batch are padded to the size of the largest;
    - `<any of these>_xla` does the same with the trunk compiled by XLA, for servers
      that have XLA switched on.

    Outputs are what the heads decode: `<task>_<key>` where a head decodes to a dict,
    else `<task>`; always dense, with the batch first.

    Images (a model on inputs `(batch, height, width, 3)`) are served as input `images`,
    uint8, with any batch size, and any height and width if the model can. Other inputs
    keep their dtype, their names if they are a dict (else `inputs`), and all but the
    first of their sizes. An empty batch, a wrong size and numbers that are not finite
    are refused with a message that says so.

    Before anything appears under its final name, every signature is loaded again and
    compared with the model, traced for two batch sizes and, where the image size is
    free, two image sizes; and `mtl_zoo.export.linter` looks for what a server would
    refuse.

    Args:
        model: A built model.
        directory: The model's folder. Made if need be.
        version: Number of the version. Defaults to the next free one.
        name: Name of the model on the server, for the warm-up requests. Defaults to
            that of the folder.
        tasks: Names of the tasks to export. Defaults to the main ones.
        trunk: What the twins compile: `"conv"`, the trunk as it is; `"xla_native"`,
            its rewriting on the same variables, see `mtl_zoo.export.xla_native`;
            `"none"` leaves the twins out. Defaults to `"conv"`.
        profile: `"plain"`, or `"xla_cpu"` or `"xla_gpu"` for servers with XLA
            switched on, which then warm the twins up. Defaults to `"plain"`.
        preprocessing: What images should be; see `mtl_zoo.export.preprocessing`.
            Defaults to `NATIVE`: as they are, padded.
        max_pixels: Larger images are refused. Defaults to 25 million.
        example: A batch of real inputs, to compare and warm up with, and from which
            dtypes are read. Defaults to random uint8 images, or normal float32
            numbers, of the shape that the model was built with.
        tolerance: Largest difference allowed between served and Keras outputs, times
            the output's magnitude where that is above 1. Defaults to `1e-4`.

    Returns:
        The folder of the version.

    Raises:
        FileExistsError: When the version exists; it is left as it was.
        ValueError: When the model is not built, an argument or an output can not be
            served, or served outputs differ from those of the model. Nothing is left
            behind.
    """
    options = _options(model, tasks, trunk, profile, preprocessing, max_pixels)
    with new_version(directory, version) as (partial, target):
        inputs = named_inputs(model, example)
        signatures = sigs.trace(model, inputs, options)
        module = tf.Module(name=model.name)
        kept = _variables(model, signatures, everything=tasks is None)
        setattr(module, ATTRIBUTE, kept)
        tf.saved_model.save(module, os.fspath(partial), signatures=signatures)
        sizes = signatures[sigs.DEFAULT_SIGNATURE].structured_input_signature[1]
        any_size = are_images(inputs) and sizes["images"].shape[1] is None
        differences = check_export(
            model, partial, batches_of(inputs, any_size), options, tolerance
        )
        name = name or Path(os.path.abspath(directory)).name
        xla = profile != "plain" and trunk != "none"
        write_warmup(partial, name, signatures, inputs, BATCH_SIZES, xla)
        about = {
            "tasks": list(options.tasks),
            "trunk": trunk,
            "profile": profile,
            "preprocessing": dict(preprocessing),
            "max_pixels": max_pixels,
            "largest_difference": differences,
            "tensorflow": tf.__version__,
        }
        (partial / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
        check(partial)
    return target


def _variables(
    model: MultiTaskModel, signatures: Mapping[str, Any], everything: bool
) -> dict[str, tf.Variable]:
    """Return the variables to store: all, or those that the signatures read."""
    named = {name: v.value for name, v in named_variables(model).items()}
    if everything:
        return named
    read = {id(tensor) for s in signatures.values() for tensor in s.captured_inputs}
    return {name: v for name, v in named.items() if id(v.handle) in read}


def _options(
    model: MultiTaskModel,
    tasks: Iterable[str] | None,
    trunk: str,
    profile: str,
    preprocessing: Mapping[str, Any],
    max_pixels: int,
) -> sigs.Options:
    if not model.built:
        raise ValueError(
            "The model has no variables yet. Build it first: model.build(input_shape), "
            f"or call it on a batch. Received: {model!r}"
        )
    for value, known, what in (
        (trunk, sigs.TRUNKS, "trunk"),
        (profile, PROFILES, "profile"),
    ):
        if value not in known:
            raise ValueError(
                f"`{what}` must be one of {', '.join(known)}. Received: {value!r}"
            )
    check_preprocessing(preprocessing)
    wanted = model.main_tasks if tasks is None else tasks
    chosen = tuple(task.name for task in model.wanted(wanted))
    if not chosen:
        raise ValueError(
            f"Expected at least one task of {list(model.task_names)}. Received: none."
        )
    for name in chosen:
        if name in sigs.RESERVED or name.endswith(sigs.XLA_SUFFIX):
            raise ValueError(
                f"A task can not be called {name!r}: that is the name of another "
                f"signature. Received tasks: {list(chosen)}"
            )
    return sigs.Options(chosen, trunk, preprocessing, max_pixels)
