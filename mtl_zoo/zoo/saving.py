"""Write a saved model, and the index of all of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.evaluation import directions
from mtl_zoo.evaluation.files import write_text
from mtl_zoo.evaluation.report import check_metrics, format_spread
from mtl_zoo.export.deployment import server_files, server_flags
from mtl_zoo.export.inputs import named_inputs
from mtl_zoo.export.preprocessing import NATIVE, check_preprocessing
from mtl_zoo.export.serving import write_version
from mtl_zoo.export.signatures import DEFAULT_SIGNATURE, flat_outputs
from mtl_zoo.model import MultiTaskModel
from mtl_zoo.zoo import card as cards
from mtl_zoo.zoo.registry import list_models, takes_text

_NAME = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)+")

_INDEX = """\
# Saved models

Made by `mtl_zoo.zoo.write_index` from the cards and `metrics.json` files; don't edit.
Numbers are test results, multi-task (single-task), of each task's first metric; delta_m
is the mean gain over the single-task models in percent, higher is better.

{table}

`mtl-zoo show NAME` prints a card, `mtl.load(NAME)` gives the Keras model, and
a stock TensorFlow Serving serves all of them, in this folder:

```sh
docker compose up                           # or kubernetes.yaml
{clients}
```

Without Docker, the same server:

```sh
tensorflow_model_server \\
{flags}
```
"""


def save(
    model: MultiTaskModel,
    name: str,
    directory: str | os.PathLike,
    *,
    card: cards.Card,
    metrics: Mapping[str, Any],
    example: Any,
    sample: str | os.PathLike | None = None,
    preprocessing: Mapping[str, Any] = NATIVE,
    trunk: str = "conv",
    overwrite: bool = False,
) -> Path:
    """Write `directory/name/`, everything that a saved model consists of.

    That is: the SavedModel `1/`, `config.json`, the card `README.md`, `metrics.json`,
    `golden.npz` and `sample.png`.

    Everything is written under another name first: either all of it appears, or none.

    Args:
        model: A built model.
        name: `<data>-<trunk>-<tasks>[-<method>]`, of lower-case letters, digits and
            underscores.
        directory: The folder of saved models.
        card: The text of the card.
        metrics: The content of `metrics.json`; `mtl_zoo.evaluation.report` says what
            is in it.
        example: A small batch of inputs, uint8 images for a vision model, kept in
            `golden.npz` with the raw and the decoded outputs.
        sample: Path of a PNG, a picture of a prediction. Defaults to none.
        preprocessing: What the model wants images to be, see
            `mtl_zoo.export.preprocessing`. Defaults to `NATIVE`.
        trunk: What the SavedModel's XLA twins compile, see
            `mtl_zoo.export.write_version`. Defaults to `"conv"`.
        overwrite: Whether a saved model of that name is replaced. Defaults to `False`.

    Returns:
        The folder of the saved model.

    Raises:
        FileExistsError: When the name is taken and `overwrite` is `False`.
        ValueError: When the name or the metrics do not have the form described, a path
            of this machine would be written, or the exported model differs from
            `model`.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            "Expected a name <data>-<trunk>-<tasks>[-<method>] of lower-case letters, "
            f"digits and underscores. Received: {name!r}"
        )
    target = Path(directory) / name
    if target.exists() and not overwrite:
        raise FileExistsError(
            f"There is a saved model in {str(target)!r}. Pass overwrite=True to "
            "replace it, or choose another name."
        )
    check_preprocessing(preprocessing)
    check_metrics(metrics)
    config = keras.saving.serialize_keras_object(model)
    config["preprocessing"] = dict(preprocessing)
    texts = {
        "config.json": json.dumps(config, indent=1) + "\n",
        "metrics.json": json.dumps(metrics, indent=1) + "\n",
    }
    for file, text in texts.items():
        _check_portable(file, text)

    with _appearing_at(target) as folder:
        version = write_version(
            model,
            folder,
            version=1,
            name=name,
            trunk=trunk,
            preprocessing=preprocessing,
            example=example,
        )
        inputs, outputs = _write_golden(model, version, example, folder / "golden.npz")
        texts["README.md"] = cards.render(
            name,
            card,
            metrics,
            inputs,
            outputs,
            directions(model),
            picture=sample is not None,
        )
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
        if sample is not None:
            shutil.copyfile(sample, folder / "sample.png")
    return target


def write_index(directory: str | os.PathLike) -> None:
    """Write `README.md` and what TensorFlow Serving needs to serve all saved models.

    Args:
        directory: The folder of saved models.

    Raises:
        FileNotFoundError: When there is no saved model.
    """
    for file, text in index(directory).items():
        write_text(text, Path(directory) / file)


def index(directory: str | os.PathLike) -> dict[str, str]:
    """Return the texts that `write_index` writes, by file name."""
    names = list_models(directory=directory)
    if not names:
        raise FileNotFoundError(
            f"Expected at least one saved model in {os.fspath(directory)!r}; none is "
            "there."
        )
    rows = [_index_row(Path(directory) / name) for name in names]
    head = ["Model", "What it does", "Results", "delta_m"]
    flags = " \\\n".join(f"  {flag}" for flag in server_flags("/models"))
    clients = "\n".join(_clients(directory, names))
    readme = _INDEX.format(table=cards.table(head, rows), flags=flags, clients=clients)
    folders = {name: Path(directory) / name for name in names}
    files = server_files(folders, "/models", Path(directory) / "models.config")
    return {"README.md": readme, **files}


def _clients(directory: str | os.PathLike, names: list[str]) -> Iterator[str]:
    """Yield a call of the client for the first model of each kind."""
    for kind, of_kind in (("images", False), ("text", True)):
        for name in names:
            if takes_text(Path(directory) / name) == of_kind:
                yield f"python client.py {name} {cards.KINDS[kind].client}"
                break


def _index_row(folder: Path) -> list[str]:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    summary = cards.summary_of((folder / "README.md").read_text(encoding="utf-8"))
    single = metrics["results"].get("single_task", {})
    results = []
    for task, found in metrics["results"]["multi_task"].items():
        metric, value = next(iter(found.items()))
        alone = single.get(task, {}).get(metric)
        results.append(
            f"{task} {metric} {format_spread(value)}"
            + (f" ({format_spread(alone)})" if alone else "")
        )
    delta = format_spread(metrics["delta_m"].get("per_task"), "+")
    link = f"[{folder.name}]({folder.name}/README.md)"
    return [link, summary, "<br>".join(results), delta]


def _write_golden(
    model: MultiTaskModel, version: Path, example: Any, path: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Write inputs, raw and served outputs; return what the inputs and outputs are."""
    inputs = named_inputs(model, example)
    signature = tf.saved_model.load(str(version)).signatures[DEFAULT_SIGNATURE]
    served = signature(**{name: tf.constant(value) for name, value in inputs.items()})
    raw = flat_outputs(model(_as_tensor(example), training=False))
    arrays = {
        **{f"inputs/{name}": value for name, value in inputs.items()},
        **{f"raw/{k}": keras.ops.convert_to_numpy(raw[k]) for k in raw},
        **{f"outputs/{k}": _storable(served[k].numpy()) for k in sorted(served)},
    }
    np.savez_compressed(path, **arrays)
    specs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    in_order = sorted(outputs, key=lambda name: _task_index(model, name))
    return (
        {name: _describe(specs[name]) for name in sorted(specs)},
        {name: _describe(outputs[name]) for name in in_order},
    )


def _as_tensor(example: Any) -> Any:
    """Return texts as a tensor, which Keras does not make of them itself."""
    array = None if isinstance(example, Mapping) else np.asarray(example)
    return (
        tf.constant(array)
        if array is not None and array.dtype.kind in "USO"
        else (example)
    )


def _storable(array: np.ndarray) -> np.ndarray:
    """Return strings in a form that NumPy stores without pickle."""
    return array.astype("S") if array.dtype.kind == "O" else array


def _task_index(model: MultiTaskModel, output: str) -> tuple[int, str]:
    owners = [
        (-len(task), index)
        for index, task in enumerate(model.task_names)
        if output == task or output.startswith(f"{task}_")
    ]
    return min(owners)[1], output


def _describe(spec: Any) -> str:
    sizes = [
        "batch",
        *("any" if size is None else str(size) for size in spec.shape[1:]),
    ]
    return f"{spec.dtype.name} ({', '.join(sizes)})"


def _check_portable(file: str, text: str) -> None:
    """Refuse a path that exists on this machine only."""
    for path in (Path.home(), Path.cwd(), Path(tempfile.gettempdir())):
        if len(path.parts) > 1 and f"{path}/" in text:
            raise ValueError(
                f"{file} would hold a path of this machine: {str(path)!r} occurs in "
                "it. Use relative paths in commands and configs."
            )


@contextmanager
def _appearing_at(target: Path) -> Iterator[Path]:
    """Give a folder that becomes `target` at the end, or nothing when that fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=".tmp-", dir=target.parent, ignore_cleanup_errors=True
    ) as scratch:
        folder = Path(scratch) / "new"
        folder.mkdir()
        yield folder
        if target.exists():
            target.rename(Path(scratch) / "old")
        folder.rename(target)
