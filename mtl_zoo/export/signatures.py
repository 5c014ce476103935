"""The signatures of an export, traced over one trunk and one function a head.

    inputs -> checks, preparation -> trunk -> heads -> decode -> outputs

Each arrow is a function of its own in the graph, traced once and called by every
signature; a runtime leaves out what a signature does not ask for. Only the trunk is
compiled by XLA, in the twins called `<signature>_xla`; checks, the cutting of texts,
heads, decoding and the reading of image files stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from mtl_zoo.export.image_bytes import place_bytes, restore_boxes
from mtl_zoo.export.inputs import (
    Batch,
    are_images,
    are_text,
    checked,
    model_inputs,
    specs_of,
)
from mtl_zoo.export.preprocessing import side_multiple
from mtl_zoo.export.xla_native import native_encode
from mtl_zoo.model import MultiTaskModel

DEFAULT_SIGNATURE = "serving_default"
FEATURES = "features"
RAW = "raw"
BYTES = "serving_bytes"
BYTES_INPUT = "image_bytes"
BYTES_OUTPUTS = ("image_size", "content_size")
XLA_SUFFIX = "_xla"
RESERVED = (DEFAULT_SIGNATURE, FEATURES, RAW, BYTES)

TRUNKS = ("conv", "xla_native", "none")

# What a server can write as JSON as well as in protocol buffers.
DTYPES = (tf.float32, tf.int32, tf.int64, tf.uint8, tf.bool, tf.string)


@dataclass(frozen=True)
class Options:
    """What an export is to hold.

    Attributes:
        tasks: Names of the tasks.
        trunk: What the twins compile: `conv`, the trunk as it is, or `xla_native`, its
            rewriting as products and shifts; `none` for no twins.
        preprocessing: What images should be; see `mtl_zoo.export.preprocessing`.
        max_pixels: Larger images are refused.
    """

    tasks: tuple[str, ...]
    trunk: str
    preprocessing: Mapping[str, Any]
    max_pixels: int


def trace(model: MultiTaskModel, inputs: Batch, options: Options) -> dict[str, Any]:
    """Return the signatures of `model` as concrete functions.

    Where the model can, they take images of any height and width.

    Args:
        model: A built model.
        inputs: A batch by the names of the inputs, from `named_inputs`.
        options: What the export is to hold.

    Raises:
        ValueError: When an output could not be served.
    """
    if are_images(inputs):
        try:
            return _trace(model, specs_of(inputs, any_size=True), options)
        except (ValueError, TypeError, tf.errors.OpError):
            # The model has its image size built in; any other fault shows again.
            pass
    return _trace(model, specs_of(inputs), options)


def _trace(
    model: MultiTaskModel, specs: dict[str, tf.TensorSpec], options: Options
) -> dict[str, Callable]:
    parts = _Parts(model, specs, options)
    signatures = {}
    for suffix in ("", *([XLA_SUFFIX] if options.trunk != "none" else [])):
        names = {DEFAULT_SIGNATURE: options.tasks, **{n: (n,) for n in options.tasks}}
        for name, tasks in names.items():
            signatures[name + suffix] = parts.decoded(tasks, suffix)
        signatures[RAW + suffix] = parts.raw(suffix)
        signatures[FEATURES + suffix] = parts.features(suffix)
        if are_images(specs):
            signatures[BYTES + suffix] = parts.from_bytes(suffix)
    return signatures


class _Parts:
    """The functions that signatures are made of."""

    def __init__(
        self, model: MultiTaskModel, specs: dict[str, tf.TensorSpec], options: Options
    ) -> None:
        self.model, self.specs, self.options = model, specs, options
        multiple = side_multiple(options.preprocessing)

        @tf.function(autograph=False)
        def checks(inputs: dict) -> dict:
            return prepared(model, checked(inputs, multiple, options.max_pixels))

        @tf.function(autograph=False)
        def heads(features: dict) -> dict:
            return model.decode(features, training=False, tasks=options.tasks)

        self.checks, self.heads = checks, heads
        names = _read_features(model, specs, options.tasks)
        self.trunks = {"": _trunk(model.encode, names, None)}
        if options.trunk != "none":
            native = options.trunk == "xla_native"
            encode = native_encode(model) if native else model.encode
            self.trunks[XLA_SUFFIX] = _trunk(encode, names, True)
        self.decoders = {
            task.name: tf.function(task.head.decode, autograph=False)
            for task in model.tasks
        }

    def decoded(self, tasks: Sequence[str], suffix: str) -> Callable:
        def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            raw = self._network(self.checks(inputs), suffix)
            decoded = self._decode(raw, tasks)
            if are_text(self.specs):
                decoded = with_names(self.model, decoded)
            return flat_outputs(decoded)

        return self._concrete(serve, self.specs)

    def raw(self, suffix: str) -> Callable:
        def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return flat_outputs(self._network(self.checks(inputs), suffix))

        return self._concrete(serve, self.specs)

    def features(self, suffix: str) -> Callable:
        def serve(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            return flat_outputs(self.trunks[suffix](self.checks(inputs)))

        return self._concrete(serve, self.specs)

    def from_bytes(self, suffix: str) -> Callable:
        options = self.options

        @tf.function(autograph=False)
        def read(image_bytes: tf.Tensor) -> Any:
            some = checked({BYTES_INPUT: image_bytes}, 1, options.max_pixels)
            return place_bytes(
                some[BYTES_INPUT], options.preprocessing, options.max_pixels
            )

        def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            placed = read(image_bytes)
            raw = self._network({"images": placed.images}, suffix)
            decoded = self._decode(raw, options.tasks)
            restored = {
                task: restore_boxes(found, placed)
                if isinstance(found, Mapping)
                else found
                for task, found in decoded.items()
            }
            return {
                **flat_outputs(restored),
                **dict(
                    zip(BYTES_OUTPUTS, (placed.sizes, placed.contents), strict=True)
                ),
            }

        spec = tf.TensorSpec([None], tf.string, name=BYTES_INPUT)
        return self._concrete(serve, {BYTES_INPUT: spec})

    def _network(self, inputs: dict, suffix: str) -> dict:
        return self.heads(self.trunks[suffix](inputs))

    def _decode(self, raw: Mapping[str, Any], tasks: Sequence[str]) -> dict:
        return {name: self.decoders[name](raw[name]) for name in tasks}

    @staticmethod
    def _concrete(serve: Callable, specs: dict[str, tf.TensorSpec]) -> Callable:
        return tf.function(serve, autograph=False).get_concrete_function(**specs)


def prepared(model: MultiTaskModel, inputs: dict) -> dict:
    """Return the inputs of a signature as the trunk takes them: texts cut to pieces."""
    return model.prepare(model_inputs(inputs)) if are_text(inputs) else inputs


def with_names(model: MultiTaskModel, decoded: Mapping[str, Any]) -> dict[str, Any]:
    """Return decoded outputs with class names beside the numbers.

    `name` beside `label`, and `names` beside `labels` and `relations`, strings; empty
    where the number is -1.
    """
    found = {}
    for task, values in decoded.items():
        found[task] = values
        for numbers, names, of_head in (
            ("label", "name", "class_names"),
            ("labels", "names", "class_names"),
            ("relations", "names", "relation_names"),
        ):
            known = getattr(model.task(task).head, of_head, None)
            if known and isinstance(values, Mapping) and numbers in values:
                index = tf.cast(values[numbers], tf.int32) + 1
                given = tf.gather(tf.constant(["", *known]), index)
                found[task] = {**found[task], names: given}
    return found


def flat_outputs(decoded: Mapping[str, Any]) -> dict[str, tf.Tensor]:
    """Return `{task: decoded}` as `{<task> or <task>_<key>: tensor}`, checked.

    Raises:
        ValueError: When two outputs would have one name, or one can not be served.
    """
    outputs: dict[str, tf.Tensor] = {}
    for task, found in decoded.items():
        if isinstance(found, Mapping):
            named = {f"{task}_{key}": value for key, value in found.items()}
        else:
            named = {task: found}
        for name, value in named.items():
            if name in outputs:
                raise ValueError(
                    f"Two outputs would be called {name!r}: one of them belongs to "
                    f"task {task!r}. Give a task another name."
                )
            outputs[name] = _servable(name, value)
    return outputs


def _servable(name: str, value: Any) -> tf.Tensor:
    if isinstance(value, tf.Tensor):
        if value.dtype in (tf.float16, tf.bfloat16, tf.float64):
            value = tf.cast(value, tf.float32)
        if value.dtype in DTYPES and value.shape.rank != 0:
            return value
    raise ValueError(
        f"Output {name!r} can not be served: expected a dense tensor of one of "
        f"{[dtype.name for dtype in DTYPES]}, with the batch as its first axis. "
        f"Received: {value!r}"
    )


def _trunk(encode: Callable, names: Sequence[str], jit: bool | None) -> Callable:
    """Return the trunk as a function of checked inputs to the features `names`."""

    def trunk(inputs: dict) -> dict:
        features = encode(model_inputs(inputs), training=False)
        return {name: features[name] for name in names}

    return tf.function(trunk, jit_compile=jit, autograph=False)


def _read_features(
    model: MultiTaskModel, specs: dict[str, tf.TensorSpec], tasks: Sequence[str]
) -> list[str]:
    """Return the names of the features that the heads of `tasks` read, in order."""
    encode = tf.function(
        lambda inputs: model.encode(
            model_inputs(prepared(model, inputs)), training=False
        ),
        autograph=False,
    ).get_concrete_function(specs)
    features = encode.structured_outputs
    heads = tf.function(
        lambda found: model.decode(found, training=False, tasks=tasks), autograph=False
    ).get_concrete_function(features)
    # Functions take dicts in the order of their sorted keys.
    read = {
        name
        for name, tensor in zip(sorted(features), heads.inputs, strict=False)
        if tensor.consumers()
    }
    return [name for name in features if name in read]
