"""What was said to an assistant: scenario, intent and entities in one sentence.

Hard parameter sharing (Caruana, 1997) on MiniLM-L6 (22.7 million weights, uncased, its
table of word pieces frozen), strings in, on the NLU evaluation data (Liu et al., 2019):
every utterance is labelled for all three tasks. 18 scenarios, 64 intents, 54 types of
entities with a linear-chain CRF over their 109 tags.

    python tools/convert_minilm_l6.py                       # once, the pretrained trunk
    python recipes/nlu_eval.py                              # multi-task, one run
    python recipes/nlu_eval.py --single_task=intent         # a baseline, same budget
    python recipes/nlu_eval.py --compare --seeds=0          # all of them, metrics.json
    python recipes/nlu_eval.py --tiny                       # a minute, to try it

Results, time and device: recipes/results/nlu_eval.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import nlu_eval, text_batches, text_sets

TASKS = ("scenario", "intent", "entities")

LABELS = {"scenario": "scenario", "intent": "intent", "entities": "tags"}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/nlu_eval"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    preset: str = ""  # a KerasHub preset for the trunk; empty: MiniLM-L6
    single_task: str = ""  # "scenario", "intent" or "entities" trains that task alone
    epochs: int = 3
    batch_size: int = 32
    bfloat16: bool = False  # products in bfloat16, for CPUs that have it
    learning_rate: float = 1.5e-4
    weight_decay: float = 0.01
    seed: int = 0
    tiny: bool = False  # two short epochs on a few texts
    compare: bool = False  # all tasks, then each alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def class_task(name: str, class_names: tuple[str, ...]) -> mtl.Task:
    """A task that gives the whole utterance one of many classes."""
    return mtl.Task(
        name,
        mtl.heads.Classification(
            len(class_names), feature="sentence", dropout=0.1, class_names=class_names
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            evaluation.MacroF1(len(class_names)),
        ],
    )


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    entities = mtl.Task(
        "entities",
        mtl.heads.Tagging(nlu_eval.TYPES, max_entities=16),
        mtl.losses.Tags(),
        [evaluation.EntityF1()],
    )
    if config.preset:
        trunk = mtl.trunks.from_text_preset(config.preset, freeze_table=True)
    else:
        trunk = mtl.trunks.minilm_l6(freeze_table=True)
    tasks = [
        class_task("scenario", nlu_eval.SCENARIOS),
        class_task("intent", nlu_eval.INTENTS),
        entities,
    ]
    tasks = [task for task in tasks if config.single_task in ("", task.name)]
    model = mtl.architectures.HardSharing(trunk, tasks, name="nlu_eval")
    model.build((None,))
    return model


def load(split: str, config: Config) -> dict[str, text_batches.LabelledTexts]:
    """The utterances of a split with the labels of the tasks."""
    few = "[:128]" if config.tiny else ""
    wanted = {t: f for t, f in LABELS.items() if config.single_task in ("", t)}
    data = nlu_eval.load(split + few, config.data_dir or None)
    return {"nlu_eval": text_sets.labelled(data, wanted)}


def batches(split: str, model: mtl.MultiTaskModel, config: Config) -> Any:
    """One pass over the texts of a split."""
    return text_batches.evaluation_batches(load(split, config), model.trunk.prepare)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    sets = load("train", config)
    epochs = 2 if config.tiny else config.epochs
    steps = len(sets["nlu_eval"]) // config.batch_size
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        int(0.9 * epochs * steps),
        warmup_target=config.learning_rate,
        warmup_steps=max(1, int(0.1 * epochs * steps)),
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=1.0
        )
    )
    with training.bfloat16_products(config.bfloat16):
        training.fit(
            model,
            text_batches.training_batches(
                sets,
                model.trunk.prepare,
                batch_size=config.batch_size,
                seed=config.seed,
            ),
            batches("validation", model, config),
            epochs=epochs,
            steps_per_epoch=steps,
            workdir=config.workdir,
        )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
    }


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
        recipe="nlu_eval",
        split="test",
        tables=lambda model: evaluation.tables(model, batches("test", model, config)),
        example=["wake me up at five am on friday"],
    )


if __name__ == "__main__":
    training.main(run, Config)
