"""What a balancing method is: task losses or gradients in, one update out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

LEVELS = ("last", "params", "feature")

PROMISES = {
    "same for any order": "Tasks in another order get the same weights.",
    "no task gets worse": "To first order, the update increases no task's loss.",
    "plain for one task": "With one task, the update is that of plain training.",
    "same for any scale": "A loss times a constant gives an update of one direction.",
}
"""What a method can promise. For gradient methods it holds at the parameters whose
gradients are compared: all shared ones at level `"params"`, those of the last shared
layer at `"last"`, and the representation, for the samples of the batch, at
`"feature"`."""


class Balancing(keras.layers.Layer):
    """Base of `LossBalancing` and `GradientBalancing`; subclass one of those.

    A balancing object may own variables (created in `build`); they are saved with the
    model. Every `(T,)` array follows `model.task_names`. (`weights` is what Keras calls
    the variables of a layer, hence `task_weights`.)

    Attributes:
        task_names: Names of the tasks, once built.
        draws: Seed generator of a method that draws numbers. Keras leaves it out of
            `.keras` files; this class does not.
        looks_ahead: Whether `after_step` wants the losses after the update, which cost
            another forward pass.
        promises: What holds whatever the losses and gradients are, of `PROMISES`.
    """

    draws: keras.random.SeedGenerator | None = None
    looks_ahead = False
    promises: tuple[str, ...] = ()

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        """Create the state.

        Args:
            task_names: Names of the `T` tasks.
            gradient_size: Length `N` of the gradients that are compared. Defaults to
                `0`: unknown, which does for methods that keep none.
        """
        self.task_names = tuple(task_names)
        self.gradient_size = gradient_size
        self.built = True

    def draw_from(self, seed: int | None) -> None:
        """Make `draws`, with a seed that is an argument of the constructor."""
        self.seed = seed
        self.draws = keras.random.SeedGenerator(seed)

    @property
    def num_tasks(self) -> int:
        """How many tasks there are."""
        return len(self.task_names)

    def add_state(
        self,
        shape: tuple,
        name: str,
        initializer: Any = "zeros",
        dtype: str = "float32",
    ) -> keras.Variable:
        """Create a variable that no gradient moves, the same on all replicas."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def after_step(self, before: Any, after: Any, active: Any) -> None:
        """Learn from what the update did to the losses, if `looks_ahead`.

        Args:
            before: `(T,)` losses that the update was made of.
            after: `(T,)` losses of the same batch behind it.
            active: `(T,)` bool.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        seed = {} if self.draws is None else {"seed": self.seed}
        return {**super().get_config(), **seed}

    def save_own_variables(self, store: Any) -> None:
        super().save_own_variables(store)
        if self.draws is not None:
            store["draws"] = self.draws.state.numpy()

    def load_own_variables(self, store: Any) -> None:
        store = {name: store[name] for name in store.keys()}  # noqa: SIM118
        if self.draws is not None:
            self.draws.state.assign(store.pop("draws"))
        super().load_own_variables(store)

    def get_build_config(self) -> dict[str, Any] | None:
        if not self.built:
            return None
        return {
            "task_names": list(self.task_names),
            "gradient_size": self.gradient_size,
        }

    def build_from_config(self, config: dict[str, Any]) -> None:
        self.build(**config)


def now(state: keras.Variable) -> Any:
    """Return the value that a state variable has now, whatever is assigned later."""
    return ops.stop_gradient(state)


class LossBalancing(Balancing):
    """A method that weighs losses: one backward pass through `sum(weights * losses)`.

    A subclass writes `task_weights`; or `total`, where the weights are the derivatives
    of some function of the losses.
    """

    def task_weights(self, losses: Any, active: Any) -> Any:
        """Return the weight of each loss, which no gradient flows through.

        Called once a step; may update the state.

        Args:
            losses: `(T,)` float32, 0 for a task without a label in the batch.
            active: `(T,)` bool, whether a task has a label in the (global) batch.

        Returns:
            `(T,)` float32.
        """
        raise NotImplementedError

    def total(self, losses: Any, active: Any) -> Any:
        """Return the scalar whose derivative by the losses is the tasks' weights.

        Defaults to `sum(weights * losses)` with `task_weights`.

        Args:
            losses: As in `task_weights`. Of the global batch: the model takes the
                derivatives by them, and by the trainable variables of the method.
            active: As in `task_weights`.
        """
        weights = self.task_weights(ops.stop_gradient(losses), active)
        return ops.sum(ops.stop_gradient(weights) * losses)


class GradientBalancing(Balancing):
    """A method that weighs the tasks' gradients by how they lie to each other.

    A subclass writes `task_weights`; or `weights_from_gradients`, when it keeps
    statistics of whole gradients; or `combine` too, when its update is no weighted sum.

    Args:
        level: Where gradients are compared. `"last"` (default): at the kernels of the
            last shared layer that the outputs of all tasks depend on, at the price of
            one backward pass through the trunk; what a method promises then holds for
            that layer alone. `"params"`: at all shared parameters, exact, with one
            backward pass a task. `"feature"`: at the shared representation (the "-UB"
            variants of the papers); blind to conflicts between rows that belong to one
            task each. Methods with `whole_gradients` see there the gradient by an
            offset of each channel, `(T, channels)`.

    Attributes:
        whole_gradients: Whether the method needs `(T, N)` gradients whose columns mean
            the same at every step, rather than their inner products.
        solver: Whether the method solves for its weights; `unsolved` then counts the
            steps at which it did not converge.

    Raises:
        ValueError: When `level` is not one of the three.
    """

    whole_gradients = False
    solver = False

    def __init__(self, level: str = "last", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if level not in LEVELS:
            raise ValueError(f"`level` must be one of {LEVELS}. Received: {level!r}")
        self.level = level

    def build(self, task_names: Sequence[str], gradient_size: int = 0) -> None:
        super().build(task_names, gradient_size)
        if self.solver:
            self.unsolved = self.add_state((), "unsolved")

    def task_weights(self, gramian: Any, losses: Any, active: Any) -> Any:
        """Return the weight of each task's gradient.

        Called once a step; may update the state.

        Args:
            gramian: `(T, T)` float32 inner products; rows and columns of tasks
                without a label in the batch are 0.
            losses: `(T,)` float32, 0 for those tasks.
            active: `(T,)` bool, whether a task has a label in the (global) batch.

        Returns:
            `(T,)` float32, 0 for tasks that are not active.
        """
        raise NotImplementedError

    def weights_from_gradients(self, gradients: Any, losses: Any, active: Any) -> Any:
        """Return `task_weights` of the gradients `(T, N)`."""
        return self.task_weights(gramian_of(gradients), losses, active)

    def combine(self, gradients: Any, losses: Any, active: Any) -> tuple[Any, Any]:
        """Return the update `(N,)` made of the gradients `(T, N)`, and the weights.

        Used at the level `"params"`, where `N` is all of the shared parameters.
        """
        weights = self.weights_from_gradients(gradients, losses, active)
        return ops.matmul(weights, gradients), weights

    def solved(self, converged: Any) -> None:
        """Count a step at which the solver did not converge."""
        self.unsolved.assign_add(1.0 - ops.cast(converged, "float32"))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "level": self.level}


def gramian_of(gradients: Any) -> Any:
    """Return the inner products `(T, T)` of gradients `(T, N)`."""
    return ops.matmul(gradients, ops.transpose(gradients))
