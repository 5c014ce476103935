"""What ships: every saved model loads, answers as recorded, and is described truly."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from mtl_zoo.zoo import registry

FOLDER = Path(__file__).parents[2] / "saved_models"
NAMES = registry.list_models(directory=FOLDER)

each_model = pytest.mark.parametrize("name", NAMES or ["none"])


@pytest.fixture(autouse=True)
def _shipped():
    if not NAMES:
        pytest.skip("no saved model in saved_models/ of this checkout")


@pytest.fixture(scope="module")
def golden():
    """Golden arrays of a model by kind and name."""

    def read(name):
        arrays = np.load(FOLDER / name / "golden.npz")
        kinds = {"inputs": {}, "raw": {}, "outputs": {}}
        for key in arrays:
            kind, rest = key.split("/", 1)
            kinds[kind][rest] = arrays[key]
        return kinds

    return read


@each_model
def test_keras_model_gives_the_golden_raw_outputs(name, golden):
    import keras
    import tensorflow as tf

    from mtl_zoo.export.signatures import flat_outputs

    recorded = golden(name)
    model = registry.load(FOLDER / name)
    inputs = {key: tf.constant(value) for key, value in recorded["inputs"].items()}
    raw = model(next(iter(inputs.values())) if len(inputs) == 1 else inputs)
    raw = flat_outputs(raw)
    assert set(raw) == set(recorded["raw"])
    for task, expected in recorded["raw"].items():
        found = keras.ops.convert_to_numpy(raw[task])
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)


@each_model
def test_saved_model_gives_the_golden_outputs(name, golden):
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 (registers the operations on texts)

    recorded = golden(name)
    served = tf.saved_model.load(str(registry.latest_version(FOLDER / name)))
    inputs = {key: tf.constant(value) for key, value in recorded["inputs"].items()}
    outputs = served.signatures["serving_default"](**inputs)
    assert set(outputs) == set(recorded["outputs"])
    for key, expected in recorded["outputs"].items():
        if expected.dtype.kind == "S":
            close = np.asarray(outputs[key]).astype("S") == expected
        else:
            close = np.isclose(outputs[key], expected, rtol=1e-3, atol=1e-3)
        # Another processor may tip a pixel, or a box, that is on the edge.
        assert close.mean() > 0.995, f"{key} differs in {1 - close.mean():.1%}"


@each_model
def test_metrics_are_legal(name):
    from mtl_zoo.evaluation import check_metrics

    check_metrics(registry.read_metrics(FOLDER / name))


@each_model
def test_numbers_in_the_card_are_those_of_metrics_json(name):
    from mtl_zoo.evaluation import markdown_table

    metrics = registry.read_metrics(FOLDER / name)
    text = registry.read_card(FOLDER / name)
    assert markdown_table(metrics).strip() in text
    assert metrics["command"] in text


@each_model
def test_no_path_of_a_machine(name):
    for file in ("config.json", "metrics.json", "README.md"):
        text = (FOLDER / name / file).read_text()
        assert not re.search(r"(?<![\w.])/(home|root|work|tmp|Users)/", text), file


def test_index_is_fresh():
    from mtl_zoo.zoo.saving import index

    for file, text in index(FOLDER).items():
        assert (FOLDER / file).read_text() == text, (
            f"{file} is stale: mtl_zoo.zoo.write_index('saved_models')"
        )


def test_configs_are_json_that_names_the_tasks():
    for name in NAMES:
        config = json.loads((FOLDER / name / "config.json").read_text())
        assert config["config"]["tasks"] and config["preprocessing"]
