"""Nuclei: detection and segmentation by one model.

Hard parameter sharing (Caruana, 1997) on EfficientNet-Lite0 with a feature pyramid:
boxes of single nuclei and the foreground map, from microscopy images of the Data
Science Bowl 2018. Trained on random crops, evaluated on whole images at their own
resolution. The two finest stages of the trunk and all its batch normalisation stay
frozen, as is usual for small data.

    python recipes/nuclei_det_seg.py                       # multi-task, one run
    python recipes/nuclei_det_seg.py --single_task=det     # a baseline, same budget
    python recipes/nuclei_det_seg.py --compare --seeds=0   # all of them, metrics.json
    python recipes/nuclei_det_seg.py --tiny                # a minute, to try it

Results, time and device: saved_models/nuclei-efficientnet_lite0-det-seg/README.md.
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
from mtl_zoo.data import nuclei

TASKS = ("det", "seg")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/nuclei_det_seg"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "det" or "seg" trains that task alone
    epochs: int = 12
    steps_per_epoch: int = 58
    batch_size: int = 8
    image_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    tiny: bool = False  # two short epochs on a few images
    compare: bool = False  # all tasks, then each alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
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
    model = mtl.architectures.HardSharing(trunk, tasks, name="nuclei_det_seg")
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
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "thresholds": thresholds,
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics on the test split."""
    return evaluation.evaluate(model, whole_images("test", config))


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison with the single-task baselines."""
    if not config.compare:
        return train(config)
    size = config.image_size
    return training.study(
        train,
        replace(config, compare=False),
        TASKS,
        config.seeds,
        recipe="nuclei_det_seg",
        split="test",
        example=np.zeros((1, size, size, 3), "float32"),
    )


if __name__ == "__main__":
    training.main(run, Config)
