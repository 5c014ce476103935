"""How well cheaper places to compare gradients agree with all shared parameters.

On a shipped model with batches of its own training data: at each step the gradients of
all tasks by all shared parameters, by parts of them, and by all of them for a quarter
of the batch. For each: how often the signs of the pairwise cosines agree with the exact
ones, and their correlation; and for methods, the cosine between the exact update and
that by the weights found from the part, and how often the latter is against some task.

    MTL_ZOO_DATA=... python benchmarks/balancing_levels.py \
        --out=benchmarks/results/balancing_levels.json
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

import mtl_zoo as mtl
from mtl_zoo import gradients as grads
from mtl_zoo.evaluation import report
from mtl_zoo.task_loss import task_loss

STEPS = flags.DEFINE_integer("steps", 40, "Batches.")
BATCH = flags.DEFINE_integer("batch_size", 8, "Samples in a batch.")
OUT = flags.DEFINE_string("out", "", "Where to write the figures as JSON.")

MODELS = {
    "pets_det_seg_cls": "pets-efficientnet_lite0-det-seg-cls",
    "nuclei_det_seg": "nuclei-efficientnet_lite0-det-seg",
}
METHODS = ("MGDA", "CAGrad", "UPGrad", "NashMTL", "PCGrad")
QUARTER = "all, of a quarter of the batch"


def recipe_of(name: str) -> Any:
    """The recipe as a module."""
    path = Path(__file__).parents[1] / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def batches(name: str) -> tf.data.Dataset:
    """Training batches of a recipe's data."""
    recipe = recipe_of(name)
    size = {"image_size": 160} if name == "pets_det_seg_cls" else {"image_size": 128}
    data = importlib.import_module(f"mtl_zoo.data.{name.split('_')[0]}")
    made = data.training_batches(batch_size=BATCH.value, seed=0, **size)
    return made.map(recipe.for_tasks).take(STEPS.value)


def quarter_of(batch: Any) -> Any:
    """The first quarter of a batch's samples."""
    return keras.tree.map_structure(lambda x: x[: max(1, len(x) // 4)], batch)


def parts_of(model: mtl.MultiTaskModel) -> dict[str, list[keras.Variable]]:
    """Groups of the shared variables."""
    shared = model.shared_variables
    kernels = [v for v in shared if len(v.shape) >= 2]
    small = [v for v in shared if len(v.shape) < 2]
    return {
        "all": shared,
        "last": model._last_of_all_tasks(),
        "last 4 kernels": kernels[-4:],
        "first 4 kernels": kernels[:4],
        "vectors (biases, scales)": small,
    }


def rows_of(model: mtl.MultiTaskModel, parts: dict) -> Any:
    """A function from a batch to the tasks' gradients by each part, and the losses."""

    @tf.function
    def rows(inputs: Any, labels: Any, weights: Any) -> tuple[dict, Any]:
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(inputs, training=True)
            losses = [task_loss(t, labels, outputs, weights).loss for t in model.tasks]
        everything = [tape.gradient(loss, parts["all"]) for loss in losses]
        place = {id(v): i for i, v in enumerate(parts["all"])}
        found = {
            name: tf.stack(
                [
                    grads.flatten([all_[place[id(v)]] for v in part], part)
                    for all_ in everything
                ]
            )
            for name, part in parts.items()
        }
        return found, tf.stack(losses)

    return rows


def cosines(matrix: np.ndarray) -> np.ndarray:
    """Pairwise cosines of rows, above the diagonal."""
    unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-30)
    return (unit @ unit.T)[np.triu_indices(len(matrix), 1)]


def weights_by(name: str, gradients: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The weights of a fresh method for some gradients."""
    kwargs = {"seed": 0} if name == "PCGrad" else {}
    method = getattr(mtl.balancing, name)(**kwargs)
    method.build([str(i) for i in range(len(losses))])
    gramian = (gradients @ gradients.T).astype("float32")
    active = tf.ones(len(losses), tf.bool)
    return np.asarray(method.task_weights(tf.constant(gramian), losses, active))


def measure(recipe: str, name: str) -> dict[str, Any]:
    """All figures of one model."""
    model = mtl.load(name)
    parts = parts_of(model)
    rows = rows_of(model, parts)
    parts_and_quarter = {**parts, QUARTER: parts["all"]}
    exact, by_part, updates = [], {p: [] for p in parts_and_quarter}, {}
    for batch in batches(recipe):
        found, losses = rows(*batch)
        found[QUARTER] = rows(*quarter_of(batch))[0]["all"]
        matrices = {p: m.numpy().astype("float64") for p, m in found.items()}
        whole = matrices["all"]
        exact.append(cosines(whole))
        for part, matrix in matrices.items():
            by_part[part].append(cosines(matrix))
            for method in METHODS:
                update = weights_by(method, matrix, losses) @ whole
                updates.setdefault((part, method), []).append((update, whole))
    result: dict[str, Any] = {"steps": len(exact), "parts": {}}
    true = np.concatenate(exact)
    for part, variables in parts_and_quarter.items():
        got = np.concatenate(by_part[part])
        methods = {}
        for method in METHODS:
            similar, against = [], []
            for (update, whole), (best, _) in zip(
                updates[part, method], updates["all", method], strict=True
            ):
                length = np.linalg.norm(update) * np.linalg.norm(best)
                similar.append(update @ best / max(length, 1e-30))
                lengths = np.linalg.norm(whole, axis=1) * np.linalg.norm(update)
                against.append(np.any(whole @ update < -1e-3 * lengths))
            methods[method] = {
                "cosine_to_exact": float(np.mean(similar)),
                "against_a_task": float(np.mean(against)),
            }
        result["parts"][part] = {
            "numbers": grads.size_of(variables),
            "sign_agreement": float(np.mean(np.sign(got) == np.sign(true))),
            "correlation": float(np.corrcoef(got, true)[0, 1]),
            "methods": methods,
        }
    return result


def main(argv: list[str]) -> None:
    """Measure and print."""
    del argv
    result: dict[str, Any] = {
        "command": f"python benchmarks/balancing_levels.py --steps={STEPS.value} "
        f"--batch_size={BATCH.value}",
        **report.provenance(),
        "models": {name: measure(recipe, name) for recipe, name in MODELS.items()},
    }
    print(json.dumps(result["models"], indent=2))
    if OUT.value:
        report.write_json(result, OUT.value)


if __name__ == "__main__":
    app.run(main)
