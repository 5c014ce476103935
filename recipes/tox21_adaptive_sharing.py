"""Tox21: twelve assays of the same molecules; which of them should share what?

What a molecule disturbs, from the characters of its SMILES; most molecules lack some of
the labels. A network that all assays share is trained, thinned, and then branches where
assays find different molecules difficult (Lu et al., 2017): the learned tree is drawn
in the folder of the run. `--compare` also trains each assay alone, all in the thinned
network without branches, and all in the network as it was before, with the same
molecules, epochs and settings.

The inputs are logarithms of how often each n-gram of up to four characters occurs, of
those most frequent in training. The model takes these, and `ngrams` makes them.
Settings were chosen on validation, one seed, by the mean AUC of hard sharing; the cost
of a branch is the largest of those tried at which the network branched. Test is a fifth
of the molecules, by chance and not by scaffold.

    python recipes/tox21_adaptive_sharing.py                            # a learned tree
    python recipes/tox21_adaptive_sharing.py --structure=hard_sharing
    python recipes/tox21_adaptive_sharing.py --single_task=sr_p53       # a baseline
    python recipes/tox21_adaptive_sharing.py --compare --seeds=0,1,2    # metrics.json
    python recipes/tox21_adaptive_sharing.py --tiny                     # to try it

Results, time and device: none yet.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import stream, tox21

TASKS = tox21.TARGETS

UNBRANCHED = 1.0  # a cost at which no tree pays


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/tox21_adaptive_sharing"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # one of the assays trains that alone
    structure: Literal["adaptive_sharing", "hard_sharing"] = "adaptive_sharing"
    grams: int = 2048  # how many n-grams are counted
    units: tuple[int, ...] = (512, 128)  # of the layers of the network
    thin_to: float = 0.5  # share of the units that a tree starts with
    wide_epochs: int = 4  # before the network is thinned; then a round an epoch
    branch_cost: float = 0.02  # of one branch more; tasks that differ cost up to 1
    dropout: float = 0.5
    weight_decay: float = 0.1  # of AdamW, times the rate a step
    epochs: int = 12  # in all; when the tree is found, the rate falls as a cosine
    batch_size: int = 256
    learning_rate: float = 5e-3
    seed: int = 0
    tiny: bool = False  # four epochs of four steps
    compare: bool = False  # all of it and each assay alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


@functools.cache
def ngrams(split: str, grams: int, data_dir: str) -> tuple[np.ndarray, dict, dict]:
    """N-grams of the molecules of a split, float32 `(n, grams)`; labels; weights."""
    train, found = (tox21.load(one, data_dir or None) for one in ("train", split))
    counts = keras.layers.TextVectorization(
        grams, standardize=None, split="character", ngrams=4, output_mode="count"
    )
    counts.adapt(train.smiles)
    batches = tf.data.Dataset.from_tensor_slices(found.smiles).batch(512).map(counts)
    inputs = np.log1p(np.concatenate(list(batches.as_numpy_iterator())))
    return inputs, found.labels, found.weights


def arrays(split: str, config: Config) -> tuple[np.ndarray, dict, dict]:
    """Inputs, labels and weights of a split."""
    return ngrams(split, config.grams, config.data_dir)


def batches(split: str, config: Config) -> tf.data.Dataset:
    """One pass over a split."""
    rows = tf.data.Dataset.from_tensor_slices(arrays(split, config))
    return rows.take(256 if config.tiny else -1).batch(512)


def tasks(config: Config) -> list[mtl.Task]:
    """An assay's classes are inactive and active."""
    return [
        mtl.Task(
            name,
            mtl.heads.Classification(2, feature=f"layer_{len(config.units)}"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [evaluation.TwoClassAUC()],
        )
        for name in TASKS
        if config.single_task in ("", name)
    ]


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The network that all assays share, or that one of them has."""
    trunk = mtl.trunks.mlp(config.units, dropout=config.dropout)
    model = architectures.HardSharing(trunk, tasks(config))
    model.build((None, config.grams))
    return model


def optimizer(rate: Any, config: Config) -> keras.optimizers.Optimizer:
    """Return the optimizer of all models."""
    return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)


def branched(
    wide: mtl.MultiTaskModel, data: tf.data.Dataset, steps: int, config: Config
) -> mtl.MultiTaskModel:
    """Train the wide network, thin it, and let it branch while that trains."""
    rate = config.learning_rate
    wide.compile(optimizer(rate, config))
    wide.fit(data, epochs=config.wide_epochs, steps_per_epoch=steps, verbose=0)
    names = wide.trunk.stages
    widths = {
        name: max(1, round(config.thin_to * units))
        for name, units in zip(names, config.units, strict=True)
    }
    trunk = mtl.trunks.thin(wide.trunk, widths)
    model = architectures.Branched(trunk, tasks(config), {})
    model.build((None, config.grams))
    model.compile(optimizer(rate, config))
    rounds = training.AdaptiveSharing(
        batches("train", config), branch_cost=config.branch_cost
    )
    model.fit(
        data, epochs=len(names), steps_per_epoch=steps, verbose=0, callbacks=[rounds]
    )
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.plot_sharing(Path(config.workdir) / "sharing.png")
    return model


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose the epoch on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    if config.tiny:
        config = replace(config, epochs=4, wide_epochs=1)
    rows = arrays("train", config)
    steps = 4 if config.tiny else len(rows[0]) // config.batch_size
    data = stream.row_batches(rows, config.batch_size, config.seed)
    validation = batches("validation", config)
    model, epochs = build_model(config), config.epochs
    if config.structure == "adaptive_sharing" and not config.single_task:
        model = branched(model, data, steps, config)
        epochs -= config.wide_epochs + len(config.units)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    model.compile(optimizer(schedule, config))
    training.fit(
        model,
        data,
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
        verbose=0,
    )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "groups": getattr(model, "groups", {}),
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, batches("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison with hard sharing and the single-task baselines."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False, structure="adaptive_sharing"),
        TASKS,
        config.seeds,
        recipe="tox21_adaptive_sharing",
        split="test",
        example=arrays("validation", config)[0][:1],
        variants={
            "unbranched": {"branch_cost": UNBRANCHED},
            "hard_sharing": {"structure": "hard_sharing"},
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
