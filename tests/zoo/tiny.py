"""A tiny vision model with boxes and a map, and what a saved model needs besides."""

from __future__ import annotations

import keras
import numpy as np

import mtl_zoo as mtl
from mtl_zoo.zoo.card import Card

NAME = "discs-tiny-seg-det"

CARD = Card(
    summary="Finds discs in pictures.",
    data="Made up.",
    licence="Apache-2.0.",
    limits=["Knows nothing."],
)


def model(seed: int = 0) -> mtl.architectures.HardSharing:
    """A compiled detector and segmenter for images of any size."""
    keras.utils.set_random_seed(seed)
    stages = {
        f"stride_{stride}": keras.layers.Conv2D(
            8, 3, strides=2, padding="same", activation="relu"
        )
        for stride in (2, 4)
    }
    trunk = mtl.trunks.Trunk(
        {"stride_1": keras.layers.Rescaling(1 / 255), **stages}, name="tiny"
    )
    tasks = [
        mtl.Task(
            "seg",
            mtl.heads.Segmentation(
                2, features=("stride_4",), width=8, class_names=["ground", "disc"]
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        ),
        mtl.Task(
            "det",
            mtl.heads.Detection(
                1,
                features=("stride_4",),
                strides=(4,),
                width=8,
                depth=1,
                max_detections=5,
                class_names=["disc"],
            ),
            mtl.losses.BoxDetection(),
        ),
    ]
    network = mtl.architectures.HardSharing(trunk, tasks, name="discs")
    network.build((None, None, None, 3))
    # Untrained, the detector would find nothing, and every comparison be one of -1s.
    logits = network.task("det").head.class_logits
    rng = np.random.default_rng(seed)
    logits.kernel.assign(rng.normal(0.0, 0.3, logits.kernel.shape))
    logits.bias.assign([0.0])
    network.compile("adam")
    return network


def images(batch: int = 2, height: int = 64, width: int = 96) -> np.ndarray:
    """Random uint8 images."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (batch, height, width, 3), dtype="uint8")


def metrics() -> dict:
    """A legal metrics.json."""

    def value(mean: float) -> dict:
        return {"mean": mean, "sd": 0.01, "n": 2}

    return {
        "recipe": "discs",
        "command": "python recipes/discs.py --compare",
        "commit": None,
        "versions": {
            "python": "3.11",
            "tensorflow": "2.21.0",
            "keras": "3.15.1",
            "keras-hub": "0.32.0",
            "numpy": "2.0",
        },
        "device": "a CPU, 2 cores",
        "wall_time_s": 75.0,
        "split": "test",
        "seeds": [0, 1],
        "results": {
            "multi_task": {
                "seg": {"accuracy": value(0.8125)},
                "det": {"f1": value(0.71)},
            },
            "single_task": {
                "seg": {"accuracy": value(0.75)},
                "det": {"f1": value(0.7)},
            },
        },
        "delta_m": {"per_task": value(4.88)},
        "cost": {"parameters": {"multi_task": 12345}},
    }
