"""The real TF Serving, where a machine has it: as a program, or in docker."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.serving.look_alike import Server

KINDS = ("binary", "docker")

BINARY = "tensorflow_model_server"
IMAGE = os.environ.get("MTL_ZOO_SERVING_IMAGE", "tensorflow/serving:latest")

_SECONDS = 120.0


@functools.cache
def missing(kind: str) -> str:
    """Why there is no server of a kind here, or an empty string."""
    if kind == "binary":
        found = shutil.which(BINARY)
        return "" if found else f"no {BINARY} on PATH"
    if not shutil.which("docker"):
        return "no docker on PATH"
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=20)
        if done.returncode == 0:
            return ""
    return "docker is here, but no engine answers `docker info`"


@contextlib.contextmanager
def running(kind: str, models: Path) -> Iterator[Server]:
    """Serve the models of a folder, which has a `models.config`, until left.

    Raises:
        RuntimeError: When they are not served in time, with what the server said.
    """
    grpc_port, rest_port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as log:
        if kind == "binary":
            command = _binary_command(models, Path(scratch), grpc_port, rest_port)
        else:
            command = _docker_command(models, grpc_port, rest_port)
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not _ready(process, rest_port, _names(models)):
                log.seek(0)
                said = log.read()[-4000:].decode(errors="replace")
                raise RuntimeError(f"{kind} serves not all models. It said: {said}")
            yield Server(grpc_port, rest_port, process.pid)
        finally:
            process.terminate()
            process.wait()


def _binary_command(
    models: Path, scratch: Path, grpc_port: int, rest_port: int
) -> list[str]:
    config = scratch / "models.config"
    text = (models / "models.config").read_text()
    config.write_text(text.replace('"/models/', f'"{models}/'))
    return [
        BINARY,
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _docker_command(models: Path, grpc_port: int, rest_port: int) -> list[str]:
    return [
        *("docker", "run", "--rm", "--init"),
        *("-p", f"127.0.0.1:{grpc_port}:8500", "-p", f"127.0.0.1:{rest_port}:8501"),
        *("-v", f"{models}:/models:ro", IMAGE),
        "--model_config_file=/models/models.config",
        "--allow_version_labels_for_unavailable_models=true",
    ]


def _names(models: Path) -> list[str]:
    return [folder.name for folder in models.iterdir() if folder.is_dir()]


def _ready(process: subprocess.Popen, port: int, names: list[str]) -> bool:
    waiting = set(names)
    end = time.monotonic() + _SECONDS
    while waiting and process.poll() is None and time.monotonic() < end:
        for name in list(waiting):
            url = f"http://localhost:{port}/v1/models/{name}"
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(url, timeout=5) as response,
            ):
                if b'"AVAILABLE"' in response.read():
                    waiting.discard(name)
        time.sleep(0.2)
    return not waiting


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
