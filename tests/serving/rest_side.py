"""The REST interface of the look-alike of TF Serving; see `look_alike.py`."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from tests.serving import grpc_side, json_rules
from tests.serving.servables import Models, ServingError, invalid

_MODEL = r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(_MODEL + r":(predict|classify|regress)", re.IGNORECASE)
_ABOUT = re.compile(_MODEL + r"(/metadata)?", re.IGNORECASE)

_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


def start(models: Models, port: int = 0) -> tuple[ThreadingHTTPServer, int]:
    """Serve `models` on this machine only; return the server and its port."""
    handler = type("Handler", (_Handler,), {"models": models})
    server = _Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, server.server_address[1]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes, and the second must not wait for the first.
    disable_nagle_algorithm = True
    models: Models

    def do_POST(self) -> None:
        self._answer(self._predict)

    def do_GET(self) -> None:
        self._answer(self._about)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self, method: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            code, answer = 200, method(body)
        except ServingError as error:
            code = _STATUS.get(error.code, 500)
            answer = json_rules.to_bytes({"error": str(error)})
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _match(self, pattern: re.Pattern) -> tuple[model_pb2.ModelSpec, str]:
        match = pattern.fullmatch(self.path)
        if not match:
            raise invalid(f"Malformed request: {self.command} {self.path}")
        name, version, label, rest = match.groups()
        spec = model_pb2.ModelSpec(name=name, version_label=label or "")
        if version:
            spec.version.value = int(version)
        return spec, rest

    def _predict(self, body: bytes) -> bytes:
        spec, method = self._match(_PREDICT)
        if method.lower() != "predict":
            raise ServingError(
                grpc.StatusCode.UNIMPLEMENTED,
                f"The look-alike has no method {method}; a server has.",
            )
        servable, _ = self.models.find(spec)

        def types(signature: str) -> dict[str, tf.DType]:
            try:
                inputs = servable.signature(signature).inputs
            except ServingError as error:
                raise invalid(
                    f'Serving signature name: "{signature or "serving_default"}" '
                    "not found in signature def"
                ) from error
            return {name: tf.as_dtype(inputs[name].dtype) for name in inputs}

        signature, inputs, rows = json_rules.read_request(body, types)
        return json_rules.write_response(servable.predict(signature, inputs), rows)

    def _about(self, body: bytes) -> bytes:
        del body
        spec, rest = self._match(_ABOUT)
        if not rest:
            return _json(grpc_side.status(self.models, spec))
        response = grpc_side.metadata(self.models, spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        about = json_format.MessageToDict(
            response.model_spec, preserving_proto_field_name=True
        )
        text = _json(signatures).decode()
        head = json_rules.to_bytes(about).decode()
        return (
            f'{{"model_spec": {head}, "metadata": {{"signature_def": {text}}}}}'
        ).encode()


def _json(message: Any) -> bytes:
    return json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    ).encode()
