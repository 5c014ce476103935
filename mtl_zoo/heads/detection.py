"""Anchor-free detection of boxes on a feature pyramid."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head, check_class_names

# Columns of the raw tensor after the class logits: x1, y1, x2, y2 and x, y, stride.
_EXTRA_COLUMNS = 7

# Boxes suppressed in parallel. Measured on a CPU, 1000 candidates an image: 1.1 ms with
# 128, 2.4 ms with the default of 512.
_NMS_TILE = 128


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Detection(Head):
    """Boxes and classes at every cell of a feature pyramid, without anchors.

    Two towers of separable convolutions, with weights shared by all levels, end in
    class logits and in the four distances from the cell's centre to the sides of its
    box: `(l, t, r, b) = softplus(f) * stride * scale`, with one learnt `scale` a level.
    The score of a box is the sigmoid of its class logit, which `losses.BoxDetection`
    trains to be the IoU of the box.

    The raw tensor describes itself: the loss, the metrics and `decode` need neither the
    image size nor the grids. Its columns are, for each cell ("location") of every
    level, finest level first and row by row:

        num_classes  class logits
        4            the predicted box, xyxy in pixels of the input
        3            x and y of the cell's centre, and the level's stride, in pixels

    Args:
        num_classes: Number of classes, without background.
        features: Names of the pyramid levels, finest first, all of one width. Defaults
            to `("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5")`.
        strides: Stride of each level in pixels. Defaults to `(4, 8, 16, 32)`.
        width: Channels of the towers. Defaults to `64`.
        depth: Convolutions in a tower, at least 1. Defaults to `2`.
        max_detections: Boxes that `decode` returns per image. Defaults to `300`.
        score_threshold: `decode` drops boxes with a lower score. Defaults to `0.05`.
        iou_threshold: `decode` drops a box that overlaps a better one of its class by
            more than this. Defaults to `0.5`.
        class_names: Optional names of the classes, kept in the config.

    Call arguments:
        features: Mapping of names to tensors `(batch, height / stride, width / stride,
            channels)`; any image size, also unknown when the graph is made.

    Returns:
        float32 `(batch, locations, num_classes + 7)`.

    Raises:
        ValueError: If `features` and `strides` differ in length, or `class_names` does
            not fit `num_classes`.

    Example:
        >>> head = Detection(num_classes=2, features=("p2", "p3"), strides=(4, 8))
        >>> raw = head({"p2": ops.ones((1, 16, 16, 8)), "p3": ops.ones((1, 8, 8, 8))})
        >>> tuple(raw.shape)
        (1, 320, 9)
        >>> boxes = head.decode(raw)
        >>> {name: tuple(value.shape) for name, value in sorted(boxes.items())}
        {'boxes': (1, 300, 4), 'count': (1,), 'labels': (1, 300), 'scores': (1, 300)}

    Differences from the papers:
        From FCOS: separable convolutions; softplus instead of the exponential (it
        cannot overflow in half precision); levels start at stride 4, for small objects.
        From Generalized Focal Loss: boxes are plain distances, not distributions. Its
        joint score of class and quality replaces the centre-ness branch of FCOS.

    Reference:
        - [Tian et al., FCOS, 2019](https://arxiv.org/abs/1904.01355)
        - [Li et al., Generalized Focal Loss, 2020](https://arxiv.org/abs/2006.04388)
    """

    def __init__(
        self,
        num_classes: int,
        features: Sequence[str] = ("pyramid_2", "pyramid_3", "pyramid_4", "pyramid_5"),
        strides: Sequence[int] = (4, 8, 16, 32),
        width: int = 64,
        depth: int = 2,
        max_detections: int = 300,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        class_names: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if len(features) != len(strides):
            raise ValueError(
                "Expected one stride for each pyramid level. Received: "
                f"features={tuple(features)}, strides={tuple(strides)}"
            )
        if depth < 1:
            raise ValueError(
                f"A tower needs at least one convolution. Received: depth={depth}"
            )
        self.num_classes = num_classes
        self.features = tuple(features)
        self.strides = tuple(strides)
        self.width = width
        self.depth = depth
        self.max_detections = max_detections
        self.score_threshold = score_threshold
        self.iou_threshold = iou_threshold
        self.class_names = check_class_names(class_names, num_classes)

        self.class_tower = self._tower("class")
        self.box_tower = self._tower("box")
        self.class_logits = keras.layers.Conv2D(
            num_classes,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(-math.log(99.0)),
            dtype="float32",
            name="class_logits",
        )
        self.distances = keras.layers.Conv2D(
            4,
            3,
            padding="same",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            # softplus(2) = 2.1 strides to each side: the middle of a level's range.
            bias_initializer=keras.initializers.Constant(2.0),
            dtype="float32",
            name="distances",
        )
        self.flatten_grid = keras.layers.Reshape(
            (-1, num_classes + _EXTRA_COLUMNS), dtype="float32", name="flatten_grid"
        )

    def _tower(self, name: str) -> keras.Sequential:
        layers: list[keras.layers.Layer] = []
        for _ in range(self.depth):
            layers += [
                keras.layers.SeparableConv2D(
                    self.width,
                    3,
                    padding="same",
                    use_bias=False,
                    dtype=self.dtype_policy,
                ),
                keras.layers.GroupNormalization(
                    math.gcd(self.width, 8), dtype=self.dtype_policy
                ),
                keras.layers.Activation("relu", dtype=self.dtype_policy),
            ]
        return keras.Sequential(layers, name=f"{name}_tower")

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the towers, for grids of any size."""
        shapes = [self.select(input_shape, name) for name in self.features]
        if len({shape[-1] for shape in shapes}) > 1:
            raise ValueError(
                "The towers are shared by all levels, so these must be of one width. "
                f"Received shapes: {dict(zip(self.features, shapes, strict=True))}"
            )
        for tower in (self.class_tower, self.box_tower):
            tower.build((None, None, None, shapes[0][-1]))
        self.class_logits.build((None, None, None, self.width))
        self.distances.build((None, None, None, self.width))
        self.scale = self.add_weight(
            name="scale",
            shape=(len(self.features),),
            initializer="ones",
            dtype="float32",
            autocast=False,
        )

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the raw tensor `(batch, locations, num_classes + 7)`."""
        levels = []
        for level, (name, stride) in enumerate(
            zip(self.features, self.strides, strict=True)
        ):
            feature = self.select(features, name)
            logits = self.class_logits(self.class_tower(feature, training=training))
            distances = self.distances(self.box_tower(feature, training=training))
            distances = ops.softplus(distances) * (stride * self.scale[level])
            x, y = _cell_centres(feature, stride)  # (height, width, 1) each
            zeros = ops.zeros_like(distances[..., :1])
            x, y, size = zeros + x, zeros + y, zeros + stride
            left, top, right, bottom = ops.split(distances, 4, axis=-1)
            level_raw = ops.concatenate(
                [logits, x - left, y - top, x + right, y + bottom, x, y, size], axis=-1
            )
            levels.append(self.flatten_grid(level_raw))
        return ops.concatenate(levels, axis=1)

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns the detected boxes, best first; see `decode_boxes`."""
        return decode_boxes(
            raw,
            max_detections=self.max_detections,
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "features": self.features,
            "strides": self.strides,
            "width": self.width,
            "depth": self.depth,
            "max_detections": self.max_detections,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
            "class_names": self.class_names,
        }


def decode_boxes(
    raw: Any,
    max_detections: int = 300,
    score_threshold: float = 0.05,
    iou_threshold: float = 0.5,
    max_candidates: int = 1000,
) -> dict[str, Any]:
    """Turns the raw tensor of `Detection` into boxes, best first.

    The best `max_candidates` pairs of cell and class go through non-maximum
    suppression within each class. Boxes are clipped to the image, whose lower right
    corner is where the last cell of the grid ends.

    The suppression is `tf.image.non_max_suppression_padded`: exact, batched, for any
    batch size, and XLA compiles it. `keras_hub.layers.NonMaxSuppression` needs a batch
    size that is known when the graph is made, so that it cannot be exported, and keeps
    one class a cell; `tf.image.combined_non_max_suppression` has no XLA kernel.

    Args:
        raw: float32 `(batch, locations, num_classes + 7)`.
        max_detections: Boxes per image, `D` below. Defaults to `300`.
        score_threshold: Boxes have a higher score than this, at least 0. Defaults to
            `0.05`.
        iou_threshold: Boxes of one class overlap less than this. Defaults to `0.5`.
        max_candidates: How many pairs of cell and class enter the suppression. Defaults
            to `1000`.

    Returns:
        A dict, padded with -1 after the first `count` entries:

        - `"boxes"`: float32 `(batch, D, 4)`, xyxy in pixels.
        - `"scores"`: float32 `(batch, D)`, descending.
        - `"labels"`: int32 `(batch, D)`.
        - `"count"`: int32 `(batch,)`.
    """
    # Here and not above: the forward pass needs Keras only, on any backend.
    import tensorflow as tf

    raw = ops.cast(raw, "float32")
    num_classes = raw.shape[-1] - _EXTRA_COLUMNS
    logits, boxes = raw[..., :num_classes], raw[..., num_classes:-3]

    scores = keras.layers.Flatten()(ops.sigmoid(logits))
    if scores.shape[-1] is None or scores.shape[-1] < max_candidates:
        scores = ops.pad(scores, ((0, 0), (0, max_candidates)))
    scores, index = ops.top_k(scores, max_candidates)  # (batch, candidates), sorted
    labels = index % num_classes
    cell = ops.minimum(index // num_classes, ops.shape(raw)[1] - 1)

    corner = _lower_right_corner(raw[..., -3:])
    boxes = ops.take_along_axis(boxes, cell[..., None], axis=1)
    boxes = ops.clip(boxes, 0.0, corner)

    # Boxes of different classes are moved apart, so that they never overlap.
    apart = ops.cast(labels, "float32")[..., None] * (ops.max(corner) + 1.0) + 1.0
    index, count = tf.image.non_max_suppression_padded(
        boxes + apart,
        scores,
        max_detections,
        iou_threshold,
        score_threshold,
        pad_to_max_output_size=True,
        sorted_input=True,
        canonicalized_coordinates=True,
        tile_size=_NMS_TILE,
    )
    index = ops.reshape(index, (-1, max_detections))
    found = ops.arange(max_detections)[None] < count[:, None]

    def pick(values: Any) -> Any:
        return ops.take_along_axis(values, index, axis=1)

    return {
        "boxes": ops.where(
            found[..., None],
            ops.take_along_axis(boxes, index[..., None], axis=1),
            -1.0,
        ),
        "scores": ops.where(found, pick(scores), -1.0),
        "labels": ops.where(found, pick(labels), -1),
        "count": count,
    }


def _cell_centres(feature: Any, stride: int) -> tuple[Any, Any]:
    """Returns x `(1, width, 1)` and y `(height, 1, 1)` of the cells' centres."""
    height, width = ops.shape(feature)[1:3]
    x = (ops.arange(width, dtype="float32") + 0.5) * stride
    y = (ops.arange(height, dtype="float32") + 0.5) * stride
    return x[None, :, None], y[:, None, None]


def _lower_right_corner(location: Any) -> Any:
    """Returns the xyxy `(batch, 1, 4)` where the finest grid ends.

    Coarser grids may reach further, where the image is no multiple of their stride.
    """
    centre, stride = location[..., :2], location[..., 2:]
    finest = stride == ops.min(stride)
    corner = ops.max(ops.where(finest, centre + stride / 2.0, 0.0), 1, keepdims=True)
    return ops.concatenate([corner, corner], axis=-1)
