"""Pets: a network for each of three tasks, and what they tell each other.

Cross-stitch networks (Misra et al., 2016) on EfficientNet-Lite0: head box, foreground
and breed of three breeds of Oxford-IIIT Pet (`--full` takes all 37 through TFDS), as in
`pets_det_seg_cls`, but with a tower for each task. Behind the stages named in `stages`,
each tower goes on with a weighted sum of all three. The two finest stages and all batch
normalisation stay frozen, so that towers first differ behind `stride_8`.

Towers start from ImageNet. The paper starts them from trained single-task networks, and
gives the weights of the sums a learning rate of their own, `stitch_rate`.
`--compare` also trains each task alone and one shared trunk; and, from the single-task
models, `from_single`, the paper's network, and `single_longer`, the same without sums:
both have had twice the steps, and are to be held against each other.

    python recipes/pets_cross_stitch.py                        # cross-stitch
    python recipes/pets_cross_stitch.py --sharing=hard_sharing # or another way
    python recipes/pets_cross_stitch.py --single_task=breed    # a baseline, same budget
    python recipes/pets_cross_stitch.py --compare --seeds=0,1      # metrics.json
    python recipes/pets_cross_stitch.py --image_size=224 --epochs=40   # in full
    python recipes/pets_cross_stitch.py --tiny                 # a minute, to try it

Results, time and device: recipes/results/pets_cross_stitch.json.
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
from mtl_zoo.data import pets

TASKS = ("det", "seg", "breed")
WAYS = ("cross_stitch", "hard_sharing", "separate")
STAGES = ("stride_8", "stride_16", "stride_32")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/pets_cross_stitch"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    full: bool = False  # all 37 breeds, through TFDS
    single_task: str = ""  # "det", "seg" or "breed" trains that task alone
    sharing: str = "cross_stitch"  # one of WAYS
    stages: tuple[str, ...] = STAGES  # behind which towers are mixed
    self_weight: float = 0.9  # of a tower's own state at the start
    stitch_rate: float = 10.0  # factor on the learning rate of the weights
    single_runs: str = ""  # folder of a comparison: towers start from its models
    epochs: int = 20
    steps_per_epoch: int = 13
    batch_size: int = 16
    image_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    seed: int = 0
    tiny: bool = False  # two short epochs
    compare: bool = False  # all ways, and each task alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The tasks, or one of them, on a tower each or on one trunk."""
    if config.sharing not in WAYS:
        raise ValueError(f"Expected one of {WAYS}. Received: {config.sharing!r}")
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
    tasks = [t for t in (det, seg, breed) if config.single_task in ("", t.name)]
    # A pyramid in every tower, for `start_from`; nothing reads that of breed.
    trunk = mtl.trunks.efficientnet_lite0(
        neck=mtl.trunks.FeaturePyramid(64), freeze_batch_norm=True
    )
    for name in ("stride_2", "stride_4"):
        trunk.stages[name].trainable = False
    model: mtl.MultiTaskModel
    if config.single_task or config.sharing == "hard_sharing":
        model = architectures.HardSharing(trunk, tasks, name="pets")
    elif config.sharing == "separate":
        model = architectures.SeparateTowers(trunk, tasks, name="pets_separate")
    else:
        model = architectures.CrossStitch(
            trunk,
            tasks,
            stages=config.stages,
            self_weight=config.self_weight,
            rate=config.stitch_rate,
            name="pets_cross_stitch",
        )
    model.build((None, None, None, 3))
    return model


def single_models(config: Config) -> dict[str, mtl.MultiTaskModel]:
    """The single-task models of the same seed that a comparison has saved."""
    return {
        name: mtl.load(
            Path(config.single_runs) / f"{name}-seed{config.seed}" / "model.keras"
        )
        for name in TASKS
    }


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
    if isinstance(model, architectures.SeparateTowers) and config.single_runs:
        model.start_from(single_models(config))
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
    result = {
        "validation": evaluation.evaluate(model, validation),
        "test": evaluate(model, config),
        "directions": evaluation.directions(model),
        "thresholds": thresholds,
    }
    if isinstance(model, architectures.CrossStitch):
        result["stitches"] = {s: model.mixing_weights(s).tolist() for s in model.chosen}
    return result


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics: boxes on `det_test`, all else on the official test split."""
    splits = {"det": "det_test", "seg": "test", "breed": "test"}
    measured = {
        split: evaluation.evaluate(model, whole_images(split, config))
        for split in sorted({splits[name] for name in model.task_names})
    }
    return {name: measured[splits[name]][name] for name in model.task_names}


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the single-task baselines."""
    if not config.compare:
        return train(config)
    size, start = config.image_size, {"single_runs": config.workdir}
    return training.study(
        train,
        replace(config, compare=False, sharing="cross_stitch", single_runs=""),
        TASKS,
        config.seeds,
        recipe="pets_cross_stitch",
        split="test (breed, seg) and det_test (det)",
        example=np.zeros((1, size, size, 3), "float32"),
        variants={
            "hard_sharing": {"sharing": "hard_sharing"},
            "from_single": start,
            "single_longer": {"sharing": "separate", **start},
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
