"""Multi-MNIST: two digits that overlap, one network, every structure of sharing.

Which digit is top left, which is bottom right? A small convolutional trunk is shared in
every way of `STRUCTURES`, from hard sharing to cross-stitch networks (Misra et al.,
2016) and mixtures of experts. `--compare` also trains each task alone, with the same
trunk, pairs, steps and learning rate. Towers and experts are copies of the whole trunk
or its upper part, which take parameters and time; with `--same_parameters` each has as
many filters as fit into what hard sharing has.

Structures that search first do so for `search_epochs` more; then the model that was
decided for trains like the others. Settings were chosen on validation for hard sharing;
structures have their own defaults, and none was tuned.

    python recipes/multi_mnist_architectures.py                      # hard sharing
    python recipes/multi_mnist_architectures.py --structure=mmoe     # of STRUCTURES
    python recipes/multi_mnist_architectures.py --single_task=left   # a baseline
    python recipes/multi_mnist_architectures.py --compare --seeds=0,1,2  # metrics.json
    python recipes/multi_mnist_architectures.py --compare --same_parameters
    python recipes/multi_mnist_architectures.py --tiny               # seconds, to try

Results, time and device: none yet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import multi_mnist

TASKS = multi_mnist.TARGETS
BLOCKS = ("block_1", "block_2")

STRUCTURES: dict[str, Callable[..., Any]] = {
    "hard_sharing": architectures.HardSharing,
    "soft_sharing": architectures.SoftSharing,
    "cross_stitch": architectures.CrossStitch,
    "nddr": architectures.NDDR,
    "sluice": lambda trunk, tasks: architectures.Sluice(trunk, tasks, stages=BLOCKS),
    "mtan": architectures.MTAN,
    "mmoe": lambda trunk, tasks: architectures.MMoE(trunk, tasks, first="block_1"),
    "dselect_k": lambda trunk, tasks: architectures.DSelectK(
        trunk, tasks, first="block_1"
    ),
    "ple": lambda trunk, tasks: architectures.PLE(trunk, tasks, first="block_1"),
    "branched": lambda trunk, tasks: architectures.Branched(trunk, tasks, {}),
    "learning_to_branch": architectures.LearningToBranch,
    "adashare": lambda trunk, tasks: architectures.AdaShare(trunk, tasks, BLOCKS),
}
"""Makes each structure from a trunk and tasks."""


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/multi_mnist_architectures"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "left" or "right" trains that task alone
    structure: str = "hard_sharing"  # one of STRUCTURES; --compare takes them all
    filters: int = 12  # of each convolution
    same_parameters: bool = False  # fewer filters, as many as hard sharing pays for
    units: int = 16  # of the dense layer, the last stage
    epochs: int = 6  # the learning rate rises in the first, then falls as a cosine
    search_epochs: int = 3  # before them, for structures that search
    steps_per_epoch: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-2
    seed: int = 0
    tiny: bool = False  # two epochs of four steps
    compare: bool = False  # all structures and each task alone, for every seed
    seeds: tuple[int, ...] = (0,)


def build_trunk(config: Config) -> mtl.trunks.Trunk:
    """Four stages, of which the blocks keep the shape."""
    layers, count = keras.layers, config.filters
    blocks = {
        name: layers.Conv2D(count, 3, padding="same", activation="relu", name=name)
        for name in BLOCKS
    }
    start = [
        layers.Rescaling(1 / 255),
        layers.Conv2D(count, 5, activation="relu"),
        layers.MaxPooling2D(),
    ]
    end = [
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(config.units, activation="relu"),
    ]
    return mtl.trunks.Trunk(
        {"conv": keras.Sequential(start), **blocks, "dense": keras.Sequential(end)}
    )


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The trunk shared in the way that is asked for; one task has it alone."""
    if config.structure not in STRUCTURES:
        raise ValueError(
            f"Expected one of {', '.join(STRUCTURES)}. Received: {config.structure!r}"
        )
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(10, feature="dense"),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        for name in TASKS
        if config.single_task in ("", name)
    ]
    structure = "hard_sharing" if config.single_task else config.structure
    model = _built(structure, tasks, config)
    if not config.same_parameters or structure == "hard_sharing":
        return model
    budget = _built("hard_sharing", tasks, config).count_params()
    while model.count_params() > budget:
        config = replace(config, filters=config.filters - 2)
        model = _built(structure, tasks, config)
    return model


def _built(structure: str, tasks: list[mtl.Task], config: Config) -> mtl.MultiTaskModel:
    model = STRUCTURES[structure](build_trunk(config), tasks)
    size = multi_mnist.IMAGE_SIZE
    model.build((None, size, size, 1))
    return model


def pairs(split: str, config: Config) -> tf.data.Dataset:
    """One pass over the fixed pairs of a split."""
    return multi_mnist.evaluation_batches(
        split, number=256 if config.tiny else None, data_dir=config.data_dir or None
    )


def searched(
    model: mtl.MultiTaskModel, data: Any, validation: Any, steps: int, config: Config
) -> mtl.MultiTaskModel:
    """Let a structure find itself, where it does; return the one to train."""
    epochs = 2 if config.tiny else config.search_epochs
    if isinstance(model, architectures.Branched):
        search: Any = training.AdaptiveSharing(validation.take(4))
    elif hasattr(model, "decided"):
        search = training.PolicySearch()
    else:
        return model
    model.compile(keras.optimizers.Adam(config.learning_rate / 10))
    model.fit(data, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=[search])
    return model.decided() if hasattr(model, "decided") else model


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    epochs, steps = (2, 4) if config.tiny else (config.epochs, config.steps_per_epoch)
    data = multi_mnist.training_batches(
        batch_size=config.batch_size,
        seed=config.seed,
        data_dir=config.data_dir or None,
    )
    validation = pairs("validation", config)
    model = searched(build_model(config), data, validation, steps, config)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        (epochs - 1) * steps,
        warmup_target=config.learning_rate,
        warmup_steps=steps,
    )
    model.compile(keras.optimizers.Adam(schedule))
    training.fit(
        model,
        data,
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
    )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "cost": {"parameters_of_run": model.count_params()},
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, pairs("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all structures with the single-task baselines."""
    if not config.compare:
        return train(config)
    size = multi_mnist.IMAGE_SIZE
    return training.study(
        train,
        replace(config, compare=False, structure="hard_sharing"),
        TASKS,
        config.seeds,
        recipe="multi_mnist_architectures",
        split="test",
        example=np.zeros((1, size, size, 1), "float32"),
        variants={
            name: {"structure": name} for name in STRUCTURES if name != "hard_sharing"
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
