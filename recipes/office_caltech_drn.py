"""Ten kinds of things in four kinds of pictures, with few labels: related or not?

Office-Caltech10 with 5, 10 or 20 % of the images for training, by the published lists:
a shared layer, and a linear classifier of each domain under a tensor-normal prior that
learns how the domains are related (Long et al., 2017); with `--relations=all` also how
features and classes are, and `--own_units` puts a hidden layer of each domain's own
before its classifier, related too. `--compare` also trains each domain alone, and all
of them in other ways: pooled as one task; sharing the layer; that with a plain L2
prior; and with the trace norm of the domains' weights.

The inputs are histograms of SURF words, in training with half of each image's words,
drawn anew each time; or with `--inputs=images` what a frozen
EfficientNet-Lite0 makes of the images, computed once; `--fine_tune=EPOCHS` trains that
too, after the layers on it.

All runs take the same number of steps. Settings of all ways were chosen on folds of the
20 % training lists (`--validation` prints the mean accuracy of all four), where one
percent is within what chance does; the other lists have the same. The classifiers start
at 0 under the learned prior and equal elsewhere, each the better one on validation.

    python recipes/office_caltech_drn.py                          # one run
    python recipes/office_caltech_drn.py --inputs=images          # from the images
    python recipes/office_caltech_drn.py --sharing=pooled         # or another way
    python recipes/office_caltech_drn.py --single_task=webcam     # a baseline
    python recipes/office_caltech_drn.py --compare --percent=5 --seeds=0,1,2,3,4
    python recipes/office_caltech_drn.py --validation --strength=0.01
    python recipes/office_caltech_drn.py --sweep                  # strength, interval
    python recipes/office_caltech_drn.py --tiny                   # seconds, to try it

Results, time and device: saved_models/office-efficientnet_lite0-drn/README.md.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo import evaluation, training
from mtl_zoo.data import office_caltech

TASKS = office_caltech.DOMAINS

# Strength of the prior in each way of training; `hard` has none.
WAYS = ("related", "pooled", "hard", "l2", "trace_norm")
STRENGTH = {
    "surf": dict(zip(WAYS, (1e-3, 1e-5, 0.0, 1e-4, 1e-3), strict=True)),
    "images": dict(zip(WAYS, (1e-3, 1e-5, 0.0, 1e-4, 1e-3), strict=True)),
}

EPSILON = {"surf": 0.05, "images": 0.2}  # share of the identity between the tasks

# What --sweep tries.
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
INTERVALS = (5, 20, 80)

# Of the covariances of features, classes and tasks.
KINDS = {
    "tasks": ("identity", "identity", "full"),
    "all": ("low_rank", "full", "full"),
}

# Channels of the inputs of the shared layer.
CHANNELS = {"surf": 800, "images": 1280}
UNITS = {"surf": 512, "images": 256}  # of the shared layer
WEIGHT_DECAY = {"surf": 5.0, "images": 0.0}  # of AdamW, times the rate a step
IMAGE_SIZE = 224


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/office_caltech_drn"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # a domain trains that alone
    percent: int = 20  # 5, 10 or 20: which training lists
    inputs: str = "surf"  # or "images"
    features: str = "runs/office_caltech_features.npz"  # of the images, kept here
    fine_tune: int = 0  # epochs over the images with the trunk, behind the others
    fine_tune_rate: float = 1e-4  # learning rate of those
    sharing: str = "related"  # one of WAYS; --compare takes them all
    own_units: int = 0  # of a hidden layer of each domain's own; 0: none
    dropout: float = 0.5
    words_kept: float = 0.5  # share of the SURF words of an image, drawn in training
    strength: float = -1.0  # of the prior; below 0: that of STRENGTH
    relations: str = "tasks"  # or "all": of features and classes, too
    epsilon: float = -1.0  # of the covariance of the tasks; below 0: that of EPSILON
    update_every: int = 20  # steps between updates of the covariances
    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    validation: bool = False  # folds of the training lists, instead of the test
    sweep: bool = False  # that for STRENGTHS and INTERVALS
    tiny: bool = False  # two steps
    compare: bool = False  # all ways and each domain alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def names(config: Config) -> tuple[str, ...]:
    """The tasks of a model: the domains, one of them, or all as one."""
    if config.single_task:
        return (config.single_task,)
    return ("pooled",) if config.sharing == "pooled" else TASKS


def build_model(config: Config) -> mtl.MultiTaskModel:
    """The whole model, from what a user has."""
    return network(config, pixels=config.inputs == "images")


def network(config: Config, *, pixels: bool) -> mtl.MultiTaskModel:
    """A shared layer, and what each task has on it, perhaps on an image trunk.

    Each domain alone, and all as one, have a plain L2 prior too.
    """
    checked = (
        (config.sharing, WAYS),
        (config.inputs, tuple(STRENGTH)),
        (config.relations, tuple(KINDS)),
    )
    for given, known in checked:
        if given not in known:
            raise ValueError(f"Expected one of {known}. Received: {given!r}")
    plain = mtl.priors.TensorNormal(kinds=("identity",) * 3)
    epsilon = EPSILON[config.inputs] if config.epsilon < 0 else config.epsilon
    priors = {
        "related": mtl.priors.TensorNormal(
            KINDS[config.relations], epsilon=(0.5, 0.5, epsilon)
        ),
        "trace_norm": mtl.priors.TraceNorm(),
    }
    sharing = "pooled" if config.single_task else config.sharing
    usual = STRENGTH[config.inputs][sharing]
    tasks = [
        mtl.Task(
            name,
            mtl.heads.Classification(
                len(office_caltech.CLASSES),
                feature="layer_1",
                class_names=office_caltech.CLASSES,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        )
        for name in names(config)
    ]
    trunk = mtl.trunks.mlp([UNITS[config.inputs]], dropout=config.dropout)
    model = mtl.architectures.DeepRelationship(
        on_images(trunk) if pixels else trunk,
        tasks,
        feature="layer_1",
        units=[config.own_units] if config.own_units else [],
        dropout=config.dropout,
        prior=priors.get(sharing, plain),
        strength=usual if config.strength < 0 else config.strength,
        update_every=config.update_every,
        zero_heads=sharing == "related",
        name="office_caltech_drn",
    )
    side = (IMAGE_SIZE, IMAGE_SIZE, 3)
    model.build((None, *side) if pixels else (None, CHANNELS[config.inputs]))
    return model


def on_images(top: mtl.trunks.Trunk) -> mtl.trunks.Trunk:
    """A trunk on the pooled channels of EfficientNet-Lite0."""
    return mtl.trunks.Trunk(
        {
            **mtl.trunks.efficientnet_lite0().stages,
            "pooled": keras.layers.GlobalAveragePooling2D(),
            **top.stages,
        },
        freeze_batch_norm=True,
        name="efficientnet_lite0",
    )


def words(surf: Any) -> Any:
    """Roots of the shares of the visual words, whose distance is Hellinger's.

    Their mean square is 1. Scaled by its own deviation, each word would count the same,
    which cost the learned relations two points on validation.
    """
    total = tf.reduce_sum(surf, axis=1, keepdims=True)
    return tf.sqrt(surf / tf.maximum(total, 1.0) * surf.shape[1])


@functools.cache
def mean_of_words(percent: int, folder: str | None) -> np.ndarray:
    """Mean of each word over the training lists of all domains."""
    found = office_caltech.load("train", percent, 0, folder).values()
    return words(np.concatenate([domain.surf for domain in found])).numpy().mean(axis=0)


def pooled_features(config: Config) -> dict[tuple[str, str], np.ndarray]:
    """What the frozen trunk makes of each image, by domain and name; kept in a file."""
    path = Path(config.features)
    if not path.exists():
        stages = on_images(mtl.trunks.mlp([1])).stages
        frozen = keras.Sequential(list(stages.values())[:-1])
        found: dict[str, list] = {"domains": [], "names": [], "features": []}
        splits = [
            office_caltech.load(s, 20, 0, data(config)) for s in ("train", "test")
        ]
        for domain, part in [pair for split in splits for pair in split.items()]:
            pictures = office_caltech.images(domain, part.ids, IMAGE_SIZE, data(config))
            found["domains"] += [domain] * len(part.ids)
            found["names"] += part.ids
            found["features"] += list(frozen.predict(pictures, 16, verbose=0))
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial-{path.name}")
        np.savez(partial, **found)
        partial.replace(path)
    with np.load(path) as kept:
        keys = zip(kept["domains"].tolist(), kept["names"].tolist(), strict=True)
        return dict(zip(keys, kept["features"], strict=True))


def data(config: Config) -> str | None:
    """Where the archive is."""
    return config.data_dir or None


def inputs_of(
    found: dict[str, office_caltech.Domain], config: Config, pixels: bool
) -> np.ndarray:
    """Pictures, their features, or histograms, of some domains in their order."""
    if config.inputs == "surf":
        return np.concatenate([domain.surf for domain in found.values()])
    if pixels:
        made = [
            office_caltech.images(name, domain.ids, IMAGE_SIZE, data(config))
            for name, domain in found.items()
        ]
        return np.concatenate(made).round().astype("uint8")
    kept = pooled_features(config)
    return np.stack(
        [kept[name, i] for name, domain in found.items() for i in domain.ids]
    )


def arrays(
    split: str, config: Config, fold: int = 0, pixels: bool = False
) -> tuple[Any, dict, dict]:
    """Inputs, labels and weights: an image has a label for the task of its domain."""
    found = office_caltech.load(split, config.percent, fold, data(config))
    if config.single_task:
        found = {config.single_task: found[config.single_task]}
    labels = np.concatenate([domain.labels for domain in found.values()])
    counts = [len(domain.labels) for domain in found.values()]
    where = np.repeat(list(found), counts)
    weights = {
        name: np.ones(len(labels), "float32")
        if name == "pooled"
        else (where == name).astype("float32")
        for name in names(config)
    }
    return inputs_of(found, config, pixels), dict.fromkeys(weights, labels), weights


def batched(
    samples: tuple, size: int, config: Config, *, train: bool = False
) -> tf.data.Dataset:
    """Batches of what `arrays` returns, in training shuffled and without end.

    The words of a histogram are then thinned: each that was found in the image is kept
    by chance, anew each time that the image comes.
    """
    data_set = tf.data.Dataset.from_tensor_slices(samples)
    if train:
        data_set = data_set.shuffle(len(samples[0]), seed=config.seed).repeat()
    batches = data_set.batch(size)
    if config.inputs == "surf":
        mean = mean_of_words(config.percent, data(config))
        draws = tf.data.Dataset.random(config.seed).batch(2)

        def read(batch: tuple, draw: Any) -> tuple:
            found, *rest = batch
            if train and config.words_kept < 1:
                kept = tf.random.stateless_binomial(
                    tf.shape(found), draw, found, config.words_kept, tf.float32
                )
                found = tf.ensure_shape(kept, found.shape)
            return words(found) - mean, *rest

        batches = tf.data.Dataset.zip(batches, draws).map(read)
    return batches.prefetch(2)


def fit(config: Config, split: str, fold: int = 0) -> mtl.MultiTaskModel:
    """Train on a split for a fixed number of steps."""
    keras.utils.set_random_seed(config.seed)
    model = network(config, pixels=False)
    epochs, steps = (1, 2) if config.tiny else (10, config.steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * steps
    )
    optimizer = keras.optimizers.AdamW(
        schedule, weight_decay=WEIGHT_DECAY[config.inputs]
    )
    train_on(model, arrays(split, config, fold), epochs, steps, optimizer, config)
    return model


def with_images(
    small: mtl.MultiTaskModel, config: Config, split: str, fold: int = 0
) -> mtl.MultiTaskModel:
    """Put trained layers on the image trunk that they are for; perhaps fine-tune."""
    full = network(config, pixels=True)
    move(small, full)
    if config.fine_tune:
        images = arrays(split, config, fold, pixels=True)
        steps = 2 if config.tiny else -(-len(images[0]) // config.batch_size)
        schedule = keras.optimizers.schedules.CosineDecay(
            config.fine_tune_rate, config.fine_tune * steps
        )
        optimizer = keras.optimizers.Adam(schedule)
        train_on(full, images, config.fine_tune, steps, optimizer, config)
    return full


def train_on(
    model: mtl.MultiTaskModel,
    samples: tuple,
    epochs: int,
    steps: int,
    optimizer: keras.optimizers.Optimizer,
    config: Config,
) -> None:
    """Train; the relations that are learned are drawn in the folder of the run."""
    model.compile(optimizer)
    batches = batched(samples, config.batch_size, config, train=True)
    related = config.sharing == "related" and not config.single_task
    folder = Path(config.workdir) / "relations"
    callbacks = [training.Relations(folder)] if related else []
    model.fit(
        batches, epochs=epochs, steps_per_epoch=steps, verbose=0, callbacks=callbacks
    )


def move(small: mtl.MultiTaskModel, full: mtl.MultiTaskModel) -> None:
    """Give a model on images the layers and priors of one on their features."""
    pairs = [(small.trunk.stages["layer_1"], full.trunk.stages["layer_1"])]
    pairs += zip(small.priors, full.priors, strict=True)
    for name in small.task_names:
        at = small.task_names.index(name)
        pairs += zip(small.towers[at], full.towers[at], strict=True)
        pairs += [(small.tasks[at].head, full.tasks[at].head)]
    for source, target in pairs:
        target.set_weights(source.get_weights())


def accuracy(
    model: mtl.MultiTaskModel,
    config: Config,
    split: str,
    fold: int = 0,
    pixels: bool = False,
) -> dict[str, dict]:
    """Return the accuracy in each domain."""
    if "pooled" not in model.task_names:
        samples = arrays(split, config, fold, pixels)
        return evaluation.evaluate(model, batched(samples, 64, config))
    found = {}
    for name in TASKS:
        alone = replace(config, single_task=name)
        inputs, labels, _ = arrays(split, alone, fold, pixels)
        samples = (inputs, {"pooled": labels[name]})
        found[name] = evaluation.evaluate(model, batched(samples, 64, config))["pooled"]
    return found


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the accuracy in each domain on the test split."""
    return accuracy(model, config, "test", pixels=config.inputs == "images")


def train(config: Config) -> dict[str, Any]:
    """One run: train for a fixed number of steps, read the test split once."""
    model = fit(config, "train")
    # On frozen features the whole network gives the same, and takes longer.
    test = {} if config.fine_tune else accuracy(model, config, "test")
    if config.inputs == "images":
        model = with_images(model, config, "train")
        model.compile()
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.save(Path(config.workdir) / "model.keras")
    test = test or evaluate(model, config)
    return {"test": test, "directions": {name: {"accuracy": "up"} for name in test}}


def validate(config: Config) -> dict[str, Any]:
    """Return the mean accuracy over the folds of the training lists."""
    found = []
    for fold in range(office_caltech.FOLDS):
        keras.backend.clear_session()
        model = fit(config, "train_fold", fold)
        if config.fine_tune:
            model = with_images(model, config, "train_fold", fold)
        pixels = config.fine_tune > 0
        result = accuracy(model, config, "validation", fold, pixels)
        found.append(statistics.mean(one["accuracy"] for one in result.values()))
    return {"validation": {"accuracy": statistics.mean(found), "folds": found}}


def sweep(config: Config) -> dict[str, Any]:
    """Return the mean accuracy over the folds by strength of the prior and interval."""
    found: dict[str, dict[str, float]] = {}
    for strength in STRENGTHS:
        for every in INTERVALS:
            one = replace(config, strength=strength, update_every=every)
            accuracies = validate(one)["validation"]["accuracy"]
            found.setdefault(str(strength), {})[str(every)] = accuracies
    return {"validation": found}


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the single-task baselines."""
    if config.sweep:
        return sweep(config)
    if config.validation:
        return validate(config)
    if not config.compare:
        return train(config)
    images = config.inputs == "images"
    shape = (IMAGE_SIZE, IMAGE_SIZE, 3) if images else (CHANNELS["surf"],)
    return training.study(
        train,
        replace(config, compare=False, sharing="related"),
        TASKS,
        config.seeds,
        recipe="office_caltech_drn",
        split=f"test of the {config.percent} % lists",
        example=np.zeros((1, *shape), "float32"),
        variants={name: {"sharing": name} for name in WAYS if name != "related"},
    )


if __name__ == "__main__":
    training.main(run, Config)
