"""What the exports to LiteRT, ONNX and OpenVINO share: report, comparison, errors."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mtl_zoo.export.forward import Forward
from mtl_zoo.export.inputs import Batch
from mtl_zoo.export.parity import difference

Run = Callable[[Batch], Mapping[str, np.ndarray]]


class MissingPackageError(ImportError):
    """A package that is installed on its own is not there."""


@dataclass(frozen=True)
class FileReport:
    """What an export wrote, and how far it is from the model.

    Attributes:
        path: The file.
        size_bytes: Its size, with the file of weights where that is another one.
        errors: By output, the largest difference over the magnitude where that is above
            1; for integers, the share of entries that differ. Empty when no runtime was
            there to compare with.
    """

    path: Path
    size_bytes: int
    errors: dict[str, float]

    @property
    def max_error(self) -> float | None:
        """The largest of `errors`, `None` when nothing was compared."""
        return max(self.errors.values(), default=None)


def compare(made: Forward, run: Run, tolerance: float) -> dict[str, float]:
    """Return the errors of converted outputs, by name; see `FileReport`.

    Args:
        made: What was converted.
        run: Runs the result on a batch of inputs.
        tolerance: Largest error allowed.

    Raises:
        ValueError: When an output is missing, is not finite or differs by more.
    """
    errors: dict[str, float] = {}
    for batch, expected in zip(made.batches, made.expected, strict=True):
        found = run(batch)
        if set(found) != set(expected):
            raise ValueError(
                f"Expected the outputs {sorted(expected)} of the converted model. "
                f"Received: {sorted(found)}"
            )
        for name, value in expected.items():
            error = _error(np.asarray(found[name]), value)
            if not error <= tolerance:
                raise ValueError(
                    f"Output {name!r} of the converted model differs from the model by "
                    f"{error:.2g}, more than the tolerance {tolerance:.2g}, on inputs "
                    f"of the shapes { {k: v.shape for k, v in batch.items()} }. "
                    "Nothing was written."
                )
            errors[name] = max(errors.get(name, 0.0), error)
    return errors


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a new folder beside `path`, removed after it.

    What is complete there can be moved to `path` in one step.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=path.parent) as folder:
        yield Path(folder) / path.name


def checked_path(path: str | os.PathLike, suffix: str) -> Path:
    """Return `path`, which must end in `suffix`.

    Raises:
        ValueError: When it does not.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise ValueError(
            f"Expected the path of a file that ends in {suffix!r}. Received: "
            f"{os.fspath(path)!r}"
        )
    return path


def missing(function: str, packages: str, error: ImportError) -> MissingPackageError:
    """Return the error that says how to install what `function` needs."""
    return MissingPackageError(
        f"{function} needs the package {error.name!r}, which is not installed. "
        f"Install it: pip install {packages}"
    )


def _error(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape == expected.shape and expected.dtype.kind in "iub":
        return float(np.mean(found != expected)) if expected.size else 0.0
    return difference(found, expected)
