"""Export to OpenVINO: Intel's CPUs, GPUs and NPUs, and OpenVINO Model Server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtl_zoo.export.forward import forward
from mtl_zoo.export.other_targets import (
    FileReport,
    Run,
    beside,
    checked_path,
    compare,
    missing,
)
from mtl_zoo.heads import Detection
from mtl_zoo.model import MultiTaskModel


def to_openvino(
    model: MultiTaskModel,
    path: str | os.PathLike,
    *,
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    tasks: Sequence[str] | None = None,
    outputs: str = "decoded",
    example: Any = None,
    tolerance: float = 1e-4,
) -> FileReport:
    """Write `model` as an `.xml` file, and its weights as a `.bin` file beside it.

    Inputs and outputs have the names of those of `to_serving`, and the dtypes. Weights
    are float32. The result is compared with the model on OpenVINO's CPU plugin. Its
    suppression of boxes may need a fixed `image_size`, and must not know that there is
    one row: OpenVINO 2026.4.1 then returns 0 for all scores but one.

    Args:
        model: A built model.
        path: The file to make or replace; ends in `.xml`.
        image_size: Height and width of images. Defaults to any, if the model takes any.
        batch_size: Rows of a batch. Defaults to any. Not 1 for decoded boxes.
        tasks: Names of the tasks. Defaults to the main ones.
        outputs: `"decoded"`, or `"raw"` for what heads return before their `decode`.
        example: A batch of inputs to compare on. Defaults to made-up ones.
        tolerance: Largest error allowed, see `FileReport`. Defaults to `1e-4`.

    Returns:
        Path, size of both files, and errors.

    Raises:
        MissingPackageError: When openvino is not installed.
        ValueError: When an argument is not understood, OpenVINO can not convert or run
            the model, or outputs differ from those of the model. What was at `path` is
            still there then.
    """
    path = checked_path(path, ".xml")
    try:
        import openvino
    except ImportError as error:
        raise missing("to_openvino", "openvino", error) from error

    if batch_size == 1 and outputs == "decoded" and _has_boxes(model, tasks):
        raise ValueError(
            "OpenVINO computes wrong scores of boxes where it knows that a batch has "
            "one row. Leave `batch_size` out: batches of one row are right then. Or "
            "ask for outputs='raw'. Received: batch_size=1"
        )
    made = forward(
        model,
        tasks=tasks,
        outputs=outputs,
        image_size=image_size,
        batch_size=batch_size,
        example=example,
    )
    try:
        converted = openvino.convert_model(made.concrete)
        for output in converted.outputs:  # they have names of operations besides
            names = output.names & set(made.concrete.structured_outputs)
            output.tensor.set_names(names)
        with beside(path) as temporary:
            openvino.save_model(converted, temporary, compress_to_fp16=False)
            run = openvino_runner(temporary)
            errors = compare(made, run, tolerance)
            del run  # the weights are mapped into memory
            weights = temporary.with_suffix(".bin")
            size = temporary.stat().st_size + weights.stat().st_size
            os.replace(weights, path.with_suffix(".bin"))
            os.replace(temporary, path)
    except RuntimeError as error:
        raise ValueError(
            "OpenVINO can not convert or run this. Give a fixed `image_size`, which "
            "boxes may need, or `outputs='raw'`. It says: " + str(error)[-1500:]
        ) from error
    return FileReport(path, size, errors)


def openvino_runner(path: str | os.PathLike, threads: int = 1) -> Run:
    """Return a function that runs an `.xml` file on a batch of named inputs.

    Args:
        path: The file; the `.bin` file must be beside it.
        threads: Threads to use. Defaults to one.

    Raises:
        MissingPackageError: When openvino is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing("Running OpenVINO", "openvino", error) from error
    # Else it may compute in bfloat16 where the processor can.
    config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(os.fspath(path), "CPU", config)
    names = [output.any_name for output in compiled.outputs]

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = compiled(inputs)
        return {name: np.array(found[i]) for i, name in enumerate(names)}

    return run


def _has_boxes(model: MultiTaskModel, tasks: Sequence[str] | None) -> bool:
    asked = model.main_tasks if tasks is None else tasks
    return any(
        isinstance(task.head, Detection) for task in model.tasks if task.name in asked
    )
