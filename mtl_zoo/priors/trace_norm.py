"""Tasks whose weights span few dimensions."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from mtl_zoo.priors.prior import Prior


@keras.saving.register_keras_serializable(package="mtl_zoo")
class TraceNorm(Prior):
    """The sum of the singular values of the weights, one column a task.

    The convex stand-in for their rank (Argyriou et al., 2008); of a layer, the kernels
    are flattened (Yang and Hospedales, 2017, the last-axis form). The singular values
    are found from the `T x T` Gramian; a small number under the root keeps the gradient
    finite where one of them is 0.

    Args:
        epsilon: That number, relative to the mean square of the singular values.
            Defaults to `1e-6`.

    Raises:
        ValueError: When `epsilon` is not positive.

    Reference:
        - [Argyriou et al., 2008](https://doi.org/10.1007/s10994-007-5040-8)
        - [Yang and Hospedales, 2017](https://arxiv.org/abs/1606.04038)
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be positive. Received: {epsilon}")
        self.epsilon = epsilon

    def call(self, weights: Any) -> Any:
        columns = ops.reshape(weights, (-1, weights.shape[-1]))
        gramian = ops.matmul(ops.transpose(columns), columns)
        squares, vectors = ops.eigh(ops.stop_gradient(gramian))
        tiny = np.finfo(self.compute_dtype).tiny
        floor = ops.maximum(self.epsilon * ops.mean(squares), tiny)
        lengths = ops.sqrt(ops.maximum(squares, 0.0) + floor)
        # d sum(lengths) = tr(V diag(1 / (2 lengths)) V' dG): no gradient of the
        # eigenvectors, which is infinite where two eigenvalues are equal.
        slope = ops.matmul(vectors / (2.0 * lengths), ops.transpose(vectors))
        slope = ops.stop_gradient(slope)
        linear = ops.sum(slope * gramian)
        return linear + ops.stop_gradient(ops.sum(lengths) - linear)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "epsilon": self.epsilon}
