"""What a signature takes: names, shapes and dtypes of a model's inputs, and checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

IMAGES = "images"
TEXT = "text"

# Inputs that a model takes without their name.
_ALONE = (["inputs"], [TEXT])

_SENTENCES = ("A fine film.", "Ada Lovelace was born in London, on 10 December 1815.")

# The side of made-up images where a model takes any.
_SIDE = 64

Batch = dict[str, np.ndarray]


def named_inputs(model: keras.Model, example: Any = None) -> Batch:
    """Return a batch of inputs by the names that the signatures use.

    Images, `(batch, height, width, 3)`, become `images`, uint8; strings `text`, as
    bytes; a mapping keeps its names; anything else is called `inputs`.

    Args:
        model: A built model.
        example: A batch of inputs. Defaults to made-up ones: random uint8 images, or
            normal float32 numbers, of the shape that the model was built with; or
            sentences of different lengths.
    """
    if example is None and getattr(model, "input_dtype", "") == "string":
        example = _SENTENCES
    if example is None:
        example = keras.tree.map_shape_structure(
            _made_up, model.get_build_config()["input_shape"]
        )
    if isinstance(example, Mapping):
        return {name: np.asarray(value) for name, value in example.items()}
    array = np.asarray(example)
    if array.dtype.kind in "USO":
        return {TEXT: np.array([_as_bytes(one) for one in array.tolist()])}
    if array.ndim == 4 and array.shape[-1] == 3:
        return {IMAGES: np.clip(np.rint(array), 0, 255).astype("uint8")}
    return {"inputs": array}


def are_images(inputs: Mapping[str, Any]) -> bool:
    """Whether inputs (arrays, tensors or specs) are one batch of uint8 images."""
    return list(inputs) == [IMAGES] and tf.as_dtype(inputs[IMAGES].dtype) == tf.uint8


def are_text(inputs: Mapping[str, Any]) -> bool:
    """Whether inputs (arrays, tensors or specs) are one batch of strings."""
    return list(inputs) == [TEXT]


def specs_of(inputs: Batch, any_size: bool = False) -> dict[str, tf.TensorSpec]:
    """Return what the signatures take: any batch size and, if so, any image size."""

    def shape(value: np.ndarray) -> list[int | None]:
        return [None, None, None, 3] if any_size else [None, *value.shape[1:]]

    return {
        name: tf.TensorSpec(shape(value), tf.as_dtype(value.dtype), name=name)
        for name, value in inputs.items()
    }


def model_inputs(inputs: Mapping[str, tf.Tensor]) -> Any:
    """Return what the model takes, from the inputs of a signature."""
    if list(inputs) == [IMAGES]:
        return tf.cast(inputs[IMAGES], tf.float32)
    return inputs[next(iter(inputs))] if list(inputs) in _ALONE else dict(inputs)


def checked(
    inputs: Mapping[str, tf.Tensor], multiple: int, max_pixels: int
) -> dict[str, tf.Tensor]:
    """Return the inputs behind assertions, in the graph, that say what is wrong.

    Refused are an empty batch, images whose sides are no multiples of `multiple` or
    that have more than `max_pixels` pixels, and floats that are not finite. Without
    them a server would answer some of this with an obscure message, some not at all.
    """
    guards = []
    for name, value in inputs.items():
        guards.append(
            tf.debugging.Assert(
                tf.shape(value)[0] > 0,
                [f"Expected at least one row of {name}. Received: none."],
            )
        )
        if value.dtype.is_floating:
            guards.append(
                tf.debugging.Assert(
                    tf.reduce_all(tf.math.is_finite(value)),
                    [f"Expected finite numbers in {name}. Received: NaN or inf."],
                )
            )
    if are_images(inputs):
        size = tf.shape(inputs[IMAGES])[1:3]
        fits = tf.reduce_all(tf.equal(size % multiple, 0)) & tf.reduce_all(size > 0)
        guards.append(
            tf.debugging.Assert(
                fits,
                [
                    "Expected images whose height and width are multiples of "
                    f"{multiple}; pad them with 0 at the bottom and on the right, or "
                    "send files to serving_bytes. Received [height width]:",
                    size,
                ],
            )
        )
        guards.append(too_large(tf.reduce_prod(tf.cast(size, tf.int64)), max_pixels))
    with tf.control_dependencies(guards):
        return {name: tf.identity(value) for name, value in inputs.items()}


def too_large(pixels: tf.Tensor, max_pixels: int) -> tf.Operation:
    """Return the assertion that an image has at most `max_pixels` pixels."""
    return tf.debugging.Assert(
        pixels <= max_pixels,
        [f"Expected images of at most {max_pixels} pixels. Received:", pixels],
    )


def _as_bytes(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode("utf-8")


def _made_up(shape: tuple[int | None, ...]) -> np.ndarray:
    rng = np.random.default_rng(0)
    sizes = (2, *(_SIDE if size is None else size for size in shape[1:]))
    if len(sizes) == 4 and sizes[-1] == 3:
        return rng.integers(0, 256, sizes, dtype="uint8")
    return rng.normal(size=sizes).astype("float32")
