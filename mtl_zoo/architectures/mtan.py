"""Multi-task attention network: each task attends to the shared features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from mtl_zoo.architectures.copies import last_kernel, run_stages
from mtl_zoo.architectures.gates import summary
from mtl_zoo.architectures.on_trunk import OwnNecks
from mtl_zoo.architectures.towers import check_stages
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Attention(keras.layers.Layer):
    """A soft mask on the channels at each position, and what it hands on.

    `a = mask * x` with `mask = sigmoid(V relu(norm(U [x, carried])))`, and
    `relu(norm(W a))` is carried to the next stage; on images `W` is a convolution over
    3 x 3 pixels.

    Args:
        units: Channels inside the mask's network. Defaults to `None`: those of the
            features.
        carries: Whether a stage comes behind. Defaults to `True`.

    Call arguments:
        features: float `(batch, ..., channels)`, the shared ones.
        carried: What the stage before carried, float `(batch, ..., any)` at the same
            positions. Defaults to `None`.

    Returns:
        The attended features and what is carried, both like `features`; the latter is
        `None` where no stage comes behind.
    """

    def __init__(
        self, units: int | None = None, carries: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.carries = carries

    def build(self, features_shape: Any, carried_shape: Any = None) -> None:
        channels = features_shape[-1]
        before = 0 if carried_shape is None else carried_shape[-1]
        units = self.units or channels
        dense, norm = keras.layers.Dense, keras.layers.LayerNormalization
        policy = self.dtype_policy
        self.inner = dense(units, use_bias=False, dtype=policy, name="inner")
        self.inner_norm = norm(dtype=policy, name="inner_norm")
        self.mask = dense(channels, activation="sigmoid", dtype=policy, name="mask")
        self.inner.build((*features_shape[:-1], channels + before))
        self.inner_norm.build((*features_shape[:-1], units))
        self.mask.build((*features_shape[:-1], units))
        if not self.carries:
            return
        images = len(features_shape) == 4
        self.carry: keras.layers.Layer = (
            keras.layers.Conv2D(
                channels, 3, padding="same", use_bias=False, dtype=policy, name="carry"
            )
            if images
            else dense(channels, use_bias=False, dtype=policy, name="carry")
        )
        self.carry_norm = norm(dtype=policy, name="carry_norm")
        self.carry.build(features_shape)
        self.carry_norm.build(features_shape)

    def call(self, features: Any, carried: Any = None) -> tuple[Any, Any]:
        seen = features if carried is None else ops.concatenate([features, carried], -1)
        attended = self.mask(ops.relu(self.inner_norm(self.inner(seen)))) * features
        if not self.carries:
            return attended, None
        return attended, ops.relu(self.carry_norm(self.carry(attended)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "carries": self.carries}


@keras.saving.register_keras_serializable(package="mtl_zoo")
class MTAN(OwnNecks):
    """Each task reads the shared features through attention masks of its own.

    Behind each chosen stage, a small network of the task makes a mask from the shared
    state and from what it made of the stage before (Liu et al., 2019). Heads find the
    attended features under the names of the stages; each task has a neck of its own.
    What changes against the paper: a mask reads the output of a stage, not a layer
    inside it too; layer normalisation stands for batch normalisation, since a task may
    have labels for a part of the batch; and what is carried is resized to the next
    stage rather than pooled.

    Args:
        trunk: The shared `Trunk`.
        tasks: The tasks.
        stages: Names of the stages that tasks attend to. Defaults to `None`: all.
        units: Channels inside the masks' networks. Defaults to `None`: those of each
            stage.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When a stage is not there.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Regression(1, feature="layer_2"),
        ...         keras.losses.MeanSquaredError(),
        ...     )
        ...     for name in ("height", "age")
        ... ]
        >>> model = MTAN(mtl.trunks.mlp([8, 4]), tasks)
        >>> {name: tuple(x.shape) for name, x in model(keras.ops.ones((2, 5))).items()}
        {'height': (2, 1), 'age': (2, 1)}

    Reference:
        - [Liu et al., 2019](https://arxiv.org/abs/1803.10704)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        stages: Iterable[str] | None = None,
        units: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if units is not None and units < 1:
            raise ValueError(f"`units` must be positive or None. Received: {units}")
        self.chosen = check_stages(stages, tuple(trunk.stages))
        self.units = units
        self.attentions = [
            [
                Attention(
                    units, stage != self.chosen[-1], name=f"attend_{name}_{stage}"
                )
                for stage in self.chosen
            ]
            for name in self.task_names
        ]

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        given = dict(inputs) if isinstance(inputs, Mapping) else {}
        return {**given, **run_stages(self.whole.stages, inputs, training)}

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        outputs = {}
        for task in self.wanted(tasks):
            own = self.attentions[self.task_names.index(task.name)]
            seen, carried = dict(features), None
            for name, attention in zip(self.chosen, own, strict=True):
                state = features[name]
                if carried is not None:
                    carried = _at_positions_of(state, carried)
                seen[name], carried = attention(state, carried)
            seen = self.through_neck(task.name, seen, training)
            outputs[task.name] = task.head(seen, training=training)
        return outputs

    def sharing(self) -> Sharing:
        found, count = Sharing(self.task_names), len(self.tasks)
        source = found.add("inputs", "inputs", 0, 0)
        before = [""] * count
        for column, stage in enumerate(self.whole.stages, start=1):
            name = found.add(stage, stage, column, 0)
            found.read(source, name)
            source = name
            if stage not in self.chosen:
                continue
            for row, task in enumerate(self.task_names):
                mask = found.add(
                    f"{task}/{stage}", "attention", column + 1, row + 1, task
                )
                found.read(name, mask)
                if before[row]:
                    found.read(before[row], mask)
                before[row] = mask
        end = len(self.whole.stages) + 2
        for row, task in enumerate(self.task_names):
            head = found.add(f"head_{task}", task, end, row + 1, task)
            found.read(before[row], head)
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        return [
            v for stage in self.whole.stages.values() for v in stage.trainable_variables
        ]

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        return last_kernel(self.shared_variables)

    def task_variables(self, name: str) -> list[keras.Variable]:
        attentions = self.attentions[self.task_names.index(name)]
        return [
            *(v for one in attentions for v in one.trainable_variables),
            *super().task_variables(name),
        ]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "stages": self.chosen, "units": self.units}


def _at_positions_of(state: Any, carried: Any) -> Any:
    """Return what is carried at the positions of a state of another size."""
    if len(state.shape) != len(carried.shape):
        return summary(carried)
    if len(state.shape) != 4:
        return carried
    # keras.ops.image.resize takes no size that is known only when it runs.
    resized = tf.image.resize(carried, tf.shape(state)[1:3])
    return ops.cast(resized, carried.dtype)
