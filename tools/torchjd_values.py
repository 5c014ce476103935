"""Write what TorchJD makes of 245 gradient matrices, and of 7 sequences of losses.

`tests/balancing/torchjd_values.npz` has what `tests/balancing/test_torchjd.py` reads.
TorchJD lives in an environment of its own, with the Python that runs this script:

    python -m venv /tmp/torch_env
    /tmp/torch_env/bin/pip install torch==2.13.0 "torchjd[full]==0.18.0"
    /tmp/torch_env/bin/python tools/torchjd_values.py

The solvers behind it were numpy 2.4.6, scipy 1.17.1, quadprog 0.1.14, qpsolvers 4.13.0,
cvxpy 1.9.3, clarabel 0.11.1 and ecos 2.0.14. Everything is computed in float64, from
matrices and losses that float32 holds exactly.

Contents, for `n` matrices `J` of at most 8 tasks and 12 columns, padded with zeros:

- `matrices` `(n, 8, 12)`, `tasks` `(n,)`, `columns` `(n,)`, `kinds` `(n,)`; five in a
  row, of `steps` 0 to 4, are of one kind and number of tasks. Methods with a state
  start at step 0 and see all five.
- `orders` `(n, 8, 8)`: row `i` is the order in which task `i` met the tasks in PCGrad
  and (itself left out) in GradVac; `uniform` `(n, 12)`: the draw of GradDrop.
- `updates/NAME` `(n, 12)` float64: the vector made of `J`; NaN where TorchJD raised.
- `losses` and `losses_after` `(7, 5, 8)`: five steps with 2 to 8 tasks; `normal` of the
  same shape: the draw of Random.
- `totals/NAME` `(7, 5)`, `weights/NAME` `(7, 5, 8)`, its derivative by the losses; and
  `states/NAME` `(7, 5, 8)`, what the method had learned when it gave that total.
- `manifest`, `versions`: JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torchjd import aggregation as agg
from torchjd import scalarization as scal
from torchjd.linalg import QuadprogProjector

TARGET = Path(__file__).parents[1] / "tests" / "balancing" / "torchjd_values.npz"
TASKS, COLUMNS, STEPS = range(2, 9), 12, 5
PACKAGES = ("torchjd", "torch", "numpy", "scipy", "quadprog", "qpsolvers", "cvxpy")
PACKAGES += ("clarabel", "ecos")
LEARNING_RATE = 0.1  # of the parameters of UW and IMTLL


class Case(NamedTuple):
    """A method with its arguments.

    Attributes:
        name: Of TorchJD's class.
        make: From the number of tasks to the aggregator.
        arguments: Of the class, for the manifest.
        sequence: Whether the state goes from one matrix to the next.
    """

    name: str
    make: Callable[[int], agg.Aggregator]
    arguments: dict[str, Any]
    sequence: bool = False


def case(name: str, *, sequence: bool = False, **arguments: Any) -> Case:
    """An aggregator of TorchJD by name."""

    def make(tasks: int) -> agg.Aggregator:
        return getattr(agg, name)(**arguments)

    return Case(name, make, arguments, sequence)


def weighting(name: str) -> Case:
    """A weighting of Gramians with a state, which is no aggregator of its own."""

    def make(tasks: int) -> agg.Aggregator:
        return agg.GramianWeightedAggregator(getattr(agg, name)())

    return Case(name, make, {}, sequence=True)


def smoothed() -> Case:
    """UPGrad's weights, averaged over the steps."""

    def make(tasks: int) -> agg.Aggregator:
        inner = agg.CRMOGMWeighting(agg.UPGradWeighting())
        return agg.GramianWeightedAggregator(inner)

    arguments = {"weighting": "UPGradWeighting", "alpha": 0.9}
    return Case("CRMOGMWeighting", make, arguments, sequence=True)


def projecting(name: str, reg_eps: float) -> Case:
    """UPGrad or DualProj with less on the diagonal than the default, 1e-4."""

    def make(tasks: int) -> agg.Aggregator:
        projector = QuadprogProjector(norm_eps=0.0, reg_eps=reg_eps)
        return getattr(agg, name)(projector=projector)

    return Case(name, make, {"norm_eps": 0.0, "reg_eps": reg_eps})


def nash(**arguments: Any) -> Case:
    """Nash-MTL, which must know the number of tasks; its state is a warm start."""
    return Case("NashMTL", lambda n: agg.NashMTL(n_tasks=n, **arguments), arguments)


AGGREGATORS = {
    "Sum": case("Sum"),
    "Mean": case("Mean"),
    "MGDA": case("MGDA"),
    "MGDA, tight": case("MGDA", epsilon=1e-12, max_iters=10_000),
    "UPGrad": case("UPGrad"),
    "UPGrad, tight": projecting("UPGrad", reg_eps=1e-10),
    "DualProj": case("DualProj"),
    "DualProj, tight": projecting("DualProj", reg_eps=1e-10),
    "CAGrad(0.4)": case("CAGrad", c=0.4),
    "CAGrad(0.5)": case("CAGrad", c=0.5),
    "CAGrad(0.4), tight": case("CAGrad", c=0.4, norm_eps=1e-12),
    "AlignedMTL(min)": case("AlignedMTL", scale_mode="min"),
    "AlignedMTL(median)": case("AlignedMTL", scale_mode="median"),
    "AlignedMTL(rmse)": case("AlignedMTL", scale_mode="rmse"),
    "ConFIG": case("ConFIG"),
    "FairGrad(1)": case("FairGrad", alpha=1.0),
    "FairGrad(2)": case("FairGrad", alpha=2.0),
    "IMTLG": case("IMTLG"),
    "NashMTL": nash(max_norm=0.0),
    "NashMTL, clipped": nash(max_norm=1.0),
    "PCGrad": case("PCGrad"),
    "GradVac(0.5)": case("GradVac", beta=0.5, sequence=True),
    "GradVac(0.01)": case("GradVac", beta=0.01, sequence=True),
    "GradDrop": case("GradDrop"),
    "SDMGrad": weighting("SDMGradWeighting"),
    "MoDo": weighting("MoDoWeighting"),
    "ExcessMTL": case("ExcessMTL", sequence=True),
    "PCD": case("PCD", sequence=True),
    "CRMOGM(UPGrad)": smoothed(),
    "Krum": case("Krum", n_byzantine=0),
    "TrimmedMean": case("TrimmedMean", trim_number=1),
}

SCALARIZERS: dict[str, tuple[Callable[[int], scal.Scalarizer], dict[str, Any]]] = {
    "GeometricMean": (lambda tasks: scal.GeometricMean(), {}),
    "STCH(1)": (lambda tasks: scal.STCH(mu=1.0), {"mu": 1.0}),
    "STCH(0.1)": (lambda tasks: scal.STCH(mu=0.1), {"mu": 0.1}),
    "Random": (lambda tasks: scal.Random(), {}),
    "DWA": (lambda tasks: scal.DWA(), {"temperature": 2.0, "steps_per_epoch": 1}),
    "FAMO": (scal.FAMO, {"lr": 0.025, "weight_decay": 1e-3}),
    "UW": (scal.UW, {"sgd_lr": LEARNING_RATE}),
    "IMTLL": (scal.IMTLL, {"sgd_lr": LEARNING_RATE}),
}


def gaussian(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Nothing special."""
    return rng.normal(size=(tasks, COLUMNS))


def conflicting(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Every other task against the rest, at cosines of about -0.9."""
    signs = (-1.0) ** np.arange(tasks)
    common = rng.normal(size=COLUMNS)
    return signs[:, None] * common + 0.4 * rng.normal(size=(tasks, COLUMNS))


def badly_scaled(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Norms from 1e-3 to 1e3."""
    factors = rng.permutation(np.logspace(-3, 3, tasks))
    return factors[:, None] * rng.normal(size=(tasks, COLUMNS))


def nearly_parallel(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Cosines of about 0.9999."""
    return rng.normal(size=COLUMNS) + 0.01 * rng.normal(size=(tasks, COLUMNS))


def low_rank(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Of rank `tasks // 2` exactly: small integers times multiples of 1 / 64."""
    rank = tasks // 2
    basis = np.round(64.0 * rng.normal(size=(rank, COLUMNS))) / 64.0
    mixture = rng.integers(-3, 4, size=(tasks, rank)).astype(float)
    mixture[np.arange(tasks), np.arange(tasks) % rank] += 4.0  # no row of zeros
    return mixture @ basis


def few_columns(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """Fewer parameters than tasks, by one or two."""
    return rng.normal(size=(tasks, max(1, tasks - 1 - seed % 2)))


def equal_rows(rng: np.random.Generator, tasks: int, seed: int) -> np.ndarray:
    """The first two tasks have the same gradient."""
    matrix = rng.normal(size=(tasks, COLUMNS))
    matrix[1] = matrix[0]
    return matrix


KINDS = (
    gaussian,
    conflicting,
    badly_scaled,
    nearly_parallel,
    low_rank,
    few_columns,
    equal_rows,
)


def matrices() -> list[tuple[str, int, np.ndarray]]:
    """Return kind, step and matrix, all entries those of float32."""
    found = []
    for index, kind in enumerate(KINDS):
        for tasks in TASKS:
            for seed in range(STEPS):
                rng = np.random.default_rng([index, tasks, seed])
                matrix = kind(rng, tasks, seed).astype("float32")
                found.append((kind.__name__, seed, matrix.astype("float64")))
    return found


@contextlib.contextmanager
def pinned(order: np.ndarray, uniform: np.ndarray) -> Iterator[None]:
    """Let PyTorch's random permutations and numbers be those given.

    PCGrad draws a permutation of all tasks for each task `i`, GradVac one of the
    positions of the others among themselves.
    """
    rows = iter(range(len(order)))

    def permutation(size: int) -> torch.Tensor:
        task = next(rows)
        row = order[task]
        if size == len(order) - 1:
            row = [j - (j > task) for j in row if j != task]
        return torch.tensor(np.array(row, "int64"))

    def draw(shape: torch.Size, dtype: torch.dtype, device: Any) -> torch.Tensor:
        return torch.tensor(uniform[: shape[0]], dtype=dtype)

    with (
        mock.patch.object(torch, "randperm", permutation),
        mock.patch.object(torch, "rand", draw),
    ):
        yield


def updates(
    name: str, data: list, orders: np.ndarray, uniform: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Return the vectors of one method, and what it raised."""
    result = np.zeros((len(data), COLUMNS))
    raised = []
    aggregator = None
    for index, (kind, step, matrix) in enumerate(data):
        tasks, columns = matrix.shape
        if step == 0 or not AGGREGATORS[name].sequence:
            aggregator = AGGREGATORS[name].make(tasks)
        try:
            with pinned(orders[index, :tasks, :tasks], uniform[index]):
                vector = aggregator(torch.tensor(matrix)).detach().numpy()
        except Exception as error:
            raised.append(f"{kind}, T={tasks}, step {step}: {type(error).__name__}")
            vector = np.full(columns, np.nan)
        result[index, :columns] = vector
    return result, raised


def totals(
    name: str, losses: np.ndarray, after: np.ndarray, normal: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return totals, their derivatives by the losses, and states."""
    total = np.zeros(losses.shape[:2])
    weights, states = np.zeros(losses.shape), np.zeros(losses.shape)
    for row, tasks in enumerate(TASKS):
        scalarizer = SCALARIZERS[name][0](tasks)
        own = list(scalarizer.parameters())
        for step in range(STEPS):
            values = torch.tensor(losses[row, step, :tasks], requires_grad=True)
            draw = torch.tensor(normal[row, step, :tasks])
            with mock.patch.object(torch, "randn", lambda *_, d=draw, **__: d):
                scalar = scalarizer(values)
            wanted = [values] if name == "FAMO" else [values, *own]
            gradients = torch.autograd.grad(scalar, wanted)
            total[row, step] = scalar.item()
            weights[row, step, :tasks] = gradients[0].numpy()
            for parameter in own:
                states[row, step, :tasks] = parameter.detach().numpy()
            if name == "FAMO":
                scalarizer.update(torch.tensor(after[row, step, :tasks]))
            elif own:
                with torch.no_grad():
                    own[0] -= LEARNING_RATE * gradients[1]
            if name == "DWA":
                scalarizer.step()
    return total, weights, states


def main() -> None:
    """Compute and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore")  # solvers on the way to an error

    data = matrices()
    rng = np.random.default_rng(0)
    most = max(TASKS)
    padded = np.zeros((len(data), most, COLUMNS), "float32")
    orders = np.zeros((len(data), most, most), "int8")
    for index, (_, _, matrix) in enumerate(data):
        tasks, columns = matrix.shape
        padded[index, :tasks, :columns] = matrix
        for task in range(tasks):
            orders[index, task, :tasks] = rng.permutation(tasks)
    uniform = rng.uniform(size=(len(data), COLUMNS)).astype("float32")

    falling = 0.8 ** np.arange(STEPS)[None, :, None]
    shape = (len(TASKS), STEPS, most)
    losses = (falling * np.exp(rng.normal(size=shape))).astype("float32")
    after = (losses * np.exp(0.1 * rng.normal(size=shape) - 0.05)).astype("float32")
    normal = rng.normal(size=shape).astype("float32")
    for row, tasks in enumerate(TASKS):
        for array in (losses, after, normal):
            array[row, :, tasks:] = 0.0

    arrays: dict[str, Any] = {
        "matrices": padded,
        "tasks": np.array([len(matrix) for _, _, matrix in data], "int8"),
        "columns": np.array([matrix.shape[1] for _, _, matrix in data], "int8"),
        "kinds": np.array([kind for kind, _, _ in data]),
        "steps": np.array([step for _, step, _ in data], "int8"),
        "orders": orders,
        "uniform": uniform,
        "losses": losses,
        "losses_after": after,
        "normal": normal,
    }
    manifest: dict[str, Any] = {"aggregators": {}, "scalarizers": {}}
    for name, method in AGGREGATORS.items():
        found = updates(name, data, orders, uniform.astype("float64"))
        arrays[f"updates/{name}"], raised = found
        manifest["aggregators"][name] = {
            "class": method.name,
            "arguments": method.arguments,
            "sequence": method.sequence,
            "raised": raised,
        }
        print(f"{name}: raised {len(raised)} times", flush=True)
    for name, (make, arguments) in SCALARIZERS.items():
        found = totals(name, *(a.astype("float64") for a in (losses, after, normal)))
        arrays[f"totals/{name}"], arrays[f"weights/{name}"] = found[:2]
        if found[2].any():
            arrays[f"states/{name}"] = found[2]
        manifest["scalarizers"][name] = {
            "class": type(make(2)).__name__,
            "arguments": arguments,
        }
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    versions["python"] = platform.python_version()
    arrays["manifest"], arrays["versions"] = json.dumps(manifest), json.dumps(versions)
    np.savez_compressed(out, **arrays)
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
