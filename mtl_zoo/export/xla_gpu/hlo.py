"""HLO, XLA's intermediate language: from a function, and figures read off its text."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,
)

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "f16": 2, "bf16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
_SHAPE = re.compile(r"\b(" + "|".join(_BYTES) + r")\[([\d,]*)\]")
_INSTRUCTION = re.compile(
    r"\s+(?:ROOT )?%?(?P<name>[\w.\-$]+) = (?P<shape>\(.*?\)|\S+) "
    r"(?P<opcode>[\w\-]+)\((?P<operands>[^)]*)\)(?P<rest>.*)"
)
# Instructions that move nothing and launch nothing.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}
_FREE |= {"after-all", "partition-id", "replica-id"}
# Operations of a TensorFlow graph that move nothing.
_FREE_OPERATIONS = {"Const", "Identity", "NoOp", "Placeholder", "Reshape", "Squeeze"}
_FREE_OPERATIONS |= {"ExpandDims", "StopGradient", "Shape", "Pack", "ReadVariableOp"}


@dataclass(frozen=True)
class Lowered:
    """A function as HLO for static shapes.

    Attributes:
        text: The module for the GPU, without metadata and under a fixed name.
        cpu_text: The same for the CPU.
        serialised: The module for the GPU as a serialised `HloModuleProto`.
        inputs: Names, shapes and dtypes of its parameters, in order.
        outputs: The same of its results.
        operations: Number of operations of the TensorFlow graph that move data.
        bytes_op_by_op: Bytes that these read and write, one by one.
    """

    text: str
    cpu_text: str
    serialised: bytes
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    operations: int
    bytes_op_by_op: int


@dataclass(frozen=True)
class Statistics:
    """What an optimised module launches, from its text.

    Attributes:
        launches: Instructions of the entry computation that launch something.
        library_calls: Number of custom calls by target, such as `__cudnn$convForward`.
        triton_gemms: Matrix products in kernels of XLA's own.
        bytes_moved: Operands and outputs of all launches, in bytes.
        kinds: Number of launches by kind.
    """

    launches: int
    library_calls: dict[str, int]
    triton_gemms: int
    bytes_moved: int
    kinds: dict[str, int] = field(default_factory=dict)


def lower(
    function: Callable[[Any], Any],
    variables: Sequence[keras.Variable],
    inputs: tf.TensorSpec,
) -> Lowered:
    """Return `function` as HLO whose parameters are its variables, then its input.

    Args:
        function: Takes one tensor, returns tensors, reads Keras variables.
        variables: The variables it may read; those it does not read are left out.
        inputs: What it takes, every size known.

    Raises:
        ValueError: When a size of `inputs` is unknown, or the function reads a variable
            that is not among `variables`.
    """
    if not inputs.shape.is_fully_defined():
        raise ValueError(
            "XLA compiles for known sizes only: give every size of the input. "
            f"Received: {inputs}"
        )
    plain = tf.function(function, autograph=False).get_concrete_function(inputs)
    read = {id(variable) for variable in plain.graph.variables}
    used = [v for v in variables if id(v.value) in read]
    if len(used) < len(read):
        raise ValueError(
            f"The function reads {len(read)} variables, of which only {len(used)} are "
            "among those given; XLA needs all of them as arguments. Give the model "
            "that owns them."
        )

    def trunk(*arguments: tf.Tensor) -> Any:
        *values, x = arguments
        with keras.StatelessScope(state_mapping=list(zip(used, values, strict=True))):
            return function(x)

    specs = [tf.TensorSpec(v.shape, v.dtype) for v in used]
    compiled = tf.function(trunk, jit_compile=True, autograph=False)
    generate = compiled.experimental_get_compiler_ir(*specs, inputs)
    operations, size = operation_bytes(plain)
    return Lowered(
        text=_named(generate(stage="hlo_no_metadata", platform_name="GPU")),
        cpu_text=_named(generate(stage="hlo_no_metadata", platform_name="CPU")),
        serialised=generate(stage="hlo_serialized", platform_name="GPU"),
        inputs=[
            *(_described(_short(v.path), v.shape, v.dtype) for v in used),
            _described("inputs", inputs.shape, inputs.dtype.name),
        ],
        outputs=[
            _described(name, spec.shape, spec.dtype.name)
            for name, spec in _flat(plain.structured_outputs)
        ],
        operations=operations,
        bytes_op_by_op=size,
    )


def text_hash(text: str) -> str:
    """Return the SHA-256 of a module's text; its serialised form is not stable."""
    return hashlib.sha256(text.encode()).hexdigest()


def operation_bytes(concrete: Any) -> tuple[int, int]:
    """Return how many operations of a graph move data, and how many bytes.

    It counts inputs and outputs of each operation as traced, before TensorFlow's own
    optimiser, for that is what each would move on its own.

    Args:
        concrete: A concrete function of known shapes.
    """
    graph = convert_variables_to_constants_v2(concrete).graph
    count = size = 0
    for operation in graph.get_operations():
        if operation.type in _FREE_OPERATIONS:
            continue
        count += 1
        for tensor in (*operation.inputs, *operation.outputs):
            if tensor.shape.is_fully_defined():
                size += tensor.shape.num_elements() * tensor.dtype.size
    return count, size


def statistics(text: str) -> Statistics:
    """Return what the entry computation of an optimised module launches.

    The bytes are those of each launch's operands and outputs as XLA declares them: the
    scratch space of a library, unknown until it is tuned, is left at what it says.

    Raises:
        ValueError: When `text` is no HLO module.
    """
    instructions = _entry(text)
    shapes = {i["name"]: shape_bytes(i["shape"]) for i in instructions}
    kinds: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    moved = 0
    for instruction in instructions:
        if instruction["opcode"] in _FREE:
            continue
        names = [n.split()[-1].lstrip("%") for n in _list(instruction["operands"])]
        moved += shapes[instruction["name"]] + sum(shapes.get(n, 0) for n in names)
        kind = _kind(instruction)
        kinds[kind] += 1
        if instruction["opcode"] == "custom-call":
            calls[kind] += 1
    return Statistics(
        launches=kinds.total(),
        library_calls=dict(sorted(calls.items())),
        triton_gemms=sum(
            n
            for kind, n in kinds.items()
            if "gemm" in kind.split(":")[-1] and kind.startswith("fusion")
        ),
        bytes_moved=moved,
        kinds=dict(sorted(kinds.items())),
    )


def shape_bytes(shape: str) -> int:
    """Return the bytes of all arrays in a shape such as `(f32[2,3]{1,0}, u8[0])`."""
    total = 0
    for dtype, sizes in _SHAPE.findall(shape):
        elements = 1
        for size in _list(sizes):
            elements *= int(size)
        total += elements * _BYTES[dtype]
    return total


def _entry(text: str) -> list[dict[str, str]]:
    start = re.search(r"^ENTRY .*$", text, re.MULTILINE)
    if start is None:
        raise ValueError(
            "Expected the text of an HLO module, with an ENTRY computation. "
            f"Received: {text[:80]!r}"
        )
    body = text[start.end() :].split("\n}", 1)[0]
    found = (_INSTRUCTION.match(line) for line in body.splitlines())
    return [match.groupdict() for match in found if match]


def _kind(instruction: dict[str, str]) -> str:
    opcode, rest = instruction["opcode"], instruction["rest"]
    if opcode == "custom-call":
        target = re.search(r'custom_call_target="([^"]+)"', rest)
        return target[1] if target else opcode
    if opcode == "fusion":
        parts = re.findall(r"\bkind=(\w+)", rest)[:1]
        parts += re.findall(r'"fusion_backend_config":\{"kind":"([^"]+)"', rest)[:1]
        return ":".join(["fusion", *parts])
    return opcode


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _named(text: str | bytes) -> str:
    """The text under a name that does not count functions of the process."""
    text = text.decode() if isinstance(text, bytes) else text
    return re.sub(r"\ba_inference_\w+?__(\.\d+)?", "trunk", text)


def _short(path: str) -> str:
    return re.sub(r"[^A-Za-z0-9_/]+", "-", path)


def _described(name: str, shape: Any, dtype: str) -> dict[str, Any]:
    return {"name": name, "shape": [int(size) for size in shape], "dtype": str(dtype)}


def _flat(outputs: Any) -> list[tuple[str, Any]]:
    if isinstance(outputs, dict):
        return [(name, outputs[name]) for name in sorted(outputs)]
    return [(f"output_{i}", spec) for i, spec in enumerate(tf.nest.flatten(outputs))]
