"""The tables in docs/ of benchmarks/results/; `results_table.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mtl_zoo import balancing
from mtl_zoo.zoo.card import table

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"

TRUNKS = {
    "plain": "plain trunk",
    "control": "plain trunk again (A/A)",
    "xla": "plain trunk with XLA",
    "xla_native": "XLA-native trunk with XLA",
}
FORMS = {"conv": "as it is", "xla_native": "XLA-native"}


def read(name: str) -> dict[str, Any]:
    """Return the committed result of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def serving_exports() -> str:
    """Size and cold start of each export; all tasks in one call against one by one."""
    rows = []
    for model, found in read("serving_exports")["models"].items():
        for label, export in found["exports"].items():
            rows.append(
                [
                    model if label == "all_tasks" else "",
                    "all" if label == "all_tasks" else f"`{label}` alone",
                    f"{export['total_mb']:.1f}",
                    f"{export['graph_mb']:.1f}",
                    f"{export['load_s']:.1f}",
                    f"{export['warm_up_s']:.1f}",
                    f"{export['memory_mb']:.0f}",
                    "",
                    "",
                ]
            )
        latency = found["latency_ms"]
        together, *alone = (one["memory_mb"] for one in found["exports"].values())
        rows[-len(found["exports"])][-2:] = [
            f"{together:.0f} / {sum(alone):.0f} MB = {together / sum(alone):.2f}",
            f"{latency['all_tasks']:.0f} / {latency['one_by_one']:.0f} ms = "
            f"{latency['ratio']:.2f}",
        ]
    head = ["Model", "Tasks", "MB", "graph MB", "load s", "warm-up s", "memory MB"]
    return table([*head, "memory, one / each alone", "one call / one by one"], rows)


def xla_cpu() -> str:
    """Latency of the forms of the trunk."""
    rows = []
    for what, name in (("bare", "xla_trunk"), ("with pyramid", "xla_trunk_pyramid")):
        for batch, found in read(name)["cpu"].items():
            for form, title in TRUNKS.items():
                rows.append(
                    [
                        what,
                        batch.removeprefix("batch_"),
                        title,
                        f"{found['milliseconds'][form]:.1f}",
                        f"{found['ratio_to_plain'][form]:.2f}",
                        f"{found['processor_ratio_to_plain'][form]:.2f}",
                        f"{found['first_call_seconds'][form]:.1f}",
                    ]
                )
    head = ["EfficientNet-Lite0", "batch", "trunk", "ms", "ratio", "ratio of CPU time"]
    return table([*head, "first call s"], rows)


def xla_gpu() -> str:
    """What XLA launches and moves on each GPU, by its own compilation."""
    rows = []
    for what, name in (("bare", "xla_trunk"), ("with pyramid", "xla_trunk_pyramid")):
        for target, found in read(name)["gpu"].items():
            if not isinstance(found, dict):
                continue
            for form, title in FORMS.items():
                for trunk, figures in found[form].items():
                    ratio = found["ratio_of_bytes"][trunk]
                    rows.append(
                        [
                            what,
                            target,
                            trunk.removeprefix("trunk_b"),
                            title,
                            str(figures["launches"]),
                            str(sum(figures["library_calls"].values())),
                            f"{figures['bytes_moved'] / 1e6:.0f}",
                            f"{ratio:.3f}" if form == "xla_native" else "",
                        ]
                    )
    head = ["EfficientNet-Lite0", "target", "batch", "trunk", "launches"]
    return table([*head, "library calls", "MB moved", "of the conv's"], rows)


OTHERS = {
    "litert": "LiteRT",
    "litert_int8": "LiteRT, `int8`",
    "onnx": "ONNX",
    "openvino": "OpenVINO",
}
MEASURED = {
    "keras": "Keras",
    "litert": "LiteRT",
    "litert_int8": "`int8`",
    "litert_int8_all": "`int8_all`",
}


def other_targets() -> str:
    """Size, error and latency of the files of other targets."""
    rows = []
    for model, found in read("other_targets")["models"].items():
        for target, title in OTHERS.items():
            written = found["decoded"][target]
            exact = target != "litert_int8"
            rows.append(
                [
                    f"{model.split('-')[0]}, {found['image_size']} pixels",
                    title,
                    f"{written['size_bytes'] / 1e6:.1f}",
                    f"{max(written['errors'].values()):.1e}" if exact else "see below",
                    f"{found['latency_ratio_to_keras'][target]:.2f}",
                ]
            )
    return table(["Model", "File", "MB", "largest error", "time / Keras"], rows)


def other_accuracy() -> str:
    """Metrics of LiteRT files on the validation splits."""
    rows = []
    for model, found in read("other_targets")["models"].items():
        measured = found["validation"]
        for task, metrics in measured["keras"].items():
            for metric in metrics:
                values = [f"{measured[k][task][metric]:.3f}" for k in MEASURED]
                rows.append([f"{model.split('-')[0]}, {task}", metric, *values])
    return table(["Model, task", "Metric", *MEASURED.values()], rows)


PROMISES = {
    "same for any order": "order",
    "no task gets worse": "worse",
    "plain for one task": "one",
    "same for any scale": "scale",
}


def _method(kind: str) -> str:
    """What a table calls a kind of `benchmarks/balancing.py`."""
    if kind == "control":
        return "plain Keras again (A/A)"
    name, _, form = kind.partition(" ")
    return f"`{name}`, {form}" if form else f"`{name}`"


def balancing_cost() -> str:
    """Each method's step time over a plain step, and what it promises."""
    by_tasks = read("balancing")["tasks"]
    first = next(iter(by_tasks.values()))["steps"]
    rows = []
    for kind in first:
        name, _, level = kind.partition(" ")
        if kind == "plain" or level in ("params", "feature"):
            continue
        promises = getattr(getattr(balancing, name, None), "promises", ())
        cells = [f"{found['steps'][kind]['ratio']:.2f}" for found in by_tasks.values()]
        for other in ("params", "feature"):
            cells.append(
                " / ".join(
                    f"{found['steps'][f'{name} {other}']['ratio']:.2f}"
                    for found in by_tasks.values()
                )
                if f"{name} {other}" in first
                else ""
            )
        short = ", ".join(PROMISES[one] for one in PROMISES if one in promises)
        rows.append([_method(kind), *cells, "" if level == "diagnostics" else short])
    counts = " / ".join(by_tasks)
    head = ["Method", *(f"T = {count}" for count in by_tasks)]
    return table(
        [*head, f'`"params"`, {counts}', f'`"feature"`, {counts}', "promises"], rows
    )


def balancing_again() -> str:
    """What was measured after the rest: ratios of a later run alone."""
    by_tasks = read("balancing_again")["tasks"]
    rows = [
        [_method(k), *(f"{one['steps'][k]['ratio']:.2f}" for one in by_tasks.values())]
        for k in next(iter(by_tasks.values()))["steps"]
        if k != "plain"
    ]
    return table(["Method", *(f"T = {count}" for count in by_tasks)], rows)


RELATIONS = {
    "control": "no prior again (A/A)",
    "normal": "`Normal`",
    "trace_norm": "`TraceNorm`",
    "tensor_normal": "`TensorNormal`, features of low rank",
    "tensor_normal_full": "`TensorNormal`, full",
    "tensor_normal_tasks": "`TensorNormal` of the tasks alone",
}


def relations_cost() -> str:
    """Step time of each prior over no prior, in its own run."""
    runs = [
        read(path.stem)["steps"] for path in sorted(RESULTS.glob("relations*.json"))
    ]
    rows = [
        [title, *(f"{one[kind]['ratio']:.2f}" if kind in one else "" for one in runs)]
        for kind, title in RELATIONS.items()
        if any(kind in one for one in runs)
    ]
    return table(["Prior", *(f"run {i}" for i in range(1, len(runs) + 1))], rows)


def balancing_solvers() -> str:
    """Milliseconds of the solvers, and peak memory."""
    by_tasks = read("balancing_solvers")["milliseconds"]
    rows = [
        [f"`{name}`, ms", *(f"{one[name]:.2f}" for one in by_tasks.values())]
        for name in next(iter(by_tasks.values()))
    ]
    first = table(["Solver", *(f"T = {count}" for count in by_tasks)], rows)
    found = read("balancing_memory")
    memory = found["peak_mb"]
    second = table(
        [f"T = {found['tasks']}", *(f"`{name}`" for name in memory)],
        [["Peak memory, MB", *(f"{value:.0f}" for value in memory.values())]],
    )
    return f"{first}\n\n{second}"


LIBMTL_NAMES = {
    "Equal": "EW",
    "UncertaintyWeighting": "UW",
    "DWA": "DWA",
    "GLS": "GLS",
    "RLW": "RLW",
    "GradNorm": "GradNorm",
    "MGDA": "MGDA",
    "PCGrad": "PCGrad",
    "GradVac": "GradVac",
    "GradDrop": "GradDrop, representation",
    "CAGrad": "CAGrad",
    "IMTLG": "IMTL",
}


def peer_ratio(found: dict[str, Any], library: str, name: str) -> float | None:
    """A peer's lowest ratio for a method, `None` where it has none or fails."""
    if library == "torchjd":
        keys = [f"TorchJD {name}", f"TorchJD {name}, chunk 1"]
    else:
        keys = [f"LibMTL {LIBMTL_NAMES.get(name)}"]
    ratios = [found[key]["ratio"] for key in keys if "ratio" in found.get(key, {})]
    return min(ratios) if ratios else None


def balancing_peers() -> str:
    """Ratios of the peers beside ours, for methods that both have."""
    ours = read("balancing")["tasks"]
    peers = read("balancing_peers")["tasks"]
    counts = [count for count in peers if count in ours]
    rows = []
    for name in next(iter(ours.values()))["steps"]:
        theirs = [
            [peer_ratio(peers[count], library, name) for count in counts]
            for library in ("torchjd", "libmtl")
        ]
        if all(one is None for found in theirs for one in found):
            continue
        own = [
            [ours[c]["steps"].get(kind, {}).get("ratio") for c in counts]
            for kind in (name, f"{name} params")
        ]
        cells = [
            " / ".join("-" if one is None else f"{one:.2f}" for one in found)
            if any(one is not None for one in found)
            else ""
            for found in [*own, *theirs]
        ]
        rows.append([f"`{name}`", *cells])
    joined = " / ".join(counts)
    head = ["ours, last layer", "ours, all parameters", "TorchJD", "LibMTL"]
    return table([f"T = {joined}", *head], rows)


def balancing_small() -> str:
    """What methods add to a step of next to no work, ours and LibMTL's."""
    sides = (
        ("balancing_small", "plain", "{}"),
        ("balancing_peers_small", "sum", "LibMTL {}"),
    )
    rows = []
    for name, other in {"plain again (A/A)": "control", **LIBMTL_NAMES}.items():
        cells = []
        for (file, plain, key), kind in zip(sides, (name, other), strict=True):
            kind = other if other == "control" else key.format(kind)
            for found in read(file)["tasks"].values():
                steps = found.get("steps", found)
                if "milliseconds" not in steps.get(kind, {}):
                    break
                more = steps[kind]["milliseconds"] - steps[plain]["milliseconds"]
                cells.append(f"{steps[kind]['ratio']:.2f} ({1000 * more:+.0f})")
        if len(cells) == 4:
            rows.append([name if other == "control" else f"`{name}`", *cells])
    head = [f"{who}, T = {n}" for who in ("ours", "LibMTL") for n in (2, 8)]
    return table(["Ratio (microseconds)", *head], rows)


def balancing_levels() -> str:
    """How well each part of the shared parameters stands for all of them."""
    rows = []
    for model, found in read("balancing_levels")["models"].items():
        for part, one in found["parts"].items():
            methods = one["methods"].values()
            rows.append(
                [
                    model,
                    f"{part} ({one['numbers']:,})",
                    f"{one['sign_agreement']:.2f}",
                    f"{one['correlation']:.2f}",
                    " / ".join(f"{m['cosine_to_exact']:.2f}" for m in methods),
                    " / ".join(f"{m['against_a_task']:.2f}" for m in methods),
                ]
            )
            model = ""
    names = " / ".join(one["methods"])
    return table(
        [
            "Model",
            "Gradients by (numbers)",
            "Signs agree",
            "Correlation",
            f"Update's cosine: {names}",
            "Against a task",
        ],
        rows,
    )


def texts_elsewhere() -> str:
    """Sentiment by domain, and names, on texts from elsewhere."""
    found = read("texts_elsewhere")
    reviews, gum = found["sentiment_fdu_mtl"], found["ner_gum"]
    rows = [
        [f"reviews, {domain}", "sentiment accuracy", f"{value:.3f}"]
        for domain, value in sorted(reviews["by_domain"].items())
    ]
    everything = f"reviews, all {reviews['texts']:,}"
    rows.append([everything, "sentiment accuracy", f"{reviews['accuracy']:.3f}"])
    sentences = f"GUM, {gum['sentences']:,} sentences"
    rows.append([sentences, "names, F1", f"{gum['f1']:.3f}"])
    return table(["Texts", "Metric", "Value"], rows)


FIGURES = {
    "parameters": ("number", "parameters"),
    "multiply_adds": ("number", "multiply-adds"),
    "step": ("milliseconds", "training step"),
    "inference": ("milliseconds", "inference"),
}
STATES = {
    "control": "`HardSharing` again (A/A)",
    "LearningToBranch": "`LearningToBranch`, searching",
    "Branched": "`Branched`, decided for",
    "AdaShare": "`AdaShare`, searching",
    "SelectedBlocks": "`SelectedBlocks`, decided for",
}


def architectures_cost() -> str:
    """Each architecture over hard sharing, and how it grows with the tasks."""
    if not (RESULTS / "architectures.json").is_file():
        return "Not measured yet."
    by_tasks = read("architectures")["tasks"]
    counts = list(by_tasks)
    fewest, most = by_tasks[counts[0]], by_tasks[counts[-1]]
    rows = []
    for kind in fewest:
        cells = [
            " / ".join(f"{one[kind][name]['ratio']:.2f}" for one in by_tasks.values())
            for name in FIGURES
        ]
        growth = " / ".join(
            f"{most[kind][name][unit] / fewest[kind][name][unit]:.2f}"
            for name, (unit, _) in FIGURES.items()
        )
        rows.append([STATES.get(kind, f"`{kind}`"), *cells, growth])
    titles = [title for _, title in FIGURES.values()]
    head = [f"T = {' / '.join(counts)}", *titles]
    return table([*head, f"T = {counts[-1]} over T = {counts[0]}"], rows)


TABLES = {
    "architectures_cost": architectures_cost,
    "balancing_again": balancing_again,
    "balancing_cost": balancing_cost,
    "balancing_levels": balancing_levels,
    "balancing_peers": balancing_peers,
    "balancing_small": balancing_small,
    "balancing_solvers": balancing_solvers,
    "other_targets": other_targets,
    "relations_cost": relations_cost,
    "other_accuracy": other_accuracy,
    "serving_exports": serving_exports,
    "texts_elsewhere": texts_elsewhere,
    "xla_cpu": xla_cpu,
    "xla_gpu": xla_gpu,
}
