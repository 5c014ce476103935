"""Nuclei: detection and segmentation by one model.

Hard parameter sharing (Caruana, 1997) on EfficientNet-Lite0 with a feature pyramid:
boxes of single nuclei and the foreground map, from microscopy images of the Data
Science Bowl 2018. Trained on random crops, evaluated on whole images at their own
resolution. The two finest stages of the trunk and all its batch normalisation stay
frozen.

    python recipes/nuclei_det_seg.py                       # multi-task, one run
    python recipes/nuclei_det_seg.py --single_task=det     # a baseline, same budget
    python recipes/nuclei_det_seg.py --compare             # all of them, metrics.json
    python recipes/nuclei_det_seg.py --tiny                # a minute, to try it

Results, time and device: saved_models/nuclei-efficientnet_lite0-det-seg/README.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

import mtl_zoo as mtl
from mtl_zoo.data import nuclei
from mtl_zoo.training import flags

TASKS = ("det", "seg")


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/nuclei_det_seg"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "det" or "seg" trains that task alone
    epochs: int = 20
    steps_per_epoch: int = 58
    batch_size: int = 8
    image_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    tiny: bool = False  # one minute: two short epochs, a few images


def build_model(config: Config) -> mtl.architectures.HardSharing:
    """The shared trunk and the tasks, or the one of them that is asked for."""
    det = mtl.Task(
        "det",
        mtl.heads.Detection(1, max_detections=500, class_names=["nucleus"]),
        mtl.losses.BoxDetection(num_classes=1),
        [mtl.evaluation.BoxF1(num_classes=1, max_detections=500, name="f1")],
    )
    seg = mtl.Task(
        "seg",
        mtl.heads.Segmentation(2, class_names=["background", "nucleus"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.IoU(2, target_class_ids=[1], sparse_y_pred=False, dtype="float32", name="iou")],
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


def run(config: Config) -> dict[str, Any]:
    """Train, choose on validation, read the test split once."""
    keras.utils.set_random_seed(config.seed)
    targets = {"det": "boxes", "seg": "foreground"}

    def for_tasks(images: Any, labels: dict, weights: dict) -> tuple:
        named = [{t: part[name] for t, name in targets.items()} for part in (labels, weights)]
        return images, *named

    data_dir = config.data_dir or None
    train = nuclei.training_batches(
        image_size=config.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        data_dir=data_dir,
    ).map(for_tasks)
    few = "[:8]" if config.tiny else ""
    validation, test = (
        nuclei.evaluation_batches(split + few, data_dir=data_dir).map(for_tasks)
        for split in ("validation", "test")
    )

    epochs, steps = (2, 8) if config.tiny else (config.epochs, config.steps_per_epoch)
    model = build_model(config)
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0, (epochs - 1) * steps, warmup_target=config.learning_rate, warmup_steps=steps
            ),
            weight_decay=config.weight_decay,
            global_clipnorm=10.0,
        )
    )
    return flags.finish(model, train, validation, test, epochs, steps, config)
