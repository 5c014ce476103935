"""Models as a server holds them: versions, labels, warm-up, sessions.

Part of the look-alike of TF Serving; see `look_alike.py`.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 (a server has its operations built in)
from google.protobuf import text_format
from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

WARMUP = "assets.extra/tf_serving_warmup_requests"
_MAX_WARMUP_RECORDS = 1000
_INIT_OP = "__saved_model_init_op"
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A refusal, with the code of gRPC that a server would give it."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def invalid(message: str) -> ServingError:
    """The commonest refusal."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def disable_xla() -> None:
    """Do to this process what a server without --xla_cpu_compilation_enabled does."""
    folder = os.path.dirname(tf.__file__)
    library = ctypes.CDLL(os.path.join(folder, "libtensorflow_cc.so.2"))
    library._ZN10tensorflow21DisableXlaCompilationEv()


class Servable:
    """One version of a model: a SavedModel in a session of its own."""

    def __init__(self, path: Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(
                self.session, [tf.saved_model.SERVING], os.fspath(path)
            )
        self.signatures = dict(meta.signature_def)
        self._warm_up(path / WARMUP)

    def signature(self, name: str):
        """The SignatureDef of `name`, which may be empty for the default."""
        name = name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if name not in self.signatures or name == _INIT_OP:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found.',
            )
        return self.signatures[name]

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
    ) -> dict[str, np.ndarray]:
        """Run a signature as the server does: names and dtypes are checked.

        Shapes are not: it is the operations inside that refuse wrong ones.
        """
        signature = self.signature(signature_name)
        _check_inputs(signature, inputs)
        wanted = list(output_filter) or sorted(signature.outputs)
        for name in wanted:
            if name not in signature.outputs:
                names = ",".join(sorted(signature.outputs))
                raise invalid(
                    f"output tensor alias not found in signature: {name} Outputs "
                    f"expected to be in the set {{{names}}}."
                )
        graph = self.session.graph

        def handle(info):
            return graph.get_tensor_by_name(info.name)._as_tf_output()

        feeds = {handle(signature.inputs[n]): value for n, value in inputs.items()}
        fetches = [handle(signature.outputs[name]) for name in wanted]
        try:
            # `Session.run` would cast and check shapes first; servers don't.
            values = self.session._call_tf_sessionrun(None, feeds, fetches, [], None)
        except tf.errors.OpError as error:
            raise ServingError(_CODES[error.error_code], error.message) from error
        return {name: _array(v) for name, v in zip(wanted, values, strict=True)}

    def predict_protos(self, request) -> dict[str, np.ndarray]:
        """Answer a PredictRequest."""
        inputs = {}
        for name, proto in request.inputs.items():
            try:
                inputs[name] = tf.make_ndarray(proto)
            except (TypeError, ValueError, MemoryError) as error:
                raise invalid(f"tensor parsing error: {name}") from error
        return self.predict(
            request.model_spec.signature_name, inputs, list(request.output_filter)
        )

    def _warm_up(self, path: Path) -> None:
        self.warmup_records = 0
        if not path.exists():
            return
        for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            if kind != "predict_log":
                raise invalid(f"The look-alike replays no warm-up record of {kind}.")
            try:
                self.predict_protos(log.predict_log.request)
            except ServingError as error:
                raise ServingError(
                    error.code,
                    f"warm-up record {self.warmup_records} of signature "
                    f"{log.predict_log.request.model_spec.signature_name!r}: {error}",
                ) from error
            self.warmup_records += 1
            if self.warmup_records > _MAX_WARMUP_RECORDS:
                raise invalid(f"Number of warm-up records exceeds the maximum: {path}")


@dataclass
class Model:
    """The versions of a model that are served."""

    name: str
    versions: dict[int, Servable]
    labels: dict[str, int] = field(default_factory=dict)


class Models:
    """All models of a configuration.

    Args:
        config: A `models.config`, the text form of ModelServerConfig.
        folder: Where the folder is that the configuration calls `/models`.

    Raises:
        ValueError: When a model can't be served, as a server would not start.
    """

    def __init__(self, config: str | os.PathLike, folder: str | os.PathLike) -> None:
        message = model_server_config_pb2.ModelServerConfig()
        text_format.Parse(Path(config).read_text(), message)
        self._models = {
            entry.name: _load(entry, Path(folder))
            for entry in message.model_config_list.config
        }

    def find(self, spec: model_pb2.ModelSpec) -> tuple[Servable, int]:
        """The servable that a request names, and its version."""
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        wanted = f"Latest({spec.name})"
        version = None
        if model and spec.version_label:
            if spec.version_label not in model.labels:
                raise invalid(
                    f"Unrecognized servable version label: {spec.version_label}"
                )
            version = model.labels[spec.version_label]
        elif spec.HasField("version"):
            version = spec.version.value
            wanted = f"Specific({spec.name}, {version})"
        elif model:
            version = max(model.versions)
        if model is None or version not in model.versions:
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found for request: {wanted}",
            )
        return model.versions[version], version

    def served(self, spec: model_pb2.ModelSpec) -> list[int]:
        """The versions of a model, newest first, for a status request."""
        model = self._models.get(spec.name)
        versions = sorted(model.versions, reverse=True) if model else []
        if spec.HasField("version"):
            versions = [v for v in versions if v == spec.version.value]
        elif spec.version_label:
            versions = [self.find(spec)[1]]
        if not versions:
            raise ServingError(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find any versions of model {spec.name}",
            )
        return versions


def _load(entry: model_server_config_pb2.ModelConfig, folder: Path) -> Model:
    base = Path(entry.base_path)
    if base.parts[:2] == ("/", "models"):
        base = folder.joinpath(*base.parts[2:])
    found = [int(p.name) for p in base.glob("*") if p.is_dir() and p.name.isdecimal()]
    policy = entry.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "specific":
        chosen = list(policy.specific.versions)
    elif kind == "all":
        chosen = found
    else:
        chosen = sorted(found)[-(policy.latest.num_versions or 1) :]
    if not chosen or set(chosen) - set(found):
        raise ValueError(
            f"Expected versions {chosen or '(any)'} of model {entry.name!r} in {base}. "
            f"Found: {sorted(found)}"
        )
    labels = dict(entry.version_labels)
    if set(labels.values()) - set(chosen):
        raise ValueError(
            f"Labels of model {entry.name!r} must name versions that are served, "
            f"{sorted(chosen)}. Received: {labels}"
        )
    versions = {}
    for version in sorted(chosen):
        try:
            versions[version] = Servable(base / str(version))
        except (ServingError, OSError, tf.errors.OpError) as error:
            raise ValueError(
                "1 servable(s) did not become available: {{{name: "
                f"{entry.name} version: {version}}} due to error: {error}}}}}"
            ) from error
    return Model(entry.name, versions, labels)


def _array(value) -> np.ndarray:
    # The session gives a string without dimensions as bytes.
    return np.array(value, object) if isinstance(value, bytes) else np.asarray(value)


def _check_inputs(signature, inputs: Mapping[str, np.ndarray]) -> None:
    expected, given = set(signature.inputs), set(inputs)
    if len(expected) != len(given):
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(expected)} "
            f"len({{{','.join(sorted(given))}}}) != "
            f"len({{{','.join(sorted(expected))}}}). "
            f"Sent extra: {{{','.join(sorted(given - expected))}}}. "
            f"Missing but required: {{{','.join(sorted(expected - given))}}}."
        )
    for name in sorted(expected - given):
        raise invalid(
            f"Signature input alias: {name}(feed name: {signature.inputs[name].name}) "
            "not found in request and no default value provided."
        )
    for index, name in enumerate(sorted(expected)):
        dtype = tf.as_dtype(signature.inputs[name].dtype)
        received = tf.as_dtype(inputs[name].dtype)
        if received != dtype:
            raise invalid(
                f"Expects arg[{index}] to be {type_name(dtype)} but "
                f"{type_name(received)} is provided"
            )


def type_name(dtype: tf.DType) -> str:
    """A dtype as the server writes it in its messages."""
    names = {"float16": "half", "float32": "float", "float64": "double"}
    return names.get(dtype.name, dtype.name)
