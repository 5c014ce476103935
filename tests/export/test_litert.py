"""LiteRT files equal the model; int8 ones do nearly; nothing is half written."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mtl_zoo as mtl
from mtl_zoo.export import litert
from mtl_zoo.export.litert import to_litert
from mtl_zoo.zoo import export_file
from tests import fakes
from tests.zoo import tiny


@pytest.fixture(scope="module")
def detector():
    return tiny.model()


@pytest.fixture(scope="module")
def any_size(detector, tmp_path_factory):
    """A file of all decoded outputs, for images of any size."""
    return to_litert(detector, tmp_path_factory.mktemp("litert") / "tiny.tflite")


@pytest.fixture(scope="module")
def int8(detector, tmp_path_factory):
    """The same, the trunk in int8."""
    return to_litert(
        detector,
        tmp_path_factory.mktemp("litert") / "tiny.tflite",
        quantize="int8",
        representative=tiny.images(4, 64, 64),
    )


def segmenter(path, network, **options):
    """A file that converts fast."""
    return to_litert(network, path, tasks=["seg"], image_size=(32, 32), **options)


def tensors(report):
    """What the file computes, constants left out."""
    interpreter = litert._interpreter(report.path.read_bytes())
    found = interpreter.get_tensor_details()
    return [tensor for tensor in found if len(tensor["shape"]) == 4]


@pytest.mark.parametrize("size", [(64, 64), (32, 96)])
def test_equals_the_model_at_any_size(any_size, detector, size):
    images = tiny.images(1, *size)
    found = litert.runner(any_size.path.read_bytes())({"images": images})
    expected = detector.predict_tasks(images.astype("float32"))
    assert expected["det"]["count"].numpy().tolist() == [5]
    for task, outputs in expected.items():
        for key, value in outputs.items():
            output = found[f"{task}_{key}"]
            assert output.dtype == value.dtype.as_numpy_dtype
            np.testing.assert_allclose(output, value, rtol=1e-4, atol=1e-4)


def test_report_and_file(any_size):
    assert any_size.size_bytes == any_size.path.stat().st_size
    assert "det_boxes" in any_size.errors
    assert any_size.max_error < 1e-4
    assert os.listdir(any_size.path.parent) == ["tiny.tflite"]


def test_only_builtin_operations(any_size):
    assert b"Flex" not in any_size.path.read_bytes()


def test_int8_quantises_the_trunk_and_not_the_heads(int8, detector):
    images = tiny.images(1, 64, 64)
    found = litert.runner(int8.path.read_bytes())({"images": images})
    expected = detector.predict_tasks(images.astype("float32"))
    error = found["seg_probabilities"] - expected["seg"]["probabilities"]
    assert 0 < np.abs(error).max() < 0.05
    np.testing.assert_allclose(found["det_count"], expected["det"]["count"])
    kinds = {tensor["dtype"] for tensor in tensors(int8) if "tiny_" in tensor["name"]}
    assert np.int8 in kinds
    heads = [t for t in tensors(int8) if t["name"].startswith("heads/")]
    assert heads
    assert {tensor["dtype"] for tensor in heads} == {np.float32}


def test_int8_all_quantises_the_heads_too(detector, tmp_path):
    report = segmenter(
        tmp_path / "a.tflite",
        detector,
        outputs="raw",
        quantize="int8_all",
        representative=[tiny.images(2, 32, 32)] * 2,
    )
    heads = [t for t in tensors(report) if t["name"].startswith("heads/")]
    assert np.int8 in {tensor["dtype"] for tensor in heads}
    assert set(report.errors) == {"seg"}


@pytest.mark.parametrize("batch_size", [None, 2])
def test_vectors(tmp_path, batch_size):
    network, (inputs, _) = fakes.model(), fakes.arrays(4)
    report = to_litert(
        network, tmp_path / "a.tflite", batch_size=batch_size, example=inputs
    )
    rows = inputs[:2].astype("float32")
    found = litert.runner(report.path.read_bytes())({"inputs": rows})
    expected = network.predict_tasks(rows)["size"]["value"]
    np.testing.assert_allclose(found["size_value"], expected, atol=1e-6)


def test_a_difference_leaves_what_was_there(detector, tmp_path, monkeypatch):
    path = tmp_path / "a.tflite"
    path.write_bytes(b"before")
    run = litert.runner

    def shifted(content):
        return lambda inputs: {k: v + 1 for k, v in run(content)(inputs).items()}

    monkeypatch.setattr(litert, "runner", shifted)
    with pytest.raises(ValueError, match=r"'seg'.* differs from the model by"):
        segmenter(path, detector, outputs="raw")
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.tflite"]


def test_an_operation_that_litert_lacks(tmp_path):
    class Odd(mtl.heads.Regression):
        def decode(self, raw):
            return tf.math.igamma(raw, raw)

    task = mtl.Task("a", Odd(1, feature="layer_1"), keras.losses.MeanSquaredError())
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), [task])
    network.build((None, 3))
    with pytest.raises(ValueError, match=r"converter failed.*lacks an operation"):
        to_litert(network, tmp_path / "a.tflite")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["depth"]}, r"must be some of \['seg', 'det'\]"),
        ({"tasks": []}, "must be some of"),
        ({"outputs": "boxes"}, "`outputs` is one of"),
        ({"quantize": "int4"}, "`quantize` is one of"),
        ({"quantize": "int8"}, "int8 needs `representative`"),
        ({"quantize": "int8", "representative": []}, "at least one batch"),
        (
            {
                "quantize": "int8",
                "representative": np.zeros((2, 64, 64, 3), "uint8"),
                "example": np.zeros((2, 32, 32, 3), "uint8"),
                "image_size": (32, 32),
                "tasks": ["seg"],
                "outputs": "raw",
            },
            "Representative inputs must fit",
        ),
        (
            {"image_size": (32, 32), "example": np.zeros((2, 64, 64, 3), "uint8")},
            "example of images of the size",
        ),
    ],
)
def test_errors(detector, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        to_litert(detector, tmp_path / "a.tflite", **options)
    assert os.listdir(tmp_path) == []


def test_path_and_unbuilt_model(detector, tmp_path):
    with pytest.raises(ValueError, match=r"ends in '.tflite'"):
        to_litert(detector, tmp_path / "a.onnx")
    unbuilt = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), fakes.tasks())
    with pytest.raises(ValueError, match="Build it first"):
        to_litert(unbuilt, tmp_path / "a.tflite")
    with pytest.raises(ValueError, match="is for models on images"):
        to_litert(fakes.model(), tmp_path / "a.tflite", image_size=(32, 32))


def test_command(saved_models, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(tiny.images(3, 40, 56)):
        Image.fromarray(image).save(folder / f"{index}.png")
    report = export_file.export_file(
        tiny.NAME,
        tmp_path / "a.tflite",
        "litert_int8",
        tasks=("seg",),
        image_size=32,
        representative=folder,
    )
    found = litert.runner(report.path.read_bytes())(
        {"images": np.zeros((1, 32, 32, 3), "uint8")}
    )
    assert found["seg_label_map"].shape == (1, 32, 32)
    assert "largest difference from the model" in export_file.summary(report)


def test_command_errors(saved_models, tmp_path):
    path = tmp_path / "a.tflite"
    with pytest.raises(ValueError, match="Expected a format of"):
        export_file.export_file(tiny.NAME, path, "coreml")
    with pytest.raises(ValueError, match="--representative=FOLDER"):
        export_file.export_file(tiny.NAME, path, "litert_int8")
    with pytest.raises(ValueError, match="--representative=FOLDER"):
        export_file.export_file(tiny.NAME, path, "onnx", representative=tmp_path)
    with pytest.raises(FileNotFoundError, match="folder of images"):
        export_file.export_file(
            tiny.NAME, path, "litert_int8", representative=tmp_path / "no"
        )
    with pytest.raises(ValueError, match="There are none"):
        export_file.export_file(tiny.NAME, path, "litert_int8", representative=tmp_path)
    with pytest.raises(mtl.zoo.ModelNotFoundError):
        export_file.export_file("no-such-model", path, "litert")
