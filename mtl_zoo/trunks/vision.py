"""Trunks cut from the convolutional backbones of KerasHub and keras.applications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from mtl_zoo.trunks.trunk import Trunk

STRIDES = (2, 4, 8, 16, 32)
_PROBE_SIZE = 256


def from_backbone(
    backbone: keras.Model,
    cuts: Mapping[str, str] | None = None,
    *,
    normalization: keras.layers.Layer | None = None,
    neck: keras.layers.Layer | None = None,
    freeze_batch_norm: bool = False,
    name: str | None = None,
) -> Trunk:
    """Cut a functional backbone into stages `stride_2`, `stride_4`, ... `stride_32`.

    The layers, and so the weights, are shared with `backbone`, not copied. What lies
    behind the last cut, such as a classification top, is left out.

    Without `cuts`, the stage of stride `s` ends at the last tensor of spatial size
    `(height / s, width / s)` that separates the graph: every path from the input to
    the output runs through it. Strides that have no such tensor are left out (the
    stem of a ConvNeXt goes from 1 to 4 at once).

    Args:
        backbone: Functional model from one image batch `(batch, height, width, 3)` to
            one output, channels last. Its size may be unknown, `(None, None, 3)`, and
            the trunk then takes any size that the backbone takes; a fixed size must
            be a multiple of 32, at least 64. Inputs are what the backbone takes.
        cuts: Ordered mapping of stage name to the name of the layer whose output ends
            the stage. Defaults to `None`, finding the cuts as said above.
        normalization: Layer put in front of the first stage, from pixels in 0..255 to
            what the backbone takes, e.g. `keras.layers.Rescaling(1 / 127.5, -1)`.
            Defaults to `None`, right for models that include their preprocessing.
        neck: Optional neck of the trunk. Defaults to `None`.
        freeze_batch_norm: Whether batch normalisation stays frozen, see `Trunk`.
            Defaults to `False`.
        name: Name of the trunk. Defaults to that of the backbone.

    Returns:
        A `Trunk`.

    Raises:
        TypeError: When `backbone` is no functional model.
        ValueError: When its input or output is not as above, when no cut is found, or
            when a cut of `cuts` names no layer, does not separate the graph or stands
            out of order.

    Example:
        >>> backbone = keras.applications.MobileNetV2(
        ...     input_shape=(64, 64, 3), alpha=0.35, include_top=False, weights=None
        ... )
        >>> trunk = from_backbone(
        ...     backbone, normalization=keras.layers.Rescaling(1 / 127.5, offset=-1)
        ... )
        >>> list(trunk.stages)
        ['stride_2', 'stride_4', 'stride_8', 'stride_16', 'stride_32']
    """
    source, output = _endpoints(backbone)
    tensors = _tensors_in_order(source, output)
    separators = _separators(tensors, output)
    if cuts is None:
        ends = _find_cuts(backbone, separators)
    else:
        ends = _named_cuts(cuts, tensors, separators)
    stages: dict[str, keras.layers.Layer] = {}
    start = source
    for stage, end in ends.items():
        stages[stage] = keras.Model(start, end, name=stage)
        start = end
    if normalization is not None:
        first = next(iter(stages))
        stages[first] = keras.Sequential(
            [keras.Input(source.shape[1:]), normalization, stages[first]], name=first
        )
    _check_no_weight_in_two(stages)
    return Trunk(
        stages,
        neck=neck,
        freeze_batch_norm=freeze_batch_norm,
        name=name or backbone.name,
    )


def _endpoints(backbone: Any) -> tuple[Any, Any]:
    """Return the one input and the one output of a backbone."""
    if not isinstance(backbone, keras.Model) or not hasattr(backbone, "inputs"):
        raise TypeError(
            "`backbone` must be a functional Keras model; a subclassed model has no "
            "graph to cut. Build a Trunk of its layers instead. "
            f"Received: {backbone!r} of type {type(backbone).__name__}"
        )
    sources, outputs = (
        keras.tree.flatten(backbone.inputs),
        keras.tree.flatten(backbone.outputs),
    )
    if len(sources) != 1 or len(outputs) != 1:
        raise ValueError(
            "The backbone must have one input and one output; choose them with "
            "keras.Model(backbone.input, tensor). "
            f"Received: {len(sources)} inputs and {len(outputs)} outputs"
        )
    shape = sources[0].shape
    size = shape[1:3]
    whole = all(n is None or (n % 32 == 0 and n >= 64) for n in size)
    if len(shape) != 4 or shape[-1] is None or shape[-1] > 4 or not whole:
        raise ValueError(
            "The backbone must take images (batch, height, width, channels), channels "
            "last, with height and width unknown (None) or multiples of 32 from 64 "
            f"on. Received an input of shape {shape}"
        )
    return sources[0], outputs[0]


def _parents(tensor: Any) -> list[Any]:
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index].input_tensors


def _tensors_in_order(source: Any, output: Any) -> list[Any]:
    """Return the tensors between `source` and `output`, parents before children."""
    order: list[Any] = []
    seen = {id(source)}
    stack = [(output, False)]
    while stack:
        tensor, ready = stack.pop()
        if ready:
            order.append(tensor)
        elif id(tensor) not in seen:
            seen.add(id(tensor))
            stack.append((tensor, True))
            stack.extend((parent, False) for parent in _parents(tensor))
    return [source, *order]


def _separators(tensors: list[Any], output: Any) -> list[Any]:
    """Return the tensors that every path from the first tensor to `output` crosses.

    Walking in topological order, a tensor separates the graph exactly when, right
    after it was made, it is the only one that something later still reads.
    """
    last_read = {id(output): len(tensors)}
    for index, tensor in enumerate(tensors[1:], start=1):
        for parent in _parents(tensor):
            last_read[id(parent)] = max(index, last_read.get(id(parent), 0))
    separators = []
    reach = last_read[id(tensors[0])]  # up to where the tensors so far are read
    for index, tensor in enumerate(tensors[1:], start=1):
        if reach <= index:
            separators.append(tensor)
        reach = max(reach, last_read[id(tensor)])
    return separators


def _find_cuts(backbone: keras.Model, separators: list[Any]) -> dict[str, Any]:
    """Return for each stride the last separator at that spatial size."""
    size, shapes = _spatial_shapes(backbone, separators)
    positions = {
        stride: max(
            (
                index
                for index, shape in enumerate(shapes)
                if len(shape) == 4
                and shape[1:3] == (size[0] // stride, size[1] // stride)
            ),
            default=-1,
        )
        for stride in STRIDES
    }
    found = {stride: index for stride, index in positions.items() if index >= 0}
    if not found or list(found.values()) != sorted(found.values()):
        raise ValueError(
            f"The backbone {backbone.name!r} cannot be cut by stride: at strides "
            f"{list(found)} the last tensors that separate its graph stand at "
            f"positions {list(found.values())}. Pass `cuts={{stage: layer name}}`."
        )
    return {f"stride_{stride}": separators[i] for stride, i in found.items()}


def _spatial_shapes(
    backbone: keras.Model, tensors: list[Any]
) -> tuple[tuple[int, int], list[tuple]]:
    """Return an image size and the shapes of `tensors` for images of that size."""
    source = keras.tree.flatten(backbone.inputs)[0]
    height, width = (n or _PROBE_SIZE for n in source.shape[1:3])
    if None not in source.shape[1:3]:
        return (height, width), [tensor.shape for tensor in tensors]
    image = keras.KerasTensor((1, height, width, source.shape[3]), source.dtype)
    specs = keras.Model(source, tensors).compute_output_spec(image)
    return (height, width), [spec.shape for spec in keras.tree.flatten(specs)]


def _named_cuts(
    cuts: Mapping[str, str], tensors: list[Any], separators: list[Any]
) -> dict[str, Any]:
    """Return the output tensors of the named layers, checked to be legal cuts."""
    by_layer = {tensor._keras_history[0].name: tensor for tensor in tensors[1:]}
    position = {id(tensor): index for index, tensor in enumerate(separators)}
    ends: dict[str, Any] = {}
    previous = -1
    for stage, layer in cuts.items():
        if layer not in by_layer:
            raise ValueError(
                f"Stage {stage!r} must end at a layer on the way from the backbone's "
                f"input to its output. Received: {layer!r}. The layers there that can "
                f"end a stage: {_names(separators)}"
            )
        index = position.get(id(by_layer[layer]))
        if index is None:
            raise ValueError(
                f"Stage {stage!r} cannot end at layer {layer!r}: another connection "
                "(a skip or a branch) crosses this cut. Choose one of: "
                f"{_names(separators)}"
            )
        if index <= previous:
            raise ValueError(
                "`cuts` must name layers in the order in which the backbone runs them. "
                f"Received: {dict(cuts)}, where {layer!r} comes before its predecessor"
            )
        previous = index
        ends[stage] = by_layer[layer]
    return ends


def _names(tensors: list[Any]) -> list[str]:
    return [tensor._keras_history[0].name for tensor in tensors]


def _check_no_weight_in_two(stages: Mapping[str, keras.layers.Layer]) -> None:
    owner: dict[int, str] = {}
    for stage, layer in stages.items():
        for weight in layer.weights:
            other = owner.setdefault(id(weight), stage)
            if other != stage:
                raise ValueError(
                    f"Stages {other!r} and {stage!r} share the weight {weight.path!r}, "
                    "which a saved trunk could not keep shared. Choose `cuts` that "
                    "leave both uses in one stage."
                )
