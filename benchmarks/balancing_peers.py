"""What the balancing methods of TorchJD and LibMTL cost over a plain sum of the losses.

One network with `T` heads, all tasks labelled, in PyTorch on one thread of the CPU.
All variants take turns, in random order, on the same batches; a ratio is that of the
medians to the plain step, and `control` a second plain one (A/A). It runs where PyTorch
and TorchJD are installed, the project is not needed; LibMTL is left out where missing:

    python -m venv /tmp/torch_env
    /tmp/torch_env/bin/pip install torch==2.13.0 "torchjd[full]==0.18.0"
    /tmp/torch_env/bin/pip install --no-deps LibMTL==1.1.5
    OMP_NUM_THREADS=1 /tmp/torch_env/bin/python benchmarks/balancing_peers.py \
        --out=benchmarks/results/balancing_peers.json

TorchJD is used in the way of its documentation: `mtl_backward` and `jac_to_grad`; its
`chunk 1` differentiates task after task rather than all at once; `autogram` is its
engine for the Gramian, after which it weighs the heads' gradients like the trunk's.
`--small` takes a network of next to no work, so that what a method adds to a step can
be seen where it is little: `--small --rounds=1001 --tasks 2 8`.

LibMTL's weightings are used in the way of its trainer, which itself needs a GPU. Its
wheel of that version, from 2021, asks for a function that torchvision has dropped, and
for gradients that PyTorch 2 no longer keeps; both are supplied here. `representation`
stands for its `rep_grad`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torchjd import aggregation as agg
from torchjd import autogram
from torchjd.autojac import jac_to_grad, mtl_backward

CLASSES, BATCHES = 10, 8
BATCH, SIDE, WIDTHS = (
    (4, 8, (4,)) if "--small" in sys.argv else (64, 32, (32, 64, 96, 128))
)
WARM_UP = 3  # rounds that are not counted
PACKAGES = ("torch", "torchjd", "LibMTL", "numpy", "cvxpy", "clarabel", "ecos")
PACKAGES += ("quadprog", "scipy")

Step = Callable[[torch.Tensor, torch.Tensor], None]


class Trunk(nn.Sequential):
    """Convolutions, global average pooling, and the last shared layer."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for index, width in enumerate(WIDTHS):
            stride = 1 if index == 0 else 2
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1), nn.ReLU()]
            channels = width
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        layers += [nn.Linear(channels, 128), nn.ReLU()]
        super().__init__(*layers)


def make_network(tasks: int) -> tuple[Trunk, nn.ModuleList, torch.optim.Optimizer]:
    """The same weights for every variant."""
    torch.manual_seed(0)
    trunk = Trunk()
    heads = nn.ModuleList(nn.Linear(128, CLASSES) for _ in range(tasks))
    return trunk, heads, optimizer_of([*trunk.parameters(), *heads.parameters()])


def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
    """Gradient descent with momentum."""
    return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def losses_of(
    features: torch.Tensor, heads: nn.ModuleList, labels: torch.Tensor
) -> list[torch.Tensor]:
    """The cross entropy of each task; labels are `(T, batch)`."""
    return [
        nn.functional.cross_entropy(head(features), label)
        for head, label in zip(heads, labels, strict=True)
    ]


def plain(tasks: int) -> Step:
    """The sum of the losses."""
    trunk, heads, optimizer = make_network(tasks)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad()
        torch.stack(losses_of(trunk(images), heads, labels)).sum().backward()
        optimizer.step()

    return step


def torchjd(aggregator: Callable[[int], agg.Aggregator], **options: Any) -> Any:
    """TorchJD's `mtl_backward`, then an aggregator of the Jacobian."""

    def make(tasks: int) -> Step:
        trunk, heads, optimizer = make_network(tasks)
        method = aggregator(tasks)

        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            optimizer.zero_grad()
            features = trunk(images)
            losses = losses_of(features, heads, labels)
            mtl_backward(losses, features=features, **options)
            jac_to_grad(trunk.parameters(), method)
            optimizer.step()

        return step

    return make


def torchjd_autogram(weighting: Callable[[], agg.Weighting]) -> Any:
    """TorchJD's engine for the Gramian, then one backward pass with weights."""

    def make(tasks: int) -> Step:
        trunk, heads, optimizer = make_network(tasks)
        engine = autogram.Engine(trunk, batch_dim=None)
        method = weighting()

        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            optimizer.zero_grad()
            losses = torch.stack(losses_of(trunk(images), heads, labels))
            losses.backward(method(engine.compute_gramian(losses)))
            optimizer.step()

        return step

    return make


def import_libmtl() -> Any:
    """Import LibMTL without torchvision, of which its networks need a downloader."""
    if "torchvision" not in sys.modules:
        for name in ("torchvision", "torchvision.models", "torchvision.models.utils"):
            sys.modules[name] = types.ModuleType(name)
        sys.modules["torchvision.models.utils"].load_state_dict_from_url = None
    import LibMTL

    return LibMTL


def libmtl(weighting: str, representation: bool = False, **options: Any) -> Any:
    """A weighting of LibMTL, on hard parameter sharing as its trainer builds it."""

    def make(tasks: int) -> Step:
        library = import_libmtl()
        base = getattr(library.weighting, weighting)

        class Model(library.architecture.HPS, base):
            def zero_grad_share_params(self) -> None:
                self.encoder.zero_grad(set_to_none=False)

        names = [str(task) for task in range(tasks)]
        _, heads, _ = make_network(tasks)
        decoders = nn.ModuleDict(dict(zip(names, heads, strict=True)))
        torch.manual_seed(0)
        model = Model(
            names, Trunk, decoders, representation, False, torch.device("cpu")
        )
        model.init_param()
        model.epoch = 2  # past the first ones, in which some only look on
        model.train_loss_buffer = np.ones((tasks, 3))
        optimizer = optimizer_of(model.parameters())

        def step(images: torch.Tensor, labels: torch.Tensor) -> None:
            predicted = model(images)
            losses = torch.zeros(tasks)
            for index, (name, label) in enumerate(zip(names, labels, strict=True)):
                losses[index] = nn.functional.cross_entropy(predicted[name], label)
            optimizer.zero_grad()
            model.backward(losses, **options)
            optimizer.step()

        return step

    return make


TORCHJD: dict[str, Callable[[int], agg.Aggregator]] = {
    "Sum": lambda tasks: agg.Sum(),
    "MGDA": lambda tasks: agg.MGDA(),
    "PCGrad": lambda tasks: agg.PCGrad(),
    "GradDrop": lambda tasks: agg.GradDrop(),
    "GradVac": lambda tasks: agg.GradVac(),
    "CAGrad": lambda tasks: agg.CAGrad(c=0.4),
    "IMTLG": lambda tasks: agg.IMTLG(),
    "NashMTL": lambda tasks: agg.NashMTL(n_tasks=tasks),
    "AlignedMTL": lambda tasks: agg.AlignedMTL(),
    "FairGrad": lambda tasks: agg.FairGrad(alpha=2.0),
    "UPGrad": lambda tasks: agg.UPGrad(),
    "DualProj": lambda tasks: agg.DualProj(),
    "ConFIG": lambda tasks: agg.ConFIG(),
    "ExcessMTL": lambda tasks: agg.ExcessMTL(),
    "SDMGrad": lambda tasks: agg.GramianWeightedAggregator(agg.SDMGradWeighting()),
}
AUTOGRAM: dict[str, Callable[[], agg.Weighting]] = {
    "PCGrad": agg.PCGradWeighting,
    "UPGrad": agg.UPGradWeighting,
}
LIBMTL: dict[str, Callable[[int], Step]] = {
    "EW": libmtl("EW"),
    "UW": libmtl("UW"),
    "DWA": libmtl("DWA", T=2.0),
    "GLS": libmtl("GLS"),
    "RLW": libmtl("RLW", dist="Normal"),
    "GradNorm": libmtl("GradNorm", alpha=1.5),
    "MGDA": libmtl("MGDA", mgda_gn="none"),
    "PCGrad": libmtl("PCGrad"),
    "GradVac": libmtl("GradVac", beta=0.5),
    "IMTL": libmtl("IMTL"),
    "CAGrad": libmtl("CAGrad", calpha=0.5, rescale=1),
    "GradNorm, representation": libmtl("GradNorm", True, alpha=1.5),
    "MGDA, representation": libmtl("MGDA", True, mgda_gn="none"),
    "IMTL, representation": libmtl("IMTL", True),
    "GradDrop, representation": libmtl("GradDrop", True, leak=0.0),
}
PLAIN, CONTROL = "sum", "control"
VARIANTS: dict[str, Callable[[int], Step]] = {
    PLAIN: plain,
    CONTROL: plain,
    **{f"TorchJD {name}": torchjd(make) for name, make in TORCHJD.items()},
    **{
        f"TorchJD {name}, chunk 1": torchjd(TORCHJD[name], parallel_chunk_size=1)
        for name in ("Sum", "MGDA", "PCGrad", "CAGrad", "NashMTL", "UPGrad")
    },
    **{
        f"TorchJD {name}, autogram": torchjd_autogram(make)
        for name, make in AUTOGRAM.items()
    },
    **{f"LibMTL {name}": make for name, make in LIBMTL.items()},
}


def make_batches(tasks: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of noise, with random labels `(T, batch)`."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(BATCH, 3, SIDE, SIDE, generator=generator),
            torch.randint(CLASSES, (tasks, BATCH), generator=generator),
        )
        for _ in range(BATCHES)
    ]


def attempt(action: Callable, *arguments: Any) -> tuple[Any, str | None]:
    """Return the result and no error, or no result and the error's text."""
    try:
        return action(*arguments), None
    except Exception as error:
        return None, f"{type(error).__name__}: {str(error).splitlines()[0]}"[:200]


def measure(tasks: int, names: list[str], rounds: int) -> dict[str, Any]:
    """Time one step of each variant in every round."""
    batches = make_batches(tasks)
    steps: dict[str, Step] = {}
    found: dict[str, Any] = {}
    for name in names:
        steps[name], error = attempt(VARIANTS[name], tasks)
        if error:
            found[name] = {"error": error}
            del steps[name]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for index in range(rounds + WARM_UP):
        images, labels = batches[index % BATCHES]
        for name in random.Random(index).sample(list(steps), len(steps)):
            start = time.perf_counter(), time.process_time()
            _, error = attempt(steps[name], images, labels)
            end = time.perf_counter(), time.process_time()
            if error:
                found[name] = {"error": f"step {index + 1}: {error}"}
                del steps[name]
            elif index >= WARM_UP:
                times[name].append((end[0] - start[0], end[1] - start[1]))
    medians = {
        name: [
            1000 * statistics.median(column)
            for column in zip(*times[name], strict=True)
        ]
        for name in steps
    }
    for name, (wall, processor) in medians.items():
        found[name] = {
            "milliseconds": wall,
            "processor_milliseconds": processor,
            "ratio": wall / medians[PLAIN][0],
            "processor_ratio": processor / medians[PLAIN][1],
        }
    return {name: found[name] for name in names}


def peak_memory(name: str, tasks: int) -> float | None:
    """Return the most memory, in MB, of a process that takes five steps."""
    command = [sys.executable, __file__, f"--memory_of={name}", f"--tasks={tasks}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(answer.stdout) if answer.returncode == 0 else None


def print_memory(name: str, tasks: int) -> None:
    """What `peak_memory` reads; Linux knows the peak of a process."""
    step = VARIANTS[name](tasks)
    for images, labels in make_batches(tasks)[:5]:
        step(images, labels)
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def device() -> str:
    """Return the model of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.split(':', 1)[1].strip()}, 1 thread"
    return f"{platform.processor() or platform.machine()}, 1 thread"


def version_of(package: str) -> str | None:
    """Return the version of a package, or `None` where it is missing."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rounds", type=int, default=41, help="that are counted")
    parser.add_argument("--only", default="", help="variants with this in their name")
    parser.add_argument("--memory", action="store_true", help="peak memory too")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--small", action="store_true", help="a network of no work")
    parser.add_argument("--memory_of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of the solvers
    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that measure memory
    if arguments.memory_of:
        print_memory(arguments.memory_of, arguments.tasks[0])
        return
    names = [
        name
        for name in VARIANTS
        if name in (PLAIN, CONTROL) or arguments.only in name
        if version_of("LibMTL") or not name.startswith("LibMTL")
    ]
    command = "python benchmarks/balancing_peers.py --tasks "
    result: dict[str, Any] = {
        "command": f"{command}{' '.join(map(str, arguments.tasks))} "
        f"--rounds={arguments.rounds}"
        + " --memory" * arguments.memory
        + " --small" * arguments.small
        + f" --only={arguments.only!r}" * bool(arguments.only),
        "versions": {
            "python": platform.python_version(),
            **{package: version_of(package) for package in PACKAGES},
        },
        "device": device(),
        "rounds": arguments.rounds,
        "tasks": {},
    }
    for tasks in arguments.tasks:
        found = measure(tasks, names, arguments.rounds)
        result["tasks"][str(tasks)] = found
        for name, figures in found.items():
            if arguments.memory and "error" not in figures:
                figures["peak_megabytes"] = peak_memory(name, tasks)
            shown = " ".join(
                f"{key} {value:.2f}" if isinstance(value, float) else f"{key} {value}"
                for key, value in figures.items()
            )
            print(f"T={tasks} {name}: {shown}", flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
