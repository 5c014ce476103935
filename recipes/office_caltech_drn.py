"""Ten kinds of things in four kinds of pictures, with few labels: related or not?

Office-Caltech10 with 5, 10 or 20 % of the images for training, by the published lists,
on histograms of SURF words: a small network with a shared layer, and two layers of each
domain's own under a tensor-normal prior that learns how the domains, the features and
the classes are related (Long et al., 2017). `--compare` also trains each domain alone,
and all of them in other ways: pooled as one task; sharing the first layer; that with a
plain L2 prior; and with the trace norm of the domains' weights.

All runs take the same number of steps. `STRENGTH` is to be chosen for each way of
training on folds of the training lists (`--validation` prints the mean accuracy of all
four); what is there now is a guess.

    python recipes/office_caltech_drn.py                          # one run
    python recipes/office_caltech_drn.py --sharing=pooled         # or another way
    python recipes/office_caltech_drn.py --single_task=webcam     # a baseline
    python recipes/office_caltech_drn.py --compare --percent=5 --seeds=0,1,2,3,4
    python recipes/office_caltech_drn.py --validation --strength=0.01
    python recipes/office_caltech_drn.py --tiny                   # seconds, to try it

Results, time and device: none yet.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import office_caltech

TASKS = office_caltech.DOMAINS

# Strength of the prior in each way of training; `hard` has none.
STRENGTH = {
    "related": 1e-3,
    "pooled": 1e-3,
    "hard": 0.0,
    "l2": 1e-3,
    "trace_norm": 1e-2,
}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/office_caltech_drn"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # a domain trains that alone
    percent: int = 20  # 5, 10 or 20: which training lists
    sharing: str = "related"  # a way of STRENGTH; --compare takes them all
    units: tuple[int, ...] = (128, 64)  # of the shared layer, and of each domain's
    dropout: float = 0.5
    strength: float = -1.0  # of the prior; below 0: that of STRENGTH
    update_every: int = 10  # steps between updates of the covariances
    steps: int = 600
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    validation: bool = False  # folds of the training lists, instead of the test
    tiny: bool = False  # two steps
    compare: bool = False  # all ways and each domain alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def names(config: Config) -> tuple[str, ...]:
    """The tasks of a model: the domains, one of them, or all as one."""
    if config.single_task:
        return (config.single_task,)
    return ("pooled",) if config.sharing == "pooled" else TASKS


def build_model(config: Config) -> mtl.MultiTaskModel:
    """A shared layer, and two more of each task.

    Each domain alone, and all as one, have a plain L2 prior too.
    """
    if config.sharing not in STRENGTH:
        raise ValueError(
            f"Expected one of {list(STRENGTH)}. Received: sharing={config.sharing!r}"
        )
    plain = mtl.priors.TensorNormal(kinds=("identity",) * 3)
    priors = {
        "related": mtl.priors.TensorNormal(kinds=("low_rank", "full", "full")),
        "trace_norm": mtl.priors.TraceNorm(),
    }
    sharing = "pooled" if config.single_task else config.sharing
    strength = STRENGTH[sharing] if config.strength < 0 else config.strength
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(
                len(office_caltech.CLASSES),
                feature="layer_1",
                class_names=office_caltech.CLASSES,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        for name in names(config)
    ]
    model = mtl.architectures.DeepRelationship(
        mtl.trunks.mlp([config.units[0]], dropout=config.dropout),
        tasks,
        feature="layer_1",
        units=[config.units[1]],
        dropout=config.dropout,
        prior=priors.get(sharing, plain),
        strength=strength,
        update_every=config.update_every,
        name="office_caltech_drn",
    )
    model.build((None, 800))
    return model


def words(surf: np.ndarray) -> np.ndarray:
    """Roots of the shares of the visual words: of length 1, scaled to a variance of 1.

    The distance of two is that of Hellinger.
    """
    shares = surf / np.maximum(surf.sum(axis=1, keepdims=True), 1.0)
    return np.sqrt(shares) * np.sqrt(surf.shape[1])


def arrays(split: str, config: Config, fold: int = 0) -> tuple[Any, dict, dict]:
    """Inputs, labels and weights: an image has a label for the task of its domain."""
    found = office_caltech.load(split, config.percent, fold, config.data_dir or None)
    if config.single_task:
        found = {config.single_task: found[config.single_task]}
    inputs = np.concatenate([words(domain.surf) for domain in found.values()])
    labels = np.concatenate([domain.labels for domain in found.values()])
    counts = [len(domain.labels) for domain in found.values()]
    where = np.repeat(list(found), counts)
    weights = {
        name: np.ones(len(labels), "float32")
        if name == "pooled"
        else (where == name).astype("float32")
        for name in names(config)
    }
    return inputs, dict.fromkeys(weights, labels), weights


def fit(config: Config, split: str, fold: int = 0) -> mtl.MultiTaskModel:
    """Train on a split for a fixed number of steps."""
    keras.utils.set_random_seed(config.seed)
    data = arrays(split, config, fold)
    steps = 2 if config.tiny else config.steps
    model = build_model(config)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(keras.optimizers.Adam(schedule))
    batches = (
        tf.data.Dataset.from_tensor_slices(data)
        .cache()
        .shuffle(len(data[0]), seed=config.seed)
        .repeat()
        .batch(config.batch_size)
        .prefetch(2)
    )
    model.fit(batches, steps_per_epoch=steps, verbose=0)
    return model


def accuracy(
    model: mtl.MultiTaskModel, config: Config, split: str, fold: int = 0
) -> dict[str, dict]:
    """Return the accuracy in each domain."""
    if "pooled" not in model.task_names:
        data = arrays(split, config, fold)
        batches = tf.data.Dataset.from_tensor_slices(data).batch(256)
        return evaluation.evaluate(model, batches)
    found = {}
    for name in TASKS:
        inputs, labels, _ = arrays(split, replace(config, single_task=name), fold)
        data = (inputs, {"pooled": labels[name]})
        batches = tf.data.Dataset.from_tensor_slices(data).batch(256)
        found[name] = evaluation.evaluate(model, batches)["pooled"]
    return found


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy in each domain on the test split."""
    return accuracy(model, config, "test")


def train(config: Config) -> dict[str, Any]:
    """One run: train for a fixed number of steps, read the test split once."""
    model = fit(config, "train")
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.save(Path(config.workdir) / "model.keras")
    test = evaluate(model, config)
    return {"test": test, "directions": {name: {"accuracy": "up"} for name in test}}


def validate(config: Config) -> dict[str, Any]:
    """Return the mean accuracy over the folds of the training lists."""
    found = []
    for fold in range(office_caltech.FOLDS):
        keras.backend.clear_session()
        model = fit(config, "train_fold", fold)
        result = accuracy(model, config, "validation", fold)
        found.append(statistics.mean(one["accuracy"] for one in result.values()))
    return {"validation": {"accuracy": statistics.mean(found), "folds": found}}


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the single-task baselines."""
    if config.validation:
        return validate(config)
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False, sharing="related"),
        TASKS,
        config.seeds,
        recipe="office_caltech_drn",
        split=f"test of the {config.percent} % lists",
        example=np.zeros((1, 800), "float32"),
        variants={name: {"sharing": name} for name in STRENGTH if name != "related"},
    )


if __name__ == "__main__":
    training.main(run, Config)
