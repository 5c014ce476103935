"""Warm-up requests: what a server runs before it says that a version is ready."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from mtl_zoo.export.inputs import IMAGES, Batch
from mtl_zoo.export.signatures import BYTES, BYTES_INPUT, DEFAULT_SIGNATURE, XLA_SUFFIX

FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# A server reads no more.
MOST_RECORDS = 1000


def write_warmup(
    directory: str | os.PathLike,
    name: str,
    signatures: Iterable[str],
    inputs: Batch,
    batch_sizes: Iterable[int],
    xla: bool = False,
) -> int:
    """Write the warm-up requests of a version.

    One for each signature that a stock server runs. With `xla`, also one for each
    batch size for `serving_default_xla`: the compiled trunk is shared by the twins.
    Without it none for the twins: on a server that has XLA switched off, one such
    record makes the model fail to load.

    Args:
        directory: The version folder.
        name: Name of the model on the server.
        signatures: Names of the signatures.
        inputs: Real inputs, by name.
        batch_sizes: Batch sizes that the server will use.
        xla: Whether the server has XLA switched on.

    Returns:
        The number of requests.
    """
    one = {key: value[:1] for key, value in inputs.items()}
    records = []
    for signature in sorted(signatures):
        if signature.endswith(XLA_SUFFIX):
            continue
        if signature == BYTES:
            file = tf.io.encode_jpeg(one[IMAGES][0], quality=95).numpy()
            records.append(_record(name, signature, {BYTES_INPUT: np.array([file])}))
        else:
            records.append(_record(name, signature, one))
    if xla:
        twin = DEFAULT_SIGNATURE + XLA_SUFFIX
        for size in batch_sizes:
            batch = {key: np.repeat(value, size, 0) for key, value in one.items()}
            records.append(_record(name, twin, batch))
    path = Path(directory) / FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for record in records:
            writer.write(record.SerializeToString(deterministic=True))
    return len(records)


def read_warmup(
    directory: str | os.PathLike,
) -> Iterator[predict_pb2.PredictRequest]:
    """Yield the warm-up requests of a version, none where there is no such file.

    Raises:
        ValueError: When a record is not a Predict request.
    """
    path = Path(directory) / FILE
    if not path.is_file():
        return
    for record in tf.data.TFRecordDataset(os.fspath(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.WhichOneof("log_type") != "predict_log":
            raise ValueError(
                f"Expected Predict requests in {path}. Received a "
                f"{log.WhichOneof('log_type') or 'record without content'}."
            )
        yield log.predict_log.request


def _record(
    name: str, signature: str, inputs: Batch
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in sorted(inputs.items()):
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return log
