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
from mtl_zoo.evaluation.report import check_metrics, format_spread
from mtl_zoo.export.serving import DEFAULT_SIGNATURE, named_inputs, to_serving
from mtl_zoo.model import MultiTaskModel
from mtl_zoo.zoo import card as cards
from mtl_zoo.zoo.images import NATIVE, check_preprocessing
from mtl_zoo.zoo.registry import list_models

_NAME = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+)+")

_INDEX = """\
# Saved models

Made by `mtl_zoo.zoo.write_index` from the cards and `metrics.json` files; don't edit.
Numbers are test results, multi-task (single-task), of each task's first metric; delta_m
is the mean gain over the single-task models in percent, higher is better.

{table}

`mtl-zoo show NAME` prints a card, `mtl.load(NAME)` gives the Keras model, and
TensorFlow Serving serves all of them:

```sh
docker run -p 8501:8501 -v "$PWD/saved_models:/models" tensorflow/serving \\
  --model_config_file=/models/models.config
```
"""

_SERVER_CONFIG = """\
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
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
        preprocessing: What the model wants images to be, see `mtl_zoo.zoo.images`.
            Defaults to `NATIVE`.
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
        version = to_serving(model, folder, version=1, example=example)
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
    """Write `README.md` and `models.config` (for TensorFlow Serving) of saved models.

    Args:
        directory: The folder of saved models.
    """
    for file, text in index(directory).items():
        (Path(directory) / file).write_text(text, encoding="utf-8")


def index(directory: str | os.PathLike) -> dict[str, str]:
    """Return the texts that `write_index` writes, by file name."""
    names = list_models(directory=directory)
    rows = [_index_row(Path(directory) / name) for name in names]
    head = ["Model", "What it does", "Results", "delta_m"]
    servers = "".join(_SERVER_CONFIG.format(name=name) for name in names)
    return {
        "README.md": _INDEX.format(table=cards.table(head, rows)),
        "models.config": f"model_config_list {{\n{servers}}}\n",
    }


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
    raw = model(example, training=False)
    arrays = {
        **{f"inputs/{name}": value for name, value in inputs.items()},
        **{f"raw/{k}": keras.ops.convert_to_numpy(raw[k]) for k in model.task_names},
        **{f"outputs/{k}": served[k].numpy() for k in sorted(served)},
    }
    np.savez_compressed(path, **arrays)
    specs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    in_order = sorted(outputs, key=lambda name: _task_index(model, name))
    return (
        {name: _describe(specs[name]) for name in sorted(specs)},
        {name: _describe(outputs[name]) for name in in_order},
    )


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
