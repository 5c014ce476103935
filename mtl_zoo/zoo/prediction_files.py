"""Predictions for image files, written as JSON, pictures and maps."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mtl_zoo.evaluation import pictures
from mtl_zoo.zoo import images
from mtl_zoo.zoo.predictor import Predictor

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}

# The file with all predictions; no image's own file may have this name.
ALL = "predictions"


class PredictionError(Exception):
    """Images can not be read, or results not be written; nothing has been written."""


def predict_files(
    name_or_path: str | os.PathLike,
    paths: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    max_side: int | None = None,
) -> int:
    """Predict for image files and write the results into a folder.

    Everything is in pixels of the original images: `predictions.json` for all of them,
    and for each image its own JSON, a picture with the predictions drawn on it, and the
    maps: a PNG of class numbers, or else NumPy files. The JSON names these files.

    Args:
        name_or_path: Name or path of a saved model that takes images.
        paths: Image files, and folders, of which all images are taken.
        out: Folder for the results, made if need be. Files of other names stay.
        max_side: Images with a longer side are made smaller. Defaults to what the model
            says.

    Returns:
        The number of images.

    Raises:
        PredictionError: When a path does not exist, a folder has no image, an image is
            broken, or `out` can not be written. Nothing has been written then.
        ModelNotFoundError: When there is no such model.
    """
    out = Path(out)
    files = _image_files([Path(path) for path in paths])
    for file in files:
        _read(file)
    if out.resolve() in {file.parent.resolve() for file in files}:
        raise PredictionError(
            f"the results can not go to {str(out)!r}, where the images are; choose "
            "another folder"
        )
    with _results_in(out) as folder:
        predict = Predictor(name_or_path, max_side)
        everything = []
        for file, stem in zip(files, _stems(files), strict=True):
            image = _read(file)
            found = predict(image)
            pictures.write_png(
                draw_prediction(image, found, predict.class_names),
                folder / f"{stem}.png",
            )
            described = {
                "image": file.name,
                "height": image.shape[0],
                "width": image.shape[1],
                "picture": f"{stem}.png",
                "tasks": {
                    task: {**_small(value), **_write_maps(folder, stem, task, value)}
                    for task, value in found.items()
                },
            }
            _write_json(folder / f"{stem}.json", described)
            everything.append(described)
        summary = {
            "model": os.fspath(name_or_path),
            "class_names": predict.class_names,
            "images": everything,
        }
        _write_json(folder / f"{ALL}.json", summary)
    return len(files)


def _image_files(paths: Sequence[Path]) -> list[Path]:
    files = []
    for path in paths:
        if path.is_dir():
            found = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES]
            if not found:
                raise PredictionError(f"the folder {str(path)!r} has no image in it")
            files += sorted(found)
        elif path.is_file():
            files.append(path)
        else:
            raise PredictionError(f"there is no file or folder {str(path)!r}")
    return files


def _read(file: Path) -> np.ndarray:
    try:
        return images.read_image(file)
    except images.ImageError as error:
        raise PredictionError(str(error)) from None


def _stems(files: Sequence[Path]) -> list[str]:
    """A name for each file's results: the file's own, numbered where it is taken."""
    stems: list[str] = []
    for file in files:
        name, number = file.stem, 1
        while name in (*stems, ALL):
            number += 1
            name = f"{file.stem}-{number}"
        stems.append(name)
    return stems


def _maps(prediction: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The part of one task's prediction that has one value a pixel."""
    return {
        name: value
        for name, value in prediction.items()
        if np.ndim(value) >= 2 and name != "boxes"
    }


def _small(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """The part that fits into JSON: all but maps."""
    large = _maps(prediction)
    return {
        name: np.asarray(value).tolist()
        for name, value in prediction.items()
        if name not in large
    }


def draw_prediction(
    image: np.ndarray,
    found: Mapping[str, Mapping[str, Any]],
    class_names: Mapping[str, Sequence[str]],
) -> np.ndarray:
    """Return the picture of a prediction: masks, boxes above them, labels as a title.

    Args:
        image: uint8 RGB `(height, width, 3)`.
        found: `{task: {name: array}}` in the pixels of `image`, as from `Predictor`.
        class_names: `{task: names of its classes}`.

    Returns:
        uint8 RGB, enlarged when the image is small.
    """
    picture, title = pictures.enlarge(image), []
    factor = len(picture) // len(image)
    for value in found.values():
        if "label_map" in value:
            mask = pictures.enlarge(value["label_map"])
            picture = pictures.draw_mask(picture, mask)
    for task, value in found.items():
        names = class_names.get(task)
        if "boxes" in value:
            picture = pictures.draw_boxes(
                picture,
                value["boxes"] * factor,
                value.get("labels"),
                value.get("scores"),
                names,
            )
        if "label" in value:
            label = int(value["label"])
            title.append(f"{task}: {names[label] if names else label}")
    return pictures.side_by_side([picture], [", ".join(title)]) if title else picture


def _write_maps(
    folder: Path, stem: str, task: str, prediction: Mapping[str, Any]
) -> dict[str, str]:
    """Write a class map as PNG, or else other maps as arrays; return the files' names.

    Where there is a class map, the probabilities behind it are left out.
    """
    maps = _maps(prediction)
    for name, value in maps.items():
        if value.dtype.kind in "iu":
            file = f"{stem}.{task}.png"
            depth = "uint8" if value.max(initial=0) < 256 else "uint16"
            Image.fromarray(value.astype(depth)).save(folder / file)
            return {name: file}
    files = {name: f"{stem}.{task}.{name}.npy" for name in maps}
    for name, file in files.items():
        np.save(folder / file, maps[name])
    return files


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _results_in(out: Path) -> Iterator[Path]:
    """Give a folder whose content moves to `out` at the end, if all goes well."""
    existed = out.is_dir()
    with _writing(out):
        out.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".tmp-", dir=out))
    try:
        yield scratch
        with _writing(out):
            for file in scratch.iterdir():
                os.replace(file, out / file.name)
    except BaseException:
        shutil.rmtree(scratch if existed else out, ignore_errors=True)
        raise
    shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise PredictionError(f"can not write to {str(path)!r}: {reason}") from error
