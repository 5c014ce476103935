"""The base class of all heads: from named features to the raw output of a task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras


class Head(keras.layers.Layer):
    """The last layers of one task.

    A head takes the features it needs, by name, out of the mapping a trunk returns and
    maps them to one raw tensor, or a dict of some, on which the loss and the metrics
    work. `decode` turns that into what a user wants (labels, boxes, maps, entities),
    inside the graph, so that it can be exported.

    A subclass writes three methods:

    - `build(input_shape)`: builds its layers from the mapping name -> shape.
    - `call(features, training=None)`: returns the raw tensor, in float32 whatever the
      dtype policy, with the batch as first axis.
    - `decode(raw)`: returns a tensor or a dict of tensors, batch first.

    One that predicts labels may also write `label_probabilities(raw)`, `(batch, ...,
    labels)`, 0 where there is nothing to be labelled: other tasks can read them then.

    Call arguments:
        features: Mapping of feature name to tensor. Names the head does not use are
            ignored.
        training: Whether dropout and the like are on.
    """

    @property
    def output_kernel(self) -> keras.Variable | None:
        """The kernel `(inputs, outputs)` of the last linear map, where there is one.

        Architectures that relate the weights of tasks to each other find it here.
        """
        return None

    def decode(self, raw: Any) -> Any:
        """Turns the raw tensor into what a user wants, inside the graph.

        Args:
            raw: What the head returned.

        Returns:
            A tensor or a dict of tensors, batch first.
        """
        raise NotImplementedError(
            "A head decodes its raw output in `decode(raw)`, but "
            f"{type(self).__name__} does not define it. Write that method."
        )

    def select(self, features: Mapping[str, Any], name: str) -> Any:
        """Returns `features[name]`.

        Raises:
            ValueError: If there is no feature of that name.
        """
        try:
            return features[name]
        except KeyError:
            raise ValueError(
                f"Head {self.name!r} needs the feature {name!r}. Received features: "
                f"{list(features)}. Name one of those in the head's constructor, or "
                "add the stage (or the neck) to the trunk."
            ) from None


def check_class_names(
    class_names: Sequence[str] | None, num_classes: int
) -> tuple[str, ...] | None:
    """Returns the names as a tuple.

    Args:
        class_names: One name a class, or `None`.
        num_classes: How many classes there are.

    Raises:
        ValueError: If there is not one name for each class.
    """
    if class_names is None:
        return None
    if len(class_names) != num_classes:
        raise ValueError(
            f"Expected one name for each of the {num_classes} classes. Received "
            f"{len(class_names)}: class_names={list(class_names)}"
        )
    return tuple(class_names)
