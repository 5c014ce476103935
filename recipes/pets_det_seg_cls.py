"""Pets: where the head is, which pixels are animal, which breed, by one model.

Hard parameter sharing (Caruana, 1997) on EfficientNet-Lite0 with a feature pyramid, on
three breeds of Oxford-IIIT Pet (`--full` takes all 37 through TFDS). Labels are
partial: the official test images have no head box, so boxes are measured on
`det_test`, a fifth of the boxed trainval images, held out as a whole. The two finest
stages of the trunk and all its batch normalisation stay frozen.

    python recipes/pets_det_seg_cls.py                      # multi-task, one run
    python recipes/pets_det_seg_cls.py --single_task=breed  # a baseline, same budget
    python recipes/pets_det_seg_cls.py --compare --seeds=0  # all, and metrics.json
    python recipes/pets_det_seg_cls.py --tiny               # a minute, to try it

Results, time and device: saved_models/pets-efficientnet_lite0-det-seg-cls/README.md.
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
from mtl_zoo.data import pets

TASKS = ("det", "seg", "breed")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/pets_det_seg_cls"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    full: bool = False  # all 37 breeds, through TFDS
    single_task: str = ""  # "det", "seg" or "breed" trains that task alone
    epochs: int = 20
    steps_per_epoch: int = 13
    batch_size: int = 16
    image_size: int = 224
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    tiny: bool = False  # two short epochs
    compare: bool = False  # all tasks, then each alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    breeds = pets.breed_names(full=config.full, data_dir=config.data_dir or None)
    det = mtl.Task(
        "det",
        mtl.heads.Detection(
            1,
            features=("pyramid_3", "pyramid_4", "pyramid_5"),  # no head is tiny
            strides=(8, 16, 32),
            max_detections=20,
            class_names=["head"],
        ),
        mtl.losses.BoxDetection(strides=(8, 16, 32)),
        [
            evaluation.MeanBoxIoU(name="box_iou"),
            evaluation.BoxF1(max_detections=20, name="f1"),
        ],
    )
    seg = mtl.Task(
        "seg",
        mtl.heads.Segmentation(
            2, detail="stride_2", class_names=["background", "animal"]
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [evaluation.ForegroundIoU(name="iou")],
    )
    breed = mtl.Task(
        "breed",
        mtl.heads.Classification(
            len(breeds), feature="stride_32", dropout=0.2, class_names=breeds
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    # Classification alone needs no pyramid.
    neck = None if config.single_task == "breed" else mtl.trunks.FeaturePyramid(64)
    trunk = mtl.trunks.efficientnet_lite0(neck=neck, freeze_batch_norm=True)
    for name in ("stride_2", "stride_4"):
        trunk.stages[name].trainable = False
    tasks = [t for t in (det, seg, breed) if config.single_task in ("", t.name)]
    model = mtl.architectures.HardSharing(trunk, tasks, name="pets_det_seg_cls")
    model.build((None, None, None, 3))
    return model


def for_tasks(images: Any, labels: dict, weights: dict) -> tuple:
    """Name labels and weights after the tasks."""
    names = {"det": "head_box", "seg": "foreground", "breed": "breed"}
    return (
        images,
        {task: labels[name] for task, name in names.items()},
        {task: weights[name] for task, name in names.items()},
    )


def whole_images(split: str, config: Config) -> tf.data.Dataset:
    """Whole images, the longer side `image_size` pixels."""
    data = pets.evaluation_batches(
        split,
        image_size=config.image_size,
        full=config.full,
        data_dir=config.data_dir or None,
    )
    return data.take(1 if config.tiny else -1).map(for_tasks)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test splits once."""
    keras.utils.set_random_seed(config.seed)
    epochs, steps = (2, 2) if config.tiny else (config.epochs, config.steps_per_epoch)
    crops = pets.training_batches(
        image_size=config.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        full=config.full,
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
        validation_freq=min(4, epochs),
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
    """Return the metrics: boxes on `det_test`, all else on the official test split."""
    splits = {"det": "det_test", "seg": "test", "breed": "test"}
    measured = {
        split: evaluation.evaluate(model, whole_images(split, config))
        for split in sorted({splits[name] for name in model.task_names})
    }
    return {name: measured[splits[name]][name] for name in model.task_names}


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
        recipe="pets_det_seg_cls",
        split="test (breed, seg) and det_test (det)",
        example=np.zeros((1, size, size, 3), "float32"),
    )


if __name__ == "__main__":
    training.main(run, Config)
