"""Sixteen domains of reviews: what they share is kept from saying which domain it is.

Every domain of FDU-MTL (Liu et al., 2017) is a task, with some 1,400 reviews to train
on. As in the paper, a task reads a private layer beside a shared one; a penalty keeps
the two apart, and an adversary that tells the domains from the shared layer has its
gradient reversed there. `--compare` also trains the same without the adversary, the
shared layer alone, and each domain by itself. All have the same inputs and width of a
layer, and see as many reviews of each domain in a step. In place of the paper's LSTMs,
the layers read the TF-IDF of words and pairs of words.

Layer and adversary push each other in circles (see `mtl_zoo.Task`); `damping`, an L2
penalty on the adversary, and SGD with momentum in place of Adam let them settle.

A tenth of the training reviews, by a hash of the text, is the validation, on which
settings were compared; the last step's weights are taken. Of the test reviews, 559
stand word for word in some training file: results are those of the other 5,841, and
`accuracy_with_leaked` has the mean over all, on which figures were published: errors of
13.75 % for sharing alone and 12.70 % with adversary and penalty, by an implementation
of the paper with CNNs (README of FrankWork/fudan_mtl_reviews). On the clean ones a
linear support vector machine has 84.5 % for each domain alone and 87.6 % pooled.

`domain_accuracy` is that of a new linear classifier of the sixteen domains on the
frozen shared layer, learned on half of the clean test reviews and measured on the other
half (1 / 16 is chance); `domain_accuracy_at_start` is the same before training.

    python recipes/fdu_mtl_adversarial.py
    python recipes/fdu_mtl_adversarial.py --sharing=hard_sharing     # another way
    python recipes/fdu_mtl_adversarial.py --single_task=books        # a baseline
    python recipes/fdu_mtl_adversarial.py --compare --seeds=0,1,2    # metrics.json
    python recipes/fdu_mtl_adversarial.py --validation --strength=0  # no test labels
    python recipes/fdu_mtl_adversarial.py --tiny                     # to try it

Results, time and device: recipes/results/fdu_mtl_adversarial.json.
"""

from __future__ import annotations

import functools
import json
import math
import statistics
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import fdu_mtl, hashing, stream
from mtl_zoo.evaluation.report import spread

TASKS = tuple(domain.lower() for domain in fdu_mtl.DOMAINS)
WAYS = ("adversarial", "shared_private", "hard_sharing")
LAYER = "layer_1"


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/fdu_mtl_adversarial"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # a domain trains that alone
    sharing: str = "adversarial"  # one of WAYS; --compare takes them all
    terms: int = 20_000  # words and pairs of words that are counted
    length: float = 5.0  # of the vectors of TF-IDF
    units: int = 16  # of the shared layer, and of each private one
    orthogonality: float = 0.01  # factor on what keeps them apart
    strength: float = 1.0  # of the reversal, at the end of its ramp
    damping: float = 0.5  # L2 penalty on the adversary
    epochs: int = 5
    batch_size: int = 8  # reviews of each domain, on average
    learning_rate: float = 5e-3  # at the start; it falls to 0 along a cosine
    momentum: float = 0.9
    seed: int = 0
    validation: bool = False  # report on validation, and leave test labels alone
    tiny: bool = False  # an epoch, a tenth of the reviews
    compare: bool = False  # all ways and each domain alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def names(config: Config) -> tuple[str, ...]:
    """The domains that are the tasks of a model."""
    return (config.single_task,) if config.single_task else TASKS


def is_adversarial(config: Config) -> bool:
    """Whether there is an adversary."""
    return config.sharing == "adversarial" and not config.single_task


def build_model(config: Config) -> mtl.MultiTaskModel:
    """One layer on the TF-IDF that all tasks share, and one of each beside it."""
    if config.sharing not in WAYS:
        raise ValueError(f"Expected one of {WAYS}. Received: {config.sharing!r}")

    def task(name: str, classes: tuple[str, ...], penalty: Any = None, **role: Any):
        head = mtl.heads.Classification(
            len(classes), LAYER, class_names=classes, kernel_regularizer=penalty
        )
        return mtl.Task(
            name,
            head,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            **role,
        )

    tasks = [task(name, fdu_mtl.LABELS) for name in names(config)]
    if is_adversarial(config):
        adversary = task(
            "domain",
            fdu_mtl.DOMAINS,
            keras.regularizers.L2(config.damping),
            weight=len(TASKS),  # as the losses of so many tasks are added
            role="adversarial",
            reversal=training.ReversalRamp(steps_of(config), config.strength),
        )
        tasks.append(adversary)
    trunk = mtl.trunks.mlp([config.units])
    model: mtl.MultiTaskModel
    if config.sharing == "hard_sharing" or config.single_task:
        model = architectures.HardSharing(trunk, tasks, name="fdu_mtl")
    else:
        model = architectures.SharedPrivate(
            trunk,
            tasks,
            orthogonality=config.orthogonality,
            same_start=False,
            name="fdu_mtl_adversarial",
        )
    model.build((None, config.terms))
    return model


def epochs_of(config: Config) -> int:
    """Epochs of a run."""
    return 1 if config.tiny else config.epochs


def steps_of(config: Config) -> int:
    """Steps of a run."""
    number = len(reviews_of("train", config, config.single_task).labels)
    return epochs_of(config) * (number // (config.batch_size * len(names(config))))


@dataclass(frozen=True)
class Reviews:
    """Reviews: the numbers of their terms and what these count, label and domain."""

    terms: tf.RaggedTensor
    counts: tf.RaggedTensor
    labels: np.ndarray
    domains: np.ndarray


def terms_of(text: bytes) -> Counter[str]:
    """How often words and pairs of words are in a tokenised text."""
    words = text.decode("utf-8").lower().split()
    return Counter(chain(words, map(" ".join, pairwise(words))))


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


@functools.cache
def rarities(terms: int, data_dir: str) -> dict[str, float]:
    """The terms that most training texts have, and the weight of each (IDF)."""
    texts = [row["text"] for row in rows("train", data_dir)]
    found = Counter(chain.from_iterable(terms_of(text) for text in texts))
    return {
        term: 1 + math.log(len(texts) / number)
        for term, number in found.most_common(terms)
    }


@functools.cache
def load(split: str, terms: int, data_dir: str) -> Reviews:
    """The reviews of a split, see `rows`, as TF-IDF vectors of length 1."""
    weights = rarities(terms, data_dir)
    numbers = {term: number for number, term in enumerate(weights)}
    found: list[int] = []
    counts: list[np.ndarray] = []
    lengths: list[int] = []
    for row in rows(split, data_dir):
        known = [
            (numbers[t], n, t) for t, n in terms_of(row["text"]).items() if t in numbers
        ]
        known.sort()  # as sparse rows must be
        vector = np.array([(1 + math.log(n)) * weights[t] for _, n, t in known])
        counts.append(vector / max(np.linalg.norm(vector), 1e-9))
        found += [number for number, *_ in known]
        lengths.append(len(known))
    return Reviews(
        tf.RaggedTensor.from_row_lengths(np.array(found, "int64"), lengths),
        tf.RaggedTensor.from_row_lengths(
            np.concatenate(counts).astype("float32"), lengths
        ),
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
        tf.ragged.boolean_mask(found.terms, wanted),
        tf.ragged.boolean_mask(found.counts, wanted),
        found.labels[wanted],
        found.domains[wanted],
    )


def as_batches(reviews: Reviews, indices: tf.data.Dataset, config: Config) -> Any:
    """Batches of the reviews at batches of indices, labelled for their tasks."""
    tasks = names(config)
    labels, domains = tf.constant(reviews.labels), tf.constant(reviews.domains)

    def batch(chosen: tf.Tensor) -> tuple:
        size = tf.size(chosen, tf.int64)
        terms = tf.gather(reviews.terms, chosen)
        places = tf.stack([terms.value_rowids(), terms.flat_values], axis=1)
        counts = config.length * tf.gather(reviews.counts, chosen).flat_values
        inputs = tf.SparseTensor(places, counts, tf.stack([size, config.terms]))
        every, known = tf.gather(labels, chosen), tf.gather(domains, chosen)
        ones = tf.ones(tf.stack([size, 1]))
        weights = tf.one_hot(known, len(tasks)) if len(tasks) > 1 else ones
        return (
            inputs,
            {**dict.fromkeys(tasks, every), "domain": known},
            {
                **dict(zip(tasks, tf.unstack(weights, axis=1), strict=True)),
                "domain": ones[:, 0],
            },
        )

    return stream.checkpointable(indices.map(batch).prefetch(2))


def one_pass(split: str, config: Config) -> Any:
    """All reviews of a split that belong to the tasks."""
    reviews = reviews_of(split, config, config.single_task)
    indices = tf.data.Dataset.range(len(reviews.labels)).batch(128)
    return as_batches(reviews, indices, config)


def train(config: Config) -> dict[str, Any]:
    """One run: train for a fixed number of steps, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    at_start = domain_accuracy(model, config)
    reviews = reviews_of("train", config, config.single_task)
    size = config.batch_size * len(names(config))
    indices = stream.training_stream(len(reviews.labels), config.seed)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, steps_of(config)
    )
    model.compile(keras.optimizers.SGD(schedule, config.momentum))
    model.fit(
        as_batches(reviews, indices.map(lambda row, _: row).batch(size), config),
        epochs=epochs_of(config),
        steps_per_epoch=steps_of(config) // epochs_of(config),
        shuffle=False,  # the data comes shuffled
        verbose=0,
    )
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.save(Path(config.workdir) / "model.keras")
    result = {
        "validation": accuracies(model, config, "validation"),
        "domain_accuracy_at_start": at_start,
        "domain_accuracy": domain_accuracy(model, config),
    }
    if config.validation:
        return {**result, "mean": mean(result["validation"])}
    test = evaluate(model, config)
    return {
        **result,
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
    found = evaluation.evaluate(model, one_pass(split, config))
    return {name: found[name] for name in names(config)}


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy in each domain on the clean test reviews."""
    return accuracies(model, config, "test")


def domain_accuracy(model: mtl.MultiTaskModel, config: Config) -> float | None:
    """Return the accuracy of a new domain classifier on the frozen shared layer.

    Of clean test reviews, in turns to learn from and to measure. None for one domain.
    """
    if config.single_task:
        return None
    batches = one_pass("test", config)
    features = [np.asarray(model.encode(inputs)[LAYER]) for inputs, *_ in batches]
    shared, domains = np.concatenate(features), reviews_of("test", config).domains
    probe = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(),
        sklearn.linear_model.LogisticRegression(max_iter=1000),
    )
    probe.fit(shared[::2], domains[::2])
    return float(probe.score(shared[1::2], domains[1::2]))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the single-task baselines."""
    if not config.compare:
        return train(config)
    metrics = training.study(
        train,
        replace(config, compare=False, sharing="adversarial"),
        TASKS,
        config.seeds,
        recipe="fdu_mtl_adversarial",
        split="test without the leaked reviews",
        example=np.zeros((1, config.terms), "float32"),
        variants={name: {"sharing": name} for name in WAYS if name != "adversarial"},
    )
    metrics["cost"].update(figures(config))
    evaluation.check_metrics(metrics)
    evaluation.write_json(metrics, Path(config.workdir) / "metrics.json")
    return metrics


def figures(config: Config) -> dict[str, dict]:
    """Return what the runs of a study say of the domain and of the leaked reviews."""

    def results(kind: str) -> list[dict]:
        folders = [Path(config.workdir) / f"{kind}-seed{n}" for n in config.seeds]
        return [json.loads((one / "result.json").read_text()) for one in folders]

    ways = {name: results(name) for name in ("multi_task", *WAYS[1:])}
    alone = [results(name) for name in TASKS]
    found = {
        figure: {name: spread([one[figure] for one in ways[name]]) for name in ways}
        for figure in ("domain_accuracy_at_start", "domain_accuracy")
    }
    leaked = {
        name: [mean(one["test_with_leaked"]) for one in ways[name]] for name in ways
    }
    leaked["single_task"] = [
        statistics.fmean(mean(one["test_with_leaked"]) for one in of_seed)
        for of_seed in zip(*alone, strict=True)
    ]
    found["accuracy_with_leaked"] = {n: spread(values) for n, values in leaked.items()}
    return found


if __name__ == "__main__":
    training.main(run, Config)
