"""The gRPC services of the look-alike of TF Serving; see `look_alike.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.servables import Models, ServingError, invalid

# As the server does, which sets no limit of its own.
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Two servers must not share a port.
    ("grpc.so_reuseport", 0),
]


def start(models: Models, port: int = 0) -> tuple[grpc.Server, int]:
    """Serve `models` on this machine only; return the server and its port."""
    server = grpc.server(futures.ThreadPoolExecutor(16), options=_OPTIONS)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        _PredictionService(models), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(
        _ModelService(models), server
    )
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


def metadata(models: Models, spec: Any) -> Any:
    """The signatures of a servable, as a GetModelMetadataResponse."""
    servable, version = models.find(spec)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = spec.name
    response.model_spec.version.value = version
    response.metadata["signature_def"].Pack(signatures)
    return response


def status(models: Models, spec: Any) -> Any:
    """The versions of a model, as a GetModelStatusResponse."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in models.served(spec):
        entry = response.model_version_status.add(version=version)
        entry.state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        entry.status.error_message = ""
    return response


def typed_proto(value: np.ndarray) -> Any:
    """A TensorProto with typed fields, which is what the server sends."""
    dtype = tf.as_dtype(value.dtype)
    proto = tf.make_tensor_proto(np.zeros(0, value.dtype), dtype, shape=[0])
    proto.ClearField("tensor_shape")
    proto.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
    flat = value.ravel()
    if dtype == tf.float16:
        proto.half_val.extend(flat.view(np.uint16).tolist())
    else:
        getattr(proto, _FIELDS.get(dtype, "int_val")).extend(flat.tolist())
    return proto


_FIELDS: Mapping[tf.DType, str] = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def _refusing(method: Callable) -> Callable:
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except ServingError as error:
            return context.abort(error.code, str(error))

    return answer


class _PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    @_refusing
    def Predict(self, request: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        servable, version = self.models.find(spec)
        response = predict_pb2.PredictResponse()
        for name, value in servable.predict_protos(request).items():
            response.outputs[name].CopyFrom(typed_proto(value))
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = (
            spec.signature_name or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        )
        return response

    @_refusing
    def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one metadata_field"
            )
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        return metadata(self.models, request.model_spec)


class _ModelService(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, models: Models) -> None:
        self.models = models

    @_refusing
    def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        return status(self.models, request.model_spec)
