"""Five tasks about English in a hierarchy: words, chunks, trees, pairs of sentences.

The joint many-task model (Hashimoto et al., 2017): each task at its own depth of one
encoder, parts of speech, then chunks, dependency trees, relatedness and entailment;
each level reads the first one again and the labels that the tasks below it predict. On
MiniLM-L6 (22.7 million weights, uncased, its table of word pieces frozen), the tasks at
layers 2 to 6; or on a trunk of five bidirectional LSTMs as published, with the word
pieces of MiniLM for embeddings in place of GloVe. Each batch is from one of the sets:
English Web Treebank (parts of speech, trees), CoNLL-2000 (chunks) and SICK (pairs, read
in one sequence). No weights are shipped: the texts' terms do not allow it.

    python tools/convert_minilm_l6.py                      # once, the pretrained trunk
    python recipes/joint_many_task.py                      # multi-task, one run
    python recipes/joint_many_task.py --architecture=flat  # all at the last layer
    python recipes/joint_many_task.py --trunk=bilstm       # as published
    python recipes/joint_many_task.py --order=successive   # one task after the other
    python recipes/joint_many_task.py --single_task=parse  # a baseline, same budget
    python recipes/joint_many_task.py --compare --seeds=0  # all of them, metrics.json
    python recipes/joint_many_task.py --passes_ud_ewt=4 --epochs=4   # longer
    python recipes/joint_many_task.py --tiny               # a minute, to try it

Results, time and device: none yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import conll2000, sampling, sick, text_batches, text_sets, ud_ewt

TASKS = ("pos", "chunk", "parse", "relatedness", "entailment")
LABELS = {
    "ud_ewt": {"pos": "upos", "parse": "tree"},
    "conll2000": {"chunk": "tags"},
    "sick": {"relatedness": "relatedness", "entailment": "entailment"},
}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/joint_many_task"
    data_dir: str = ""  # where the archives are; empty: the folder in MTL_ZOO_DATA
    preset: str = ""  # a KerasHub preset for the trunk; empty: MiniLM-L6
    trunk: str = "minilm"  # or "bilstm"
    architecture: str = "hierarchy"  # or "flat": hard sharing, all at the last layer
    single_task: str = ""  # one of the five trains that task alone
    passes_ud_ewt: float = 2.0  # times over each set
    passes_conll2000: float = 1.5
    passes_sick: float = 3.0
    max_words: int = 48  # longer sentences are left out of training, 2 % of them
    order: str = "mixed"  # or "successive": one task after the other, in turns
    turns: int = 2  # how often each task has its turn
    successive: float = 0.01  # strength of successive regularisation, in turns
    epochs: int = 2  # parts of a mixed training, with a validation after each
    batch_size: int = 32
    bfloat16: bool = False  # products in bfloat16, for CPUs that have it
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    seed: int = 0
    tiny: bool = False  # a few steps on a few texts
    compare: bool = False  # all ways, and each task alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_tasks(config: Config) -> list[mtl.Task]:
    """The tasks, from simple to hard, or the one of them that is asked for."""
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [
        mtl.Task(
            "pos",
            mtl.heads.WordClassification(ud_ewt.UPOS, cases=64),
            mtl.losses.Tags(),
            [evaluation.WordAccuracy()],
        ),
        mtl.Task(
            "chunk",
            mtl.heads.Tagging(conll2000.TYPES, crf=False, max_entities=96),
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
            "relatedness",
            mtl.heads.Rating(sick.LOWEST, sick.HIGHEST, feature="pair", dropout=0.1),
            mtl.losses.Ratings(sick.LOWEST),
            [evaluation.Pearson()],
        ),
        mtl.Task(
            "entailment",
            mtl.heads.Classification(
                3, feature="pair", dropout=0.1, class_names=sick.LABELS
            ),
            classes,
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
    ]
    return [task for task in tasks if config.single_task in ("", task.name)]


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The hierarchy of the tasks; or the tasks on one trunk, or one of them."""
    options = {"freeze_table": True, "pairs": True}
    if config.preset:
        trunk = mtl.trunks.from_text_preset(config.preset, **options)
    else:
        trunk = mtl.trunks.minilm_l6(**options)
    join = "add"
    if config.trunk == "bilstm":
        trunk, join = recurrent(trunk), "concatenate"
    tasks = build_tasks(config)
    if config.single_task or config.architecture == "flat":
        model = mtl.architectures.HardSharing(trunk, tasks, name="joint_many_task")
    else:
        stages = list(trunk.stages)
        places = (max(i - len(tasks), -len(stages)) for i in range(len(tasks)))
        model = mtl.architectures.JointManyTask(
            trunk,
            tasks,
            levels={t.name: stages[i] for t, i in zip(tasks, places, strict=True)},
            join=join,
            name="joint_many_task",
        )
    model.build((None,))
    return model


def recurrent(pretrained: mtl.trunks.Trunk) -> mtl.trunks.Trunk:
    """Five LSTMs on the embeddings of a pretrained trunk's word pieces."""
    size = len(pretrained.prepare.vocabulary)
    (table,) = (
        w for w in pretrained.stages["embeddings"].weights if w.shape[0] == size
    )
    trunk = mtl.trunks.bilstm(
        pretrained.prepare, width=table.shape[-1], layers=len(TASKS), pairs=True
    )
    (own,) = trunk.stages["embeddings"].weights
    own.assign(keras.ops.cast(table, own.dtype))
    return trunk


def load(split: str, config: Config) -> dict[str, text_batches.LabelledTexts]:
    """The texts of a split by set, with the labels of the tasks."""
    few = "[:64]" if config.tiny else ""
    found = {}
    for module in (ud_ewt, conll2000, sick):
        name = module.__name__.split(".")[-1]
        labels = {
            task: feature
            for task, feature in LABELS[name].items()
            if config.single_task in ("", task)
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
    steps = int(sum(share.values())) // config.batch_size
    plan: Any = sampling.Proportional(share)
    epochs, callbacks = config.epochs, []
    if config.order == "successive" and not config.single_task:
        epochs = config.turns * len(TASKS)
        plan = sampling.Blocks(steps // epochs)
        sets = {
            task: next(t for t in sets.values() if task in t.labels).only([task])
            for task in TASKS
        }
        if config.successive:
            callbacks = [training.SuccessiveRegularization(config.successive)]
    steps //= epochs

    compile_model(model, config, epochs * steps)
    with training.bfloat16_products(config.bfloat16):
        history = training.fit(
            model,
            text_batches.training_batches(
                sets,
                word_pieces(model),
                batch_size=config.batch_size,
                seed=config.seed,
                sampling=plan,
            ),
            batches("validation", model, config),
            epochs=epochs,
            steps_per_epoch=steps,
            workdir=config.workdir,
            callbacks=callbacks,
        )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "cost": forgetting(model, history),
    }


def forgetting(model: mtl.MultiTaskModel, history: dict) -> dict[str, float]:
    """What was lost on validation from a task's best epoch to the last, in points.

    As Chaudhry et al. (2018, https://arxiv.org/abs/1801.10112), summed over the tasks.
    """
    lost = {}
    for name, (metric, _) in model.primary_metrics.items():
        values = history[f"val_{metric}"]
        lost[f"forgotten_{name}"] = 100 * (max(values) - values[-1])
    return {"forgotten": sum(lost.values()), **lost}


def compile_model(model: mtl.MultiTaskModel, config: Config, steps: int) -> None:
    """AdamW, warmed up over the first tenth, then along a cosine."""
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
    """One run, or the comparison with flat sharing, in turns and each task alone."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False),
        TASKS,
        config.seeds,
        recipe="joint_many_task",
        split="test",
        tables=lambda model: evaluation.tables(model, batches("test", model, config)),
        example=["The film was shot in London by Jane Campion ."],
        variants={
            "flat": {"architecture": "flat"},
            "successive": {"order": "successive"},
            "successive_free": {"order": "successive", "successive": 0.0},
            "bilstm": {"trunk": "bilstm", "learning_rate": 1e-3},
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
