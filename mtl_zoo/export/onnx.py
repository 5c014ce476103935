"""Export to ONNX: ONNX Runtime, and what else reads it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mtl_zoo.evaluation.files import write_file
from mtl_zoo.export.forward import forward
from mtl_zoo.export.other_targets import (
    FileReport,
    MissingPackageError,
    Run,
    checked_path,
    compare,
    missing,
)
from mtl_zoo.model import MultiTaskModel

PACKAGES = "tf2onnx onnx onnxruntime"


def to_onnx(
    model: MultiTaskModel,
    path: str | os.PathLike,
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    tasks: Sequence[str] | None = None,
    outputs: str = "decoded",
    example: Any = None,
    tolerance: float = 1e-4,
    opset: int = 18,
) -> FileReport:
    """Write `model` as an `.onnx` file, by tf2onnx.

    Inputs and outputs have the names of those of `to_serving`, and the dtypes. All of a
    model converts, the suppression of boxes included. The graph is checked by `onnx`,
    and compared with the model where `onnxruntime` is installed.

    Args:
        model: A built model.
        path: The file to make or replace; ends in `.onnx`.
        image_size: Height and width of images. Defaults to any, if the model takes any.
        batch_size: Rows of a batch. Defaults to any.
        tasks: Names of the tasks. Defaults to the main ones.
        outputs: `"decoded"`, or `"raw"` for what heads return before their `decode`.
        example: A batch of inputs to compare on. Defaults to made-up ones.
        tolerance: Largest error allowed, see `FileReport`. Defaults to `1e-4`.
        opset: Version of ONNX' operations. Defaults to 18.

    Returns:
        Path, size and errors; no errors where there is no `onnxruntime`.

    Raises:
        MissingPackageError: When tf2onnx or onnx is not installed.
        ValueError: When an argument is not understood, tf2onnx lacks an operation or
            makes an invalid graph, or outputs differ from those of the model. What was
            at `path` is still there then.
    """
    path = checked_path(path, ".onnx")
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise missing("to_onnx", PACKAGES, error) from error

    made = forward(
        model,
        tasks=tasks,
        outputs=outputs,
        image_size=image_size,
        batch_size=batch_size,
        example=example,
    )
    try:
        found, _ = tf2onnx.convert.from_function(
            made.by_position, list(made.specs.values()), opset=opset
        )
        onnx.checker.check_model(found)
    except Exception as error:
        raise ValueError(
            "tf2onnx failed, or made an invalid graph. It lacks an operation of the "
            "model, or this `opset` does: try a higher one, or `outputs='raw'`. It "
            f"says: {str(error)[-1500:]}"
        ) from error
    content = found.SerializeToString()
    errors: dict[str, float] = {}
    try:
        run = onnx_runner(content)
    except MissingPackageError:
        pass
    else:
        errors = compare(made, run, tolerance)
    write_file(path, lambda file: file.write(content))
    return FileReport(path, len(content), errors)


def onnx_runner(content: bytes, threads: int = 1) -> Run:
    """Return a function that runs an `.onnx` file on a batch of named inputs.

    Args:
        content: What is in the file.
        threads: Threads to use. Defaults to one.

    Raises:
        MissingPackageError: When onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing("Running ONNX", PACKAGES, error) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))
