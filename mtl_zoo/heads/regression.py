"""Numbers for each input."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from mtl_zoo.heads.head import Head
from mtl_zoo.heads.pooling import pool


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Regression(Head):
    """A linear map of one feature, pooled over the image where it is spatial.

    Args:
        units: How many numbers. Defaults to `1`.
        feature: Name of the feature. Defaults to `"stride_32"`.

    Call arguments:
        features: Mapping; `features[feature]` is `(batch, channels)` or
            `(batch, height, width, channels)`.

    Returns:
        float32 `(batch, units)`.

    Example:
        >>> head = Regression(feature="last")
        >>> raw = head({"last": ops.ones((2, 8))})
        >>> tuple(raw.shape), tuple(head.decode(raw)["value"].shape)
        ((2, 1), (2,))
    """

    def __init__(
        self, units: int = 1, feature: str = "stride_32", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.feature = feature
        self.output_map = keras.layers.Dense(units, dtype="float32", name="output_map")

    def build(self, input_shape: Mapping[str, Any]) -> None:
        """Builds the linear map for the feature's channels."""
        self.output_map.build((None, self.select(input_shape, self.feature)[-1]))

    def call(self, features: Mapping[str, Any], training: bool | None = None) -> Any:
        """Returns the values `(batch, units)`."""
        return self.output_map(pool(self.select(features, self.feature)))

    @property
    def output_kernel(self) -> keras.Variable:
        """The kernel `(channels, outputs)`."""
        return self.output_map.kernel

    def decode(self, raw: Any) -> dict[str, Any]:
        """Returns the values as they are.

        Args:
            raw: `(batch, units)`.

        Returns:
            `{"value": (batch, units)}`, or `(batch,)` when there is one unit.
        """
        return {"value": ops.squeeze(raw, axis=-1) if self.units == 1 else raw}

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "feature": self.feature,
        }
