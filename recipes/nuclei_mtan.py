"""Nuclei: two tasks that each attend to what they need of one trunk.

A multi-task attention network (Liu et al., 2019) on EfficientNet-Lite0: boxes of single
nuclei and the foreground map, as in `nuclei_det_seg`, where each task has a soft mask
of its own on the features behind each of `stages`, and a feature pyramid of its own on
what that lets through. `--compare` also trains each task alone and both on one trunk
with one pyramid. The two finest stages and all batch normalisation stay frozen.

    python recipes/nuclei_mtan.py                          # the attention network
    python recipes/nuclei_mtan.py --sharing=hard_sharing   # or one trunk, no attention
    python recipes/nuclei_mtan.py --single_task=det        # a baseline, same budget
    python recipes/nuclei_mtan.py --compare --seeds=0,1,2  # all of them, metrics.json
    python recipes/nuclei_mtan.py --image_size=256 --epochs=12     # in full
    python recipes/nuclei_mtan.py --tiny                   # a minute, to try it

Results, time and device: recipes/results/nuclei_mtan.json.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import architectures, evaluation, training
from mtl_zoo.data import nuclei

TASKS = ("det", "seg")
WAYS = ("mtan", "hard_sharing")
STAGES = ("stride_4", "stride_8", "stride_16", "stride_32")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/nuclei_mtan"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "det" or "seg" trains that task alone
    sharing: str = "mtan"  # one of WAYS
    stages: tuple[str, ...] = STAGES  # that tasks attend to
    units: int = 64  # channels inside the masks' networks
    epochs: int = 8
    steps_per_epoch: int = 58
    batch_size: int = 8
    image_size: int = 192
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    tiny: bool = False  # two short epochs on a few images
    compare: bool = False  # both ways, and each task alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The trunk and the tasks, or one of them, with or without attention."""
    if config.sharing not in WAYS:
        raise ValueError(f"Expected one of {WAYS}. Received: {config.sharing!r}")
    det = mtl.Task(
        "det",
        mtl.heads.Detection(1, max_detections=500, class_names=["nucleus"]),
        mtl.losses.BoxDetection(),
        [evaluation.BoxF1(max_detections=500, name="f1")],
    )
    seg = mtl.Task(
        "seg",
        mtl.heads.Segmentation(
            2, detail="stride_2", class_names=["background", "nucleus"]
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [evaluation.ForegroundIoU(name="iou")],
    )
    trunk = mtl.trunks.efficientnet_lite0(
        neck=mtl.trunks.FeaturePyramid(width=64), freeze_batch_norm=True
    )
    for name in ("stride_2", "stride_4"):
        trunk.stages[name].trainable = False
    tasks = [task for task in (det, seg) if config.single_task in ("", task.name)]
    model: mtl.MultiTaskModel
    if config.single_task or config.sharing == "hard_sharing":
        model = architectures.HardSharing(trunk, tasks, name="nuclei")
    else:
        model = architectures.MTAN(
            trunk,
            tasks,
            stages=config.stages,
            units=config.units,
            name="nuclei_mtan",
        )
    model.build((None, None, None, 3))
    return model


def for_tasks(images: Any, labels: dict, weights: dict) -> tuple:
    """Name labels and weights after the tasks."""
    names = {"det": "boxes", "seg": "foreground"}
    return (
        images,
        {task: labels[name] for task, name in names.items()},
        {task: weights[name] for task, name in names.items()},
    )


def whole_images(split: str, config: Config) -> tf.data.Dataset:
    """Images at their own resolution, one a batch."""
    split += "[:4]" if config.tiny else ""
    return nuclei.evaluation_batches(split, data_dir=config.data_dir or None).map(
        for_tasks
    )


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    epochs, steps = (2, 4) if config.tiny else (config.epochs, config.steps_per_epoch)
    crops = nuclei.training_batches(
        image_size=config.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        data_dir=config.data_dir or None,
    ).map(for_tasks)
    validation = whole_images("validation", config)
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
        crops,
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        validation_freq=2,
        workdir=config.workdir,
    )
    thresholds = evaluation.choose_thresholds(model, validation)
    model.save(Path(config.workdir) / "model.keras")
    return {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "thresholds": thresholds,
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, whole_images("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of both ways with the single-task baselines."""
    if not config.compare:
        return train(config)
    size = config.image_size
    return training.study(
        train,
        replace(config, compare=False, sharing="mtan"),
        TASKS,
        config.seeds,
        recipe="nuclei_mtan",
        split="test",
        example=np.zeros((1, size, size, 3), "float32"),
        variants={"hard_sharing": {"sharing": "hard_sharing"}},
    )


if __name__ == "__main__":
    training.main(run, Config)
