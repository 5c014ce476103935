"""Random changes of an image and its label map that depend on an explicit key only.

`stream` says why these are not Keras's random layers.
"""

import tensorflow as tf

__all__ = ["cut_and_resize", "jitter_colours"]


def cut_and_resize(
    image: tf.Tensor,
    label_map: tf.Tensor,
    start: tf.Tensor,
    cut: tf.Tensor,
    size: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cuts the same window out of an image and its label map and resizes it.

    Args:
        image: float32 `(height, width, channels)`; resized bilinearly.
        label_map: Integer `(height, width)`; resized to the nearest pixel.
        start: int32 `(2,)`, top and left of the window.
        cut: int32 `(2,)`, height and width of the window.
        size: int32 `(2,)`, height and width of the results.

    Returns:
        Image and label map, `(*size, channels)` and `size`.
    """
    channels = image.shape[-1]
    image = tf.slice(image, [*tf.unstack(start), 0], [*tf.unstack(cut), channels])
    label_map = tf.slice(label_map, start, cut)[..., None]
    label_map = tf.image.resize(label_map, size, method="nearest")
    return tf.image.resize(image, size), label_map[..., 0]


def jitter_colours(
    image: tf.Tensor,
    key: tf.Tensor,
    hue: float = 0.03,
    saturation: float = 1.25,
    contrast: float = 1.4,
    brightness: float = 1.25,
) -> tf.Tensor:
    """Changes hue, saturation, contrast and brightness at random.

    Brightness is a factor, not a shift: a fluorescence image whose nuclei reach 20 of
    255 would lose them to a shift.

    Args:
        image: float32 `(height, width, 3)` in 0..255.
        key: Integer `(2,)`, the seed; equal keys give equal images.
        hue: Largest shift, as a share of the colour circle. Grey stays grey.
        saturation: Factors lie between `1 / saturation` and `saturation`.
        contrast: Factors lie between `1 / contrast` and `contrast`.
        brightness: Factors lie between `1 / brightness` and `brightness`.

    Returns:
        float32 `(height, width, 3)` in 0..255.
    """
    keys = tf.unstack(tf.random.experimental.stateless_split(key, 4))
    image = tf.image.stateless_random_hue(image / 255.0, hue, keys[0])
    image = tf.image.stateless_random_saturation(
        image, 1.0 / saturation, saturation, keys[1]
    )
    image = tf.image.stateless_random_contrast(image, 1 / contrast, contrast, keys[2])
    light = tf.random.stateless_uniform((), keys[3], 1 / brightness, brightness)
    return 255.0 * tf.clip_by_value(light * image, 0.0, 1.0)
