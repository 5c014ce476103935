"""A table of embeddings that is looked up, not trained."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="mtl_zoo")
class FrozenTable(keras.layers.Layer):
    """Look rows up in a fixed table, stored in half precision.

    The table of an encoder is often half of its weights and more than half of what an
    optimizer has to update. Rows are cast to the layer's dtype after the lookup.

    Args:
        input_dim: Number of rows.
        output_dim: Length of a row.

    Inputs:
        Row numbers, int `(...)`.

    Returns:
        `(..., output_dim)`.
    """

    def __init__(self, input_dim: int, output_dim: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})
        self.input_dim = input_dim
        self.output_dim = output_dim

    def build(self, input_shape: Any = None) -> None:
        self.table = self.add_weight(
            shape=(self.input_dim, self.output_dim),
            dtype="float16",
            initializer="zeros",
            trainable=False,
            name="table",
        )

    @property
    def trainable(self) -> bool:
        """Never, whatever becomes of `trainable` of a model around it."""
        return False

    @trainable.setter
    def trainable(self, value: bool) -> None:
        del value

    def call(self, inputs: Any) -> Any:
        rows = ops.take(self.table.value, ops.cast(inputs, "int32"), axis=0)
        return ops.cast(rows, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.output_dim)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
        }
