"""The text formats that TensorFlow Serving reads, parsed as the server parses them.

`models.config` has its protocol buffers in `tensorflow-serving-api`. Those of the
batching and monitoring files are not in that package, so they are declared here, field
for field as in the server's `session_bundle_config.proto` and
`monitoring_config.proto`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64 = ".google.protobuf.Int64Value"

# Number, name, type (a scalar's or a message's), whether repeated.
_MESSAGES: dict[str, list[tuple[int, str, Any, bool]]] = {
    "BatchingParameters": [
        (1, "max_batch_size", _INT64, False),
        (2, "batch_timeout_micros", _INT64, False),
        (3, "max_enqueued_batches", _INT64, False),
        (4, "num_batch_threads", _INT64, False),
        (5, "thread_pool_name", ".google.protobuf.StringValue", False),
        (6, "allowed_batch_sizes", _FIELD.TYPE_INT64, True),
        (7, "pad_variable_length_inputs", _FIELD.TYPE_BOOL, False),
        (8, "enable_large_batch_splitting", ".google.protobuf.BoolValue", False),
        (9, "max_execution_batch_size", _INT64, False),
    ],
    "PrometheusConfig": [
        (1, "enable", _FIELD.TYPE_BOOL, False),
        (2, "path", _FIELD.TYPE_STRING, False),
    ],
    "MonitoringConfig": [
        (1, "prometheus_config", ".mtl_zoo.serving.PrometheusConfig", False)
    ],
}


def parse_models_config(text: str) -> list[Any]:
    """Return the `ModelConfig` messages of a `models.config`.

    Raises:
        ValueError: When the text is not a `ModelServerConfig`.
    """
    message = model_server_config_pb2.ModelServerConfig()
    return list(_parse(text, message).model_config_list.config)


def parse_batching(text: str) -> Any:
    """Return the `BatchingParameters` of a batching file.

    Raises:
        ValueError: When the text is not one.
    """
    return _parse(text, _message_classes()["BatchingParameters"]())


def parse_monitoring(text: str) -> Any:
    """Return the `MonitoringConfig` of a monitoring file.

    Raises:
        ValueError: When the text is not one.
    """
    return _parse(text, _message_classes()["MonitoringConfig"]())


def _parse(text: str, message: Any) -> Any:
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ValueError(
            f"Expected a {message.DESCRIPTOR.name} in protobuf text format. {error}"
        ) from None


@cache
def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="mtl_zoo/serving.proto",
        package="mtl_zoo.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f"mtl_zoo.serving.{name}")
        )
        for name in _MESSAGES
    }
