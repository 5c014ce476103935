"""Find what TensorFlow Serving would refuse in its configuration files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from mtl_zoo.export.problem import Problem
from mtl_zoo.export.server_configs import (
    parse_batching,
    parse_models_config,
    parse_monitoring,
)
from mtl_zoo.export.versions import versions


def lint_configs(directory: Path) -> Iterator[Problem]:
    """Yield what a server would refuse in the files beside the versions."""
    if (directory / "batching.config").is_file():
        yield from lint_batching(directory / "batching.config")
    if (directory / "monitoring.config").is_file():
        try:
            parse_monitoring((directory / "monitoring.config").read_text())
        except ValueError as error:
            yield Problem("monitoring", f"monitoring.config: {error}")
    if (directory / "models.config").is_file():
        yield from _lint_models(directory / "models.config")


def _lint_models(path: Path) -> Iterator[Problem]:
    try:
        models = parse_models_config(path.read_text())
    except ValueError as error:
        yield Problem("models-config", f"models.config: {error}")
        return
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        yield Problem("models-config", f"models.config: a name occurs twice: {names}.")
    for model in models:
        beside = path.parent / model.name
        folder = beside if beside.is_dir() else path.parent
        served = set(model.model_version_policy.specific.versions)
        if missing := served - set(versions(folder)):
            yield Problem(
                "models-config",
                f"model {model.name!r}: there is no version {sorted(missing)} in "
                f"{folder.name}/.",
            )
        for label, number in model.version_labels.items():
            if served and number not in served:
                yield Problem(
                    "models-config",
                    f"model {model.name!r}: label {label!r} is on version {number}, "
                    f"which is not served; served are {sorted(served)}.",
                )


def lint_batching(path: Path) -> Iterator[Problem]:
    """Yield what a server would refuse in a batching file."""

    def problem(message: str) -> Problem:
        return Problem("batching", f"{path.name}: {message}")

    try:
        parameters = parse_batching(path.read_text())
    except ValueError as error:
        yield problem(str(error))
        return
    sizes = list(parameters.allowed_batch_sizes)
    for field in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
        if parameters.HasField(field) and getattr(parameters, field).value < 1:
            yield problem(f"{field} must be positive.")
    if parameters.HasField("batch_timeout_micros") and (
        parameters.batch_timeout_micros.value < 0
    ):
        yield problem("batch_timeout_micros must not be negative.")
    if not sizes:
        return
    if any(a >= b for a, b in itertools.pairwise(sizes)) or sizes[0] < 1:
        yield problem(f"allowed_batch_sizes must be positive and rise: {sizes}.")
    split = parameters.enable_large_batch_splitting.value
    largest = (
        parameters.max_execution_batch_size.value
        if split and parameters.HasField("max_execution_batch_size")
        else parameters.max_batch_size.value
    )
    if sizes[-1] != largest:
        yield problem(
            f"the last of allowed_batch_sizes, {sizes[-1]}, must equal the largest "
            f"batch, {largest}."
        )
