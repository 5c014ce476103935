"""Sentiment and named entities: the two data sets that everybody knows.

Hard parameter sharing (Caruana, 1997) on MiniLM-L6 (22.7 million weights, uncased, its
table of word pieces frozen), strings in: SST-2, trained on the phrases as GLUE does,
and CoNLL-2003 with a linear-chain CRF. Each batch is from one of the two sets. No
weights are shipped: the texts' terms do not allow it.

    python tools/convert_minilm_l6.py                       # once, the pretrained trunk
    python recipes/sst2_conll2003.py                        # multi-task, one run
    python recipes/sst2_conll2003.py --single_task=ner      # a baseline, same budget
    python recipes/sst2_conll2003.py --compare --seeds=0    # all of them, metrics.json
    python recipes/sst2_conll2003.py --tiny                 # a minute, to try it

Results, time and device: recipes/results/sst2_conll2003.json.
Both in half the training: recipes/results/runs/sst2_conll2003_half_time.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import conll2003, sampling, sst, text_batches, text_sets

TASKS = ("sentiment", "ner")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/sst2_conll2003"
    data_dir: str = ""  # where the archives are; empty: the folder in MTL_ZOO_DATA
    source: str = "archive"  # or "tfds": downloads; SST-2 then has no test
    preset: str = ""  # a KerasHub preset for the trunk; empty: MiniLM-L6
    single_task: str = ""  # "sentiment" or "ner" trains that task alone
    passes_sentiment: float = 2.0  # times over the 67,943 phrases
    passes_ner: float = 4.0  # times over the 14,041 sentences
    epochs: int = 3  # parts of the whole, with a validation after each
    batch_size: int = 32
    bfloat16: bool = False  # products in bfloat16, for CPUs that have it
    learning_rate: float = 1e-4
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
            2, feature="sentence", dropout=0.1, class_names=sst.LABELS
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            evaluation.MacroF1(2),
        ],
    )
    ner = mtl.Task(
        "ner",
        mtl.heads.Tagging(conll2003.TYPES, cases=64, crf_rate=100.0),
        mtl.losses.Tags(),
        [evaluation.EntityF1()],
    )
    if config.preset:
        trunk = mtl.trunks.from_text_preset(config.preset, freeze_table=True)
    else:
        trunk = mtl.trunks.minilm_l6(freeze_table=True)
    tasks = [task for task in (sentiment, ner) if config.single_task in ("", task.name)]
    model = mtl.architectures.HardSharing(trunk, tasks, name="sst2_conll2003")
    model.build((None,))
    return model


def load(split: str, config: Config) -> dict[str, text_batches.LabelledTexts]:
    """The texts of a split by task."""
    options: dict[str, Any] = {
        "data_dir": config.data_dir or None,
        "source": config.source,
    }
    phrases = "train_phrases" if split == "train" else split
    few = "[:128]" if config.tiny else ""
    return {
        "sentiment": text_sets.labelled(
            sst.load(phrases + few, **options), {"sentiment": "label"}
        ),
        "ner": text_sets.labelled(
            conll2003.load(split + few, **options), {"ner": "tags"}
        ),
    }


def batches(split: str, model: mtl.MultiTaskModel, config: Config) -> Any:
    """One pass over the texts of the model's tasks."""
    sets = {
        n: texts for n, texts in load(split, config).items() if n in model.task_names
    }
    return text_batches.evaluation_batches(sets, model.trunk.prepare)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    sets = {n: t for n, t in load("train", config).items() if n in model.task_names}
    passes = {"sentiment": config.passes_sentiment, "ner": config.passes_ner}
    share = {name: passes[name] * len(texts) for name, texts in sets.items()}
    steps = int(sum(share.values())) // config.batch_size // config.epochs

    compile_model(model, config, steps)
    with training.bfloat16_products(config.bfloat16):
        training.fit(
            model,
            text_batches.training_batches(
                sets,
                model.trunk.prepare,
                batch_size=config.batch_size,
                seed=config.seed,
                sampling=sampling.Proportional(share),
            ),
            batches("validation", model, config),
            epochs=config.epochs,
            steps_per_epoch=steps,
            workdir=config.workdir,
        )
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
        recipe="sst2_conll2003",
        split="test",
        tables=lambda model: evaluation.tables(model, batches("test", model, config)),
        example=["The film was shot in London by Jane Campion ."],
    )


if __name__ == "__main__":
    training.main(run, Config)
