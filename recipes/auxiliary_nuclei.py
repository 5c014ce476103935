"""Nuclei: boundaries and distances help to detect with few boxes.

Detection of single nuclei on EfficientNet-Lite0 with a feature pyramid, where only some
images (`share`) have boxes. Two auxiliary tasks, which are not exported, draw the
boundary of each nucleus and how far inside each pixel is; their labels are of all
training images. Such outlines of objects teach a network to keep apart what touches
(Chen et al., 2016). That whoever has outlines could make boxes of them is beside the
point here: it is about how far cheap labels go where those of the main task are rare.

`--compare` draws the curve: F1 of the boxes with 5, 10, 25 and 100 % of them, with the
auxiliary tasks and without. All runs take as many steps, with as many images with boxes
in each; with auxiliary tasks, as many without boxes come on top. Each seed keeps the
boxes of other images. The best epoch and the threshold of the scores are chosen on the
whole validation split, whatever the share. The two finest stages and all batch
normalisation stay frozen.

    python recipes/auxiliary_nuclei.py                       # all boxes, with auxiliary
    python recipes/auxiliary_nuclei.py --share=0.05          # with a twentieth of them
    python recipes/auxiliary_nuclei.py --single_task=det     # without auxiliary tasks
    python recipes/auxiliary_nuclei.py --others=false        # labels of no other images
    python recipes/auxiliary_nuclei.py --fade=linear         # tasks that leave, or
    python recipes/auxiliary_nuclei.py --gate                # only where they agree
    python recipes/auxiliary_nuclei.py --compare --seeds=0   # the curve
    python recipes/auxiliary_nuclei.py --validation          # no look at the test
    python recipes/auxiliary_nuclei.py --tiny                # a minute, to try it

Results, time and device: none yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import auxiliary, balancing, evaluation, training
from mtl_zoo.data import nuclei, stream

TASKS = ("det",)
OUTLINES = ("boundary", "distance")
SHARES = (0.25, 0.1, 0.05)


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/auxiliary_nuclei"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "det" trains without auxiliary tasks
    share: float = 1.0  # of the training images that have boxes
    others: bool = True  # whether auxiliary labels are of all images, or of those alone
    weight: float = 1.0  # of the boundary; that of the distance is four times as much
    fade: str = ""  # "linear", "cosine" or "exponential": they go down to nothing
    gate: bool = False  # they count where their gradient agrees with the detection's
    epochs: int = 6
    steps_per_epoch: int = 80
    batch_size: int = 4  # images with boxes, and as many others
    image_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    validation: bool = False  # report on validation, and leave the test alone
    tiny: bool = False  # two short epochs on a few images
    compare: bool = False  # all shares, with and without, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def steps_of(config: Config) -> tuple[int, int]:
    """Epochs, and steps in each."""
    return (2, 4) if config.tiny else (config.epochs, config.steps_per_epoch)


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The detection, and the auxiliary tasks if they are wanted."""
    tasks = [
        mtl.Task(
            "det",
            mtl.heads.Detection(1, max_detections=500, class_names=["nucleus"]),
            mtl.losses.BoxDetection(),
            [evaluation.BoxF1(max_detections=500, name="f1")],
        )
    ]
    if not config.single_task:
        epochs, steps = steps_of(config)

        def weight(start: float) -> Any:
            if not config.fade:
                return start
            return training.Fade(epochs * steps, config.fade, start=start)

        tasks += [
            auxiliary.Boundary().task(weight(config.weight), width=32),
            auxiliary.Distance().task(weight(4 * config.weight), width=32),
        ]
    trunk = mtl.trunks.efficientnet_lite0(
        neck=mtl.trunks.FeaturePyramid(width=64), freeze_batch_norm=True
    )
    for name in ("stride_2", "stride_4"):
        trunk.stages[name].trainable = False
    model = mtl.architectures.HardSharing(trunk, tasks, name="auxiliary_nuclei")
    model.build((None, None, None, 3))
    return model


def targets_of(config: Config) -> tuple[str, ...]:
    """What is asked of the data."""
    return ("boxes",) if config.single_task else ("boxes", *OUTLINES)


def for_tasks(images: Any, labels: dict, weights: dict) -> tuple:
    """Name labels and weights after the tasks."""
    names = {name: name for name in OUTLINES if name in labels} | {"det": "boxes"}
    return (
        images,
        {task: labels[name] for task, name in names.items()},
        {task: weights[name] for task, name in names.items()},
    )


def with_boxes(config: Config) -> str:
    """The slice of the training images that have boxes, another for each seed."""
    percent = round(100 * config.share)
    start = 30 * config.seed % 100
    end = start + percent
    if end <= 100:
        return f"train[{start}%:{end}%]"
    return f"train[{start}%:]+train[:{end - 100}%]"


def training_batches(config: Config) -> tf.data.Dataset:
    """Crops of images with boxes, and behind them of any, of which none is told."""

    def crops(split: str, seed: int) -> tf.data.Dataset:
        return nuclei.training_batches(
            split,
            targets=targets_of(config),
            image_size=config.image_size,
            batch_size=config.batch_size,
            seed=seed,
            data_dir=config.data_dir or None,
        ).map(for_tasks)

    known = crops(with_boxes(config), config.seed)
    if config.single_task or not config.others:
        return known

    def batch(first: tuple, others: tuple) -> tuple:
        images, labels, weights = others
        others = images, labels, {**weights, "det": tf.zeros_like(weights["det"])}
        return tf.nest.map_structure(
            lambda *parts: tf.concat(parts, 0), tuple(first), others
        )

    pairs = tf.data.Dataset.zip(known, crops("train", config.seed + 1))
    return stream.checkpointable(pairs.map(batch).prefetch(2))


def whole_images(split: str, config: Config) -> tf.data.Dataset:
    """Images at their own resolution, one a batch."""
    split += "[:4]" if config.tiny else ""
    return nuclei.evaluation_batches(
        split, targets=targets_of(config), data_dir=config.data_dir or None
    ).map(for_tasks)


def train(config: Config) -> dict[str, Any]:
    """One run: train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    epochs, steps = steps_of(config)
    validation = whole_images("validation", config)
    model = build_model(config)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        (epochs - 1) * steps,
        warmup_target=config.learning_rate,
        warmup_steps=steps,
    )
    gated = config.gate and not config.single_task
    model.compile(
        keras.optimizers.AdamW(
            schedule, weight_decay=config.weight_decay, global_clipnorm=10.0
        ),
        balancing=balancing.GradientSimilarity(OUTLINES) if gated else None,
    )
    training.fit(
        model,
        training_batches(config),
        validation,
        epochs=epochs,
        steps_per_epoch=steps,
        validation_freq=2,
        workdir=config.workdir,
    )
    thresholds = evaluation.choose_thresholds(model, validation)
    model.save(Path(config.workdir) / "model.keras")
    if config.validation:
        return {"validation": {"det": evaluation.evaluate(model, validation)["det"]}}
    return {
        "test": evaluate(model, config),
        "directions": {"det": evaluation.directions(model)["det"]},
        "thresholds": thresholds,
    }


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the metrics of the detection on the test split."""
    return {"det": evaluation.evaluate(model, whole_images("test", config))["det"]}


def run(config: Config) -> dict[str, Any]:
    """One run, or the curve over the share of boxes, with and without auxiliary."""
    if not config.compare:
        return train(config)
    size = config.image_size
    variants: dict[str, dict[str, Any]] = {}
    for share in SHARES:
        of_share = {"share": share}
        variants[f"with_{share * 100:.0f}_percent"] = of_share
        variants[f"without_{share * 100:.0f}_percent"] = {
            **of_share,
            "single_task": "det",
        }
    return training.study(
        train,
        replace(config, compare=False, share=1.0),
        TASKS,
        config.seeds,
        recipe="auxiliary_nuclei",
        split="test",
        example=np.zeros((1, size, size, 3), "float32"),
        variants=variants,
    )


if __name__ == "__main__":
    training.main(run, Config)
