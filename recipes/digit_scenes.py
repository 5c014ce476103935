"""Digit scenes: find, segment and count real handwritten digits, from scratch.

The embedded default: scenes made, deterministically from a seed, of scikit-learn's
handwritten digits, so that nothing is downloaded. Hard parameter sharing (Caruana,
1997) on a small residual network with a feature pyramid; no pretrained weights.

    python recipes/digit_scenes.py                          # multi-task, one run
    python recipes/digit_scenes.py --single_task=count      # a baseline, same budget
    python recipes/digit_scenes.py --compare --seeds=0,1,2  # all of them, metrics.json
    python recipes/digit_scenes.py --tiny                   # a minute, to try it

Results, time and device: recipes/results/digit_scenes.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import digit_scenes

TASKS = ("det", "seg", "count")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/digit_scenes"
    single_task: str = ""  # "det", "seg" or "count" trains that task alone
    epochs: int = 8
    steps_per_epoch: int = 64
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    labelled: float = 1.0  # share of the scenes that keep their boxes
    seed: int = 0
    tiny: bool = False  # two short epochs
    compare: bool = False  # all tasks, then each alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def small_backbone() -> keras.Model:
    """Four residual stages of strides 2, 4, 8 and 16, which `from_backbone` cuts."""
    layers = keras.layers
    inputs = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    for filters in (16, 32, 64, 96):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.GroupNormalization(8)(x))
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.GroupNormalization(8)(y) + x)
    return keras.Model(inputs, x)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    digits = [str(digit) for digit in range(10)]
    det = mtl.Task(
        "det",
        mtl.heads.Detection(
            10,
            features=("pyramid_2", "pyramid_3"),
            strides=(4, 8),
            width=32,
            max_detections=20,
            class_names=digits,
        ),
        mtl.losses.BoxDetection(strides=(4, 8)),
        [evaluation.BoxF1(max_detections=20, name="f1")],
    )
    seg = mtl.Task(
        "seg",
        mtl.heads.Segmentation(
            11,
            features=("pyramid_2", "pyramid_3", "pyramid_4"),
            width=32,
            detail="stride_2",
            class_names=["background", *digits],
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.MeanIoU(11, sparse_y_pred=False, dtype="float32", name="miou")],
    )
    count = mtl.Task(
        "count",
        mtl.heads.Regression(1, feature="stride_16"),
        keras.losses.Huber(),
        [keras.metrics.MeanAbsoluteError(name="mae")],
    )
    trunk = mtl.trunks.from_backbone(
        small_backbone(), neck=mtl.trunks.FeaturePyramid(width=32, levels=(2, 3, 4))
    )
    tasks = [t for t in (det, seg, count) if config.single_task in ("", t.name)]
    model = mtl.architectures.HardSharing(trunk, tasks, name="digit_scenes")
    model.build((None, digit_scenes.IMAGE_SIZE, digit_scenes.IMAGE_SIZE, 3))
    return model


def for_tasks(images: Any, labels: dict, weights: dict) -> tuple:
    """Name labels and weights after the tasks."""
    names = {"det": "boxes", "seg": "label_map", "count": "count"}
    return (
        images,
        {task: labels[name] for task, name in names.items()},
        {task: weights[name] for task, name in names.items()},
    )


def scenes(split: str, config: Config) -> tf.data.Dataset:
    """One pass over the scenes of a split."""
    number = 64 if config.tiny else {"validation": 256, "test": 1024}[split]
    return digit_scenes.evaluation_batches(split, number=number).map(for_tasks)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    epochs, steps = (2, 4) if config.tiny else (config.epochs, config.steps_per_epoch)
    data = digit_scenes.training_batches(
        batch_size=config.batch_size,
        seed=config.seed,
        labelled={"boxes": config.labelled},
    ).map(for_tasks)
    validation = scenes("validation", config)
    model = build_model(config)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        (epochs - 1) * steps,
        warmup_target=config.learning_rate,
        warmup_steps=steps,
    )
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=10.0
        )
    )
    training.fit(
        model,
        data,
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        workdir=config.workdir,
    )
    thresholds = evaluation.choose_thresholds(model, validation)
    model.save(Path(config.workdir) / "model.keras")
    return {
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "thresholds": thresholds,
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, scenes("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison with the single-task baselines."""
    if not config.compare:
        return train(config)
    size = digit_scenes.IMAGE_SIZE
    return training.study(
        train,
        replace(config, compare=False),
        TASKS,
        config.seeds,
        recipe="digit_scenes",
        split="test",
        example=np.zeros((1, size, size, 3), "float32"),
    )


if __name__ == "__main__":
    training.main(run, Config)
