"""Exam scores in 139 schools: 139 related regressions.

Each school is a task with a few dozen pupils (Bakker and Heskes, 2003). All share one
layer and have a linear map each, under a tensor-normal prior that learns how schools
are related (Long et al., 2017). `--compare` also trains each school on its
own, under a plain L2 prior, and all together in other ways: pooled as one task; sharing
the layer; that with a plain L2 prior; and with the trace norm of the schools' weights.

The measure is explained variance: 1 less the squared error over that of the mean score,
over all pupils of the test. `STRENGTH` was chosen for each way of training on
`--validation`, a part of the training data of seeds 0 and 1. A school's loss counts by
its pupils.

    python recipes/school_drn.py                            # one run
    python recipes/school_drn.py --sharing=pooled           # or another way
    python recipes/school_drn.py --single_task=schools      # a baseline: each alone
    python recipes/school_drn.py --compare --seeds=0,1,2    # all of them, metrics.json
    python recipes/school_drn.py --validation --strength=0.01
    python recipes/school_drn.py --tiny                     # a minute, to try it

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
from mtl_zoo import training
from mtl_zoo.data import school

TASKS = ("schools",)

# Strength of the prior in each way of training; `hard` has none.
STRENGTH = {
    "related": 0.2,
    "pooled": 1e-3,
    "hard": 0.0,
    "l2": 0.3,
    "trace_norm": 3.0,
    "alone": 0.03,
}


@dataclass(frozen=True)
class Config:
    """Settings; each is a flag of the same name."""

    workdir: str = "runs/school_drn"
    data_dir: str = ""  # where the archive is; empty: the folder in MTL_ZOO_DATA
    single_task: str = ""  # "schools": no shared layer, no relations
    sharing: str = "related"  # a way of STRENGTH; --compare takes them all
    units: int = 32  # of the shared layer
    strength: float = -1.0  # of the prior; below 0: that of STRENGTH
    epsilon: float = 0.05  # share of the identity in the covariance of the schools
    update_every: int = 20  # steps between updates of the covariances
    epochs: int = 30
    batch_size: int = 256
    learning_rate: float = 1e-2
    seed: int = 0  # of the division into training and test, too
    validation: bool = False  # a fifth of the training data, instead of the test
    tiny: bool = False  # one epoch
    compare: bool = False  # all ways, and alone, for every seed of `seeds`
    seeds: tuple[int, ...] = (0,)


def build_model(config: Config) -> mtl.MultiTaskModel:
    """A shared layer, or none, and a linear map of each school."""
    if config.sharing not in STRENGTH:
        raise ValueError(
            f"Expected one of {list(STRENGTH)}. Received: sharing={config.sharing!r}"
        )
    sharing = "alone" if config.single_task else config.sharing
    plain = mtl.priors.TensorNormal(kinds=("identity",) * 3)
    priors = {
        "related": mtl.priors.TensorNormal(
            ("identity", "identity", "low_rank"), epsilon=(0.0, 0.0, config.epsilon)
        ),
        "trace_norm": mtl.priors.TraceNorm(),
    }
    counts = np.bincount(school.load(seed=config.seed, data_dir=data(config)).schools)
    weights = [1.0] if sharing == "pooled" else counts / counts.mean()
    tasks = [
        mtl.Task(
            f"school_{number}",
            mtl.heads.Regression(1, feature="layer_1"),
            keras.losses.MeanSquaredError(),
            weight=float(weight),
        )
        for number, weight in enumerate(weights)
    ]
    shared = keras.layers.Dense(config.units, activation="relu")
    layer = keras.layers.Identity() if sharing == "alone" else shared
    model = mtl.architectures.DeepRelationship(
        mtl.trunks.Trunk({"layer_1": layer}),
        tasks,
        feature="layer_1",
        prior=priors.get(sharing, plain),
        strength=STRENGTH[sharing] if config.strength < 0 else config.strength,
        update_every=config.update_every,
        name="school_drn",
    )
    model.build((None, school.FEATURES))
    return model


def data(config: Config) -> str | None:
    """Where the archive is."""
    return config.data_dir or None


def fitted_on(config: Config) -> str:
    """The split that a run trains on."""
    return "train" if config.validation else "train_and_validation"


def load(split: str, config: Config) -> school.Pupils:
    """The pupils of a split, features and scores scaled by those of the training."""
    train = school.load(fitted_on(config), config.seed, data(config))
    found = school.load(split, config.seed, data(config))
    deviations = np.maximum(train.features.std(axis=0), 1e-6)
    return replace(
        found,
        features=(found.features - train.features.mean(axis=0)) / deviations,
        scores=(found.scores - train.scores.mean()) / train.scores.std(),
    )


def batches(pupils: school.Pupils, names: tuple[str, ...], config: Config) -> Any:
    """Shuffled batches: a pupil has a label for the task of its school."""

    def labelled(inputs: Any, score: Any, number: Any) -> tuple:
        labels = dict.fromkeys(names, tf.expand_dims(score, -1))
        if len(names) == 1:
            return inputs, labels
        mine = tf.one_hot(number, len(names))
        weights = dict(zip(names, tf.unstack(mine, axis=1), strict=True))
        return inputs, labels, weights

    arrays = (pupils.features, pupils.scores, pupils.schools)
    return (
        tf.data.Dataset.from_tensor_slices(arrays)
        .shuffle(len(pupils.scores), seed=config.seed)
        .batch(config.batch_size, drop_remainder=True)
        .map(labelled)
        .prefetch(2)
    )


def fit(config: Config) -> mtl.MultiTaskModel:
    """Train for a fixed number of epochs."""
    keras.utils.set_random_seed(config.seed)
    model = build_model(config)
    train = batches(load(fitted_on(config), config), model.task_names, config)
    epochs = 1 if config.tiny else config.epochs
    schedule = keras.optimizers.schedules.CosineDecay(
        config.learning_rate, epochs * int(train.cardinality())
    )
    model.compile(keras.optimizers.Adam(schedule))
    model.fit(train, epochs=epochs, verbose=0)
    return model


def explained(model: mtl.MultiTaskModel, config: Config, split: str) -> dict[str, dict]:
    """Return the explained variance over the pupils of all schools."""
    pupils = load(split, config)
    outputs = model.predict(pupils.features, batch_size=512, verbose=0)
    every = np.concatenate([outputs[name] for name in model.task_names], axis=-1)
    numbers = pupils.schools if every.shape[1] > 1 else np.zeros_like(pupils.schools)
    found = every[np.arange(len(numbers)), numbers]
    error = np.mean((found - pupils.scores) ** 2)
    return {"schools": {"explained_variance": float(1 - error / pupils.scores.var())}}


def evaluate(model: mtl.MultiTaskModel, config: Config) -> dict[str, dict]:
    """Return the explained variance on the test split."""
    return explained(model, config, "test")


def train(config: Config) -> dict[str, Any]:
    """One run: train for a fixed number of epochs, read the test split once."""
    model = fit(config)
    Path(config.workdir).mkdir(parents=True, exist_ok=True)
    model.save(Path(config.workdir) / "model.keras")
    return {
        "test": evaluate(model, config),
        "directions": {"schools": {"explained_variance": "up"}},
    }


def run(config: Config) -> dict[str, Any]:
    """One run, or the comparison of all ways with the baseline."""
    if config.validation:
        return {"validation": explained(fit(config), config, "validation")}
    if not config.compare:
        return train(config)
    return training.study(
        train,
        replace(config, compare=False, sharing="related"),
        TASKS,
        config.seeds,
        recipe="school_drn",
        split="test: a quarter of each school's pupils",
        example=np.zeros((1, school.FEATURES), "float32"),
        variants={
            name: {"sharing": name} for name in ("pooled", "hard", "l2", "trace_norm")
        },
    )


if __name__ == "__main__":
    training.main(run, Config)
