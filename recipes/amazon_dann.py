"""Sentiment in a kind of products without labels: an adversary hides the domain.

From reviews of one domain with labels, and reviews of another without, to the second:
the twelve pairs of domains of the Amazon reviews as Ganin et al. have them (Ganin et
al., 2016). DANN is a hidden layer with two linear heads: one predicts the sentiment,
from labels of the source alone; the other the domain, and its gradient is reversed for
the layer. `--single_task=sentiment` is the same network on the source only.

Layer and adversary push each other in circles (see `mtl_zoo.Task`): without a penalty
on the adversary, or with Adam, the circles grow, and the layer tells more of the domain
in the end than at the start. Here they are damped: `damping` is an L2 penalty on the
adversary, inputs are TF-IDF vectors of length 1, the optimizer is SGD with momentum.

No label of the target is used in training or to choose anything: learning rate, epochs
and inputs were compared by the accuracy on held-out reviews of the sources, damping and
strength by the domain accuracy; the schedule of the reversal is the paper's, and the
last step's weights are taken. Of the source's training reviews, a tenth is held out.

`domain_accuracy` says what the layer still tells of the domain: that of a new linear
classifier on the frozen layer, learned on half of the test reviews of both domains and
measured on the other half, so that neither the network nor the classifier was trained
on them (but for the 156 to 199 of a domain that equal one of its training reviews); 0.5
is chance. `domain_accuracy_at_start` is
the same before training, `domain_accuracy_of_rows` that of a classifier of the training
reviews. Mean accuracies over the pairs are 76.3 % as published for DANN and 77.1 % for
logistic regression on whether terms are there (C = 0.1). On the TF-IDF that the network
has, logistic regression (C = 10) has 77.7 % from the same reviews, and 77.9 % with the
tenth that is held out here.

    python recipes/amazon_dann.py --source=books --target=dvd
    python recipes/amazon_dann.py --single_task=sentiment        # source only
    python recipes/amazon_dann.py --compare --seeds=0,1,2        # metrics.json
    python recipes/amazon_dann.py --damping=0                    # how it goes wrong
    python recipes/amazon_dann.py --tiny                         # seconds, to try it

Results, time and device: recipes/results/amazon_dann.json.
"""

from __future__ import annotations

import functools
import json
import statistics
import sys
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import amazon4, stream
from mtl_zoo.evaluation.report import origin, spread, spread_of_results

TASKS = ("sentiment",)
PAIRS = tuple(permutations(amazon4.DOMAINS, 2))
FIGURES = (
    "domain_accuracy_at_start",
    "domain_accuracy",
    "domain_accuracy_of_rows",
)
KINDS = {"multi_task": "multi_task", "single_task": "sentiment"}  # folders of a study


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/amazon_dann"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    source: str = "books"  # domain with labels
    target: str = "dvd"  # domain without
    single_task: str = ""  # "sentiment" trains on the source only
    units: int = 50  # of the hidden layer
    strength: float = 1.0  # of the reversal, at the end of its ramp
    damping: float = 0.05  # L2 penalty on the adversary
    epochs: int = 10
    batch_size: int = 32  # reviews of each domain, on average
    learning_rate: float = 0.2  # at the start; it falls to 0 along a cosine
    momentum: float = 0.9
    seed: int = 0
    tiny: bool = False  # an epoch, a tenth of the reviews; two pairs
    compare: bool = False  # all pairs, with and without, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.MultiTaskModel:
    """A hidden layer, a head for the sentiment, and one against the domain."""
    ramp = training.ReversalRamp(steps_of(config), config.strength)
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(
                2,
                feature="layer_1",
                class_names=classes,
                kernel_regularizer=penalty,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
            **role,
        )
        for name, classes, penalty, role in (
            ("sentiment", amazon4.LABELS, None, {}),
            (
                "domain",
                (config.source, config.target),
                keras.regularizers.L2(config.damping),
                {"role": "adversarial", "reversal": ramp},
            ),
        )
        if name == "sentiment" or not config.single_task
    ]
    model = mtl.architectures.HardSharing(
        mtl.trunks.mlp([config.units]), tasks, name="amazon_dann"
    )
    model.build((None, amazon4.TERMS))
    return model


def epochs_of(config: Config) -> int:
    """Epochs of a run."""
    return 1 if config.tiny else config.epochs


def steps_of(config: Config) -> int:
    """Steps of a run, the same with and without the adversary."""
    return epochs_of(config) * (len(reviews("train", config)[1]) // config.batch_size)


@functools.cache
def load(split: str, data_dir: str) -> dict[str, amazon4.Reviews]:
    """All reviews of a split, read once."""
    return amazon4.load(split, data_dir or None)


@functools.lru_cache(maxsize=1)
def rarities(source: str, target: str, data_dir: str) -> np.ndarray:
    """The weight of each term (IDF), from the training reviews of both domains."""
    found = [load("train", data_dir)[domain].counts for domain in (source, target)]
    number = sum(counts.shape[0] for counts in found)
    having = sum(np.asarray((counts > 0).sum(axis=0)).ravel() for counts in found)
    return 1 + np.log(number / (1 + having))


def reviews(
    split: str, config: Config, target: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """TF-IDF vectors of length 1 of the reviews of a domain, and their sentiments.

    The training reviews of the target are all of the file; every tenth of the source's
    is for validation.
    """
    domain = config.target if target else config.source
    found = load("test" if split == "test" else "train", config.data_dir)[domain]
    numbers = np.arange(len(found.labels))
    wanted = np.ones(len(numbers), bool)
    if split != "test" and not target:
        wanted = (numbers % 10 == 0) == (split == "validation")
    if config.tiny:
        wanted &= numbers // 10 % 10 == 0
    counts = found.counts[numbers[wanted]].toarray()
    vectors = np.log1p(counts) * rarities(config.source, config.target, config.data_dir)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-9)).astype("f4"), found.labels[wanted]


def training_rows(config: Config) -> tuple[np.ndarray, dict, dict]:
    """Inputs, labels and weights: of the target, the domain is all that is known."""
    source, labels = reviews("train", config)
    if config.single_task:
        return source, {"sentiment": labels}, {"sentiment": np.ones(len(labels), "f4")}
    target, _ = reviews("train", config, target=True)
    of_target = np.repeat([0, 1], [len(source), len(target)]).astype("int32")
    return (
        np.concatenate([source, target]),
        {
            "sentiment": np.concatenate([labels, np.zeros(len(target), "int32")]),
            "domain": of_target,
        },
        {
            "sentiment": 1.0 - of_target.astype("float32"),
            "domain": np.ones(len(of_target), "float32"),
        },
    )


def accuracy(
    model: mtl.MultiTaskModel, inputs: np.ndarray, labels: np.ndarray
) -> float:
    """Return the accuracy of the sentiment."""
    every = dict.fromkeys(model.task_names, labels)
    known = {name: np.full(len(labels), name == "sentiment", "f4") for name in every}
    batches = tf.data.Dataset.from_tensor_slices((inputs, every, known)).batch(256)
    return evaluation.evaluate(model, batches)["sentiment"]["accuracy"]


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy on the test reviews of the target."""
    return {"sentiment": {"accuracy": accuracy(model, *reviews("test", config, True))}}


def domain_accuracies(model: mtl.MultiTaskModel, config: Config) -> dict[str, float]:
    """Return the accuracies of new domain classifiers on the frozen hidden layer."""

    def features(split: str) -> list[np.ndarray]:
        inputs = [reviews(split, config, target)[0] for target in (False, True)]
        return [np.asarray(model.encode(one)["layer_1"]) for one in inputs]

    trained, unseen = features("train"), features("test")
    halves = [[one[start::2] for one in unseen] for start in (0, 1)]
    return {
        "domain_accuracy": separation(*halves),
        "domain_accuracy_of_rows": separation(trained, unseen),
    }


def separation(known: list[np.ndarray], unknown: list[np.ndarray]) -> float:
    """Return how well a linear classifier, learned on known rows, separates others.

    Two domains in each; the mean of the accuracies on both, as they differ in size.
    """
    probe = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(),
        sklearn.linear_model.LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    probe.fit(np.concatenate(known), np.repeat([0, 1], [len(one) for one in known]))
    right = [np.mean(probe.predict(one) == n) for n, one in enumerate(unknown)]
    return statistics.fmean(map(float, right))


def train(config: Config) -> dict[str, Any]:
    """One pair: train for a fixed number of steps, read the target's test once."""
    for domain in (config.source, config.target):
        if domain not in amazon4.DOMAINS:
            raise ValueError(f"Expected one of {amazon4.DOMAINS}. Received: {domain!r}")
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    at_start = domain_accuracies(model, config)["domain_accuracy"]
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, steps_of(config)
    )
    model.compile(keras.optimizers.SGD(schedule, config.momentum))
    size = config.batch_size * len(model.tasks)
    epochs = epochs_of(config)
    model.fit(
        stream.row_batches(training_rows(config), size, config.seed),
        epochs=epochs,
        steps_per_epoch=steps_of(config) // epochs,
        shuffle=False,  # the data comes shuffled
        verbose=0,
    )
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation_of_source": accuracy(model, *reviews("validation", config)),
        "test": evaluate(model, config),
        "directions": {"sentiment": {"accuracy": "up"}},
        "cost": {
            "domain_accuracy_at_start": at_start,
            **domain_accuracies(model, config),
        },
    }


def compare(config: Config) -> dict[str, Any]:
    """All pairs with and without the adversary: a study each, and one of them all."""
    base, runs = Path(config.workdir), {}
    studies = {}
    for source, target in PAIRS[:2] if config.tiny else PAIRS:
        pair = f"{source}_to_{target}"
        studies[pair] = training.study(
            train,
            replace(
                config,
                compare=False,
                source=source,
                target=target,
                workdir=str(base / pair),
            ),
            TASKS,
            config.seeds,
            recipe="amazon_dann",
            split="test of the target",
            example=np.zeros((1, amazon4.TERMS), "float32"),
        )
    for kind, folder in KINDS.items():
        paths = [
            {pair: base / pair / f"{folder}-seed{seed}/result.json" for pair in studies}
            for seed in config.seeds
        ]
        runs[kind] = [
            {pair: json.loads(path.read_text()) for pair, path in one.items()}
            for one in paths
        ]
    metrics = joined(config, runs, studies)
    evaluation.check_metrics(metrics)
    evaluation.write_json(metrics, base / "metrics.json")
    return metrics


def joined(config: Config, runs: dict, studies: dict) -> dict[str, Any]:
    """Return the metrics of all pairs, from the results of the runs of each seed."""
    test = {
        kind: [{p: r["test"]["sentiment"] for p, r in one.items()} for one in every]
        for kind, every in runs.items()
    }

    def means(values: list[dict]) -> dict[str, Any]:
        return spread([statistics.fmean(one.values()) for one in values])

    directions = {pair: {"accuracy": "up"} for pair in studies}
    convention = "per_task"
    delta = [
        evaluation.delta_m(one, alone, directions, convention)
        for one, alone in zip(test["multi_task"], test["single_task"], strict=True)
    ]
    figures = {
        figure: {
            kind: means(
                [{p: r["cost"][figure] for p, r in one.items()} for one in all_]
            )
            for kind, all_ in runs.items()
        }
        for figure in FIGURES
    }
    figures["wall_time_s"] = {
        kind: spread([sum(r["wall_time_s"] for r in one.values()) for one in e])
        for kind, e in runs.items()
    }
    every_run = [r for every in runs.values() for one in every for r in one.values()]
    first = next(iter(studies.values()))  # networks of all pairs are alike
    return {
        **origin("amazon_dann", sys.argv[1:]),
        "wall_time_s": sum(one["wall_time_s"] for one in every_run),
        "split": "test of the target",
        "seeds": list(config.seeds),
        "results": {k: spread_of_results(one) for k, one in test.items()},
        "delta_m": {convention: spread(delta)},
        "cost": {**first["cost"], **figures},
        "mean_over_tasks": {
            kind: {
                "accuracy": means([{p: r["accuracy"] for p, r in o.items()} for o in e])
            }
            for kind, e in test.items()
        },
    }


def run(config: Config) -> dict[str, Any]:
    """One pair, or all of them with and without the adversary."""
    return compare(config) if config.compare else train(config)


if __name__ == "__main__":
    training.main(run, Config)
