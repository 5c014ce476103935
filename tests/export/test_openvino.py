"""OpenVINO files equal the model."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from mtl_zoo.export import openvino as export
from mtl_zoo.export.openvino import openvino_runner, to_openvino
from mtl_zoo.export.other_targets import MissingPackageError
from tests import fakes
from tests.zoo import tiny

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None,
    reason="openvino not installed",
)


@pytest.fixture(scope="module")
def detector():
    return tiny.model()


@pytest.fixture(scope="module")
def report(detector, tmp_path_factory):
    path = tmp_path_factory.mktemp("openvino") / "tiny.xml"
    return to_openvino(detector, path, image_size=(64, 64))


@needs_openvino
@pytest.mark.parametrize("rows", [1, 3])
def test_equals_the_model(report, detector, rows):
    images = tiny.images(rows, 64, 64)
    found = openvino_runner(report.path)({"images": images})
    expected = detector.predict_tasks(images.astype("float32"))
    assert expected["det"]["count"].numpy().min() == 5
    for task, outputs in expected.items():
        for key, value in outputs.items():
            output = found[f"{task}_{key}"]
            assert output.dtype == value.dtype.as_numpy_dtype
            np.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-4)


@needs_openvino
def test_report_and_files(report):
    files = sorted(os.listdir(report.path.parent))
    assert files == ["tiny.bin", "tiny.xml"]
    sizes = [os.path.getsize(report.path.parent / file) for file in files]
    assert report.size_bytes == sum(sizes)
    assert report.max_error < 1e-4


@needs_openvino
def test_vectors_and_raw_outputs(tmp_path):
    network, (inputs, _) = fakes.model(), fakes.arrays(4)
    report = to_openvino(network, tmp_path / "a.xml", outputs="raw", example=inputs)
    found = openvino_runner(report.path)({"inputs": inputs.astype("float32")})
    expected = network(inputs)
    assert set(found) == set(network.task_names)
    np.testing.assert_allclose(found["size"], expected["size"], atol=1e-6)


@needs_openvino
def test_a_difference_leaves_what_was_there(tmp_path, monkeypatch):
    for name in ("a.xml", "a.bin"):
        (tmp_path / name).write_bytes(b"before")
    run = export.openvino_runner

    def shifted(path):
        return lambda inputs: {k: v + 1 for k, v in run(path)(inputs).items()}

    monkeypatch.setattr(export, "openvino_runner", shifted)
    with pytest.raises(ValueError, match="differs from the model by"):
        to_openvino(fakes.model(), tmp_path / "a.xml", outputs="raw")
    assert sorted(os.listdir(tmp_path)) == ["a.bin", "a.xml"]
    assert (tmp_path / "a.xml").read_bytes() == b"before"
    assert (tmp_path / "a.bin").read_bytes() == b"before"


@needs_openvino
def test_boxes_of_one_row_are_refused(detector, tmp_path):
    with pytest.raises(ValueError, match="wrong scores"):
        to_openvino(detector, tmp_path / "a.xml", batch_size=1)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingPackageError, match="pip install openvino"):
        to_openvino(fakes.model(), tmp_path / "a.xml")
    assert os.listdir(tmp_path) == []


def test_path(tmp_path):
    with pytest.raises(ValueError, match=r"ends in '.xml'"):
        to_openvino(fakes.model(), tmp_path / "a.onnx")
