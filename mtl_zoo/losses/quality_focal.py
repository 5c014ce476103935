"""The focal loss for soft targets, such as the quality of a box."""

from typing import Any

from keras import ops


def quality_focal(targets: Any, logits: Any, beta: float = 2.0) -> Any:
    """Cross-entropy with a soft target, weighted by how far the prediction is off.

        QFL(s) = -|y - s|^beta * ((1 - y) log(1 - s) + y log(s))       (eq. 2)

    with `s = sigmoid(logit)` and `y` in [0, 1]: the IoU of the box for its own class, 0
    elsewhere. It is 0 exactly where `s = y`; with `y` in {0, 1} it is the focal loss
    with `gamma = beta` and without `alpha`, `keras.losses.BinaryFocalCrossentropy`,
    which has no soft targets.

    Args:
        targets: Float `(...)`, `y`. No gradient flows through it.
        logits: Float `(...)`.
        beta: Exponent of the weight. Defaults to `2.0`.

    Returns:
        Float `(...)`.

    Reference:
        - [Li et al., Generalized Focal Loss, 2020](https://arxiv.org/abs/2006.04388)
    """
    targets = ops.stop_gradient(targets)
    crossentropy = ops.softplus(logits) - logits * targets
    return ops.abs(targets - ops.sigmoid(logits)) ** beta * crossentropy
