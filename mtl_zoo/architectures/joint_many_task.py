"""A hierarchy of tasks: each at its own depth, reading the labels of those below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.architectures.copies import last_kernel
from mtl_zoo.architectures.on_trunk import BETWEEN, OwnNecks, features_of
from mtl_zoo.sharing import Sharing
from mtl_zoo.task import Task
from mtl_zoo.trunks.trunk import Trunk

JOINS = ("add", "concatenate")
RAW = "raw"


@keras.saving.register_keras_serializable(package="mtl_zoo")
class JointManyTask(OwnNecks):
    """Simple tasks on early stages, and their predicted labels read by later stages.

    A task's level is a stage of the trunk. The stage behind a level reads, besides the
    output `h` of the stage below, the output `x` of the first stage again (the word
    embeddings of a text; shortcut connections) and the labels of lower tasks: of each,
    the embeddings of its labels weighted by their predicted probabilities,
    `y = sum_j p(j) e_j` (Hashimoto et al., 2017, section 2.3). Gradients of higher
    tasks flow through the probabilities too.

    As published, the stage reads the concatenation `[h; x; y]`, and is a bidirectional
    LSTM (`trunks.bilstm`). Stages of a given width, such as pretrained ones, read
    `h + W x + y`, where the embeddings and `W` start at 0, so that a pretrained trunk
    starts as it is.

    Labels go where they belong: those of a word to its first piece, those of a text to
    all its pieces; label maps are sampled to the size of the stage's input, by the
    nearest pixel, and averaged where that is a vector.

    A task reads the features of its level and below; the name of the trunk's last stage
    also stands for that of its level, so that a head keeps what it reads wherever its
    task is put.

    Args:
        trunk: The `Trunk`.
        tasks: The tasks.
        levels: `{task: stage}`. Tasks that are left out are at the last stage.
        labels: `{stage: names of tasks}`, whose labels the stage reads; they are at
            stages below, and their heads have `label_probabilities`. Defaults to all
            such tasks for each stage behind a level.
        join: `"add"` or `"concatenate"`. Defaults to `"add"`.
        label_units: Width of the embeddings of labels that are concatenated. Defaults
            to `100`.
        shortcut: Whether the stage behind a level reads the first stage again. Defaults
            to `True`.
        name: Optional name of the model.

    Raises:
        TypeError: When `trunk` is no `Trunk`.
        ValueError: When there is no task or stage of a name, or a stage can not read
            the labels of a task.

    Example:
        >>> import mtl_zoo as mtl
        >>> tasks = [
        ...     mtl.Task(
        ...         name,
        ...         mtl.heads.Classification(3, feature="layer_2"),
        ...         keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ...     )
        ...     for name in ("shape", "digit")
        ... ]
        >>> model = JointManyTask(
        ...     mtl.trunks.mlp([8, 8]), tasks, levels={"shape": "layer_1"}
        ... )
        >>> model.labels
        {'layer_2': ('shape',)}
        >>> outputs = model(keras.ops.ones((2, 4)))
        >>> {name: tuple(output.shape) for name, output in outputs.items()}
        {'shape': (2, 3), 'digit': (2, 3)}

    Reference:
        - [Hashimoto et al., 2017](https://arxiv.org/abs/1611.01587)
    """

    def __init__(
        self,
        trunk: Trunk,
        tasks: Iterable[Task],
        levels: Mapping[str, str] | None = None,
        labels: Mapping[str, Iterable[str]] | None = None,
        join: str = "add",
        label_units: int = 100,
        shortcut: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(trunk, tasks, **kwargs)
        if join not in JOINS or label_units < 1:
            raise ValueError(
                f"`join` must be one of {JOINS} and `label_units` at least 1. "
                f"Received: join={join!r}, label_units={label_units}"
            )
        self.stage_names = tuple(trunk.stages)
        self.join = join
        self.label_units = label_units
        self.shortcut = shortcut
        self.levels = self._checked_levels(levels or {})
        self.labels = self._checked_labels(labels)
        self.sources = tuple(
            name
            for name in self.task_names
            if any(name in read for read in self.labels.values())
        )
        self._joins: dict[str, StageInput] = {}
        for stage in self.stage_names[1:]:
            again = self._reads_again(stage)
            if again or stage in self.labels:
                read = self.labels.get(stage, ())
                self._joins[stage] = StageInput(
                    read, again, join, label_units, name=f"input_of_{stage}"
                )
        self.joins = list(self._joins.values())

    def _checked_levels(self, levels: Mapping[str, str]) -> dict[str, str]:
        unknown = [name for name in levels if name not in self.task_names]
        unknown += [stage for stage in levels.values() if stage not in self.stage_names]
        if unknown:
            raise ValueError(
                f"`levels` are stages of {self.stage_names} for tasks of "
                f"{self.task_names}. Received: {dict(levels)}"
            )
        return {
            name: levels.get(name, self.stage_names[-1]) for name in self.task_names
        }

    def _checked_labels(
        self, labels: Mapping[str, Iterable[str]] | None
    ) -> dict[str, tuple[str, ...]]:
        can = [t.name for t in self.tasks if hasattr(t.head, "label_probabilities")]
        below = {
            stage: [n for n in can if self._depth(self.levels[n]) < self._depth(stage)]
            for stage in self.stage_names
        }
        if labels is None:
            found = {s: tuple(below[s]) for s in self.stage_names if self._begins(s)}
        else:
            found = {stage: tuple(names) for stage, names in labels.items()}
        for stage, names in found.items():
            if not set(names) <= set(below.get(stage, ())):
                raise ValueError(
                    "A stage reads labels of tasks at stages below it whose heads have "
                    f"`label_probabilities`. Those are {below}. Received: labels of "
                    f"{names} for {stage!r}"
                )
        return {stage: names for stage, names in found.items() if names}

    def _depth(self, stage: str) -> int:
        return self.stage_names.index(stage)

    def _begins(self, stage: str) -> bool:
        """Whether a level ends right below a stage, and some task is above."""
        below = self._depth(stage) - 1
        return below >= 0 and self.stage_names[below] in self.levels.values()

    def _reads_again(self, stage: str) -> bool:
        return self.shortcut and self._begins(stage) and self._depth(stage) > 1

    def encode(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Return the features of stages and, as `<task>__<feature>`, of tasks' necks.

        What heads say whose labels are read is `<task>__raw`, or `<task>__raw__<part>`.
        """
        given = dict(inputs) if isinstance(inputs, Mapping) else {}
        found = dict(given)
        chances: dict[str, Any] = {}
        x = inputs
        for stage, layer in self.whole.stages.items():
            if stage in self._joins:
                read = {name: chances[name] for name in self.labels.get(stage, ())}
                parts = {n: at_positions(p, x, given) for n, p in read.items()}
                first = at_positions(found[self.stage_names[0]], x, {})
                x = self._joins[stage]({BELOW: x, AGAIN: first, **parts})
            found[stage] = x = layer(x, training=training)
            for task in self.tasks:
                if self.levels[task.name] != stage:
                    continue
                seen = self._seen(task.name, found)
                of_neck = self.through_neck(task.name, seen, training)
                new = {n: value for n, value in of_neck.items() if n not in seen}
                if task.name in self.sources:
                    raw = task.head(of_neck, training=training)
                    chances[task.name] = task.head.label_probabilities(raw)
                    new = (
                        {RAW: raw}
                        if not isinstance(raw, Mapping)
                        else {f"{RAW}{BETWEEN}{n}": value for n, value in raw.items()}
                    )
                found.update(
                    {f"{task.name}{BETWEEN}{n}": value for n, value in new.items()}
                )
        return found

    def decode(
        self,
        features: dict,
        training: bool | None = None,
        tasks: Iterable[str] | None = None,
    ) -> dict[str, Any]:
        outputs = {}
        for task in self.wanted(tasks):
            own = features_of(task.name, features)
            if task.name in self.sources:
                outputs[task.name] = own.get(RAW, features_of(RAW, own))
            else:
                seen = {**self._seen(task.name, features), **own}
                outputs[task.name] = task.head(seen, training=training)
        return outputs

    def _seen(self, name: str, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features up to a task's level, which is the last of its stages."""
        level, last = self.levels[name], self.stage_names[-1]
        hidden = {*self.stage_names[self._depth(level) + 1 :], last}
        seen = {n: x for n, x in found.items() if BETWEEN not in n and n not in hidden}
        if level in found:  # An export hands on what is read, and no more.
            seen[last] = found[level]
        return seen

    def sharing(self) -> Sharing:
        found = Sharing(self.task_names)
        row = len(self.tasks)
        before = found.add("inputs", "inputs", 0, row)
        for at, stage in enumerate(self.stage_names):
            found.add(stage, stage, 2 * at + 1, row)
            found.read(before, stage)
            before = stage
            if self._reads_again(stage):
                found.read(self.stage_names[0], stage)
            for name in self.labels.get(stage, ()):
                found.read(f"labels_{name}", stage)
            for name in self.sources:
                if self.levels[name] == stage:
                    place = self.task_names.index(name)
                    part = found.add(
                        f"labels_{name}", f"labels of {name}", 2 * at + 2, place, name
                    )
                    found.read(stage, part)
        ends = [self.levels[name] for name in self.task_names]
        found.add_heads(ends, 2 * len(self.stage_names) + 1)
        return found

    @property
    def shared_variables(self) -> list[keras.Variable]:
        """Those of stages and of what is between them: labels, and their heads."""
        layers = [*self.whole.stages.values(), *self.joins]
        found = [v for layer in layers for v in layer.trainable_variables]
        for name in self.sources:
            found += super().task_variables(name)
        return found

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """The last kernel at or below the lowest level, which all tasks depend on."""
        lowest = min(self._depth(stage) for stage in self.levels.values())
        stages = list(self.whole.stages.values())[: lowest + 1]
        return last_kernel(v for stage in stages for v in stage.trainable_variables)

    def task_variables(self, name: str) -> list[keras.Variable]:
        """Those of the neck and head; none where stages read the task's labels."""
        return [] if name in self.sources else super().task_variables(name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "labels": {stage: list(names) for stage, names in self.labels.items()},
            "join": self.join,
            "label_units": self.label_units,
            "shortcut": self.shortcut,
        }


BELOW, AGAIN = "below__", "again__"


class StageInput(keras.layers.Layer):
    """What the stage behind a level reads.

    Args:
        tasks: Names of the tasks whose labels it reads.
        again: Whether it reads the first stage again.
        join: `"add"` or `"concatenate"`.
        label_units: Width of the embeddings of labels that are concatenated.

    Call arguments:
        inputs: `{BELOW: (batch, ..., width), AGAIN: (batch, ..., channels), task:
            (batch, ..., labels)}`, alike but for the last axis.

    Returns:
        `(batch, ..., width)`, or wider by what is concatenated.
    """

    def __init__(
        self,
        tasks: Iterable[str],
        again: bool,
        join: str,
        label_units: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tasks = tuple(tasks)
        self.again = again
        self.join = join
        self.label_units = label_units
        # The first stage again, where it is added.
        self.projected = (*([AGAIN] if again and join == "add" else []), *self.tasks)

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Creates the embeddings, for labels and widths of the inputs."""
        adds = self.join == "add"
        units = input_shape[BELOW][-1] if adds else self.label_units
        self.embeddings = [
            keras.layers.Dense(
                units,
                use_bias=False,
                kernel_initializer="zeros" if adds else "glorot_uniform",
                dtype=self.dtype_policy,
                name="again" if name == AGAIN else f"labels_of_{name}",
            )
            for name in self.projected
        ]
        for name, layer in zip(self.projected, self.embeddings, strict=True):
            layer.build(input_shape[name])

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Returns all that is read, as one."""
        read = [
            layer(inputs[name])
            for name, layer in zip(self.projected, self.embeddings, strict=True)
        ]
        if self.join == "add":
            return sum(read, inputs[BELOW])
        again = [inputs[AGAIN]] if self.again else []
        return ops.concatenate([inputs[BELOW], *again, *read], axis=-1)


def at_positions(values: Any, like: Any, given: Mapping[str, Any]) -> Any:
    """Return values at the positions of `like`: words, pixels, or one a sample.

    Args:
        values: `(batch, ..., channels)`.
        like: `(batch, ..., width)`; of texts in windows `(windows, pieces, width)`.
        given: What a model of texts reads, see `trunks.WordPieces`, where values are of
            words or texts and `like` of pieces. Else empty.

    Returns:
        `(..., channels)`, all but the last axis as `like`; in sequences, 0 where that
        is 0 throughout.

    Raises:
        ValueError: When positions of the one are not found in the other.
    """
    values = ops.cast(values, like.dtype)
    rank, wanted = len(values.shape), len(like.shape)
    if wanted == 2 and rank > 2:
        return ops.mean(values, axis=tuple(range(1, rank - 1)))
    if wanted == 3:
        there = ops.any(ops.not_equal(like, 0), axis=-1, keepdims=True)
        return _in_sequence(values, like, given) * ops.cast(there, values.dtype)
    if rank == 2:
        values = ops.reshape(values, (-1, *([1] * (wanted - 2)), values.shape[-1]))
        return values * ops.ones_like(like[..., :1])
    if rank == wanted == 4:
        return _nearest(values, ops.shape(like))
    raise ValueError(
        "Labels of a sample, of words and of pixels can be read by stages of that "
        f"kind. Received: labels of shape {values.shape} for inputs {like.shape}"
    )


def _in_sequence(values: Any, like: Any, given: Mapping[str, Any]) -> Any:
    """As `at_positions`, for `like` with three axes."""
    if len(values.shape) == 2:
        if "window_text" in given:
            values = ops.take(values, given["window_text"], axis=0)
        return ops.expand_dims(values, 1) * ops.ones_like(like[..., :1])
    if "word_tokens" not in given:
        return values
    tokens = given["word_tokens"]
    present = ops.expand_dims(ops.cast(tokens >= 0, values.dtype), -1)
    size, length = ops.shape(like)[:2]
    placed = ops.segment_sum(
        ops.reshape(values * present, (-1, values.shape[-1])),
        ops.reshape(ops.maximum(tokens, 0), (-1,)),
        num_segments=size * length,
    )
    return ops.reshape(placed, (size, length, values.shape[-1]))


def _nearest(maps: Any, shape: Any) -> Any:
    """Return maps of another height and width, `shape` being `(batch, h, w, ...)`."""
    for axis in (1, 2):
        old, new = ops.shape(maps)[axis], shape[axis]
        maps = ops.take(maps, ops.arange(new) * old // new, axis=axis)
    return maps
