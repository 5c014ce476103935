"""Every architecture, on trunks of three kinds."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.data import sampling, text_batches
from mtl_zoo.data.text_batches import LabelledTexts, joined
from tests.zoo import tiny_text

arch = mtl.architectures

# On a trunk and tasks, with their defaults or little else.
MAKE = {
    "AdaShare": lambda trunk, tasks, **kw: arch.AdaShare(
        trunk, tasks, blocks=list(trunk.stages)[-1:], **kw
    ),
    "Adapters": lambda trunk, tasks, **kw: arch.Adapters(trunk, tasks, units=4, **kw),
    "Branched": lambda trunk, tasks, **kw: arch.Branched(
        trunk, tasks, {list(trunk.stages)[-1]: [[t.name] for t in tasks]}, **kw
    ),
    "CrossStitch": lambda trunk, tasks, **kw: arch.CrossStitch(trunk, tasks, **kw),
    "DSelectK": lambda trunk, tasks, **kw: arch.DSelectK(
        trunk, tasks, experts=3, first=behind_embeddings(trunk), **kw
    ),
    "HardSharing": lambda trunk, tasks, **kw: arch.HardSharing(trunk, tasks, **kw),
    "LearningToBranch": lambda trunk, tasks, **kw: arch.LearningToBranch(
        trunk, tasks, **kw
    ),
    "MMoE": lambda trunk, tasks, **kw: arch.MMoE(
        trunk, tasks, experts=2, first=behind_embeddings(trunk), **kw
    ),
    "MTAN": lambda trunk, tasks, **kw: arch.MTAN(trunk, tasks, **kw),
    "NDDR": lambda trunk, tasks, **kw: arch.NDDR(trunk, tasks, **kw),
    "PLE": lambda trunk, tasks, **kw: arch.PLE(
        trunk, tasks, first=behind_embeddings(trunk), **kw
    ),
    "SelectedBlocks": lambda trunk, tasks, **kw: arch.SelectedBlocks(
        trunk, tasks, {tasks[-1].name: list(trunk.stages)[-1:]}, **kw
    ),
    "SeparateTowers": lambda trunk, tasks, **kw: arch.SeparateTowers(
        trunk, tasks, **kw
    ),
    "Sluice": lambda trunk, tasks, **kw: arch.Sluice(
        trunk, tasks, last_weight=1.0 if "stride_2" in trunk.stages else 0.9, **kw
    ),
    "SoftSharing": lambda trunk, tasks, **kw: arch.SoftSharing(
        trunk, tasks, strength=0.01, **kw
    ),
}
ALL = tuple(MAKE)
# Those in which several tasks depend on a variable.
SEPARATE = ("Adapters", "SeparateTowers", "SoftSharing")
SHARING = tuple(name for name in ALL if name not in SEPARATE)
TRUNKS = ("mlp", "conv", "text")


def behind_embeddings(trunk: mtl.trunks.Trunk) -> str | None:
    """The stage from which experts can begin."""
    return None if trunk.prepare is None else list(trunk.stages)[1]


def conv_trunk() -> mtl.trunks.Trunk:
    """Stages with batch normalisation; the last keeps the shape; and a pyramid."""
    layers = keras.layers
    stages = {
        name: keras.Sequential(
            [
                layers.Conv2D(filters, 3, stride, padding="same", use_bias=False),
                layers.BatchNormalization(),
                layers.ReLU(),
            ]
        )
        for name, filters, stride in (
            ("stride_2", 4, 2),
            ("stride_4", 6, 2),
            ("stride_8_start", 8, 2),
            ("stride_8", 8, 1),
        )
    }
    neck = mtl.trunks.FeaturePyramid(width=8, levels=(2, 3))
    return mtl.trunks.Trunk(stages, neck=neck)


def task_of(name: str, feature: str) -> mtl.Task:
    """A classification of three kinds."""
    return mtl.Task(
        name,
        mtl.heads.Classification(3, feature=feature),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )


def parts(kind: str) -> tuple[mtl.trunks.Trunk, list[mtl.Task], tuple]:
    """A trunk, tasks for it, and the shape of its inputs."""
    if kind == "mlp":
        trunk = mtl.trunks.mlp([8, 8], activation="tanh")
        return (
            trunk,
            [task_of(name, "layer_2") for name in ("north", "south")],
            (None, 6),
        )
    if kind == "conv":
        pyramid = ("pyramid_2", "pyramid_3")
        pixels = mtl.Task(
            "pixels",
            mtl.heads.Segmentation(2, pyramid, width=8),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [mtl.evaluation.ForegroundIoU(name="iou")],
        )
        return conv_trunk(), [task_of("north", "stride_8"), pixels], (None, 32, 32, 3)
    return tiny_text.trunk(), tiny_text.tasks(), (None,)


def model(name: str, kind: str = "mlp", compile_kwargs=None, optimizer=None, **kwargs):
    """A built and compiled model."""
    keras.utils.set_random_seed(1)
    trunk, tasks, shape = parts(kind)
    network = MAKE[name](trunk, tasks, **kwargs)
    network.build(shape)
    if name in ("AdaShare", "LearningToBranch"):
        network.set_phase("search")
    kwargs = {"balancing": mtl.balancing.Equal(), **(compile_kwargs or {})}
    network.compile(optimizer or keras.optimizers.Adam(1e-2), **kwargs)
    return network


def data(kind: str = "mlp", samples: int = 8) -> tuple:
    """Inputs, labels and weights: half of the samples have no label of the last."""
    rng = np.random.default_rng(0)
    labels = {"north": rng.integers(0, 3, samples)}
    if kind == "mlp":
        inputs = rng.normal(size=(samples, 6)).astype("float32")
        labels["south"] = rng.integers(0, 3, samples)
    else:
        inputs = rng.uniform(0, 255, (samples, 32, 32, 3)).astype("float32")
        labels["pixels"] = rng.integers(0, 2, (samples, 32, 32))
    weights = {name: np.ones(samples, "float32") for name in labels}
    weights[list(labels)[-1]][: samples // 2] = 0.0
    return inputs, labels, weights


def batches(kind: str, network: mtl.MultiTaskModel) -> tf.data.Dataset:
    """Two batches; of texts, the second has labels of one task alone."""
    if kind != "text":
        made = tf.data.Dataset.from_tensor_slices(data(kind)).shuffle(8, seed=0)
        return made.batch(4, drop_remainder=True)
    rng = np.random.default_rng(0)
    words = ["film", "good", "oslo", "jane", "york", "a.b"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 20))) for _ in range(12)]
    tags = [joined(t.split(), rng.choice([0, 1, 3], len(t.split())))[1] for t in texts]
    sets = {
        "both": LabelledTexts(
            texts[:6], {"sentiment": [0, 1, 0, 1, 1, 0], "ner": tags[:6]}
        ),
        "names": LabelledTexts(texts[6:], {"ner": tags[6:]}),
    }
    return text_batches.training_batches(
        sets,
        getattr(network, "whole", getattr(network, "trunk", None)).prepare,
        batch_size=6,
        seed=0,
        sampling=sampling.RoundRobin(),
    ).take(2)


def example(kind: str):
    """Inputs as users have them."""
    return np.array(tiny_text.TEXTS) if kind == "text" else data(kind)[0]


def train(network: mtl.MultiTaskModel, kind: str = "mlp", epochs: int = 1) -> dict:
    """Fit; return the history."""
    return network.fit(batches(kind, network), epochs=epochs, verbose=0).history
