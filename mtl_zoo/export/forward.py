"""A model as one function that converters to other formats understand.

Each gets such a function, not the SavedModel of `to_serving`: the checks and the
reading of image files in that are for servers, and no converter has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mtl_zoo.export.inputs import (
    Batch,
    are_images,
    are_text,
    model_inputs,
    named_inputs,
)
from mtl_zoo.export.signatures import flat_outputs
from mtl_zoo.model import MultiTaskModel

OUTPUTS = ("decoded", "raw")

# What the names of the heads' operations, and of their decoding, begin with.
HEADS, DECODE = "heads", "decode"

# A second image size differs by this, the coarsest stride of vision trunks.
_STRIDE = 32


@dataclass(frozen=True)
class Forward:
    """A model as one function of named inputs, and batches to compare it on.

    Attributes:
        function: Takes the inputs by name and returns the outputs by name.
        specs: What it takes.
        batches: Batches of inputs that fit.
        expected: The outputs of the model for each.
    """

    function: Any
    specs: dict[str, tf.TensorSpec]
    batches: list[Batch]
    expected: list[dict[str, np.ndarray]]

    @property
    def concrete(self) -> Any:
        """The traced function."""
        return self.function.get_concrete_function(**self.specs)

    @property
    def by_position(self) -> Any:
        """The function, its inputs by position, as some converters call it."""
        concrete, names = self.concrete, list(self.specs)

        def call(*given: tf.Tensor) -> dict[str, tf.Tensor]:
            return concrete(**dict(zip(names, given, strict=True)))

        return tf.function(
            call, autograph=False, input_signature=list(self.specs.values())
        )


def forward(
    model: MultiTaskModel,
    *,
    tasks: Sequence[str] | None = None,
    outputs: str = "decoded",
    image_size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    example: Any = None,
) -> Forward:
    """Return `model` as one function that converters understand.

    Args:
        model: A built model.
        tasks: Names of the tasks. Defaults to the main ones.
        outputs: `"decoded"`, what the heads decode, named as `to_serving` names it; or
            `"raw"`, what they return, named like the tasks.
        image_size: Height and width. Defaults to any that the model takes.
        batch_size: Rows of a batch. Defaults to any.
        example: A batch of inputs to compare on. Defaults to made-up ones.

    Raises:
        ValueError: When the model is not built or takes texts, a task or `outputs` is
            unknown, or the example does not have the image size.
    """
    if not model.built:
        raise ValueError(
            "The model has no variables yet. Build it first: model.build(input_shape), "
            f"or call it on a batch. Received: {model!r}"
        )
    if outputs not in OUTPUTS:
        raise ValueError(f"`outputs` is one of {OUTPUTS}. Received: {outputs!r}")
    names = tuple(model.main_tasks if tasks is None else tasks)
    unknown = sorted(set(names) - set(model.task_names))
    if unknown or not names:
        raise ValueError(
            f"`tasks` must be some of {list(model.task_names)}. Received: {list(names)}"
        )
    given_or_made_up = named_inputs(model, example)
    if are_text(given_or_made_up):
        raise ValueError(
            "Expected a model for numbers: LiteRT, ONNX and OpenVINO can not cut "
            "strings into word pieces. Received a model for texts; export it with "
            "to_serving."
        )
    inputs = _sized(given_or_made_up, image_size, example is None)
    images = are_images(inputs)
    if image_size is not None and not images:
        raise ValueError(
            "`image_size` is for models on images. Received a model on "
            f"{ {name: value.shape for name, value in inputs.items()} }; leave it out."
        )

    def serve(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        features = model.encode(model_inputs(given), training=False)
        with tf.name_scope(HEADS):
            raw = model.decode(features, training=False, tasks=names)
        with tf.name_scope(DECODE):
            if outputs == "raw":
                return {name: tf.convert_to_tensor(raw[name]) for name in names}
            decode = {name: model.task(name).head.decode for name in names}
            return flat_outputs({name: decode[name](raw[name]) for name in names})

    any_size = images and image_size is None
    free = any_size and _takes_any_size(model)
    specs = {
        name: tf.TensorSpec(
            [batch_size, *((None, None, 3) if free else value.shape[1:])],
            value.dtype,
            name=name,
        )
        for name, value in inputs.items()
    }
    function = tf.function(serve, autograph=False)
    with _plain_argmax():
        function.get_concrete_function(**specs)
    batches = _batches(inputs, batch_size, free)
    expected = [
        {
            name: value.numpy()
            for name, value in serve(
                **{name: tf.constant(rows) for name, rows in batch.items()}
            ).items()
        }
        for batch in batches
    ]
    return Forward(function, specs, batches, expected)


def _takes_any_size(model: MultiTaskModel) -> bool:
    shape = model.get_build_config()["input_shape"]
    return None in tuple(shape)[1:3]


def _sized(inputs: Batch, size: tuple[int, int] | None, made_up: bool) -> Batch:
    """Made-up images get the size that is asked for; others must have it."""
    if size is None or not are_images(inputs):
        return inputs
    ((name, images),) = inputs.items()
    if made_up:
        rng = np.random.default_rng(0)
        return {name: rng.integers(0, 256, (2, *size, 3), dtype="uint8")}
    if images.shape[1:3] != tuple(size):
        raise ValueError(
            f"Expected an example of images of the size {tuple(size)}. Received the "
            f"shape {images.shape}."
        )
    return inputs


def _batches(inputs: Batch, batch_size: int | None, free: bool) -> list[Batch]:
    """Batches of the fixed size; else of three rows and of one, of another size too."""
    last = len(next(iter(inputs.values()))) - 1
    first, second = [0, last, 0], [last]
    if batch_size is not None:
        first = second = [i % (last + 1) for i in range(batch_size)]
    one = {name: value[second] for name, value in inputs.items()}
    if free:
        border = [(0, 0), (0, _STRIDE), (0, 0), (0, 0)]
        one = {name: np.pad(images, border) for name, images in one.items()}
    batches = [{name: value[first] for name, value in inputs.items()}]
    return [*batches, one] if free or batch_size is None else batches


@contextmanager
def _plain_argmax() -> Iterator[None]:
    """Trace `keras.ops.argmax` as one operation.

    Keras' own first tells -0.0 from 0.0 by the bits of the numbers. LiteRT has no
    operation for that, and tf2onnx makes an invalid graph of it.
    """

    def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> tf.Tensor:
        x = tf.reshape(x, [-1]) if axis is None else x
        index = tf.argmax(x, axis=axis or 0, output_type=tf.int32)
        return tf.expand_dims(index, axis or 0) if keepdims else index

    kept = keras.ops.argmax
    keras.ops.argmax = argmax
    try:
        yield
    finally:
        keras.ops.argmax = kept
