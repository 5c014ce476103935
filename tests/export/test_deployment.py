"""What stands beside the versions is what a server, and Kubernetes, can read."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import yaml

from mtl_zoo.export.deployment import BATCH_SIZES, server_files, write_deployment
from mtl_zoo.export.server_configs import (
    parse_batching,
    parse_models_config,
    parse_monitoring,
)

FILES = {
    "README.md",
    "batching.config",
    "client.py",
    "docker-compose.yml",
    "kubernetes.yaml",
    "models.config",
    "monitoring.config",
}


@pytest.fixture
def folder(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "discs")


def labels(folder):
    (model,) = parse_models_config((folder / "models.config").read_text())
    return dict(model.version_labels), list(
        model.model_version_policy.specific.versions
    )


def test_files(exported):
    assert {path.name for path in exported.iterdir()} == FILES | {"1"}


def test_models_config(exported):
    (model,) = parse_models_config((exported / "models.config").read_text())
    assert (model.name, model.base_path) == ("discs", "/models/discs")
    assert model.model_platform == "tensorflow"
    assert labels(exported) == ({"stable": 1, "canary": 1}, [1])


def test_a_new_version_is_the_canary_until_it_is_promoted(folder):
    (folder / "2").mkdir()
    write_deployment(folder)
    assert labels(folder) == ({"stable": 1, "canary": 2}, [1, 2])
    (folder / "3").mkdir()
    write_deployment(folder)
    assert labels(folder) == ({"stable": 1, "canary": 3}, [1, 3])
    config = folder / "models.config"
    config.write_text(
        config.read_text().replace('"stable" value: 1', '"stable" value: 3')
    )
    write_deployment(folder)
    assert labels(folder) == ({"stable": 3, "canary": 3}, [3])
    shutil.rmtree(folder / "3")
    write_deployment(folder)
    assert labels(folder) == ({"stable": 2, "canary": 2}, [2])


def test_batching_and_monitoring(exported):
    batching = parse_batching((exported / "batching.config").read_text())
    assert tuple(batching.allowed_batch_sizes) == BATCH_SIZES
    assert batching.max_batch_size.value == BATCH_SIZES[-1]
    monitoring = parse_monitoring((exported / "monitoring.config").read_text())
    assert monitoring.prometheus_config.enable


@pytest.mark.parametrize(
    "parse", [parse_batching, parse_models_config, parse_monitoring]
)
def test_a_typo_in_a_config(parse):
    with pytest.raises(ValueError, match=r"protobuf text format.*max_batch_sise"):
        parse("max_batch_sise: 8")


@pytest.mark.parametrize("profile", ["plain", "xla_cpu", "xla_gpu"])
def test_manifests(exported, tmp_path, profile):
    texts = server_files({"discs": exported}, "/models/discs", tmp_path / "no", profile)
    compose = yaml.safe_load(texts["docker-compose.yml"])["services"]["serving"]
    deployment, service = yaml.safe_load_all(texts["kubernetes.yaml"])
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert compose["command"] == container["args"]
    xla = [flag for flag in container["args"] if "xla" in flag]
    assert (
        xla
        == {
            "plain": [],
            "xla_cpu": ["--xla_cpu_compilation_enabled=true"],
            "xla_gpu": ["--xla_gpu_compilation_enabled=true"],
        }[profile]
    )
    gpu = profile == "xla_gpu"
    assert (
        compose["image"].endswith("-gpu") == container["image"].endswith("-gpu") == gpu
    )
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == gpu
    assert ("deploy" in compose) == gpu
    assert compose["volumes"] == [".:/models/discs:ro"]
    assert service["spec"]["selector"] == pod["metadata"]["labels"]
    for flag in container["args"]:
        name, _, value = flag.partition("=")
        if value.startswith("/models/discs/") and name != "--port":
            assert (exported / value.removeprefix("/models/discs/")).exists(), flag


def test_readme(exported):
    text = (exported / "README.md").read_text()
    assert text.startswith("# discs on TensorFlow Serving\n")
    assert "\n## Discs\n\nHi." in text
    command = text.split("```sh\n")[2].split("```")[0]
    assert command.startswith("tensorflow_model_server \\\n  --port=8500 \\\n")
    subprocess.run(["bash", "-n", "-c", command], check=True)
    assert "$" not in text
