"""Sixteen domains of reviews, positive or negative: sixteen related tasks.

Every domain of FDU-MTL (Liu et al., 2017) is a task, with some 1,400 reviews to train
on. A sluice network (Ruder et al., 2019) has a tower of two dense layers for each, on
the TF-IDF of words and pairs of words; subspaces of all towers read each other, and
heads read both layers. `--compare` also trains each domain alone, and all of them in
other ways: sharing the layers, and pooled as one task. All have the same inputs and
numbers of steps, and see as many reviews of each domain in a step.

A tenth of the training reviews, by a hash of the text, is the validation, on which the
settings were chosen. Of the test reviews, 559 stand word for word in some training
file: results are those of the other 5,841, and `result.json` of a run has those of all
beside them. On the clean ones a linear support vector machine has 84.5 % for each
domain alone and 87.6 % pooled.

    python recipes/fdu_mtl_sluice.py                         # the sluice network
    python recipes/fdu_mtl_sluice.py --sharing=pooled        # or another way
    python recipes/fdu_mtl_sluice.py --single_task=books     # a baseline
    python recipes/fdu_mtl_sluice.py --compare --seeds=0,1,2     # metrics.json
    python recipes/fdu_mtl_sluice.py --validation --units=64     # no look at the test
    python recipes/fdu_mtl_sluice.py --tiny                  # a minute, to try it

Results, time and device: none yet.
"""

from __future__ import annotations

import functools
import hashlib
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import fdu_mtl, stream

TASKS = fdu_mtl.DOMAINS
WAYS = ("sluice", "hard_sharing", "pooled")
LAYERS = ("layer_1", "layer_2")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/fdu_mtl_sluice"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # a domain trains that alone
    sharing: str = "sluice"  # one of WAYS; --compare takes them all
    terms: int = 10_000  # words and pairs of words that are counted
    units: int = 32  # of each of the two layers
    dropout: float = 0.5  # behind each of them
    subspaces: int = 2  # of each tower
    orthogonality: float = 0.1  # factor on what keeps them apart
    rate: float = 1.0  # factor on the learning rate of what mixes them
    epochs: int = 8
    batch_size: int = 8  # reviews of each domain, on average
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    validation: bool = False  # report on validation, and leave the test alone
    tiny: bool = False  # two epochs, a tenth of the reviews
    compare: bool = False  # all ways and each domain alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def names(config: Config) -> tuple[str, ...]:
    """The tasks of a model: the domains, one of them, or all as one."""
    if config.single_task:
        return (config.single_task,)
    return ("pooled",) if config.sharing == "pooled" else TASKS


def build_model(config: Config) -> mtl.MultiTaskModel:
    """Two layers on the TF-IDF: of each task, or shared by all."""
    if config.sharing not in WAYS:
        raise ValueError(f"Expected one of {WAYS}. Received: {config.sharing!r}")
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(2, feature=LAYERS[-1], class_names=fdu_mtl.LABELS),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        for name in names(config)
    ]
    trunk = mtl.trunks.mlp([config.units] * len(LAYERS), dropout=config.dropout)
    model: mtl.MultiTaskModel
    if config.sharing == "sluice" and not config.single_task:
        model = architectures.Sluice(
            trunk,
            tasks,
            subspaces=config.subspaces,
            orthogonality=config.orthogonality,
            rate=config.rate,
            same_start=False,
            name="fdu_mtl_sluice",
        )
    else:
        model = architectures.HardSharing(trunk, tasks, name="fdu_mtl")
    model.build((None, config.terms))
    return model


@dataclass(frozen=True)
class Reviews:
    """Texts, their labels, and the numbers of their domains."""

    texts: np.ndarray
    labels: np.ndarray
    domains: np.ndarray


@functools.cache
def load(split: str, data_dir: str) -> Reviews:
    """The reviews of "train", "validation", "test", or "test_with_leaked"."""
    archive = "test" if split.startswith("test") else "train"
    rows = list(fdu_mtl.load(archive, data_dir or None).as_numpy_iterator())
    if archive == "train":
        rows = [r for r in rows if held_out(r["text"]) == (split == "validation")]
    elif split == "test":
        rows = [row for row in rows if not row["leaked"]]
    return Reviews(
        np.array([row["text"] for row in rows], object),
        np.array([row["label"] for row in rows], "int32"),
        np.array([row["domain"] for row in rows], "int32"),
    )


def held_out(text: bytes) -> bool:
    """Whether a training text is for validation: the same texts always are."""
    return int(hashlib.md5(text, usedforsecurity=False).hexdigest(), 16) % 10 == 0


@functools.cache
def counter(terms: int, data_dir: str) -> keras.layers.TextVectorization:
    """Counts words and pairs of words, weighted by how rare they are in training."""
    layer = keras.layers.TextVectorization(
        max_tokens=terms,
        standardize="lower",
        split="whitespace",
        ngrams=2,
        output_mode="tf_idf",
        pad_to_max_tokens=True,
    )
    texts = load("train", data_dir).texts
    layer.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(512))
    return layer


def reviews_of(split: str, config: Config, domain: str = "") -> Reviews:
    """The reviews that a run reads of a split."""
    found = load(split, config.data_dir)
    wanted = np.ones(len(found.labels), bool)
    if domain:
        wanted = found.domains == TASKS.index(domain)
    if config.tiny:
        wanted &= np.arange(len(wanted)) % 10 == 0
    return Reviews(found.texts[wanted], found.labels[wanted], found.domains[wanted])


def as_batches(reviews: Reviews, indices: tf.data.Dataset, config: Config) -> Any:
    """Batches of the reviews at batches of indices, labelled for their tasks."""
    tasks, count = names(config), counter(config.terms, config.data_dir)
    texts = tf.constant(reviews.texts)
    labels, domains = tf.constant(reviews.labels), tf.constant(reviews.domains)

    def batch(rows: tf.Tensor) -> tuple:
        counts = count(tf.gather(texts, rows))
        inputs = keras.ops.normalize(keras.ops.log1p(counts))
        weights = tf.ones((tf.shape(rows)[0], 1))
        if len(tasks) > 1:
            weights = tf.one_hot(tf.gather(domains, rows), len(tasks))
        return (
            inputs,
            dict.fromkeys(tasks, tf.gather(labels, rows)),
            dict(zip(tasks, tf.unstack(weights, axis=1), strict=True)),
        )

    return stream.checkpointable(indices.map(batch).prefetch(2))


def one_pass(split: str, config: Config, domain: str = "") -> Any:
    """All reviews of a split, of all domains or of one."""
    reviews = reviews_of(split, config, domain)
    rows = tf.data.Dataset.range(len(reviews.labels)).batch(128)
    return as_batches(reviews, rows, config)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    reviews = reviews_of("train", config, config.single_task)
    size = config.batch_size * (1 if config.single_task else len(TASKS))
    rows = stream.training_stream(len(reviews.labels), config.seed)
    epochs = 2 if config.tiny else config.epochs
    steps = len(reviews.labels) // size
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay))
    training.fit(
        model,
        as_batches(reviews, rows.map(lambda row, _: row).batch(size), config),
        one_pass("validation", config, config.single_task),
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
    )
    model.save(Path(config.workdir) / "model.keras")
    validation = accuracies(model, config, "validation")
    if config.validation:
        return {"validation": validation, "mean": mean(validation)}
    test = evaluate(model, config)
    return {
        "validation": validation,
        "test": test,
        "test_with_leaked": accuracies(model, config, "test_with_leaked"),
        "directions": {name: {"accuracy": "up"} for name in test},
    }


def mean(results: dict[str, dict]) -> float:
    """Return the mean accuracy over the domains."""
    return statistics.fmean(one["accuracy"] for one in results.values())


def accuracies(
    model: mtl.MultiTaskModel, config: Config, split: str
) -> dict[str, dict]:
    """Return the accuracy in each domain."""
    if "pooled" not in model.task_names:
        return evaluation.evaluate(model, one_pass(split, config, config.single_task))
    return {
        name: evaluation.evaluate(model, one_pass(split, config, name))["pooled"]
        for name in TASKS
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy in each domain on the clean test reviews."""
    return accuracies(model, config, "test")


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the single-task baselines."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False, sharing="sluice"),
        TASKS,
        config.seeds,
        recipe="fdu_mtl_sluice",
        split="test without the leaked reviews",
        example=np.zeros((1, config.terms), "float32"),
        variants={name: {"sharing": name} for name in WAYS if name != "sluice"},
    )


if __name__ == "__main__":
    training.main(run, Config)
