"""ONNX files equal the model, and are valid."""

import importlib.util
import os
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.export import onnx as export
from mtl_zoo.export.onnx import onnx_runner, to_onnx
from mtl_zoo.export.other_targets import MissingPackageError
from tests import fakes
from tests.zoo import tiny

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} not installed"
)


@pytest.fixture(scope="module")
def detector():
    return tiny.model()


@pytest.fixture(scope="module")
def report(detector, tmp_path_factory):
    return to_onnx(detector, tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@needs_onnx
@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 32, 96)])
def test_equals_the_model_at_any_size(report, detector, shape):
    images = tiny.images(*shape)
    found = onnx_runner(report.path.read_bytes())({"images": images})
    expected = detector.predict_tasks(images.astype("float32"))
    assert expected["det"]["count"].numpy().min() == 5
    for task, outputs in expected.items():
        for key, value in outputs.items():
            output = found[f"{task}_{key}"]
            assert output.dtype == value.dtype.as_numpy_dtype
            np.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-4)


@needs_onnx
def test_report_and_file(report):
    assert report.size_bytes == report.path.stat().st_size
    assert report.max_error < 1e-4
    assert os.listdir(report.path.parent) == ["tiny.onnx"]


@needs_onnx
def test_vectors_and_chosen_tasks(tmp_path):
    network, (inputs, _) = fakes.model(), fakes.arrays(4)
    report = to_onnx(network, tmp_path / "a.onnx", tasks=["size"], example=inputs)
    found = onnx_runner(report.path.read_bytes())({"inputs": inputs.astype("float32")})
    assert set(found) == {"size_value"}
    expected = network.predict_tasks(inputs)["size"]["value"]
    np.testing.assert_allclose(found["size_value"], expected, atol=1e-6)


@needs_onnx
def test_not_compared_where_there_is_no_runtime(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    report = to_onnx(fakes.model(), tmp_path / "a.onnx")
    assert (report.errors, report.max_error) == ({}, None)
    assert report.path.is_file()


@needs_onnx
def test_a_difference_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    path.write_bytes(b"before")
    run = export.onnx_runner

    def shifted(content):
        return lambda inputs: {k: v + 1 for k, v in run(content)(inputs).items()}

    monkeypatch.setattr(export, "onnx_runner", shifted)
    with pytest.raises(ValueError, match="differs from the model by"):
        to_onnx(fakes.model(), path, outputs="raw")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.onnx"]


@needs_onnx
def test_an_operation_that_onnx_lacks(tmp_path):
    class Odd(mtl.heads.Regression):
        def decode(self, raw):
            return tf.math.igamma(raw, raw)

    task = mtl.Task("a", Odd(1, feature="layer_1"), keras.losses.MeanSquaredError())
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), [task])
    network.build((None, 3))
    with pytest.raises(ValueError, match="tf2onnx failed, or made an invalid graph"):
        to_onnx(network, tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []


def test_keras_argmax_is_itself_again(tmp_path):
    before = keras.ops.argmax
    with pytest.raises((ValueError, ImportError)):
        to_onnx(fakes.model(), tmp_path / "a.onnx", tasks=["no"])
    assert keras.ops.argmax is before


@pytest.mark.parametrize("package", ["onnx", "tf2onnx"])
def test_without_the_packages(tmp_path, monkeypatch, package):
    if package in MISSING or not MISSING:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match="pip install tf2onnx onnx"):
        to_onnx(fakes.model(), tmp_path / "a.onnx")
    assert os.listdir(tmp_path) == []
