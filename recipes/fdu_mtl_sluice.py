"""Sixteen domains of reviews, positive or negative: sixteen related tasks.

Every domain of FDU-MTL (Liu et al., 2017) is a task, with some 1,400 reviews to train
on. A sluice network (Ruder et al., 2019) has a tower of two dense layers for each, on
the TF-IDF of words and pairs of words; subspaces of all towers read each other, and
heads read both layers. `--compare` also trains each domain alone, and all of them in
other ways: sharing the layers, and pooled as one task. All have the same inputs and
numbers of steps, and see as many reviews of each domain in a step.

A tenth of the training reviews, by a hash of the text, is the validation, on which
numbers of terms and epochs were chosen, with one seed. Of the test reviews, 559 stand
word for word in some training file: results are those of the other 5,841, and
`result.json` of a run has those of all beside them. On the clean ones a linear support
vector machine has 84.5 % for each domain alone and 87.6 % pooled.

    python recipes/fdu_mtl_sluice.py                         # the sluice network
    python recipes/fdu_mtl_sluice.py --sharing=pooled        # or another way
    python recipes/fdu_mtl_sluice.py --single_task=books     # a baseline
    python recipes/fdu_mtl_sluice.py --compare --seeds=0,1,2     # metrics.json
    python recipes/fdu_mtl_sluice.py --validation --units=64     # no look at the test
    python recipes/fdu_mtl_sluice.py --tiny                  # a minute, to try it

Results, time and device: recipes/results/fdu_mtl_sluice.json.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import fdu_mtl, hashing, stream, tfidf

TASKS = tuple(domain.lower() for domain in fdu_mtl.DOMAINS)
WAYS = ("sluice", "hard_sharing", "pooled")
LAYERS = ("layer_1", "layer_2")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/fdu_mtl_sluice"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # a domain trains that alone
    sharing: str = "sluice"  # one of WAYS; --compare takes them all
    terms: int = 20_000  # words and pairs of words that are counted
    units: int = 32  # of each of the two layers
    dropout: float = 0.5  # behind each of them
    subspaces: int = 2  # of each tower
    orthogonality: float = 0.1  # factor on what keeps them apart
    rate: float = 1.0  # factor on the learning rate of what mixes them
    epochs: int = 5
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
    """Reviews as vectors, their labels and domains."""

    vectors: tfidf.SparseRows
    labels: np.ndarray
    domains: np.ndarray


@functools.cache
def rows(split: str, data_dir: str) -> list[dict[str, Any]]:
    """The examples of "train", "validation", "test", or "test_with_leaked"."""
    archive = "test" if split.startswith("test") else "train"
    data = fdu_mtl.load(archive, data_dir or None).as_numpy_iterator()
    kept = {
        "train": lambda row: not held_out(row["text"]),
        "validation": lambda row: held_out(row["text"]),
        "test": lambda row: not row["leaked"],
        "test_with_leaked": lambda row: True,
    }[split]
    return [row for row in data if kept(row)]


def held_out(text: bytes) -> bool:
    """Whether a training text is for validation: the same texts always are."""
    return hashing.number_of(text) % 10 == 0


def texts_of(split: str, data_dir: str) -> list[str]:
    """The texts of a split, see `rows`."""
    return [row["text"].decode("utf-8") for row in rows(split, data_dir)]


@functools.cache
def weighted_terms(terms: int, data_dir: str) -> tfidf.TfIdf:
    """The words and pairs of words that most training texts have."""
    return tfidf.TfIdf(texts_of("train", data_dir), terms)


@functools.cache
def load(split: str, terms: int, data_dir: str) -> Reviews:
    """The reviews of a split, see `rows`, as TF-IDF vectors of length 1."""
    return Reviews(
        weighted_terms(terms, data_dir).rows(texts_of(split, data_dir)),
        np.array([row["label"] for row in rows(split, data_dir)], "int32"),
        np.array([row["domain"] for row in rows(split, data_dir)], "int32"),
    )


def reviews_of(split: str, config: Config, domain: str = "") -> Reviews:
    """The reviews that a run reads of a split, of all domains or of one."""
    found = load(split, config.terms, config.data_dir)
    wanted = np.ones(len(found.labels), bool)
    if domain:
        wanted = found.domains == TASKS.index(domain)
    if config.tiny:
        wanted &= np.arange(len(wanted)) % 10 == 0
    return Reviews(
        found.vectors.where(wanted),
        found.labels[wanted],
        found.domains[wanted],
    )


def as_batches(reviews: Reviews, indices: tf.data.Dataset, config: Config) -> Any:
    """Batches of the reviews at batches of indices, labelled for their tasks."""
    tasks = names(config)
    labels, domains = tf.constant(reviews.labels), tf.constant(reviews.domains)

    def batch(chosen: tf.Tensor) -> tuple:
        size = tf.size(chosen, tf.int64)
        inputs = reviews.vectors.dense(chosen)
        weights = tf.ones(tf.stack([size, 1]))
        if len(tasks) > 1:
            weights = tf.one_hot(tf.gather(domains, chosen), len(tasks))
        return (
            inputs,
            dict.fromkeys(tasks, tf.gather(labels, chosen)),
            dict(zip(tasks, tf.unstack(weights, axis=1), strict=True)),
        )

    return stream.checkpointable(indices.map(batch).prefetch(2))


def one_pass(split: str, config: Config, domain: str = "") -> Any:
    """All reviews of a split, of all domains or of one."""
    reviews = reviews_of(split, config, domain)
    indices = tf.data.Dataset.range(len(reviews.labels)).batch(128)
    return as_batches(reviews, indices, config)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    reviews = reviews_of("train", config, config.single_task)
    size = config.batch_size * (1 if config.single_task else len(TASKS))
    indices = stream.training_stream(len(reviews.labels), config.seed)
    epochs = 2 if config.tiny else config.epochs
    steps = len(reviews.labels) // size
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay))
    training.fit(
        model,
        as_batches(reviews, indices.map(lambda row, _: row).batch(size), config),
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
