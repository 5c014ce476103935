"""Export to LiteRT (TensorFlow Lite): phones, browsers, small boards."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf

from mtl_zoo.evaluation.files import write_file
from mtl_zoo.export.forward import DECODE, HEADS, Forward, forward
from mtl_zoo.export.inputs import Batch, named_inputs
from mtl_zoo.export.other_targets import (
    FileReport,
    Run,
    checked_path,
    compare,
)
from mtl_zoo.export.signatures import DEFAULT_SIGNATURE
from mtl_zoo.model import MultiTaskModel

QUANTIZE = (None, "int8", "int8_all")

# Operations with several outputs can not be kept in float by name, and only move data.
_MOVES = ["SPLIT", "SPLIT_V", "UNPACK"]


def to_litert(
    model: MultiTaskModel,
    path: str | os.PathLike,
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = 1,
    tasks: Sequence[str] | None = None,
    outputs: str = "decoded",
    quantize: str | None = None,
    representative: Any = None,
    example: Any = None,
    tolerance: float | None = None,
) -> FileReport:
    """Write `model` as a `.tflite` file with one signature, `serving_default`.

    Inputs and outputs have the names of those of `to_serving`, and the dtypes: uint8
    images in, float32 and int32 out, quantised or not. Only built-in operations are
    used, the suppression of boxes included.

    With `quantize="int8"` weights and activations of the trunk are 8-bit integers,
    those of the heads stay float32. Heads hold few of the weights, and detection
    suffers in 8 bits: its raw tensor holds logits and pixels, and all columns would
    share one scale, a step of which is more than a pixel. `"int8_all"` quantises heads
    too, though not their decoding.

    Args:
        model: A built model.
        path: The file to make or replace; ends in `.tflite`.
        image_size: Height and width of images. Defaults to any, if the model takes any:
            call `resize_tensor_input` before another size, or a signature runner, which
            does. A fixed size lets more of the file run in XNNPACK and other delegates.
        batch_size: Rows of a batch; `None` for any. Defaults to 1.
        tasks: Names of the tasks. Defaults to the main ones.
        outputs: `"decoded"`, or `"raw"` for what heads return before their `decode`.
        quantize: `"int8"`, `"int8_all"` or `None` for float32. Defaults to `None`.
        representative: For int8, real inputs as the model will get them, about 100:
            an array `(N, ...)` or an iterable of batches, of training data.
        example: A batch of inputs to compare on. Defaults to made-up ones, for int8 to
            the first of `representative`.
        tolerance: Largest error allowed, see `FileReport`. Defaults to `1e-4`; for int8
            no bound, since what an error costs only a metric can say.

    Returns:
        Path, size and errors.

    Raises:
        ValueError: When an argument is not understood, the converter lacks an
            operation, or outputs differ from those of the model. What was at `path`
            is still there then.
    """
    path = checked_path(path, ".tflite")
    if quantize not in QUANTIZE:
        raise ValueError(f"`quantize` is one of {QUANTIZE}. Received: {quantize!r}")
    calibration: list[Batch] = []
    if quantize:
        calibration = _rows(model, representative, batch_size or 1)
        example = _first(calibration) if example is None else example
    made = forward(
        model,
        tasks=tasks,
        outputs=outputs,
        image_size=image_size,
        batch_size=batch_size,
        example=example,
    )
    for batch in calibration:
        _check_fits(batch, made)
    content = _convert(model, made, calibration, heads_too=quantize == "int8_all")
    if tolerance is None:
        tolerance = sys.float_info.max if quantize else 1e-4
    errors = compare(made, runner(content), tolerance)
    write_file(path, lambda file: file.write(content))
    return FileReport(path, len(content), errors)


def runner(content: bytes, threads: int | None = None) -> Run:
    """Return a function that runs a `.tflite` file on a batch of named inputs.

    Args:
        content: What is in the file.
        threads: Threads to use. Defaults to one.
    """
    run = _interpreter(content, threads).get_signature_runner(DEFAULT_SIGNATURE)
    return lambda inputs: {key: np.array(v) for key, v in run(**inputs).items()}


def _convert(
    model: MultiTaskModel, made: Forward, calibration: list[Batch], heads_too: bool
) -> bytes:
    module = tf.Module(name=model.name)
    module.variables_of_model = [variable.value for variable in model.variables]
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(
            module, folder, signatures={DEFAULT_SIGNATURE: made.concrete}
        )

        def converter() -> tf.lite.TFLiteConverter:
            new = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=[DEFAULT_SIGNATURE]
            )
            # Else variables stay variables, which nothing initialises.
            new.experimental_enable_resource_variables = False
            return new

        try:
            if not calibration:
                return converter().convert()
            return _quantized(converter, calibration, heads_too)
        except Exception as error:
            raise ValueError(
                "The LiteRT converter failed. It lacks an operation of the model, or "
                "can not follow its shapes: try a fixed `image_size` and `batch_size`, "
                "or `outputs='raw'`. It says: " + str(error)[-1500:]
            ) from error


def _quantized(
    converter: Callable[[], Any], calibration: list[Batch], heads_too: bool
) -> bytes:
    def representative() -> Iterator[Batch]:
        yield from calibration

    quantizing = converter()
    quantizing.optimizations = [tf.lite.Optimize.DEFAULT]
    quantizing.representative_dataset = representative
    plain = _interpreter(converter().convert())
    scopes = (f"{DECODE}/",) if heads_too else (f"{DECODE}/", f"{HEADS}/")
    names = [detail["name"] for detail in plain.get_tensor_details()]
    float_nodes = [name for name in names if name.startswith(scopes)]
    if not heads_too:
        float_nodes += [detail["name"] for detail in plain.get_output_details()]
    # The bodies of loops, such as the suppression of boxes.
    for index in range(1, plain.num_subgraphs()):
        float_nodes += [tensor["name"] for tensor in plain.get_tensor_details(index)]
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=float_nodes, denylisted_ops=_MOVES
    )
    with _without_advice():
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=quantizing, debug_dataset=representative, debug_options=options
        )
        return debugger.get_nondebug_quantized_model()


def _interpreter(content: bytes, threads: int | None = None) -> Any:
    with _without_advice():
        return tf.lite.Interpreter(model_content=content, num_threads=threads)


@contextmanager
def _without_advice() -> Iterator[None]:
    """TensorFlow's interpreter says that ai_edge_litert, the same code, has one too."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        yield


def _rows(model: MultiTaskModel, representative: Any, rows: int) -> list[Batch]:
    """Representative inputs in batches of `rows`, by name."""
    if representative is None:
        raise ValueError(
            "int8 needs `representative`, about 100 real inputs of the training data, "
            "to know the ranges of the numbers inside. Received: None"
        )
    batches = [representative] if hasattr(representative, "shape") else representative
    found = []
    for batch in batches:
        named = named_inputs(model, batch)
        number = len(next(iter(named.values())))
        for start in range(0, number - rows + 1, rows):
            found.append({k: v[start : start + rows] for k, v in named.items()})
    if not found:
        raise ValueError(
            f"`representative` must hold at least one batch of {rows} rows. Received "
            "none."
        )
    return found


def _first(calibration: list[Batch]) -> Any:
    """The first batch as an example for `named_inputs`."""
    batch = calibration[0]
    return batch[next(iter(batch))] if set(batch) <= {"images", "inputs"} else batch


def _check_fits(batch: Batch, made: Forward) -> None:
    for name, spec in made.specs.items():
        if name not in batch or not spec.is_compatible_with(tf.constant(batch[name])):
            shapes = {key: value.shape for key, value in batch.items()}
            raise ValueError(
                f"Representative inputs must fit {spec}. Received the shapes {shapes}."
            )
