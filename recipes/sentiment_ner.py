"""Sentiment and named entities from raw text, on sets with open licences alone.

Hard parameter sharing (Caruana, 1997) on MiniLM-L6 (22.7 million weights, uncased, its
table of word pieces frozen), strings in. Names are read from the third of six layers,
which leaves the others to the sentiment (Søgaard and Goldberg, 2016), and the weights
are the mean of three trainings from one start (Wortsman et al., 2022); so are those of
the baselines. Every data set is labelled for one task only, and each batch is from one
set: film reviews (sentence polarity) for the sentiment; tweets (Broad Twitter Corpus,
WNUT-17) and edited English (the open genres of GUM) for names of persons, places and
organisations.

    python tools/convert_minilm_l6.py                    # once, the pretrained trunk
    python recipes/sentiment_ner.py                      # multi-task, one run
    python recipes/sentiment_ner.py --single_task=ner    # a baseline, same budget
    python recipes/sentiment_ner.py --compare --seeds=0  # all of them, metrics.json
    python recipes/sentiment_ner.py --tiny               # a minute, to try it

Results, time and device: saved_models/sentences-minilm_l6-sentiment-ner/metrics.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import (
    btc,
    gum,
    sampling,
    sentence_polarity,
    text_batches,
    text_sets,
    wnut17,
)

TASKS = ("sentiment", "ner")

# WNUT-17 has six types; two of them, things and works, have no name here.
WNUT17_TYPES = {
    "person": "PER",
    "location": "LOC",
    "corporation": "ORG",
    "group": "ORG",
}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/sentiment_ner"
    data_dir: str = ""  # where the archives are; empty: the folder in MTL_ZOO_DATA
    preset: str = ""  # a KerasHub preset for the trunk; empty: MiniLM-L6
    single_task: str = ""  # "sentiment" or "ner" trains that task alone
    passes_sentence_polarity: float = 2.0  # times over each set
    passes_btc: float = 1.25
    passes_gum: float = 1.0
    passes_wnut17: float = 0.25
    word_layer: int = 3  # the layer that names are read from
    mixed: bool = False  # each text of a batch from any set, or one set a batch
    weight_ner: float = 1.0  # of the loss
    piece_dropout: float = 0.0  # share of word pieces hidden in training
    soup: int = 3  # trainings, from one start, whose weights are averaged
    epochs: int = 3  # parts of a training, with a validation after each
    batch_size: int = 32
    bfloat16: bool = False  # products in bfloat16, for CPUs that have it
    learning_rate: float = 1.5e-4
    weight_decay: float = 0.01
    seed: int = 0
    tiny: bool = False  # a few steps on a few texts
    compare: bool = False  # all tasks, then each alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    sentiment = mtl.Task(
        "sentiment",
        mtl.heads.Classification(
            2,
            feature="sentence",
            dropout=0.1,
            class_names=sentence_polarity.LABELS,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            evaluation.MacroF1(2),
        ],
    )
    ner = mtl.Task(
        "ner",
        mtl.heads.Tagging(btc.TYPES, cases=64),
        mtl.losses.Tags(),
        [evaluation.EntityF1()],
        weight=config.weight_ner,
    )
    options = {
        "freeze_table": True,
        "piece_dropout": config.piece_dropout,
        "word_layer": config.word_layer,
    }
    if config.preset:
        trunk = mtl.trunks.from_text_preset(config.preset, **options)
    else:
        trunk = mtl.trunks.minilm_l6(**options)
    tasks = [task for task in (sentiment, ner) if config.single_task in ("", task.name)]
    model = mtl.architectures.HardSharing(trunk, tasks, name="sentiment_ner")
    model.build((None,))
    return model


def load(split: str, config: Config) -> dict[str, text_batches.LabelledTexts]:
    """The sets that are labelled for the tasks; only the main ones in the test."""
    few = "[:128]" if config.tiny else ""
    data = config.data_dir or None
    sets = {}
    if config.single_task != "ner":
        sets["sentence_polarity"] = text_sets.labelled(
            sentence_polarity.load(split + few, data), {"sentiment": "label"}
        )
    if config.single_task != "sentiment":
        sets["btc"] = text_sets.labelled(btc.load(split + few, data), {"ner": "tags"})
    if config.single_task != "sentiment" and split != "test":
        sets["gum"] = text_sets.labelled(gum.load(split + few, data), {"ner": "tags"})
    if config.single_task != "sentiment" and split == "train" and config.passes_wnut17:
        sets["wnut17"] = text_sets.retagged(
            text_sets.labelled(wnut17.load(split + few, data), {"ner": "tags"}),
            wnut17.TYPES,
            btc.TYPES,
            WNUT17_TYPES,
        )
    return sets


def batches(split: str, model: mtl.MultiTaskModel, config: Config) -> Any:
    """One pass over the texts of a split."""
    return text_batches.evaluation_batches(load(split, config), model.trunk.prepare)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, average, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    sets = load("train", config)
    share = {n: getattr(config, f"passes_{n}") * len(t) for n, t in sets.items()}
    steps = int(sum(share.values())) // config.batch_size // config.epochs

    def fit(number: int) -> None:
        compile_model(model, config, steps)
        training.fit(
            model,
            text_batches.training_batches(
                sets,
                model.trunk.prepare,
                batch_size=config.batch_size,
                seed=config.seed * config.soup + number,
                sampling=sampling.Proportional(share),
                mixed=config.mixed,
            ),
            batches("validation", model, config),
            epochs=config.epochs,
            steps_per_epoch=steps,
            workdir=Path(config.workdir) / f"training-{number}",
        )

    with training.bfloat16_products(config.bfloat16):
        training.soup(model, config.soup, fit)
    model.save(Path(config.workdir) / "model.keras")
    return {
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
    }


def compile_model(model: mtl.MultiTaskModel, config: Config, steps: int) -> None:
    """AdamW, warmed up over the first tenth, then along a cosine."""
    steps = config.epochs * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        int(0.9 * steps),
        warmup_target=config.learning_rate,
        warmup_steps=max(1, int(0.1 * steps)),
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=1.0
        )
    )


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, batches("test", model, config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison with the single-task baselines."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False),
        TASKS,
        config.seeds,
        recipe="sentiment_ner",
        split="test",
        tables=lambda model: evaluation.tables(model, batches("test", model, config)),
        example=["The film was shot in London by Jane Campion ."],
    )


if __name__ == "__main__":
    training.main(run, Config)
