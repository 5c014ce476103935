"""Asks a model on TF Serving about images or texts, over gRPC or REST.

    python client.py MODEL photo.jpg other.png --server=localhost --protocol=grpc
    python client.py MODEL --text "Oslo was a joy to visit." "What a bore."

prints one line of JSON an image or a text. Needs numpy; grpcio and protobuf for gRPC;
Pillow for signatures that take pixels. It needs neither TensorFlow nor what made the
model. As a library:

    outputs = predict_grpc("MODEL", images)                 # uint8 (batch, h, w, 3)
    outputs = predict_rest("MODEL", [jpeg], signature="serving_bytes")
    outputs = predict_grpc("MODEL", {"text": ["Oslo was a joy to visit."]})
    outputs = predict_grpc("MODEL", {"inputs": numbers})    # any other inputs

Exit codes: 0 all answered, 1 something refused or out of reach, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import json
import math
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GRPC_PORT, REST_PORT = 8500, 8501
BYTES_SIGNATURE = "serving_bytes"

# The numbers, dtypes and fields of TF Serving's tensors.
_DTYPES: dict[int, tuple[Any, str]] = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"),
    6: (np.int8, "int_val"),
    7: (np.object_, "string_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"),
    22: (np.uint32, "uint32_val"),
    23: (np.uint64, "uint64_val"),
}
_NUMBERS = {np.dtype(dtype): number for number, (dtype, _) in _DTYPES.items()}
_NAMES = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_UINT8": 4, "DT_INT16": 5}
_NAMES |= {"DT_INT8": 6, "DT_STRING": 7, "DT_INT64": 9, "DT_BOOL": 10}
_NAMES |= {"DT_UINT16": 17, "DT_UINT32": 22, "DT_UINT64": 23}

# The messages of tensorflow_serving/apis/predict.proto, as far as they are needed here:
# a field is its number and type, * where repeated. Maps are lists of entries.
_MESSAGES = {
    "Dim": "size=1:int64",
    "Shape": "dim=2:Dim*",
    "Tensor": "dtype=1:int32 tensor_shape=2:Shape tensor_content=4:bytes "
    "float_val=5:float* double_val=6:double* int_val=7:int32* string_val=8:bytes* "
    "int64_val=10:int64* bool_val=11:bool* uint32_val=16:uint32* uint64_val=17:uint64*",
    "Entry": "key=1:string value=2:Tensor",
    "Version": "value=1:int64",
    "ModelSpec": "name=1:string version=2:Version signature_name=3:string "
    "version_label=4:string",
    "PredictRequest": "model_spec=1:ModelSpec inputs=2:Entry* output_filter=3:string*",
    "PredictResponse": "outputs=1:Entry* model_spec=2:ModelSpec",
}

Inputs = Mapping[str, Any] | np.ndarray | Sequence[bytes]


class ClientError(Exception):
    """A request that got no answer. `code` is gRPC's name or the number of HTTP."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def predict_grpc(
    model: str,
    inputs: Inputs,
    *,
    signature: str = "serving_default",
    server: str = "localhost",
    port: int = GRPC_PORT,
    version: int | None = None,
    label: str | None = None,
    only: Sequence[str] = (),
    timeout: float = 60.0,
    channel: Any = None,
) -> dict[str, np.ndarray]:
    """Ask for a prediction over gRPC.

    Args:
        model: Name of the model on the server.
        inputs: Images, uint8 `(batch, height, width, 3)`; or the contents of image
            files; or a dict from the names of inputs to arrays.
        signature: Name of the signature.
        server: Host name.
        port: Port.
        version: Number of the version. Defaults to the server's choice.
        label: Label of the version, such as `stable`, instead of its number.
        only: Names of the outputs wanted. Defaults to all.
        timeout: Seconds to wait.
        channel: A gRPC channel to use, from `connect`. Defaults to a new one.

    Returns:
        Arrays by the names of the outputs.

    Raises:
        ClientError: When the server refuses, or is out of reach.
    """
    import grpc

    messages = _messages()
    request = messages["PredictRequest"](output_filter=only)
    spec = request.model_spec
    spec.name, spec.signature_name = model, signature
    spec.version_label = label or ""
    if version is not None:
        spec.version.value = version
    for name, array in _named(inputs).items():
        request.inputs.add(key=name, value=_to_tensor(array))
    own = channel is None
    channel = connect(server, port) if own else channel
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=messages["PredictResponse"].FromString,
    )
    try:
        response = call(request, timeout=timeout)
    except grpc.RpcError as error:
        code, details = error.code().name, error.details()
        raise _failure(code, details, f"{server}:{port}", model, timeout) from None
    finally:
        if own:
            channel.close()
    return {entry.key: _to_array(entry.value) for entry in response.outputs}


def predict_rest(
    model: str,
    inputs: Inputs,
    *,
    signature: str = "serving_default",
    server: str = "localhost",
    port: int = REST_PORT,
    version: int | None = None,
    label: str | None = None,
    timeout: float = 60.0,
) -> dict[str, np.ndarray]:
    """Ask for a prediction over REST; see `predict_grpc`, which is faster."""
    where = f"http://{server}:{port}/v1/models/{urllib.parse.quote(model)}"
    if version is not None:
        where += f"/versions/{version}"
    elif label:
        where += f"/labels/{urllib.parse.quote(label)}"
    columns = {name: _to_json(array) for name, array in _named(inputs).items()}
    body = json.dumps({"signature_name": signature, "inputs": columns}).encode()
    answer = _http(f"{where}:predict", body, model, timeout)["outputs"]
    types = _output_types(where, model, signature, timeout)
    if len(types) == 1:  # the server leaves its name out
        answer = {next(iter(types)): answer}
    return {name: _from_json(value, types[name]) for name, value in answer.items()}


def connect(server: str = "localhost", port: int = GRPC_PORT) -> Any:
    """Open a gRPC channel that takes messages of any size; close it after use."""
    import grpc

    limits = ("grpc.max_send_message_length", "grpc.max_receive_message_length")
    return grpc.insecure_channel(f"{server}:{port}", [(limit, -1) for limit in limits])


def _named(inputs: Inputs) -> dict[str, np.ndarray]:
    if not isinstance(inputs, Mapping):
        pixels = isinstance(inputs, np.ndarray) and inputs.dtype != np.object_
        inputs = {"images" if pixels else "image_bytes": inputs}
    return {name: _sendable(name, value) for name, value in inputs.items()}


def _sendable(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    fits = array.dtype in _NUMBERS
    if array.dtype.kind in "SUO":
        # NumPy's own strings would lose zeros at the end.
        given = np.array(value, object)
        texts = [v.encode() if isinstance(v, str) else v for v in given.ravel()]
        fits = all(isinstance(text, bytes) for text in texts)
        flat = np.empty(len(texts), object)
        flat[:] = texts
        array = flat.reshape(given.shape)
    if not fits:
        raise ClientError(
            "INVALID_ARGUMENT",
            f"Input {name!r} must be a regular array of numbers, truth values, texts "
            f"or bytes. Received dtype {array.dtype}, shape {array.shape}.",
        )
    return array


@functools.lru_cache(maxsize=1)
def _messages() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="client.proto", syntax="proto3")
    for message, fields in _MESSAGES.items():
        entry = file.message_type.add(name=message)
        for name, number, kind, star in re.findall(r"(\w+)=(\d+):(\w+)(\*?)", fields):
            field = entry.field.add(name=name, number=int(number))
            field.label = (
                field_type.LABEL_REPEATED if star else field_type.LABEL_OPTIONAL
            )
            if kind in _MESSAGES:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{kind}"
            else:
                field.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
        for name in _MESSAGES
    }


def _to_tensor(array: np.ndarray) -> Any:
    tensor = _messages()["Tensor"](dtype=_NUMBERS[array.dtype])
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    if array.dtype == np.object_:
        tensor.string_val.extend(array.ravel())
    else:
        tensor.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return tensor


def _to_array(tensor: Any) -> np.ndarray:
    if tensor.dtype not in _DTYPES:
        raise ClientError("UNKNOWN", f"The answer has an unknown type: {tensor.dtype}")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        values = np.frombuffer(tensor.tensor_content, dtype)
    else:
        values = np.array(list(getattr(tensor, field)), dtype)
    missing = math.prod(shape) - len(values)
    if missing > 0 and len(values):  # the last value stands for those that follow
        values = np.concatenate([values, np.repeat(values[-1:], missing)])
    return values.reshape(shape)


def _to_json(array: np.ndarray) -> Any:
    def write(item: Any) -> Any:
        if isinstance(item, list):
            return [write(part) for part in item]
        return {"b64": base64.b64encode(item).decode()}

    texts = array.dtype == np.object_
    return write(array.tolist()) if texts else array.tolist()


def _from_json(value: Any, dtype: np.dtype) -> np.ndarray:
    def read(item: Any) -> Any:
        if isinstance(item, list):
            return [read(part) for part in item]
        return (
            base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode()
        )

    return np.array(read(value) if dtype == np.object_ else value, dtype)


@functools.lru_cache(maxsize=100)
def _output_types(
    where: str, model: str, signature: str, timeout: float
) -> dict[str, np.dtype]:
    about = _http(f"{where}/metadata", None, model, timeout)["metadata"]
    outputs = about["signature_def"]["signature_def"][signature]["outputs"]
    numbers = {name: _NAMES.get(info["dtype"], 1) for name, info in outputs.items()}
    return {name: np.dtype(_DTYPES[number][0]) for name, number in numbers.items()}


def _http(url: str, body: bytes | None, model: str, timeout: float) -> Any:
    host = urllib.parse.urlsplit(url).netloc
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        # Unless it is not from TF Serving itself.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["error"]
        raise _failure(str(error.code), text, host, model, timeout) from None
    except TimeoutError:
        raise _failure("504", "", host, model, timeout) from None
    except (urllib.error.URLError, OSError) as error:
        late = isinstance(getattr(error, "reason", None), TimeoutError)
        code = "504" if late else "503"
        raise _failure(code, str(error), host, model, timeout) from None
    except ValueError as error:
        raise ClientError("500", f"The answer of {host} is no JSON: {error}") from None


def _failure(
    code: str, details: str | None, host: str, model: str, timeout: float
) -> ClientError:
    # What TensorFlow says about its graph helps nobody here.
    text = re.sub(r"\{\{function_node [^}]*\}\} ?", "", details or "")
    text = text.split("\n\t [[")[0].strip()
    if code in ("UNAVAILABLE", "503"):
        return ClientError(
            code,
            f"Expected a server at {host}, which is out of reach: {text}. Start it, or "
            "name another one (--server, --port).",
        )
    if code in ("DEADLINE_EXCEEDED", "504"):
        return ClientError(
            code,
            f"No answer from {host} within {timeout:g} s. Wait longer (--timeout).",
        )
    if code in ("NOT_FOUND", "404"):
        return ClientError(
            code,
            f"The server at {host} does not serve this version of model {model!r}: "
            f"{text}. Check the name, the version and the server's models.config.",
        )
    return ClientError(code, f"The server at {host} refused the request: {text}")


def _read_input(given: str, text: bool, signature: str) -> dict[str, np.ndarray]:
    if text:
        return {"text": np.array([given.encode("utf-8", "replace")], object)}
    path = given
    if signature.startswith(BYTES_SIGNATURE):
        with open(path, "rb") as file:
            return {"image_bytes": np.array([file.read()], object)}
    from PIL import Image

    with Image.open(path) as image:
        return {"images": np.asarray(image.convert("RGB"), np.uint8)[None]}


def _of_task(outputs: dict[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    found = {n: v for n, v in outputs.items() if n == task or n.startswith(f"{task}_")}
    if not found:
        raise ClientError(
            "INVALID_ARGUMENT",
            f"Expected a task with outputs among {sorted(outputs)}. Received: {task!r}",
        )
    return found


def _readable(outputs: dict[str, np.ndarray], full: bool) -> dict[str, Any]:
    """One input's outputs: nothing that only fills up, big maps in short."""
    result: dict[str, Any] = {}
    for name, batch in outputs.items():
        value = batch[0, ...] if batch.ndim else batch  # an array, of bytes too
        count = outputs.get(f"{name.rpartition('_')[0]}_count")
        if count is not None and value.ndim:
            value = value[: int(count[0])]
        if value.size > 1000 and not full:
            result[name] = {"shape": list(value.shape), "dtype": str(value.dtype)}
            result[name] |= {"min": value.min().item(), "max": value.max().item()}
        elif value.dtype == np.object_:
            texts = np.ravel(value)
            result[name] = [item.decode("utf-8", "replace") for item in texts]
            result[name] = result[name] if value.ndim else result[name][0]
        else:
            result[name] = value.tolist()
    return result


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="name of the model on the server")
    parser.add_argument(
        "inputs", nargs="+", metavar="input", help="JPEG or PNG files, or texts"
    )
    parser.add_argument("--text", action="store_true", help="the inputs are texts")
    parser.add_argument("--server", default="localhost", help="host name")
    parser.add_argument(
        "--port", type=int, help="default: 8500 for gRPC, 8501 for REST"
    )
    parser.add_argument("--protocol", choices=("grpc", "rest"), default="grpc")
    parser.add_argument(
        "--signature",
        help=f"what to ask for; default: {BYTES_SIGNATURE}, serving_default for texts",
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--version", type=int, help="number of the version")
    choice.add_argument("--label", help="label of the version, such as stable")
    parser.add_argument("--task", help="print the outputs of this task only")
    parser.add_argument("--timeout", type=float, default=60.0, help="in seconds")
    parser.add_argument("--full", action="store_true", help="print big maps, too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask about each input, print the answers, return the exit code."""
    options = _options(arguments)
    options.signature = options.signature or (
        "serving_default" if options.text else BYTES_SIGNATURE
    )
    predict: Any = predict_grpc if options.protocol == "grpc" else predict_rest
    keys = ("signature", "server", "version", "label", "timeout")
    chosen = {key: getattr(options, key) for key in keys}
    if options.port is not None:
        chosen["port"] = options.port
    failed = 0
    for given in options.inputs:
        try:
            inputs = _read_input(given, options.text, options.signature)
            outputs = predict(options.model, inputs, **chosen)
            if options.task:
                outputs = _of_task(outputs, options.task)
        except (ClientError, OSError, ImportError) as error:
            print(f"{given}: {error}", file=sys.stderr)
            failed = 1
        else:
            kind = "text" if options.text else "image"
            answer = {kind: given, "outputs": _readable(outputs, options.full)}
            print(json.dumps(answer), flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
