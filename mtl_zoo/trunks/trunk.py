"""A trunk: named stages in order, and perhaps a neck over their outputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras


@keras.saving.register_keras_serializable(package="mtl_zoo")
class Trunk(keras.layers.Layer):
    """Run named stages one after the other and return every stage's output.

    Stage `i` maps the output of stage `i - 1` to its own, `x_i = stage_i(x_{i-1})`,
    and the trunk returns `{name_i: x_i}`. Architectures that mix or split between
    stages call `trunk.stages[name]` themselves and work on any trunk.

    Args:
        stages: Ordered mapping of name to Keras layer or model. Names are Python
            identifiers. Each layer takes what the previous one returns; the first
            takes the trunk's input.
        neck: Optional layer over all the features, a mapping of name to tensor in
            and out, such as `FeaturePyramid`. Its outputs join the trunk's. Where the
            trunk takes a mapping, the neck finds that in front of the features. It
            may define `last_shared_variables`, see below. Defaults to `None`.
        freeze_batch_norm: Whether the `BatchNormalization` layers of the stages stay
            frozen: not trainable and in inference mode, whatever becomes of
            `trainable` of the trunk or of a model around it. Right for small batches
            on pretrained weights. Defaults to `False`.
        prepare: Optional layer from what users have, such as strings, to what the
            first stage takes; not called by the trunk itself, since it may need what
            XLA can not compile. `MultiTaskModel.prepare` does. Defaults to `None`.
        **kwargs: Passed to `keras.layers.Layer`.

    Inputs:
        What the first stage takes, e.g. images `(batch, height, width, 3)`.

    Returns:
        `{name: tensor}` with the output of every stage, in order, then the outputs of
        the neck.

    Raises:
        TypeError: When `stages` is no mapping, or a stage or the neck is no layer.
        ValueError: When there is no stage, a name is no identifier, one layer is used
            for two stages, or the neck returns the name of a stage.

    Example:
        >>> trunk = Trunk(
        ...     {"wide": keras.layers.Dense(8), "narrow": keras.layers.Dense(2)}
        ... )
        >>> features = trunk(keras.ops.ones((3, 4)))
        >>> {name: tuple(feature.shape) for name, feature in features.items()}
        {'wide': (3, 8), 'narrow': (3, 2)}
    """

    def __init__(
        self,
        stages: Mapping[str, keras.layers.Layer],
        neck: keras.layers.Layer | None = None,
        freeze_batch_norm: bool = False,
        prepare: keras.layers.Layer | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check(stages, neck)
        self._stage_names = tuple(stages)
        self._stage_layers = list(stages.values())
        self.neck = neck
        self.freeze_batch_norm = freeze_batch_norm
        self.prepare = prepare
        self._keep_batch_norm_frozen()

    @property
    def stages(self) -> Mapping[str, keras.layers.Layer]:
        """The stages in order, name to layer (read only)."""
        return MappingProxyType(
            dict(zip(self._stage_names, self._stage_layers, strict=True))
        )

    @property
    def last_shared_variables(self) -> list[keras.Variable]:
        """Trainable kernels of the very last shared layers.

        Those that the neck names in its own `last_shared_variables`; else the last
        trainable kernel (a variable of two or more dimensions) of the neck or, going
        back, of the stages. Empty when nothing there can be trained.
        """
        named = getattr(self.neck, "last_shared_variables", None)
        if named:
            return list(named)
        for layer in reversed(self._parts()):
            kernels = [v for v in layer.trainable_weights if len(v.shape) >= 2]
            if kernels:
                return kernels[-1:]
        return []

    @property
    def trainable(self) -> bool:
        """Whether the trunk is trained. Frozen batch normalisation stays frozen."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        keras.layers.Layer.trainable.fset(self, value)
        self._keep_batch_norm_frozen()

    def build(self, input_shape: Any) -> None:
        if not all(part.built for part in self._parts()):
            self._run(self._symbolic(input_shape), _build_or_infer)
        self._keep_batch_norm_frozen()

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        return self._run(inputs, lambda layer, x: layer(x, training=training))

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None
    ) -> dict[str, Any]:
        return self._run(inputs, _build_or_infer)

    def compute_output_shape(self, input_shape: Any) -> dict[str, Any]:
        specs = self.compute_output_spec(self._symbolic(input_shape))
        return keras.tree.map_structure(lambda spec: spec.shape, specs)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            # Pairs, not a dict: JSON and Keras may reorder a dict.
            "stages": [[name, serialize(s)] for name, s in self.stages.items()],
            "neck": serialize(self.neck),
            "freeze_batch_norm": self.freeze_batch_norm,
            "prepare": serialize(self.prepare),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Trunk:
        deserialize = keras.saving.deserialize_keras_object
        return cls(
            **{
                **config,
                "stages": {name: deserialize(s) for name, s in config["stages"]},
                "neck": deserialize(config["neck"]),
                "prepare": deserialize(config.get("prepare")),
            }
        )

    def _symbolic(self, input_shape: Any) -> Any:
        """Return symbolic inputs: what the preparation makes, else floats."""
        if self.prepare is not None:
            return self.prepare.compute_output_spec(None)
        return _symbolic(input_shape, self.compute_dtype)

    def _parts(self) -> list[keras.layers.Layer]:
        return [*self._stage_layers, *([] if self.neck is None else [self.neck])]

    def _run(self, x: Any, apply: Any) -> dict[str, Any]:
        features = {}
        given = dict(x) if isinstance(x, Mapping) else {}
        for name, stage in zip(self._stage_names, self._stage_layers, strict=True):
            features[name] = x = apply(stage, x)
        if self.neck is None:
            return features
        extra = apply(self.neck, {**given, **features})
        clash = sorted(set(extra) & set(features))
        if clash:
            raise ValueError(
                f"The neck {self.neck.name!r} must name its outputs differently from "
                f"the stages {list(features)}. Received both: {clash}"
            )
        return {**features, **extra}

    def _keep_batch_norm_frozen(self) -> None:
        if not self.freeze_batch_norm:
            return
        for stage in self._stage_layers:
            freeze_batch_norm(stage)


def freeze_batch_norm(layer: keras.layers.Layer) -> None:
    """Freeze the batch normalisation in a layer, or that it is."""
    for one in layer._flatten_layers():
        if isinstance(one, keras.layers.BatchNormalization):
            one.trainable = False


def _build_or_infer(layer: keras.layers.Layer, x: Any) -> Any:
    """Return the symbolic output of `layer`, building it on the way if need be."""
    return layer.compute_output_spec(x) if layer.built else layer(x)


def _symbolic(shape: Any, dtype: str) -> Any:
    """Return symbolic tensors of a shape, or of a structure of shapes."""
    if isinstance(shape, Mapping):
        return {key: _symbolic(value, dtype) for key, value in shape.items()}
    if all(size is None or isinstance(size, int) for size in shape):
        return keras.KerasTensor(tuple(shape), dtype=dtype)
    return [_symbolic(item, dtype) for item in shape]


def _check(stages: Any, neck: Any) -> None:
    if not isinstance(stages, Mapping):
        raise TypeError(
            "`stages` must be an ordered mapping of name to layer, such as "
            "{'stage_1': keras.layers.Dense(8)}. "
            f"Received: {stages!r} of type {type(stages).__name__}"
        )
    if not stages:
        raise ValueError(
            "A trunk needs at least one stage. Received: an empty mapping. Pass "
            "{name: layer}."
        )
    for name, stage in stages.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                "A stage's name is a Python identifier, such as 'stride_4'. "
                f"Received: {name!r}"
            )
        if not isinstance(stage, keras.layers.Layer):
            raise TypeError(
                f"Stage {name!r} must be a Keras layer or model. "
                f"Received: {stage!r} of type {type(stage).__name__}"
            )
    if len({id(stage) for stage in stages.values()}) < len(stages):
        raise ValueError(
            "Each stage must be a layer of its own; one layer under two names would "
            f"come apart when saved. Received: {dict(stages)}"
        )
    if neck is not None and not isinstance(neck, keras.layers.Layer):
        raise TypeError(
            "`neck` must be a Keras layer from a mapping of features to a mapping of "
            f"features, or None. Received: {neck!r} of type {type(neck).__name__}"
        )
