"""Find what TensorFlow Serving would refuse in a SavedModel, without a server.

    problems = lint("serving/pets/1")         # [] when there is none
    check("serving/pets")                     # raises with all of them

Rules:

- `dense-output`: an output is ragged or sparse; the server can not fetch it.
- `output-rank`: an output is a scalar, or its rank is unknown.
- `output-batch`, `input-batch`: the first axis is not the batch, of any size.
- `output-dtype`: half-precision, complex, or another type that has no JSON.
- `bytes-name`: the name ends in `_bytes` and it is no string, or it is a string made by
  an encoder and the name does not: JSON would carry broken text, not base64.
- `xla-marks`: a twin reaches no or several functions marked for XLA, the twins reach
  different ones, another signature reaches one, or one is reached by none.
- `xla-strings`: a function marked for XLA works on strings.
- `method-name`: a signature is not for Predict.
- `fingerprint`: `fingerprint.pb` is missing or not that of `saved_model.pb`.
- `warmup`: a warm-up request names a signature, input, dtype or shape that is not
  there, or needs XLA on a server that is not run with it.
- `batching`, `models-config`, `monitoring`: a file beside the versions that a server
  would refuse.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, meta_graph_pb2, saved_model_pb2
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

from mtl_zoo.export.graph import Functions
from mtl_zoo.export.lint_configs import lint_batching, lint_configs
from mtl_zoo.export.problem import Problem
from mtl_zoo.export.signatures import DTYPES, XLA_SUFFIX
from mtl_zoo.export.versions import versions
from mtl_zoo.export.warmup import read_warmup

PREDICT = "tensorflow/serving/predict"

_INIT = "__saved_model_init_op"

# What writes binary strings.
_ENCODERS = {
    "EncodeJpeg",
    "EncodePng",
    "EncodeJpegVariableQuality",
    "EncodeWav",
    "EncodeProto",
    "SerializeTensor",
    "SerializeSparse",
}

Signatures = dict[str, meta_graph_pb2.SignatureDef]


def check(directory: str | os.PathLike) -> None:
    """Raise when `lint` finds anything.

    Raises:
        FileNotFoundError: As `lint`.
        ValueError: Names every problem, one a line.
    """
    problems = lint(directory)
    if problems:
        raise ValueError(
            f"TensorFlow Serving would refuse {os.fspath(directory)!r}:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def lint(directory: str | os.PathLike) -> list[Problem]:
    """Return what a server would refuse in an export.

    Args:
        directory: A version folder (with `saved_model.pb`), a model's folder with
            numbered versions, or a folder of such folders; the configuration files
            beside them are checked as well.

    Raises:
        FileNotFoundError: When there is no SavedModel in `directory`.
    """
    directory = Path(directory)
    if (directory / "saved_model.pb").is_file():
        return list(_lint_version(directory))
    inner = [directory / str(number) for number in versions(directory)]
    if not inner and directory.is_dir():
        inner = [path for path in sorted(directory.iterdir()) if versions(path)]
    if not inner:
        raise FileNotFoundError(
            "Expected a SavedModel, or a folder with numbered versions of one, such as "
            f"1/saved_model.pb. Received: {str(directory)!r}"
        )
    problems = list(lint_configs(directory))
    for path in inner:
        problems += [Problem(p.rule, f"{path.name}: {p.message}") for p in lint(path)]
    return problems


def _lint_version(directory: Path) -> Iterator[Problem]:
    saved = saved_model_pb2.SavedModel.FromString(
        (directory / "saved_model.pb").read_bytes()
    )
    graph = saved.meta_graphs[0]
    signatures = {k: v for k, v in graph.signature_def.items() if k != _INIT}
    functions = Functions(graph.graph_def)
    for name, signature in sorted(signatures.items()):
        yield from _lint_signature(name, signature, functions)
    yield from _lint_xla(signatures, functions)
    yield from _lint_fingerprint(directory)
    yield from _lint_warmup(directory, signatures)
    if (directory / "batching_params.pbtxt").is_file():
        yield from lint_batching(directory / "batching_params.pbtxt")


def _lint_signature(
    name: str, signature: meta_graph_pb2.SignatureDef, functions: Functions
) -> Iterator[Problem]:
    if signature.method_name != PREDICT:
        yield Problem(
            "method-name",
            f"signature {name!r} has the method {signature.method_name!r}; expected "
            f"{PREDICT!r}.",
        )
    for key, info in sorted(signature.inputs.items()):
        if not _has_batch(info):
            yield Problem(
                "input-batch",
                f"input {key!r} of signature {name!r} has the shape {_shape(info)}; "
                "expected a batch of any size first.",
            )
    for key, info in sorted(signature.outputs.items()):
        yield from _lint_output(f"output {key!r} of signature {name!r}", key, info)
        if info.dtype == tf.string.as_datatype_enum and not key.endswith("_bytes"):
            made_by = functions.made_by(info.name) & _ENCODERS
            if made_by:
                yield Problem(
                    "bytes-name",
                    f"output {key!r} of signature {name!r} is made by "
                    f"{', '.join(sorted(made_by))}; its name must end in '_bytes'.",
                )


def _lint_output(
    where: str, key: str, info: meta_graph_pb2.TensorInfo
) -> Iterator[Problem]:
    if info.WhichOneof("encoding") != "name" or not info.name:
        yield Problem("dense-output", f"{where} is ragged or sparse; make it dense.")
        return
    dtype = tf.as_dtype(info.dtype)
    if dtype not in DTYPES:
        yield Problem(
            "output-dtype",
            f"{where} is {dtype.name}; expected one of "
            f"{', '.join(known.name for known in DTYPES)}.",
        )
    if info.tensor_shape.unknown_rank or not info.tensor_shape.dim:
        yield Problem("output-rank", f"{where} has the shape {_shape(info)}.")
    elif not _has_batch(info):
        yield Problem(
            "output-batch",
            f"{where} has the shape {_shape(info)}; expected the batch first.",
        )
    if key.endswith("_bytes") and dtype != tf.string:
        yield Problem("bytes-name", f"{where} is {dtype.name}, not a string.")


def _lint_xla(signatures: Signatures, functions: Functions) -> Iterator[Problem]:
    reached = {
        name: functions.marked_for_xla(
            info.name for info in signature.outputs.values() if info.name
        )
        for name, signature in sorted(signatures.items())
    }
    twins = {n: found for n, found in reached.items() if n.endswith(XLA_SUFFIX)}
    for name, found in reached.items():
        if name not in twins and found:
            yield Problem(
                "xla-marks",
                f"signature {name!r} needs XLA ({', '.join(sorted(found))}), so a "
                "stock server can not run it.",
            )
        if name in twins and len(found) != 1:
            yield Problem(
                "xla-marks",
                f"signature {name!r} reaches {len(found)} functions marked for XLA; "
                "expected exactly one, the trunk.",
            )
    if len(set.union(set(), *twins.values())) > 1:
        yield Problem("xla-marks", "the twins compile different functions for XLA.")
    unreached = functions.all_marked - set.union(set(), *reached.values())
    if unreached:
        yield Problem(
            "xla-marks",
            f"no signature reaches {', '.join(sorted(unreached))}, marked for XLA.",
        )
    for name in sorted(functions.all_marked):
        strings = functions.string_operations(name)
        if strings:
            yield Problem(
                "xla-strings",
                f"{name}, marked for XLA, works on strings: "
                f"{', '.join(sorted(strings))}.",
            )


def _lint_fingerprint(directory: Path) -> Iterator[Problem]:
    path = directory / "fingerprint.pb"
    if not path.is_file():
        yield Problem("fingerprint", "there is no fingerprint.pb.")
        return
    stored = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
    fresh = fingerprint_pb2.FingerprintDef.FromString(
        fingerprinting.CreateFingerprintDef(os.fspath(directory))
    )
    stale = [
        field.name
        for field in fresh.DESCRIPTOR.fields
        if field.name not in ("uuid", "version")
        and getattr(fresh, field.name) != getattr(stored, field.name)
    ]
    if stale:
        yield Problem(
            "fingerprint",
            f"fingerprint.pb is stale in {', '.join(stale)}: the SavedModel was "
            "changed after it was written.",
        )


def _lint_warmup(directory: Path, signatures: Signatures) -> Iterator[Problem]:
    about = directory / "assets.extra" / "mtl_zoo.json"
    profile = json.loads(about.read_text())["profile"] if about.is_file() else "plain"
    try:
        requests = list(read_warmup(directory))
    except (ValueError, tf.errors.OpError) as error:
        yield Problem("warmup", f"the requests can not be read: {error}")
        return
    for number, request in enumerate(requests):
        name = request.model_spec.signature_name
        where = f"request {number} for signature {name!r}"
        if name not in signatures:
            yield Problem("warmup", f"{where}: there is no such signature.")
            continue
        if name.endswith(XLA_SUFFIX) and profile == "plain":
            yield Problem(
                "warmup",
                f"{where} needs XLA, and a server without it would not load the "
                "model; export with an XLA profile.",
            )
        expected = signatures[name].inputs
        if set(expected) != set(request.inputs):
            yield Problem(
                "warmup",
                f"{where} has the inputs {sorted(request.inputs)}; expected "
                f"{sorted(expected)}.",
            )
            continue
        for key, info in expected.items():
            sent = request.inputs[key]
            fits = tf.TensorShape(info.tensor_shape).is_compatible_with(
                tf.TensorShape(sent.tensor_shape)
            )
            if sent.dtype != info.dtype or not fits:
                yield Problem(
                    "warmup",
                    f"{where}: input {key!r} is {tf.as_dtype(sent.dtype).name} "
                    f"{tf.TensorShape(sent.tensor_shape)}; expected "
                    f"{tf.as_dtype(info.dtype).name} {_shape(info)}.",
                )


def _has_batch(info: meta_graph_pb2.TensorInfo) -> bool:
    dims = info.tensor_shape.dim
    return bool(dims) and dims[0].size == -1


def _shape(info: meta_graph_pb2.TensorInfo) -> str:
    return str(tf.TensorShape(info.tensor_shape))
