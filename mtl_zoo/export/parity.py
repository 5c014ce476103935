"""Compare the signatures of a SavedModel with the Keras model it was made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_zoo.export import signatures as sigs
from mtl_zoo.export.inputs import Batch, are_images, model_inputs
from mtl_zoo.model import MultiTaskModel

_STEP = 32


def batches_of(inputs: Batch, any_size: bool) -> list[Batch]:
    """Return three rows, and one row, of another image size if that is free."""
    three = {name: value[[0, -1, 0]] for name, value in inputs.items()}
    one = {name: value[:1] for name, value in inputs.items()}
    if any_size:
        border = [(0, 0), (0, _STEP), (0, 0), (0, 0)]
        one = {name: np.pad(images, border) for name, images in one.items()}
    return [three, one]


def check_export(
    model: MultiTaskModel,
    directory: str | os.PathLike,
    batches: Iterable[Batch],
    options: sigs.Options,
    tolerance: float = 1e-4,
) -> dict[str, float]:
    """Compare every signature of a SavedModel with `model`.

    Raw outputs and features are compared with those of `model`; decoded outputs with
    what its heads decode the served raw outputs to. Decoding decides, and a difference
    in the last digit may decide between two labels, or two boxes.

    What `serving_bytes` answers is compared for the images as PNG files, which have
    the size that the network takes.

    Args:
        model: The model that was exported.
        directory: The version folder.
        batches: Batches of inputs, by the names of the signature's inputs.
        options: What the export holds.
        tolerance: Largest difference allowed, times the output's magnitude above 1.

    Returns:
        The largest difference found for each signature.

    Raises:
        ValueError: When an output differs by more than `tolerance` or does not have
            one row a sample.
    """
    signatures = tf.saved_model.load(os.fspath(directory)).signatures
    worst = dict.fromkeys(signatures, 0.0)
    raw, features, decode = _references(model, options)
    for batch in batches:
        tensors = {name: tf.constant(value) for name, value in batch.items()}
        rows = len(next(iter(batch.values())))
        expected = {sigs.RAW: raw(tensors), sigs.FEATURES: features(tensors)}
        for name in sorted(signatures):
            plain = name.removesuffix(sigs.XLA_SUFFIX)
            if plain == sigs.BYTES and not _is_placed(batch, options):
                continue
            found = signatures[name](**_inputs(plain, tensors))
            if plain in expected:
                reference = expected[plain]
            else:
                twin = sigs.RAW + name.removeprefix(plain)
                reference = decode(signatures[twin](**tensors))
            for key in sorted(set(found) - set(sigs.BYTES_OUTPUTS)):
                where = f"Output {key!r} of signature {name!r}"
                error = _compare(
                    where, found[key], reference[key], rows, tolerance, batch
                )
                worst[name] = max(worst[name], error)
    return worst


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference, over the magnitude where that is above 1."""
    if found.shape != expected.shape:
        return float("inf")
    if found.size == 0:
        return 0.0
    if found.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    found, expected = found.astype("float64"), expected.astype("float64")
    return float(np.max(np.abs(found - expected)) / max(1.0, np.max(np.abs(expected))))


def _references(
    model: MultiTaskModel, options: sigs.Options
) -> tuple[Callable, Callable, Callable]:
    """Raw outputs and features of inputs, and decoded outputs of raw ones, by Keras."""

    def encode(inputs: dict) -> dict[str, Any]:
        return model.encode(model_inputs(sigs.prepared(model, inputs)), training=False)

    def raw(inputs: dict) -> dict[str, Any]:
        found = encode(inputs)
        return sigs.flat_outputs(
            model.decode(found, training=False, tasks=options.tasks)
        )

    def features(inputs: dict) -> dict[str, Any]:
        return sigs.flat_outputs(encode(inputs))

    def decode(outputs: dict) -> dict[str, Any]:
        decoded = {
            name: model.task(name).head.decode(_of_task(outputs, name))
            for name in options.tasks
        }
        if model.input_dtype == "string":
            decoded = sigs.with_names(model, decoded)
        return sigs.flat_outputs(decoded)

    raw_, features_, decode_ = (
        tf.function(function, autograph=False) for function in (raw, features, decode)
    )
    return raw_, features_, decode_


def _of_task(outputs: dict[str, Any], task: str) -> Any:
    """Return what `flat_outputs` made of a task's raw output as it was."""
    if task in outputs:
        return outputs[task]
    prefix = f"{task}_"
    return {
        name.removeprefix(prefix): value
        for name, value in outputs.items()
        if name.startswith(prefix)
    }


def _inputs(signature: str, tensors: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Inputs for a signature: files for the one that takes files."""
    if signature != sigs.BYTES:
        return tensors
    files = [tf.io.encode_png(image).numpy() for image in tensors["images"]]
    return {sigs.BYTES_INPUT: tf.constant(files)}


def _is_placed(batch: Batch, options: sigs.Options) -> bool:
    """Whether the preprocessing leaves images of this size as they are."""
    wanted = options.preprocessing
    if not are_images(batch):
        return False
    height, width = batch["images"].shape[1:3]
    if wanted["kind"] == "resize":
        return height == width == wanted["size"]
    if max(height, width) > wanted.get("max_side", max(height, width)):
        return False
    whole = height % wanted["multiple"] == width % wanted["multiple"] == 0
    return whole and max(height, width) == wanted.get("size", max(height, width))


def _compare(
    where: str,
    found: tf.Tensor,
    expected: tf.Tensor,
    rows: int,
    tolerance: float,
    batch: Batch,
) -> float:
    if found.shape.rank == 0 or found.shape[0] != rows:
        raise ValueError(
            f"{where} must have one row for each of {rows} samples. "
            f"Received the shape {tuple(found.shape)}."
        )
    error = difference(found.numpy(), expected.numpy())
    if not error <= tolerance:
        raise ValueError(
            f"{where} differs from the model by {error:.2g}, more than the tolerance "
            f"{tolerance:.2g}, on inputs of the shapes "
            f"{ {name: value.shape for name, value in batch.items()} }."
        )
    return error
