"""Export to a SavedModel that a stock TF Serving runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.export.variables import ATTRIBUTE, named_variables
from mtl_zoo.model import MultiTaskModel

DEFAULT_SIGNATURE = "serving_default"

# What a server can write as JSON as well as in protocol buffers.
_DTYPES = (tf.float32, tf.int32, tf.int64, tf.uint8, tf.bool, tf.string)

# The coarsest stride of vision trunks; a second image size differs by this.
_STRIDE = 32

Specs = dict[str, tf.TensorSpec]


def to_serving(
    model: MultiTaskModel,
    directory: str | os.PathLike,
    version: int | None = None,
    example: Any = None,
    tolerance: float = 1e-4,
) -> Path:
    """Write `model` as `directory/<version>/`, a SavedModel for TF Serving.

    Signatures: `serving_default` answers for all tasks at one pass through the trunk,
    and one signature a task, named like it, for that task alone. Outputs are what the
    heads decode: `<task>_<key>` where a head decodes to a dict, else `<task>`; always
    dense, with the batch first. They need no Keras and no code of this package.

    Images (a model on inputs `(batch, height, width, 3)`) are served as input `images`,
    uint8, with any batch size, and any height and width if the model can. Other inputs
    keep their dtype, their names if they are a dict (else `inputs`), and all but the
    first of their sizes.

    Before anything appears under its final name, every signature is loaded again and
    compared with `model.predict_tasks`, traced for two batch sizes and, where the image
    size is free, two image sizes.

    Args:
        model: A built model.
        directory: The model's folder; the server is pointed at it. Made if need be.
        version: Number of the version. Defaults to the next free one.
        example: A batch of inputs to compare with, and from which dtypes are read.
            Defaults to random uint8 images, or normal float32 numbers, of the shape
            that the model was built with.
        tolerance: Largest difference allowed between served and Keras outputs, times
            the output's magnitude where that is above 1. Defaults to `1e-4`.

    Returns:
        The folder of the version.

    Raises:
        FileExistsError: When the version exists; it is left as it was.
        ValueError: When the model is not built, an output could not be served, or
            served outputs differ from those of the model. Nothing is left behind.
    """
    if not model.built:
        raise ValueError(
            "The model has no variables yet. Build it first: model.build(input_shape), "
            f"or call it on a batch. Received: {model!r}"
        )
    _check_names(model)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    version = next_version(directory) if version is None else version
    target = directory / str(version)
    if target.exists():
        raise FileExistsError(
            f"Version {version} exists in {directory}, and a version never changes. "
            f"The next free one is {next_version(directory)}."
        )
    inputs = named_inputs(model, example)
    signatures, any_size = _signatures(model, inputs)
    module = tf.Module(name=model.name)
    named = named_variables(model)
    setattr(module, ATTRIBUTE, {name: v.value for name, v in named.items()})
    # A server takes any folder with a numeric name, so this one gets another.
    partial = tempfile.mkdtemp(prefix=".tmp-", dir=directory)
    try:
        tf.saved_model.save(module, partial, signatures=signatures)
        check_export(model, partial, _batches(inputs, any_size), tolerance)
        os.chmod(partial, 0o755)
        os.rename(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def check_export(
    model: MultiTaskModel,
    directory: str | os.PathLike,
    batches: list[dict[str, np.ndarray]],
    tolerance: float = 1e-4,
) -> float:
    """Compare every signature of a SavedModel with `model.predict_tasks`.

    Args:
        model: The model that was exported.
        directory: The version folder.
        batches: Batches of inputs, by the names of the signature's inputs.
        tolerance: As in `to_serving`.

    Returns:
        The largest difference found, relative to the output's magnitude above 1.

    Raises:
        ValueError: When an output differs by more than `tolerance` or does not have
            one row a sample.
    """
    predict = tf.function(
        lambda inputs: _flat_outputs(model, model.predict_tasks(_merge(inputs))),
        autograph=False,
    )
    signatures = tf.saved_model.load(os.fspath(directory)).signatures
    worst = 0.0
    for batch in batches:
        tensors = {name: tf.constant(value) for name, value in batch.items()}
        rows = len(next(iter(batch.values())))
        expected = predict(tensors)
        for signature in signatures:
            for name, output in signatures[signature](**tensors).items():
                where = f"Output {name!r} of signature {signature!r}"
                if output.shape.rank == 0 or output.shape[0] != rows:
                    raise ValueError(
                        f"{where} must have one row for each of {rows} samples. "
                        f"Received the shape {tuple(output.shape)}."
                    )
                error = _difference(output.numpy(), expected[name].numpy())
                if not error <= tolerance:
                    raise ValueError(
                        f"{where} differs from the model by {error:.2g}, more than "
                        f"the tolerance {tolerance:.2g}, on inputs of the shapes "
                        f"{ {k: v.shape for k, v in batch.items()} }."
                    )
                worst = max(worst, error)
    return worst


def versions(directory: str | os.PathLike) -> list[int]:
    """Return the versions in a model's folder in rising order."""
    folder = Path(directory)
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def next_version(directory: str | os.PathLike) -> int:
    """Return the number after the last version in a model's folder, at least 1."""
    return max(versions(directory), default=0) + 1


def _signatures(model: MultiTaskModel, inputs: dict) -> tuple[dict, bool]:
    """Return the traced signatures, and whether they take images of any size."""
    if _images(inputs):
        try:
            return _trace(model, _specs(inputs, any_size=True)), True
        except (ValueError, TypeError, tf.errors.OpError):
            # The model has its image size built in; any other fault shows again.
            pass
    return _trace(model, _specs(inputs)), False


def _batches(inputs: dict[str, np.ndarray], any_size: bool) -> list[dict]:
    """Three rows, and one row, of another image size if that is free."""
    three = {name: value[[0, -1, 0]] for name, value in inputs.items()}
    one = {name: value[:1] for name, value in inputs.items()}
    if any_size:
        border = [(0, 0), (0, _STRIDE), (0, 0), (0, 0)]
        one = {name: np.pad(images, border) for name, images in one.items()}
    return [three, one]


def _trace(model: MultiTaskModel, specs: Specs) -> dict[str, Callable]:
    # The network and each head's decoding are functions of their own, traced once and
    # called by every signature. A runtime leaves out what a signature does not ask for.
    @tf.function(autograph=False)
    def network(inputs: Any) -> dict[str, Any]:
        return model(_merge(inputs), training=False)

    decoders = {
        task.name: tf.function(task.head.decode, autograph=False)
        for task in model.tasks
    }

    def signature(names: tuple[str, ...]) -> Callable:
        def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            raw = network(inputs)
            return _flat_outputs(model, {n: decoders[n](raw[n]) for n in names})

        return tf.function(serve, autograph=False).get_concrete_function(**specs)

    one_each = {name: signature((name,)) for name in model.task_names}
    return {DEFAULT_SIGNATURE: signature(model.task_names), **one_each}


def named_inputs(model: MultiTaskModel, example: Any) -> dict[str, np.ndarray]:
    """The example, or made-up inputs, by the names that the signatures use."""
    if example is None:
        example = keras.tree.map_shape_structure(
            _made_up, model.get_build_config()["input_shape"]
        )
    if isinstance(example, Mapping):
        return {name: np.asarray(value) for name, value in example.items()}
    array = np.asarray(example)
    if array.ndim == 4 and array.shape[-1] == 3:
        return {"images": np.clip(np.rint(array), 0, 255).astype("uint8")}
    return {"inputs": array}


def _made_up(shape: tuple[int | None, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    sizes = (2, *(2 * _STRIDE if size is None else size for size in shape[1:]))
    if len(sizes) == 4 and sizes[-1] == 3:
        return rng.integers(0, 256, sizes, dtype="uint8")
    return rng.normal(size=sizes).astype("float32")


def _images(inputs: dict[str, np.ndarray]) -> bool:
    return list(inputs) == ["images"] and inputs["images"].dtype == np.uint8


def _specs(inputs: dict[str, np.ndarray], any_size: bool = False) -> Specs:
    def shape(value: np.ndarray) -> list[int | None]:
        return [None, None, None, 3] if any_size else [None, *value.shape[1:]]

    return {
        name: tf.TensorSpec(shape(value), value.dtype, name=name)
        for name, value in inputs.items()
    }


def _merge(inputs: Mapping[str, tf.Tensor]) -> Any:
    """What the model takes, from the inputs of a signature."""
    if list(inputs) == ["images"]:
        return tf.cast(inputs["images"], tf.float32)
    return inputs["inputs"] if list(inputs) == ["inputs"] else dict(inputs)


def _flat_outputs(model: MultiTaskModel, decoded: Mapping) -> dict[str, tf.Tensor]:
    """`{task: decoded}` as `{<task> or <task>_<key>: tensor}`, checked."""
    outputs: dict[str, tf.Tensor] = {}
    for task in (name for name in model.task_names if name in decoded):
        found = decoded[task]
        if isinstance(found, Mapping):
            named = {f"{task}_{key}": value for key, value in found.items()}
        else:
            named = {task: found}
        for name, value in named.items():
            if name in outputs:
                raise ValueError(
                    f"Two outputs would be called {name!r}: one of them belongs to "
                    f"task {task!r}. Give a task another name."
                )
            outputs[name] = _servable(name, value)
    return outputs


def _servable(name: str, value: Any) -> tf.Tensor:
    if isinstance(value, tf.Tensor):
        if value.dtype in (tf.float16, tf.bfloat16, tf.float64):
            value = tf.cast(value, tf.float32)
        if value.dtype in _DTYPES and value.shape.rank != 0:
            return value
    raise ValueError(
        f"Output {name!r} can not be served: expected a dense tensor of one of "
        f"{[dtype.name for dtype in _DTYPES]}, with the batch as its first axis. "
        f"Received: {value!r}"
    )


def _check_names(model: MultiTaskModel) -> None:
    if DEFAULT_SIGNATURE in model.task_names:
        raise ValueError(
            f"A task can not be called {DEFAULT_SIGNATURE!r}: that is the signature of "
            f"all tasks. Received tasks: {list(model.task_names)}"
        )


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("inf")
    if found.size == 0:
        return 0.0
    if found.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(found, expected) else float("inf")
    found, expected = found.astype("float64"), expected.astype("float64")
    return float(np.max(np.abs(found - expected)) / max(1.0, np.max(np.abs(expected))))
