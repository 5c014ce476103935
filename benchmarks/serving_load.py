"""What an export does under load, with bad requests among the good ones.

Concurrent clients send images to the look-alike of TF Serving (tests/serving), most
over gRPC, some over REST; one request in ten is broken in one of seven ways. Every good
one must get the answer that the SavedModel gives in this process, every broken one a
refusal that says what is wrong, and the server's memory must stay level.

    python benchmarks/serving_load.py --out=benchmarks/results/serving_load.json

The look-alike runs the same SavedModel in the same kind of session as the real server,
but its network side is Python: the times are no measure of TensorFlow Serving.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import mtl_zoo as mtl  # noqa: E402
from mtl_zoo.evaluation import report  # noqa: E402
from mtl_zoo.export.templates import client  # noqa: E402
from mtl_zoo.zoo import registry  # noqa: E402
from tests.serving import look_alike  # noqa: E402

MODEL = "pets-efficientnet_lite0-det-seg-cls"

# Left to itself, malloc keeps a heap a thread and never gives back what large tensors
# leave in it, which looks like a leak for as long as there are sizes it has not seen.
MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "131072"}
MALLOC["MALLOC_TRIM_THRESHOLD_"] = "131072"

# The clients pause between rounds; fewer where they would have nothing to do.
ROUNDS = 20

_REFUSALS = ("INVALID_ARGUMENT", "400")
_SIZES = ((180, 240), (240, 180), (200, 200), (333, 250), (64, 64), (500, 375))


@dataclass(frozen=True)
class Request:
    """A request, and what it should lead to.

    Attributes:
        kind: `files` or `pixels`, or how it is broken.
        signature: Name of the signature.
        inputs: As the client takes them.
        expected: The right answer, or `None` where a refusal is right.
    """

    kind: str
    signature: str
    inputs: dict[str, Any]
    expected: dict[str, np.ndarray] | None = None


def good_requests(version: Path, sizes: tuple = _SIZES) -> list[Request]:
    """Files of several sizes, and pixels, with the answers of the SavedModel."""
    signatures = tf.saved_model.load(os.fspath(version)).signatures
    height, width = signatures["serving_default"].inputs[0].shape[1:3]
    rng = np.random.default_rng(0)
    requests = []
    for size, kind in itertools.product(sizes, ("files", "pixels")):
        if kind == "files":
            name, inputs = (
                "serving_bytes",
                {"image_bytes": [_jpeg(_picture(rng, *size))]},
            )
        else:
            side = (height or 32 * (size[0] // 32), width or 32 * (size[1] // 32))
            pictures = np.stack([_picture(rng, *side) for _ in range(2)])
            name, inputs = "serving_default", {"images": pictures}
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        answer = signatures[name](**tensors)
        expected = {key: value.numpy() for key, value in answer.items()}
        requests.append(Request(kind, name, inputs, expected))
    return requests


def broken_requests() -> list[Request]:
    """One request of each kind that has to be refused."""
    picture = _picture(np.random.default_rng(1), 128, 128)
    file = _jpeg(picture)

    def of_file(kind: str, files: list[bytes]) -> Request:
        return Request(kind, "serving_bytes", {"image_bytes": np.array(files, object)})

    def of_pixels(kind: str, pixels: np.ndarray) -> Request:
        return Request(kind, "serving_default", {"images": pixels})

    return [
        of_file("truncated JPEG", [file[: len(file) // 2]]),
        of_pixels("wrong shape", picture[None, :100]),
        of_pixels("wrong dtype", np.full((1, 32, 32, 3), "grey", object)),
        of_file("empty batch", []),
        of_file("50-megapixel image", [_jpeg(np.zeros((6250, 8000, 3), np.uint8))]),
        of_pixels("NaN input", np.full((1, 32, 32, 3), np.nan, np.float32)),
        of_file("text file", [b"Dear server,\nthis is not an image.\n"]),
    ]


def plan(version: Path, count: int, sizes: tuple = _SIZES) -> list[Request]:
    """`count` requests in random order, one in ten broken, all kinds in turn."""
    good = itertools.cycle(good_requests(version, sizes))
    bad = itertools.cycle(broken_requests())
    requests = [next(bad if i % 10 == 9 else good) for i in range(count)]
    np.random.default_rng(0).shuffle(requests)
    return requests


def run(
    model: Path,
    version: Path,
    requests: list[Request],
    clients: int,
    rest_share: float,
    malloc: dict[str, str] = MALLOC,
) -> dict[str, Any]:
    """Send the requests to the look-alike and return what came of them.

    Args:
        model: The model's folder, with its `models.config`.
        version: The folder of the version that is served.
        requests: From `plan`.
        clients: Threads that send.
        rest_share: Share of the requests that goes over REST.
        malloc: Environment of the server, settings of malloc.

    Returns:
        Figures for the good requests, the broken ones, and the server's memory.
    """
    every = max(1, round(1 / rest_share)) if rest_share else len(requests) + 1
    local = threading.local()
    config = model / "models.config"
    with look_alike.running(config, model.parent, environment=malloc) as server:

        def send(number: int) -> dict[str, Any]:
            request = requests[number]
            rest = number % every == every - 1
            if rest:
                options: dict[str, Any] = {"port": server.rest_port}
            else:
                if not hasattr(local, "channel"):
                    local.channel = client.connect(port=server.grpc_port)
                options = {"port": server.grpc_port, "channel": local.channel}
            ask = client.predict_rest if rest else client.predict_grpc
            outcome: dict[str, Any] = {"protocol": "rest" if rest else "grpc"}
            start = time.perf_counter()
            try:
                outputs = ask(
                    model.name,
                    request.inputs,
                    signature=request.signature,
                    timeout=300.0,
                    **options,
                )
            except client.ClientError as error:
                outcome |= {"code": error.code, "message": str(error)}
            else:
                outcome["difference"] = _difference(outputs, request.expected)
            return outcome | {"seconds": time.perf_counter() - start}

        outcomes: list[dict[str, Any]] = []
        memory = _Memory(server)
        rounds = max(1, min(ROUNDS, len(requests) // clients))
        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as threads:
            for numbers in np.array_split(np.arange(len(requests)), rounds):
                with memory:
                    outcomes += threads.map(send, numbers.tolist())
                memory.rest()
        seconds = time.perf_counter() - start
    pairs = list(zip(requests, outcomes, strict=True))
    result = {
        "good": _good(pairs),
        "broken": _broken(pairs),
        "memory": memory.figures(),
        "seconds": seconds,
    }
    result["passed"] = (
        result["good"]["right"] == result["good"]["sent"]
        and all(kind["refused"] == kind["sent"] for kind in result["broken"].values())
        and result["memory"]["level"]
    )
    return result


class _Memory:
    """The memory of a server: its peak while requests run, and what it keeps at rest.

    What requests in flight hold says nothing about leaks, so the clients pause between
    rounds, and what the server has then is compared.
    """

    def __init__(self, server: look_alike.Server) -> None:
        self.server = server
        self.peaks: list[float] = []
        self.at_rest: list[float] = []

    def __enter__(self) -> None:
        self.stop = threading.Event()
        self.peaks.append(0.0)
        self.thread = threading.Thread(target=self._sample, daemon=True)
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    def rest(self) -> None:
        time.sleep(0.2)
        self.at_rest.append(self.server.memory() / 1e6)

    def _sample(self) -> None:
        while not self.stop.wait(0.1):
            self.peaks[-1] = max(self.peaks[-1], self.server.memory() / 1e6)

    def figures(self) -> dict[str, Any]:
        half = self.at_rest[len(self.at_rest) // 2 :]
        median = statistics.median(half)
        return {
            "peak_megabytes": [round(value, 1) for value in self.peaks],
            "at_rest_megabytes": [round(value, 1) for value in self.at_rest],
            "second_half": {
                "median": median,
                "spread": (max(half) - min(half)) / median,
                "growth": half[-1] / half[0] - 1,
            },
            "level": max(half) - min(half) <= 0.05 * median,
        }


def _good(pairs: list[tuple[Request, dict]]) -> dict[str, Any]:
    found = [(r, o) for r, o in pairs if r.expected is not None]
    answered = [o["difference"] for _, o in found if "difference" in o]
    figures: dict[str, Any] = {
        "sent": len(found),
        "answered": len(answered),
        "right": sum(difference <= 1e-3 for difference in answered),
        "largest_difference": max(answered, default=None),
        "refusals": sorted({o["message"] for _, o in found if "message" in o}),
    }
    for kind, protocol in itertools.product(("files", "pixels"), ("grpc", "rest")):
        of = {"kind": kind, "protocol": protocol}
        times = [
            1000 * o["seconds"]
            for r, o in found
            if {"kind": r.kind, "protocol": o["protocol"]} == of
        ]
        if times:
            figures[f"milliseconds_{kind}_{protocol}"] = {
                "n": len(times),
                "median": statistics.median(times),
                "p95": float(np.percentile(times, 95)),
            }
    return figures


def _broken(pairs: list[tuple[Request, dict]]) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for request, outcome in pairs:
        if request.expected is not None:
            continue
        kind = kinds.setdefault(request.kind, {"sent": 0, "refused": 0, "said": {}})
        kind["sent"] += 1
        refused = outcome.get("code") in _REFUSALS and bool(outcome["message"])
        kind["refused"] += refused
        said = {key: outcome.get(key) for key in ("code", "message")}
        kind["said"].setdefault(outcome["protocol"], said)
    return kinds


def _difference(found: dict, expected: dict | None) -> float:
    """The largest difference, relative to magnitudes above 1; inf if not comparable."""
    if expected is None or set(found) != set(expected):
        return float("inf")
    worst = 0.0
    for name, value in expected.items():
        if found[name].shape != value.shape or found[name].dtype != value.dtype:
            return float("inf")
        scale = np.maximum(1.0, np.abs(value))
        worst = max(
            worst, float(np.max(np.abs(found[name] - value) / scale, initial=0))
        )
    return worst


def _picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Coloured blobs, which compress as photographs do."""
    small = rng.integers(0, 256, (6, 8, 3), dtype="uint8")
    blurred = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(blurred)


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=90)
    return file.getvalue()


def export(name: str, folder: Path) -> Path:
    """Export a saved model to `folder`, or find the export that `name` is."""
    if (Path(name) / "models.config").is_file():
        return Path(name).resolve()
    preprocessing = registry.read_config(name).get("preprocessing")
    options = {"preprocessing": preprocessing} if preprocessing else {}
    mtl.export.to_serving(mtl.load(name), folder / Path(name).name, **options)
    return folder / Path(name).name


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", default=MODEL, help="a saved model to export, or an export's folder")
    add("--requests", type=int, default=2000, help="requests to send")
    add("--clients", type=int, default=16, help="clients that send them at a time")
    add("--rest_share", type=float, default=0.1, help="share that is sent over REST")
    add("--default_malloc", action="store_true", help="leave malloc as it is")
    add("--out", default="", help="where to write the figures as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        model = export(options.model, Path(folder))
        version = max(model.glob("[0-9]*"), key=lambda path: int(path.name))
        requests = plan(version, options.requests)
        malloc = {} if options.default_malloc else MALLOC
        figures = run(
            model, version, requests, options.clients, options.rest_share, malloc
        )
    result = {
        "command": f"python benchmarks/serving_load.py --model={options.model} "
        f"--requests={options.requests} --clients={options.clients} "
        f"--rest_share={options.rest_share:g}"
        + (" --default_malloc" if options.default_malloc else ""),
        "versions": report.versions(),
        "device": report.device(),
        "server": "the look-alike in tests/serving, not tensorflow_model_server",
        "malloc": malloc,
        **figures,
    }
    print(json.dumps(result, indent=1))
    if options.out:
        report.write_json(result, options.out)
    if not result["passed"]:
        sys.exit("Not every request had the outcome that is right; see above.")


if __name__ == "__main__":
    main()
