"""UCI Adult: who earns more than 50,000 dollars, and who never married?

Two questions about the same people, from what the census asked; marital status is a
label, and relationship, which gives it away, is left out. Several small networks are
experts that a gate of each task mixes (MMoE: Ma et al., 2018). `--compare` also trains
each task alone, and both in the other ways of STRUCTURES, with the same rows, epochs,
learning rate and width of each tower.

Numbers become steps from value to value (as in Gorishniy et al., 2022, whose bins are
wider: single values of `capital_gain` tell the income), categories one-hot, both inside
the model. Settings were chosen on validation, one seed, by the mean AUC, and are the
same for all.

    python recipes/adult_mmoe.py                            # MMoE
    python recipes/adult_mmoe.py --structure=ple            # of STRUCTURES
    python recipes/adult_mmoe.py --single_task=income       # a baseline
    python recipes/adult_mmoe.py --compare --seeds=0,1,2    # all of them, metrics.json
    python recipes/adult_mmoe.py --tiny                     # seconds, to try it

Results, time and device: recipes/results/adult_mmoe.json.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import adult, stream

TASKS = adult.TARGETS
COLUMNS = len(adult.NUMBERS) + len(adult.CATEGORIES)

STRUCTURES: dict[str, Callable[..., Any]] = {
    "mmoe": lambda trunk, tasks: architectures.MMoE(
        trunk, tasks, first="layer_1", same_start=False
    ),
    "hard_sharing": architectures.HardSharing,
    "ple": lambda trunk, tasks: architectures.PLE(
        trunk, tasks, first="layer_1", same_start=False
    ),
    "dselect_k": lambda trunk, tasks: architectures.DSelectK(
        trunk, tasks, first="layer_1", same_start=False
    ),
}
"""Makes each structure from a trunk and tasks; experts start at random."""


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/adult_mmoe"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "income" or "never_married" trains that task alone
    structure: str = "mmoe"  # one of STRUCTURES; --compare takes them all
    units: tuple[int, ...] = (64, 32)  # of the layers of the trunk, or of an expert
    dropout: float = 0.2
    weight_decay: float = 0.1  # of AdamW, times the rate a step
    epochs: int = 12  # the learning rate falls as a cosine
    batch_size: int = 512
    learning_rate: float = 1e-2
    seed: int = 0
    tiny: bool = False  # two epochs of four steps
    compare: bool = False  # all structures and each task alone, for every seed
    seeds: tuple[int, ...] = (0,)


@functools.cache
def load(split: str, data_dir: str) -> adult.People:
    """The people of a split, read once."""
    return adult.load(split, data_dir or None)


def columns(config: Config) -> keras.Model:
    """The first stage, without weights: numbers as steps, categories as one-hot.

    A step from one value to the next, of those in the training rows, is how far a
    number is on its way, 0 to 1.
    """
    rows = load("train", config.data_dir).inputs
    inputs = keras.Input((COLUMNS,))
    parts = []
    for place in range(len(adult.NUMBERS)):
        values = np.unique(rows[:, place])
        steps = (inputs[:, place : place + 1] - values[:-1]) / np.diff(values)
        parts.append(ops.clip(steps, 0.0, 1.0))
    for place, values in enumerate(adult.CATEGORIES.values(), len(adult.NUMBERS)):
        parts.append(ops.one_hot(ops.cast(inputs[:, place], "int32"), len(values)))
    return keras.Model(inputs, ops.concatenate(parts, axis=-1), name="columns")


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The trunk shared in the way that is asked for; one task has it alone."""
    if config.structure not in STRUCTURES:
        raise ValueError(
            f"Expected one of {', '.join(STRUCTURES)}. Received: {config.structure!r}"
        )
    layers = mtl.trunks.mlp(config.units, dropout=config.dropout).stages
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(2, feature=list(layers)[-1]),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [evaluation.TwoClassAUC()],
        )
        for name in TASKS
        if config.single_task in ("", name)
    ]
    structure = "hard_sharing" if config.single_task else config.structure
    trunk = mtl.trunks.Trunk({"columns": columns(config), **layers})
    model = STRUCTURES[structure](trunk, tasks)
    model.build((None, COLUMNS))
    return model


def training_batches(config: Config) -> tf.data.Dataset:
    """Endless batches of the training rows."""
    people = load("train", config.data_dir)
    return stream.row_batches(
        (people.inputs, people.labels), config.batch_size, config.seed
    )


def evaluation_batches(split: str, config: Config) -> tf.data.Dataset:
    """One pass over a split."""
    people = load(split, config.data_dir)
    rows = tf.data.Dataset.from_tensor_slices((people.inputs, people.labels))
    return rows.take(256 if config.tiny else -1).batch(1024)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose the epoch on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    steps = len(load("train", config.data_dir).inputs) // config.batch_size
    epochs, steps = (2, 4) if config.tiny else (config.epochs, steps)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay))
    validation = evaluation_batches("validation", config)
    training.fit(
        model,
        training_batches(config),
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
        verbose=0,
    )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, evaluation_batches("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all structures with the single-task baselines."""
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False, structure="mmoe"),
        TASKS,
        config.seeds,
        recipe="adult_mmoe",
        split="test",
        example=load("validation", config.data_dir).inputs[:1],
        variants={name: {"structure": name} for name in STRUCTURES if name != "mmoe"},
    )


if __name__ == "__main__":
    training.main(run, Config)
