"""What a prior on the weights of all tasks is."""

from __future__ import annotations

from typing import Any

import keras


class Prior(keras.layers.Layer):
    """A distribution over the weights that the tasks have in corresponding layers.

    A subclass writes `call`; and `updated` when it has state that follows the weights,
    which it creates in `build` by `add_state`.

    Call arguments:
        weights: float `(D_1, ..., D_K)`; for the kernels of a layer of `T` tasks
            `(inputs, outputs, T)`.

    Returns:
        The negative logarithm of the density of the weights, a scalar, up to what
        depends on no weight and no state. In float32, whatever the global policy.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def build(self, input_shape: tuple) -> None:
        """Create the state for weights of this shape."""

    def add_state(self, shape: tuple, name: str, initializer: Any = "zeros") -> Any:
        """Create a variable that no gradient moves, the same on all replicas."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def copy(self, name: str) -> Prior:
        """Return a prior with the same settings, not built."""
        return type(self).from_config({**self.get_config(), "name": name})

    def of_inputs(self, name: str) -> Prior:
        """Return the same kind of prior for a matrix `(inputs, outputs of all tasks)`.

        For layers whose tasks have different numbers of outputs: what remains are
        relations of the inputs.
        """
        return self.copy(name)

    def updated(self, weights: Any) -> list[Any]:
        """Return the new values of `non_trainable_variables`, in their order."""
        raise NotImplementedError
