"""A LOOK-ALIKE of TF Serving, for tests on machines without a server. Not a server.

It answers as `tensorflow_model_server` does, on this machine only: gRPC (Predict,
GetModelMetadata, GetModelStatus) and REST (predict, status, metadata), from SavedModels
in TF1 sessions, which is what the server runs them in. It was written from the server's
public protocol and the rules in its sources, and has never been the server itself: what
passes here should be run against a real one where there is one; `test_client.py` does
so by itself.

What it has not: classify, regress, batching, polling for new versions, TLS.

    python tests/serving/look_alike.py --config=saved_models/models.config \
        --models=saved_models

prints one line, `{"grpc_port": ..., "rest_port": ...}`, once all models are loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server."""

    grpc_port: int
    rest_port: int
    pid: int

    def memory(self) -> int:
        """Bytes of memory that the process holds (its resident set)."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def running(
    config: str | os.PathLike,
    models: str | os.PathLike,
    xla: bool = False,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Run the look-alike as a process of its own.

    Args:
        config: A `models.config`.
        models: The folder that the configuration calls `/models`.
        xla: Whether functions marked for XLA run. Without it they fail, as on a server
            without `--xla_cpu_compilation_enabled=true`.
        environment: Variables that the process gets besides those of this one.

    Raises:
        RuntimeError: When it does not start, with what it said.
    """
    command = [sys.executable, __file__, f"--config={config}", f"--models={models}"]
    variables = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command + ["--xla"] * xla,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=variables,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                errors.seek(0)
                raise RuntimeError(f"The look-alike did not start: {errors.read()}")
            yield Server(**json.loads(line), pid=process.pid)
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


def main() -> None:
    """Load, print the ports, serve until stopped."""
    parser = argparse.ArgumentParser(description="A look-alike of TF Serving.")
    parser.add_argument("--config", required=True, help="a models.config")
    parser.add_argument("--models", required=True, help="the folder for /models")
    parser.add_argument("--xla", action="store_true", help="run functions for XLA")
    parser.add_argument("--grpc_port", type=int, default=0, help="0: any free one")
    parser.add_argument("--rest_port", type=int, default=0, help="0: any free one")
    options = parser.parse_args()
    if not Path(options.config).is_file():
        parser.error(f"no file {options.config}")
    # Not before they are needed: importing TensorFlow takes seconds.
    from google.protobuf import text_format

    from tests.serving import grpc_side, rest_side, servables

    if not options.xla:
        servables.disable_xla()
    try:
        models = servables.Models(options.config, options.models)
    except (ValueError, OSError, text_format.ParseError) as error:
        sys.exit(f"Failed to start server. Error: {error}")
    server, grpc_port = grpc_side.start(models, options.grpc_port)
    _, rest_port = rest_side.start(models, options.rest_port)
    print(json.dumps({"grpc_port": grpc_port, "rest_port": rest_port}), flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    # This folder is on the path because the script lies in it; the packages are above.
    sys.path[0] = str(ROOT)
    main()
