"""Multi-MNIST: two digits that overlap, one small network, every way to balance.

Which digit is top left, which is bottom right? Two tasks compete for one trunk (Sener &
Koltun, 2018), a LeNet. `--compare` trains each task alone, then both with every method
of `METHODS`, with the same network, pairs and budget, and measures what a step takes.

The trunk has 6 and 12 filters and 16 shared units. With the 10, 20 and 50 of the paper
there was nothing to balance: on validation, one seed, equal weights got 0.9750 and
0.9760, training alone 0.9765 and 0.9760. All settings were chosen on validation with
equal weights; the methods have their own defaults, and none was tuned.

    python recipes/multi_mnist_balancing.py                     # equal weights, one run
    python recipes/multi_mnist_balancing.py --method=equal      # or another of METHODS
    python recipes/multi_mnist_balancing.py --single_task=left  # a baseline
    python recipes/multi_mnist_balancing.py --compare --seeds=0,1,2    # metrics.json
    python recipes/multi_mnist_balancing.py --tiny              # seconds, to try it

Results, time and device: recipes/results/multi_mnist_balancing.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import multi_mnist

TASKS = multi_mnist.TARGETS

METHODS: dict[str, Callable[[], Any]] = {
    # One backward pass through weighted losses.
    "equal": mtl.balancing.Equal,
    "uncertainty": mtl.balancing.UncertaintyWeighting,
    "dwa": mtl.balancing.DWA,
    "gls": mtl.balancing.GLS,
    "rlw": mtl.balancing.RLW,
    "imtl_l": mtl.balancing.IMTLL,
    "stch": mtl.balancing.STCH,
    "famo": lambda: mtl.balancing.FAMO(progress_on="same batch"),
    "famo_next_batch": mtl.balancing.FAMO,
    # Gradients, compared at the last shared layer.
    "gradnorm": mtl.balancing.GradNorm,
    "excess_mtl": mtl.balancing.ExcessMTL,
    "mgda": mtl.balancing.MGDA,
    "pcgrad": mtl.balancing.PCGrad,
    "graddrop": mtl.balancing.GradDrop,
    "gradvac": mtl.balancing.GradVac,
    "cagrad": mtl.balancing.CAGrad,
    "imtl_g": mtl.balancing.IMTLG,
    "nash_mtl": mtl.balancing.NashMTL,
    "aligned_mtl": mtl.balancing.AlignedMTL,
    "fairgrad": mtl.balancing.FairGrad,
    "upgrad": mtl.balancing.UPGrad,
    "conflict_free": mtl.balancing.ConFIG,
    "db_mtl": mtl.balancing.DBMTL,
    "sdmgrad": mtl.balancing.SDMGrad,
    "moco": mtl.balancing.MoCo,
}
"""Makes each method with its defaults."""


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/multi_mnist_balancing"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "left" or "right" trains that task alone
    method: str = "equal"  # one of METHODS; --compare takes them all
    filters: tuple[int, ...] = (6, 12)  # of the two convolutions
    units: int = 16  # of the dense layer, the last that the tasks share
    epochs: int = 6  # the learning rate rises in the first, then falls as a cosine
    steps_per_epoch: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-2
    labelled: float = 1.0  # share of the digits whose label on the left is known
    seed: int = 0
    tiny: bool = False  # two epochs of four steps
    compare: bool = False  # methods and each task alone, for every seed of `seeds`
    only: tuple[str, ...] = ()  # the methods that --compare takes; empty: all
    seeds: tuple[int, ...] = (0,)


class StepTime(keras.callbacks.Callback):
    """Adds the median time of a step, `step_ms`, to the logs of each epoch."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self.start)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["step_ms"] = 1000 * statistics.median(self.seconds)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    layers, size = keras.layers, multi_mnist.IMAGE_SIZE
    trunk = mtl.trunks.Trunk(
        {
            "conv_1": keras.Sequential(
                [
                    layers.Rescaling(1 / 255),
                    layers.Conv2D(config.filters[0], 5, activation="relu"),
                    layers.MaxPooling2D(),
                ]
            ),
            "conv_2": keras.Sequential(
                [
                    layers.Conv2D(config.filters[1], 5, activation="relu"),
                    layers.MaxPooling2D(),
                ]
            ),
            "dense": keras.Sequential(
                [layers.Flatten(), layers.Dense(config.units, activation="relu")]
            ),
        },
        name="lenet",
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
    model = mtl.architectures.HardSharing(trunk, tasks, name="multi_mnist")
    model.build((None, size, size, 1))
    return model


def pairs(split: str, config: Config) -> tf.data.Dataset:
    """One pass over the fixed pairs of a split."""
    return multi_mnist.evaluation_batches(
        split, number=256 if config.tiny else None, data_dir=config.data_dir or None
    )


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    if config.method not in METHODS:
        raise ValueError(
            f"Expected a method of {', '.join(METHODS)}. Received: {config.method!r}"
        )
    keras.utils.set_random_seed(config.seed)
    epochs, steps = (2, 4) if config.tiny else (config.epochs, config.steps_per_epoch)
    data = multi_mnist.training_batches(
        batch_size=config.batch_size,
        seed=config.seed,
        labelled={"left": config.labelled},
        data_dir=config.data_dir or None,
    )
    validation = pairs("validation", config)
    model = build_model(config)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        (epochs - 1) * steps,
        warmup_target=config.learning_rate,
        warmup_steps=steps,
    )
    model.compile(keras.optimizers.Adam(schedule), balancing=METHODS[config.method]())
    history = training.fit(
        model,
        data,
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
        callbacks=[StepTime()],
    )
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "cost": {"step_ms": statistics.median(history["step_ms"])},
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, pairs("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all methods with the single-task baselines."""
    if not config.compare:
        return train(config)
    size = multi_mnist.IMAGE_SIZE
    return training.study(
        train,
        replace(config, compare=False, method="equal"),
        TASKS,
        config.seeds,
        recipe="multi_mnist_balancing",
        split="test",
        example=np.zeros((1, size, size, 1), "float32"),
        variants={
            name: {"method": name} for name in config.only or METHODS if name != "equal"
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
