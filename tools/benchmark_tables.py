"""The tables in docs/ of benchmarks/results/; `results_table.py` writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
                    "",
                ]
            )
        latency = found["latency_ms"]
        rows[-len(found["exports"])][-1] = (
            f"{latency['all_tasks']:.0f} / {latency['one_by_one']:.0f} ms = "
            f"{latency['ratio']:.2f}"
        )
    head = ["Model", "Tasks", "MB", "graph MB", "load s", "warm-up s"]
    return table([*head, "one call / one by one"], rows)


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


TABLES = {
    "other_targets": other_targets,
    "other_accuracy": other_accuracy,
    "serving_exports": serving_exports,
    "xla_cpu": xla_cpu,
    "xla_gpu": xla_gpu,
}
