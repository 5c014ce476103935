"""Four tasks about English in a hierarchy, from raw text, on open licences alone.

The joint many-task model (Hashimoto et al., 2017) on MiniLM-L6 (22.7 million weights,
uncased, its table of word pieces frozen), strings in: parts of speech at the third of
six layers, names of persons, places and organisations at the fourth, dependency trees
at the fifth, and at the last what kind of sentence it is. Each level reads the first
one again and the labels that the tasks below it predict. Each batch is from one of two
sets: English Web Treebank (parts of speech, trees) and the open genres of GUM (all
four). Parts of speech and trees are measured on the former, the others on the latter.

    python tools/convert_minilm_l6.py                           # once, the trunk
    python recipes/joint_many_task_open.py                      # multi-task, one run
    python recipes/joint_many_task_open.py --single_task=parse  # a baseline
    python recipes/joint_many_task_open.py --compare --seeds=0  # all, metrics.json
    python recipes/joint_many_task_open.py --tiny               # a minute, to try it

Results, time and device: none yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import gum, sampling, text_batches, text_sets, ud_ewt

TASKS = ("pos", "ner", "parse", "kind")
LABELS = {
    "ud_ewt": {"pos": "upos", "parse": "tree"},
    "gum": {"pos": "upos", "ner": "tags", "parse": "tree", "kind": "sentence_type"},
}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/joint_many_task_open"
    data_dir: str = ""  # where the archives are; empty: the folder in MTL_ZOO_DATA
    preset: str = ""  # a KerasHub preset for the trunk; empty: MiniLM-L6
    architecture: str = "hierarchy"  # or "flat": hard sharing, all at the last layer
    single_task: str = ""  # one of the four trains that task alone
    passes_ud_ewt: float = 4.0  # times over each set
    passes_gum: float = 6.0
    max_words: int = 48  # longer sentences are left out of training, 4 % of them
    epochs: int = 4  # parts of a training, with a validation after each
    batch_size: int = 32
    bfloat16: bool = False  # products in bfloat16, for CPUs that have it
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    seed: int = 0
    tiny: bool = False  # a few steps on a few texts
    compare: bool = False  # all tasks, flat too, then each alone, for every seed
    seeds: tuple[int, ...] = (0,)


def build_tasks(config: Config) -> list[mtl.Task]:
    """The tasks, from simple to hard, or the one of them that is asked for."""
    kinds = gum.SENTENCE_TYPES
    tasks = [
        mtl.Task(
            "pos",
            mtl.heads.WordClassification(ud_ewt.UPOS, cases=64),
            mtl.losses.Tags(),
            [evaluation.WordAccuracy()],
        ),
        mtl.Task(
            "ner",
            mtl.heads.Tagging(gum.TYPES, cases=64),
            mtl.losses.Tags(),
            [evaluation.EntityF1()],
        ),
        mtl.Task(
            "parse",
            mtl.heads.DependencyParsing(
                ud_ewt.RELATIONS, arc_units=256, relation_units=64, dropout=0.2
            ),
            mtl.losses.Dependencies(),
            [evaluation.LAS(ud_ewt.RELATIONS), evaluation.UAS()],
        ),
        mtl.Task(
            "kind",
            mtl.heads.Classification(
                len(kinds), feature="sentence", dropout=0.1, class_names=kinds
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [
                keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
                evaluation.MacroF1(len(kinds)),
            ],
        ),
    ]
    return [task for task in tasks if config.single_task in ("", task.name)]


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The hierarchy of the tasks; or the tasks on one trunk, or one of them."""
    if config.preset:
        trunk = mtl.trunks.from_text_preset(config.preset, freeze_table=True)
    else:
        trunk = mtl.trunks.minilm_l6(freeze_table=True)
    tasks = build_tasks(config)
    if config.single_task or config.architecture == "flat":
        model = mtl.architectures.HardSharing(trunk, tasks, name="joint_many_task_open")
    else:
        stages = list(trunk.stages)
        places = (max(i - len(tasks), -len(stages)) for i in range(len(tasks)))
        model = mtl.architectures.JointManyTask(
            trunk,
            tasks,
            levels={t.name: stages[i] for t, i in zip(tasks, places, strict=True)},
            name="joint_many_task_open",
        )
    model.build((None,))
    return model


def load(split: str, config: Config) -> dict[str, text_batches.LabelledTexts]:
    """The texts of a split by set, with the labels of the tasks.

    Held-out texts of GUM have no labels of tasks that are measured on the other set.
    """
    few = "[:64]" if config.tiny else ""
    found = {}
    for module in (ud_ewt, gum):
        name = module.__name__.split(".")[-1]
        labels = {
            task: feature
            for task, feature in LABELS[name].items()
            if config.single_task in ("", task)
            and (name == "ud_ewt" or split == "train" or task not in LABELS["ud_ewt"])
        }
        if labels:
            data = module.load(split + few, config.data_dir or None)
            found[name] = text_sets.labelled(data, labels)
    return found


def word_pieces(model: mtl.MultiTaskModel) -> Any:
    """What cuts texts for the trunk of the model."""
    trunk = model.trunk if hasattr(model, "trunk") else model.whole
    return trunk.prepare


def batches(split: str, model: mtl.MultiTaskModel, config: Config) -> Any:
    """One pass over the texts of a split."""
    return text_batches.evaluation_batches(load(split, config), word_pieces(model))


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    sets = load("train", config)
    sets = {n: text_sets.shorter(t, config.max_words) for n, t in sets.items()}
    share = {n: getattr(config, f"passes_{n}") * len(t) for n, t in sets.items()}
    steps = int(sum(share.values())) // config.batch_size // config.epochs

    compile_model(model, config, steps)
    with training.bfloat16_products(config.bfloat16):
        training.fit(
            model,
            text_batches.training_batches(
                sets,
                word_pieces(model),
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
    """One run, or the comparison with flat sharing and each task alone."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False),
        TASKS,
        config.seeds,
        recipe="joint_many_task_open",
        split="test",
        tables=lambda model: evaluation.tables(model, batches("test", model, config)),
        example=["The film was shot in London by Jane Campion ."],
        variants={"flat": {"architecture": "flat"}},
    )


if __name__ == "__main__":
    training.main(run, Config)
