"""From a feature of any kind to one vector for each input."""

from typing import Any

from keras import ops


def pool(feature: Any) -> Any:
    """Averages a feature map over its cells; leaves a vector as it is.

    Args:
        feature: `(batch, channels)` or `(batch, height, width, channels)`.

    Returns:
        `(batch, channels)`.

    Raises:
        ValueError: If the feature is of another rank.
    """
    rank = len(feature.shape)
    if rank == 2:
        return feature
    if rank == 4:
        # In float32: in half precision, sums over large maps lose digits.
        return ops.mean(ops.cast(feature, "float32"), axis=(1, 2))
    raise ValueError(
        "Expected a feature (batch, channels) or (batch, height, width, channels). "
        f"Received shape: {tuple(feature.shape)}. Of a sequence, take the trunk's "
        "pooled feature."
    )
