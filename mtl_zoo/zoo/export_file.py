"""`mtl-zoo export NAME FILE --format=...`: a saved model as a file for other runtimes.

What the command knows and `to_litert` and its like do not: how the model wants its
images, and real ones to compare on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtl_zoo.export.other_targets import FileReport
from mtl_zoo.export.preprocessing import NATIVE
from mtl_zoo.zoo import images, registry

FORMATS = ("litert", "litert_int8", "onnx", "openvino")

# How many images of the folder are read; more hardly change the ranges.
_REPRESENTATIVE = 200

_ENDINGS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def export_file(
    name_or_path: str | os.PathLike,
    path: str | os.PathLike,
    format: str,
    *,
    image_size: int = 0,
    outputs: str = "decoded",
    tasks: Sequence[str] | None = None,
    representative: str | os.PathLike = "",
) -> FileReport:
    """Write a saved model as a file for LiteRT, ONNX or OpenVINO.

    Args:
        name_or_path: A name that `list_models` knows, or the path of such a folder.
        path: The file to make or replace: `.tflite`, `.onnx` or `.xml`.
        format: One of `FORMATS`.
        image_size: Side of square images; 0: what the model's preprocessing makes, if
            that is one size, else any. Defaults to 0.
        outputs: `"decoded"` or `"raw"`.
        tasks: Names of the tasks. Defaults to all.
        representative: For `litert_int8`, a folder of images like those of the training
            data; about 100 are enough.

    Returns:
        Path, size and errors; `summary` puts it in words.

    Raises:
        ModelNotFoundError: When there is no such model.
        MissingPackageError: When a package is not installed, an `ImportError`.
        FileNotFoundError: When there is no such folder of images.
        ValueError: When an argument is not understood, an image can not be read, the
            model does not convert, or the result differs from it.
    """
    if format not in FORMATS:
        raise ValueError(f"Expected a format of {FORMATS}. Received: {format!r}")
    if bool(representative) != (format == "litert_int8"):
        raise ValueError(
            "litert_int8, and no other format, needs a folder of images: "
            f"--representative=FOLDER. Received: format={format!r}, "
            f"representative={os.fspath(representative)!r}"
        )
    folder = registry.find(name_or_path)
    preprocessing = _preprocessing(folder, image_size)
    side = _side(preprocessing)
    options: dict[str, Any] = {
        "image_size": None if side is None else (side, side),
        "outputs": outputs,
        "tasks": tasks,
        "example": _example(folder, preprocessing),
    }
    if representative:
        options["quantize"] = "int8"
        options["representative"] = [
            images.place(images.read_image(file), preprocessing)[0][None]
            for file in _files(Path(representative))
        ]
    model = registry.load(name_or_path)
    if format == "onnx":
        from mtl_zoo.export.onnx import to_onnx

        return to_onnx(model, path, **options)
    if format == "openvino":
        from mtl_zoo.export.openvino import to_openvino

        return to_openvino(model, path, **options)
    from mtl_zoo.export.litert import to_litert

    return to_litert(model, path, **options)


def summary(report: FileReport) -> str:
    """Return one line on what was written."""
    if report.max_error is None:
        parity = "not compared with the model: its runtime is not installed"
    else:
        parity = f"largest difference from the model {report.max_error:.2g}"
    return f"{report.path}: {report.size_bytes / 1e6:.1f} MB, {parity}"


def _preprocessing(folder: Path, image_size: int) -> dict[str, Any]:
    found = dict(registry.read_config(folder).get("preprocessing", NATIVE))
    if image_size and found["kind"] == "resize":
        return {"kind": "resize", "size": image_size}
    if image_size:
        return {"kind": "fit", "size": image_size, "multiple": image_size}
    return found


def _side(preprocessing: dict[str, Any]) -> int | None:
    """The side of the squares that `preprocessing` makes, if it does."""
    size = preprocessing.get("size")
    return size if preprocessing.get("multiple", size) == size else None


def _example(folder: Path, preprocessing: dict[str, Any]) -> Any:
    """The inputs of the model's recorded outputs, as they are now wanted."""
    inputs = registry.read_golden_inputs(folder)
    side = _side(preprocessing)
    if not isinstance(inputs, np.ndarray) or inputs.ndim != 4 or side is None:
        return inputs
    return np.stack([images.place(image, preprocessing)[0] for image in inputs])


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"Expected a folder of images. Received: {os.fspath(folder)!r}"
        )
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _ENDINGS)
    if not files:
        raise ValueError(
            f"Expected images ({', '.join(_ENDINGS)}) in {os.fspath(folder)!r}. "
            "There are none."
        )
    # Spread over the folder, which may be sorted by class.
    chosen = np.linspace(0, len(files) - 1, min(len(files), _REPRESENTATIVE))
    return [files[round(index)] for index in chosen]
