"""Every architecture, on trunks of three kinds."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.data import sampling, text_batches
from mtl_zoo.data.text_batches import LabelledTexts, joined
from tests.zoo import tiny_text


def _with(**defaults):
    """Settings from the trunk and tasks, which keywords of a test replace."""
    return lambda trunk, tasks, given: {
        **{name: find(trunk, tasks) for name, find in defaults.items()},
        **given,
    }


def last_stage(trunk) -> list[str]:
    """The stage that keeps the shape, on all three trunks."""
    return list(trunk.stages)[-1:]


def behind_embeddings(trunk, _) -> str | None:
    """The stage from which experts can begin."""
    return None if trunk.prepare is None else list(trunk.stages)[1]


SETTINGS = {
    "AdaShare": _with(blocks=lambda trunk, _: last_stage(trunk)),
    "Adapters": _with(units=lambda *_: 4),
    "Branched": _with(
        groups=lambda trunk, tasks: {last_stage(trunk)[0]: [[t.name] for t in tasks]}
    ),
    "CrossStitch": _with(),
    "DSelectK": _with(experts=lambda *_: 3, first=behind_embeddings),
    "HardSharing": _with(),
    "JointManyTask": _with(
        levels=lambda trunk, tasks: {
            task.name: list(trunk.stages)[-2] for task in tasks[:-1]
        }
    ),
    "LearningToBranch": _with(),
    "MMoE": _with(experts=lambda *_: 2, first=behind_embeddings),
    "MTAN": _with(),
    "NDDR": _with(),
    "PLE": _with(first=behind_embeddings),
    "SelectedBlocks": _with(
        skipped=lambda trunk, tasks: {tasks[-1].name: last_stage(trunk)}
    ),
    "SeparateTowers": _with(),
    "SharedPrivate": _with(),
    # Stages of an image trunk differ in shape.
    "Sluice": _with(
        last_weight=lambda trunk, _: 1.0 if "stride_4" in trunk.stages else 0.9
    ),
    "SoftSharing": _with(strength=lambda *_: 0.01),
}


def make(name: str, trunk, tasks, **kwargs) -> mtl.MultiTaskModel:
    """An architecture on a trunk and tasks, with its defaults or little else."""
    settings = SETTINGS[name](trunk, tasks, kwargs)
    return getattr(mtl.architectures, name)(trunk, tasks, **settings)


ALL = tuple(SETTINGS)
# Those in which several tasks depend on a variable.
SEARCHED = ("AdaShare", "LearningToBranch")
SEPARATE = ("Adapters", "SeparateTowers", "SoftSharing")
SHARING = tuple(name for name in ALL if name not in SEPARATE)
TRUNKS = ("mlp", "conv", "text")


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
            ("stride_4", 6, 4),
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
    return tiny_text.trunk(layers=1), tiny_text.tasks(), (None,)


def model(
    name: str, inputs: str = "mlp", compile_kwargs=None, optimizer=None, **kwargs
):
    """A built and compiled model."""
    keras.utils.set_random_seed(1)
    trunk, tasks, shape = parts(inputs)
    network = make(name, trunk, tasks, **kwargs)
    network.build(shape)
    if name in SEARCHED:
        network.set_phase("search")
    kwargs = {"balancing": mtl.balancing.Equal(), **(compile_kwargs or {})}
    # It has state, and is traced in a third of the time that Adam takes.
    optimizer = optimizer or keras.optimizers.SGD(0.01, momentum=0.9)
    network.compile(optimizer, **kwargs)
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
    made = text_batches.training_batches(
        sets,
        getattr(network, "whole", getattr(network, "trunk", None)).prepare,
        batch_size=6,
        seed=0,
        sampling=sampling.RoundRobin(),
    )
    return made.take(2).cache()


def example(kind: str):
    """Inputs as users have them."""
    return np.array(tiny_text.TEXTS) if kind == "text" else data(kind)[0]


def train(network: mtl.MultiTaskModel, kind: str = "mlp", epochs: int = 1) -> dict:
    """Fit; return the history."""
    return network.fit(batches(kind, network), epochs=epochs, verbose=0).history


def shake(network: mtl.MultiTaskModel, seed: int = 0) -> None:
    """Change all weights a little, so that nothing is equal or 0 by chance."""
    rng = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        variable.assign_add(rng.normal(0.0, 0.1, variable.shape))
