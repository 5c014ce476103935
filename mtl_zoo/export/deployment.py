"""What stands beside the versions: the files a server and its operators need."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from mtl_zoo.evaluation.files import write_text
from mtl_zoo.export.server_configs import parse_models_config
from mtl_zoo.export.versions import versions

TEMPLATES = Path(__file__).parent / "templates"

# As batching.config has them; the warm-up runs the twins at each.
BATCH_SIZES = (1, 2, 4, 8)

# The server of the TensorFlow that the SavedModels are made with.
_IMAGE = "tensorflow/serving:2.21.0"

_XLA_FLAGS = {
    "plain": [],
    "xla_cpu": ["--xla_cpu_compilation_enabled=true"],
    "xla_gpu": ["--xla_gpu_compilation_enabled=true"],
}

_PROFILES = {
    "plain": "The server runs with XLA switched off, as a stock server does; the "
    "signatures `<name>_xla` then answer with an error.",
    "xla_cpu": "The server runs with XLA switched on for the CPU, which the signatures "
    "`<name>_xla` need; its warm-up compiles them for every batch size.",
    "xla_gpu": "The server runs on a GPU with XLA switched on, which the signatures "
    "`<name>_xla` need; its warm-up compiles them for every batch size.",
}

_CONFIG = """\
  config {{
    name: "{name}"
    base_path: "{base_path}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
    version_labels {{ key: "stable" value: {stable} }}
    version_labels {{ key: "canary" value: {canary} }}
  }}
"""

_GPU_DEVICES = """\
    deploy:
      resources:
        reservations:
          devices:
            - {driver: nvidia, count: 1, capabilities: [gpu]}
"""


def write_deployment(
    directory: str | os.PathLike, profile: str = "plain", card: str = ""
) -> None:
    """Write or renew what stands beside the versions of a model.

    The label `stable` stays where an earlier `models.config` has it, if that version is
    still there; `canary` is the newest version.

    Args:
        directory: The model's folder, whose name is the model's name on the server.
        profile: `"plain"`, `"xla_cpu"` or `"xla_gpu"`. Defaults to `"plain"`.
        card: The model card, Markdown. Defaults to none.
    """
    directory = Path(os.path.abspath(directory))
    name, root = directory.name, f"/models/{directory.name}"
    found = versions(directory)
    texts = server_files({name: directory}, root, directory / "models.config", profile)
    rows = [f"| `{number}/` | A version, a SavedModel. |" for number in found]
    flags = " \\\n".join(f"  {flag}" for flag in server_flags(root, profile))
    texts["README.md"] = _fill(
        "README.md",
        name=name,
        root=root,
        shell_flags=flags,
        version_rows="\n".join(rows),
        profile_text=_PROFILES[profile],
        card=re.sub(r"^#", "##", card, flags=re.MULTILINE),
    )
    for file, text in texts.items():
        write_text(text, directory / file)


def server_files(
    models: Mapping[str, str | os.PathLike],
    root: str,
    before: str | os.PathLike,
    profile: str = "plain",
) -> dict[str, str]:
    """Return the texts of the files that one server of several models needs.

    Args:
        models: The folder of each model, by its name on the server.
        root: Where the folder that holds these files is in the container. Each model
            is at `/models/<name>`.
        before: The `models.config` to take the label `stable` from, if it exists.
        profile: As in `write_deployment`. Defaults to `"plain"`.

    Returns:
        `models.config`, `batching.config`, `monitoring.config`, `docker-compose.yml`,
        `kubernetes.yaml` and `client.py`.
    """
    stable = _stable(Path(before))
    configs = [
        _model_config(name, versions(folder), stable.get(name))
        for name, folder in models.items()
    ]
    gpu = profile == "xla_gpu"
    flags = server_flags(root, profile)
    blanks = {
        "image": _IMAGE + ("-gpu" if gpu else ""),
        "root": root,
        "first_model": next(iter(models)),
        "service": re.sub(r"[^a-z0-9]+", "-", root.strip("/").lower()),
        "docker_flags": _lines(flags, 6),
        "docker_devices": _GPU_DEVICES.rstrip() if gpu else "",
        "kubernetes_flags": _lines(flags, 12),
        "limits": "memory: 8Gi, nvidia.com/gpu: 1" if gpu else "memory: 4Gi",
    }
    return {
        "models.config": f"model_config_list {{\n{''.join(configs)}}}\n",
        "batching.config": _read("batching.config"),
        "monitoring.config": _read("monitoring.config"),
        "docker-compose.yml": _fill("docker-compose.yml", **blanks).rstrip() + "\n",
        "kubernetes.yaml": _fill("kubernetes.yaml", **blanks),
        "client.py": _read("client.py"),
    }


def server_flags(root: str, profile: str = "plain") -> list[str]:
    """Return the flags of `tensorflow_model_server`.

    Args:
        root: The folder of the files that `server_files` describes.
        profile: As in `write_deployment`. Defaults to `"plain"`.
    """
    return [
        "--port=8500",
        "--rest_api_port=8501",
        f"--model_config_file={root}/models.config",
        "--model_config_file_poll_wait_seconds=30",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={root}/batching.config",
        f"--monitoring_config_file={root}/monitoring.config",
        *_XLA_FLAGS[profile],
    ]


def _model_config(name: str, found: Sequence[int], stable: int | None) -> str:
    canary = max(found)
    kept = canary if stable is None or stable not in found else stable
    numbers = sorted({kept, canary})
    return _CONFIG.format(
        name=name,
        base_path=f"/models/{name}",
        versions=" ".join(f"versions: {number}" for number in numbers),
        stable=kept,
        canary=canary,
    )


def _stable(config: Path) -> dict[str, int]:
    """Return the version labelled stable of each model in a `models.config`."""
    if not config.is_file():
        return {}
    models = parse_models_config(config.read_text(encoding="utf-8"))
    return {
        model.name: model.version_labels["stable"]
        for model in models
        if "stable" in model.version_labels
    }


def _lines(flags: Sequence[str], indent: int) -> str:
    return "\n".join(f"{' ' * indent}- {flag}" for flag in flags)


def _read(file: str) -> str:
    return (TEMPLATES / file).read_text(encoding="utf-8")


def _fill(file: str, **blanks: str) -> str:
    return Template(_read(file)).substitute(blanks)
