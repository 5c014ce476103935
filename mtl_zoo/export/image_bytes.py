"""Image files inside the graph: bytes in, the network's input out, boxes mapped back.

The counterpart of `mtl_zoo.zoo.images` for a server: the same preprocessing, with
TensorFlow's own decoders. Two things differ from there: files must be JPEG or PNG, and
the rotation that a camera notes in a JPEG is not applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from mtl_zoo.export.inputs import too_large

_PNG = b"\x89PNG\r\n\x1a\n"


class Placed(NamedTuple):
    """Images as the network takes them, and where each came from.

    Attributes:
        images: uint8 `(batch, height, width, 3)`, padded with 0 to one size.
        sizes: int32 `(batch, 2)`, height and width of each file.
        contents: int32 `(batch, 2)`, height and width that each image has in `images`,
            at the upper left.
    """

    images: tf.Tensor
    sizes: tf.Tensor
    contents: tf.Tensor


def place_bytes(
    image_bytes: tf.Tensor, preprocessing: Mapping[str, Any], max_pixels: int
) -> Placed:
    """Decode JPEG and PNG files and place them as `preprocessing` says.

    Images of one batch are padded to the size of the largest.

    Args:
        image_bytes: string `(batch,)`, the contents of the files.
        preprocessing: See `mtl_zoo.export.preprocessing`.
        max_pixels: Files with more pixels are refused before they are decoded.
    """
    sizes = tf.map_fn(
        lambda file: _checked_size(file, max_pixels),
        image_bytes,
        fn_output_signature=tf.TensorSpec([2], tf.int32),
    )
    # A loop starts with what it has: no file is decoded before all sizes are checked.
    with tf.control_dependencies([sizes]):
        image_bytes = tf.identity(image_bytes)
    contents = _content_sizes(sizes, preprocessing)
    multiple = preprocessing.get("multiple", 1)
    largest = tf.reduce_max(contents, axis=0)
    padded = -(-largest // multiple) * multiple

    def place(row: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        file, content = row
        image = _resize(_decode(file), content)
        rest = padded - content
        return tf.pad(image, [[0, rest[0]], [0, rest[1]], [0, 0]])

    images = tf.map_fn(
        place,
        (image_bytes, contents),
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
    )
    side = preprocessing.get("size")
    if preprocessing["kind"] == "resize" or (side and multiple == side):
        images = tf.ensure_shape(images, [None, side, side, 3])
    return Placed(images, sizes, contents)


def restore_boxes(decoded: Mapping[str, Any], placed: Placed) -> dict[str, Any]:
    """Map decoded boxes to the pixels of the files; other outputs stay as they are.

    Boxes that begin in the padding are dropped. The rest moves up, and what only fills
    up is -1 as before.

    Args:
        decoded: What a head decodes to: with `boxes` `(batch, n, 4)`, xyxy, and
            `count` `(batch,)`, or anything else.
        placed: Where the images lie.
    """
    if not {"boxes", "count"} <= set(decoded):
        return dict(decoded)
    boxes = decoded["boxes"]
    most = tf.shape(boxes)[1]
    content = tf.cast(placed.contents, boxes.dtype)
    size = tf.cast(placed.sizes, boxes.dtype)
    inside = (boxes[..., 0] < content[:, None, 1]) & (
        boxes[..., 1] < content[:, None, 0]
    )
    keep = inside & (tf.range(most)[None] < decoded["count"][:, None])
    order = tf.argsort(tf.cast(~keep, tf.int32), axis=1, stable=True)
    count = tf.reduce_sum(tf.cast(keep, tf.int32), axis=1)
    found = tf.range(most)[None] < count[:, None]
    limit = tf.tile(size[:, ::-1], [1, 2])[:, None]  # width, height, width, height
    scale = limit / tf.tile(content[:, ::-1], [1, 2])[:, None]
    boxes = tf.clip_by_value(boxes * scale, 0.0, limit)

    def pick(value: tf.Tensor) -> tf.Tensor:
        moved = tf.gather(value, order, axis=1, batch_dims=1)
        mask = found[..., None] if moved.shape.rank == 3 else found
        return tf.where(mask, moved, tf.cast(-1, moved.dtype))

    others = {k: v for k, v in decoded.items() if k not in ("boxes", "count")}
    return {
        "boxes": pick(boxes),
        **{name: pick(value) for name, value in others.items()},
        "count": tf.cast(count, decoded["count"].dtype),
    }


def _checked_size(file: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Return height and width from the header of a file, refusing what is no image."""
    is_jpeg, is_png = tf.io.is_jpeg(file), _is_png(file)
    # As numbers: an error message has to be text.
    start = tf.io.decode_raw(tf.strings.substr(file, 0, 8), tf.uint8)
    known = tf.debugging.Assert(
        is_jpeg | is_png,
        ["Expected the bytes of a JPEG or PNG file. Received, first bytes:", start],
    )
    with tf.control_dependencies([known]):
        size = tf.cond(is_jpeg, lambda: _jpeg_size(file), lambda: _png_size(file))
    limit = too_large(tf.reduce_prod(tf.cast(size, tf.int64)), max_pixels)
    with tf.control_dependencies([limit]):
        return tf.identity(size)


def _is_png(file: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.strings.substr(file, 0, len(_PNG)), _PNG)


def _jpeg_size(file: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.image.extract_jpeg_shape(file)[:2], [2])


def _png_size(file: tf.Tensor) -> tf.Tensor:
    """Height and width from the first chunk, big-endian numbers at 16 and 20."""
    long_enough = tf.debugging.Assert(
        tf.strings.length(file) >= 24, ["Expected a whole PNG file. Received: a part."]
    )
    with tf.control_dependencies([long_enough]):
        header = tf.strings.substr(file, 16, 8)
    width_height = tf.io.decode_raw(header, tf.int32, little_endian=False)
    return tf.ensure_shape(width_height[::-1], [2])


def _decode(file: tf.Tensor) -> tf.Tensor:
    """Return uint8 `(height, width, 3)`; a broken file is an error."""
    return tf.cond(
        tf.io.is_jpeg(file),
        # As accurate as other programs decode; the default is faster and coarser.
        lambda: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(file, channels=3),
    )


def _content_sizes(sizes: tf.Tensor, preprocessing: Mapping[str, Any]) -> tf.Tensor:
    if preprocessing["kind"] == "resize":
        return tf.fill(tf.shape(sizes), preprocessing["size"])
    exact = tf.cast(sizes, tf.float64)
    longer = tf.reduce_max(exact, axis=1, keepdims=True)
    if preprocessing["kind"] == "fit":
        scale = tf.cast(preprocessing["size"], tf.float64) / longer
    else:
        scale = tf.minimum(tf.cast(preprocessing["max_side"], tf.float64) / longer, 1.0)
    return tf.maximum(tf.cast(tf.round(exact * scale), tf.int32), 1)


def _resize(image: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    resized = tf.image.resize(image, size, antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
