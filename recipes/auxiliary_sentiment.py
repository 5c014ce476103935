"""Sentiment in domains without labels, with and without hints.

Eight domains of FDU-MTL have labels, or some; the eight others have texts alone, and
are what is tested. Sentence embeddings are a hidden layer on the TF-IDF of words and
pairs of words. Beside the sentiment, two auxiliary tasks shape it (Yu and Jiang, 2016):
does a review hold a word of praise, and one of blame? Those words are taken out of what
the network reads there, so that it learns what goes with them, in all sixteen domains.
They are the words that tell the labels apart most clearly among the reviews that keep
theirs (`share`); no list of anybody else is used.

`--compare` draws the curve: accuracy with 5, 10, 25 and 100 % of the labels, with the
auxiliary tasks and without. All runs take as many steps, with as many labelled reviews
each; with the hints, as many unlabelled ones come on top. The best epoch is chosen on a
tenth of the training reviews of the domains with labels, by a hash of the text: all of
them, whatever the share. On them, with a twentieth of the labels and one seed, numbers
and weight of the hints were chosen too. 559 test reviews that stand in a training file
are left out.

    python recipes/auxiliary_sentiment.py                    # all labels, with hints
    python recipes/auxiliary_sentiment.py --share=0.05       # with a twentieth of them
    python recipes/auxiliary_sentiment.py --single_task=sentiment    # without hints
    python recipes/auxiliary_sentiment.py --fade=linear      # hints that leave, or
    python recipes/auxiliary_sentiment.py --gate             # only where they agree
    python recipes/auxiliary_sentiment.py --compare --seeds=0,1,2    # the curve
    python recipes/auxiliary_sentiment.py --validation       # no look at the test
    python recipes/auxiliary_sentiment.py --tiny             # a minute, to try it

Results, time and device: recipes/results/auxiliary_sentiment.json.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import auxiliary, balancing, evaluation, training
from mtl_zoo.data import fdu_mtl, hashing, stream, tfidf

TASKS = ("sentiment",)
HINTS = ("blame", "praise")
SOURCES = tuple(range(0, 16, 2))  # numbers of the domains with labels
SHARES = (0.25, 0.1, 0.05)


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/auxiliary_sentiment"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "sentiment" trains without the hints
    share: float = 1.0  # of the labelled reviews that keep their labels
    words: int = 10  # of praise, and of blame
    weight: float = 1.0  # of each of the two hints
    fade: str = ""  # "linear", "cosine" or "exponential": hints go down to nothing
    gate: bool = False  # hints count where their gradient agrees with the sentiment's
    terms: int = 10_000  # words and pairs of words that are counted
    units: int = 64  # of the hidden layer
    dropout: float = 0.5  # behind it
    epochs: int = 8
    steps_per_epoch: int = 100
    batch_size: int = 64  # labelled reviews, and as many for the hints
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0
    validation: bool = False  # report on validation, and leave the test alone
    tiny: bool = False  # two short epochs
    compare: bool = False  # all shares, with and without, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Reviews:
    """Texts with labels and domains."""

    texts: list[str]
    labels: np.ndarray
    domains: np.ndarray

    def where(self, wanted: np.ndarray) -> Reviews:
        """Those at which a mask is true."""
        texts = [text for text, kept in zip(self.texts, wanted, strict=True) if kept]
        return Reviews(texts, self.labels[wanted], self.domains[wanted])

    @property
    def of_sources(self) -> np.ndarray:
        """Which are of the domains with labels."""
        return np.isin(self.domains, SOURCES)


@functools.cache
def reviews_of(split: str, data_dir: str) -> Reviews:
    """The reviews of "train", "validation" or "test", of all domains."""
    archive = "test" if split == "test" else "train"
    rows = [
        row
        for row in fdu_mtl.load(archive, data_dir or None).as_numpy_iterator()
        if not row["leaked"]
        and (archive == "test" or held_out(row["text"]) == (split == "validation"))
    ]
    return Reviews(
        [row["text"].decode("utf-8") for row in rows],
        np.array([row["label"] for row in rows], "int32"),
        np.array([row["domain"] for row in rows], "int32"),
    )


def held_out(text: bytes) -> bool:
    """Whether a training text is for validation: the same texts always are."""
    return hashing.number_of(text) % 10 == 0


def labelled(config: Config) -> Reviews:
    """The training reviews that keep their labels: others for each seed."""
    reviews = reviews_of("train", config.data_dir)
    reviews = reviews.where(reviews.of_sources)
    order = np.random.default_rng(config.seed).permutation(len(reviews.texts))
    kept = order < max(1, round(config.share * len(order)))
    return reviews.where(kept)


@functools.cache
def weighted_terms(terms: int, data_dir: str) -> tfidf.TfIdf:
    """The words and pairs of words that most training texts have."""
    return tfidf.TfIdf(reviews_of("train", data_dir).texts, terms)


def hints_of(config: Config) -> list[auxiliary.Hint]:
    """The two questions, about words that the labels which are left tell apart."""
    known = labelled(config)
    words = auxiliary.telling_words(known.texts, known.labels, config.words)
    return [auxiliary.Hint(w, name) for w, name in zip(words, HINTS, strict=True)]


def steps_of(config: Config) -> tuple[int, int]:
    """Epochs, and steps in each."""
    return (2, 10) if config.tiny else (config.epochs, config.steps_per_epoch)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """A hidden layer, the sentiment, and the hints if they are wanted."""
    tasks = [
        mtl.Task(
            "sentiment",
            mtl.heads.Classification(2, feature="layer_1", class_names=fdu_mtl.LABELS),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
    ]
    if not config.single_task:
        epochs, steps = steps_of(config)
        weight: Any = config.weight
        if config.fade:
            weight = training.Fade(epochs * steps, config.fade, start=config.weight)
        tasks += [hint.task(weight, feature="layer_1") for hint in hints_of(config)]
    trunk = mtl.trunks.mlp([config.units], dropout=config.dropout)
    model = mtl.architectures.HardSharing(trunk, tasks, name="auxiliary_sentiment")
    model.build((None, config.terms))
    return model


def training_batches(config: Config) -> tf.data.Dataset:
    """Labelled reviews; behind them others, of all domains, without the hints' words.

    Each part is labelled for its own tasks alone.
    """
    known = labelled(config)
    terms = weighted_terms(config.terms, config.data_dir)
    vectors, labels = terms.rows(known.texts), tf.constant(known.labels)
    size = config.batch_size

    def batches(rows: int, seed: int) -> tf.data.Dataset:
        return stream.training_stream(rows, seed).map(lambda row, _: row).batch(size)

    indices = batches(len(vectors), config.seed)
    if config.single_task:
        return stream.checkpointable(
            indices.map(
                lambda rows: (
                    vectors.dense(rows),
                    {"sentiment": tf.gather(labels, rows)},
                    {"sentiment": tf.ones(size)},
                )
            ).prefetch(2)
        )
    blame, praise = hints_of(config)
    texts = reviews_of("train", config.data_dir).texts
    texts = texts[::20] if config.tiny else texts
    answers = {
        hint.name: tf.constant(hint.labels(texts), tf.int32) for hint in (blame, praise)
    }
    hidden = terms.rows([praise.hidden(blame.hidden(text)) for text in texts])
    nothing = tf.zeros(size, tf.int32)
    is_known = tf.repeat([1.0, 0.0], size)

    def batch(rows: tf.Tensor, others: tf.Tensor) -> tuple:
        asked = {
            name: tf.concat([nothing, tf.gather(answer, others)], 0)
            for name, answer in answers.items()
        }
        return (
            tf.concat([vectors.dense(rows), hidden.dense(others)], 0),
            {"sentiment": tf.concat([tf.gather(labels, rows), nothing], 0), **asked},
            {"sentiment": is_known, **dict.fromkeys(asked, 1.0 - is_known)},
        )

    pairs = tf.data.Dataset.zip(indices, batches(len(texts), config.seed + 1))
    return stream.checkpointable(pairs.map(batch).prefetch(2))


@functools.cache
def vectors_of(split: str, sources: bool, terms: int, data_dir: str) -> tuple:
    """The vectors of the domains with labels, or of the others, and their labels."""
    reviews = reviews_of(split, data_dir)
    reviews = reviews.where(reviews.of_sources == sources)
    vectors = weighted_terms(terms, data_dir).rows(reviews.texts)
    return vectors, tf.constant(reviews.labels)


def one_pass(
    split: str, sources: bool, config: Config, tasks: tuple[str, ...]
) -> tf.data.Dataset:
    """All reviews of a split, labelled for the sentiment alone."""
    vectors, labels = vectors_of(split, sources, config.terms, config.data_dir)

    def batch(rows: tf.Tensor) -> tuple:
        found = tf.gather(labels, rows)
        known = {name: float(name == "sentiment") for name in tasks}
        return (
            vectors.dense(rows),
            dict.fromkeys(tasks, found),
            {name: tf.fill(tf.shape(rows), one) for name, one in known.items()},
        )

    return tf.data.Dataset.range(len(vectors)).batch(128).map(batch)


def accuracy(
    model: mtl.MultiTaskModel, split: str, sources: bool, config: Config
) -> dict[str, dict]:
    """Return the accuracy of the sentiment in the one or the other domains."""
    data = one_pass(split, sources, config, model.task_names)
    return {"sentiment": evaluation.evaluate(model, data)["sentiment"]}


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy on the clean test reviews of the domains without labels."""
    return accuracy(model, "test", False, config)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    epochs, steps = steps_of(config)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    gated = config.gate and not config.single_task
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay),
        balancing=balancing.GradientSimilarity(HINTS) if gated else None,
    )
    training.fit(
        model,
        training_batches(config),
        one_pass("validation", True, config, model.task_names),
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
    )
    model.save(Path(config.workdir) / "model.keras")
    validation = accuracy(model, "validation", True, config)
    others = accuracy(model, "validation", False, config)
    if config.validation:
        return {"validation": validation, "validation_of_others": others}
    return {
        "validation": validation,
        "validation_of_others": others,
        "test": evaluate(model, config),
        "test_of_sources": accuracy(model, "test", True, config),
        "directions": {"sentiment": {"accuracy": "up"}},
    }


def run(config: Config) -> dict[str, Any]:
    """One run, or the curve over the share of labels, with and without hints."""
    if not config.compare:
        return train(config)
    variants: dict[str, dict[str, Any]] = {}
    for share in SHARES:
        of_share = {"share": share}
        variants[f"with_{share * 100:.0f}_percent"] = of_share
        variants[f"without_{share * 100:.0f}_percent"] = {
            **of_share,
            "single_task": "sentiment",
        }
    return training.study(
        train,
        replace(config, compare=False, share=1.0),
        TASKS,
        config.seeds,
        recipe="auxiliary_sentiment",
        split="clean test of the eight domains without labels",
        example=np.zeros((1, config.terms), "float32"),
        variants=variants,
    )


if __name__ == "__main__":
    training.main(run, Config)
