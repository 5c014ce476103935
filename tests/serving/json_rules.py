"""How TF Serving's REST interface reads and writes tensors as JSON.

Part of the look-alike of TF Serving; see `look_alike.py`. The rules are those of the
server's own `json_tensor.cc`; `test_json_rules.py` has a test for each. Answers agree
in their values, not in their layout.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from tests.serving.servables import ServingError, invalid, type_name

_FLOATS = {tf.float32: 2**24 - 1, tf.float64: 2**53 - 1}
# The server reads these as 32 bits and cuts off what is too much.
_SMALL_INTEGERS = (tf.int32, tf.int16, tf.int8, tf.uint8)
_RANGES = {
    **dict.fromkeys(_SMALL_INTEGERS, (-(2**31), 2**31 - 1)),
    tf.int64: (-(2**63), 2**63 - 1),
    tf.uint32: (0, 2**32 - 1),
    tf.uint64: (0, 2**64 - 1),
}

Types = Mapping[str, tf.DType]


def read_request(
    body: bytes, input_types: Callable[[str], Types]
) -> tuple[str, dict[str, np.ndarray], bool]:
    """Read the body of a predict request.

    Args:
        body: What was posted.
        input_types: A function from a signature's name to the dtypes of its inputs.

    Returns:
        The name of the signature, its inputs, and whether they came row by row.
    """
    try:
        document = json.loads(body)
    except ValueError as error:
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_show(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_show(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    types = input_types(name)
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_show(document)} Not formatted correctly expecting only one "
            "of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        return name, _read_rows(document["instances"], types), True
    if "inputs" in document:
        return name, _read_columns(document["inputs"], types), False
    raise invalid("Missing 'inputs' or 'instances' key")


def write_response(outputs: Mapping[str, np.ndarray], rows: bool) -> bytes:
    """Write outputs as the body of an answer."""
    if rows:
        _check_rows(outputs)
    values = {name: _plain(name, value) for name, value in sorted(outputs.items())}
    if len(values) == 1:
        answer = next(iter(values.values()))
    elif rows:
        columns = zip(*values.values(), strict=True)
        answer = [dict(zip(values, row, strict=True)) for row in columns]
    else:
        answer = values
    return to_bytes({"predictions" if rows else "outputs": answer})


def to_bytes(value: Any) -> bytes:
    """JSON with NaN and Infinity, and with strings' bytes as they are."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")


def _read_rows(rows: Any, types: Types) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise invalid(
            f"JSON Value: {_show(rows)} Excepting 'instances' to be an list/array"
        )
    if not rows:
        raise invalid("No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(types) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple "
            "input tensors required as per tensorinfo_map"
        )
    named = _is_named(rows[0])
    items: dict[str, list[np.ndarray]] = {name: [] for name in types}
    for index, row in enumerate(rows):
        if _is_named(row) != named:
            mixed = "object but got list" if named else "value/list but got object"
            raise invalid(f"Expecting {mixed} at item {index} of input list")
        where = f"Failed to process element: {index}"
        fields = row if named else {next(iter(types)): row}
        if set(fields) != set(types):
            raise invalid(
                f"{where} of 'instances' list. JSON object: {_show(row)} keys must be "
                f"equal to: {','.join(sorted(types))}"
            )
        for name, value in fields.items():
            try:
                item = _tensor(value, types[name])
                _check_alike(items[name], item)
            except ServingError as error:
                key = f" key: {name}" if named else ""
                raise invalid(
                    f"{where}{key} of 'instances' list. Error: {error}"
                ) from error
            items[name].append(item)
    return {name: np.stack(values) for name, values in items.items()}


def _read_columns(value: Any, types: Types) -> dict[str, np.ndarray]:
    if not _is_named(value):
        if len(types) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple "
                "input tensors required as per tensorinfo_map"
            )
        value = {next(iter(types)): value}
    for name in types:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _tensor(value[name], dtype) for name, dtype in types.items()}


def _tensor(value: Any, dtype: tf.DType) -> np.ndarray:
    shape = []
    first = value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    leaves: list[Any] = []
    _fill(value, shape, 0, dtype, leaves)
    if dtype in _SMALL_INTEGERS:
        array = np.array(leaves, np.int64).astype(dtype.as_numpy_dtype)
    else:
        array = np.empty(len(leaves), dtype.as_numpy_dtype)
        array[:] = leaves
    return array.reshape(shape)


def _fill(
    value: Any, shape: list[int], level: int, dtype: tf.DType, leaves: list
) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_show(value)} found at incorrect level: {level + 1} in "
                f"the JSON DOM. Expected at level: {len(shape)}"
            )
        leaves.append(_leaf(value, dtype))
        return
    if level >= len(shape):
        raise invalid(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, shape, level + 1, dtype, leaves)


def _leaf(value: Any, dtype: tf.DType) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype == tf.string and isinstance(value, dict):
        return _from_base64(value)
    if dtype == tf.string:
        fits = isinstance(value, str)
    elif dtype == tf.bool:
        fits = isinstance(value, bool)
    elif dtype in _FLOATS:
        fits = number
    elif dtype in _RANGES:
        low, high = _RANGES[dtype]
        fits = number and isinstance(value, int) and low <= value <= high
    else:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_show(value)} to type: {type_name(dtype)}",
        )
    if not fits:
        raise invalid(
            f"JSON Value: {_show(value)} Type: {_json_type(value)} is not of expected "
            f"type: {type_name(dtype)}"
        )
    if dtype in _FLOATS and not _fits_float(value, dtype):
        raise invalid(
            f"Cannot convert JSON value: {_show(value)} to {type_name(dtype)} without "
            "loss of precision."
        )
    return value.encode() if dtype == tf.string else value


def _fits_float(value: int | float, dtype: tf.DType) -> bool:
    if isinstance(value, int):
        return abs(value) <= _FLOATS[dtype]
    return not math.isfinite(value) or abs(value) <= float(dtype.max)


def _from_base64(value: dict) -> bytes:
    if _is_named(value):
        raise invalid(
            f"JSON Value: {_show(value)} not formatted correctly for base64 data"
        )
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("Unable to base64 decode") from error


def _is_named(value: Any) -> bool:
    """Whether it is an object of tensors, not one of base64."""
    if not isinstance(value, dict):
        return False
    return list(value) != ["b64"] or not isinstance(value["b64"], str)


def _check_alike(before: list[np.ndarray], item: np.ndarray) -> None:
    if before and before[0].size != item.size:
        raise invalid(f"Expecting tensor size: {before[0].size} but got: {item.size}")
    if before and before[0].shape != item.shape:
        raise invalid(
            f"Expecting shape {list(before[0].shape)} but got: {list(item.shape)}"
        )


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    batch = None
    for name, value in sorted(outputs.items()):
        if value.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch not in (None, len(value)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(value)} "
                f"expecting: {batch}"
            )
        batch = len(value)


def _plain(name: str, value: np.ndarray) -> Any:
    dtype = tf.as_dtype(value.dtype)
    if dtype not in (*_FLOATS, *_RANGES, tf.bool, tf.string):
        raise invalid(f"Failed to write JSON value for tensor type: {type_name(dtype)}")
    if dtype != tf.string:
        return value.tolist()

    def write(item: Any) -> Any:
        if isinstance(item, list):
            return [write(part) for part in item]
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(item).decode()}
        return item.decode("utf-8", "surrogateescape")

    return write(value.tolist())


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    kinds = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
    return kinds.get(type(value), "Number")
