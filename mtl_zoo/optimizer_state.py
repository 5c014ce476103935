"""An optimizer that goes on with other variables, and what it knows of the old ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras


def rebuilt_optimizer(
    optimizer: Any,
    variables: Sequence[keras.Variable],
    source_of: Mapping[int, keras.Variable],
) -> Any:
    """Return an optimizer of the same settings and step for other variables.

    Args:
        optimizer: The old one, built or not.
        variables: The new variables.
        source_of: For each new variable that the old optimizer does not have, the one
            whose state it takes, by `id`; a variable without any starts anew.

    Returns:
        A new optimizer, built if the old one was.
    """
    config = keras.saving.serialize_keras_object(optimizer)
    made = keras.saving.deserialize_keras_object(config)
    old = getattr(optimizer, "inner_optimizer", optimizer)
    if not old.built:
        return made
    made.build(variables)
    new = getattr(made, "inner_optimizer", made)
    if old is not optimizer:
        # What scales the loss: no state of single variables.
        for before, after in zip(_own(optimizer), _own(made), strict=True):
            after.assign(before)
    place = {id(v): i for i, v in enumerate(old._trainable_variables)}
    for before, after in zip(_slots(old), _slots(new), strict=True):
        for variable, slot in zip(new._trainable_variables, after, strict=True):
            known = id(variable) in place
            source = variable if known else source_of.get(id(variable))
            if slot is not None and id(source) in place:
                slot.assign(before[place[id(source)]])
    new.iterations.assign(old.iterations)
    return made


def _slots(optimizer: Any) -> Iterable[list]:
    """The lists of state that have an entry for each variable, by attribute."""
    count = len(optimizer._trainable_variables)
    found = []
    for name in sorted(vars(optimizer)):
        value = getattr(optimizer, name)
        if (
            name != "_trainable_variables"
            and isinstance(value, list)
            and len(value) == count
            and all(v is None or isinstance(v, keras.Variable) for v in value)
            and any(v is not None for v in value)
        ):
            found.append(value)
    return found


def _own(optimizer: Any) -> list[keras.Variable]:
    inner = {id(v) for v in optimizer.inner_optimizer.variables}
    return [v for v in optimizer.variables if id(v) not in inner]
