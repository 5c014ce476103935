"""GradDrop: of each coordinate, the gradients of one sign at a time."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from mtl_zoo.balancing.balancing import GradientBalancing, gramian_of
from mtl_zoo.balancing.solvers import inverse_cosines, normalised


def graddrop_update(gradients: Any, drawn: Any) -> Any:
    """Return the update `(N,)` made of gradients `(T, N)`.

    Args:
        gradients: `(T, N)`.
        drawn: `(N,)` uniform numbers in 0 to 1.
    """
    total = ops.sum(gradients, axis=0)
    size = ops.sum(ops.abs(gradients), axis=0)
    purity = (1.0 + total / ops.where(size > 0, size, ops.ones_like(size))) / 2.0
    kept = ops.where(ops.expand_dims(purity > drawn, 0), gradients > 0, gradients < 0)
    return ops.sum(ops.where(kept, gradients, ops.zeros_like(gradients)), axis=0)


def nearest_weights(gradients: Any, update: Any, active: Any) -> Any:
    """Return the weights `(T,)` of the combination of gradients nearest to an update.

    The least-squares solution, the shortest one where there are several.
    """
    parts = normalised(gramian_of(gradients), active)
    size = parts.norms * parts.scale
    towards = ops.cast(ops.matmul(gradients, update), "float64") / size
    # Masked tasks have a column of zeros in the inverse.
    weights = ops.matmul(inverse_cosines(parts), towards) / size
    return ops.cast(weights, gradients.dtype)


@keras.saving.register_keras_serializable(package="mtl_zoo")
class GradDrop(GradientBalancing):
    """In each coordinate let through only the gradients of one sign, drawn at random.

    The positive ones with the probability `(1 + sum g / sum |g|) / 2` (Chen et al.,
    2020, equation 2, with the identity for their `f` and no leak), so that the expected
    sign is that of the plain sum.

    The paper's layer drops at the representation. Coordinates of the parameters are
    dropped here at level `"params"` alone; below it all shared parameters get one
    weight a task: that of the combination nearest to what dropping gives at the last
    shared layer, or at the channels of the representation.

    Args:
        seed: Of the draws. Defaults to `None`: from Keras's global seed.
        level: See `GradientBalancing`.

    Reference:
        - [Chen et al., 2020](https://arxiv.org/abs/2010.06808)
    """

    whole_gradients = True
    promises = ("plain for one task",)

    def __init__(
        self, seed: int | None = None, level: str = "last", **kwargs: Any
    ) -> None:
        super().__init__(level=level, **kwargs)
        self.draw_from(seed)

    def _update(self, gradients: Any) -> Any:
        drawn = keras.random.uniform(
            ops.shape(gradients)[1:], seed=self.draws, dtype=gradients.dtype
        )
        return graddrop_update(gradients, drawn)

    def weights_from_gradients(self, gradients: Any, losses: Any, active: Any) -> Any:
        return nearest_weights(gradients, self._update(gradients), active)

    def combine(self, gradients: Any, losses: Any, active: Any) -> tuple[Any, Any]:
        update = self._update(gradients)
        return update, nearest_weights(gradients, update, active)
