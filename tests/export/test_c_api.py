"""A SavedModel from C: what we export needs nothing of Python."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text
from tensorflow.core.protobuf import saved_model_pb2

from tests.zoo import tiny, tiny_text

SOURCE = Path(__file__).parent / "c_api" / "saved_model_run.c"
TENSORFLOW = Path(tf.__file__).parent
LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The compiled program."""
    if not shutil.which("gcc"):
        pytest.skip("no gcc on PATH")
    for library in LIBRARIES:
        if not (TENSORFLOW / library).exists():
            pytest.skip(f"this TensorFlow wheel has no {library}")
    target = tmp_path_factory.mktemp("c_api") / "saved_model_run"
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-O1", "-std=c11"]
    command += ["-isystem", TENSORFLOW / "include", SOURCE, "-o", target]
    command += ["-L", TENSORFLOW, *(f"-l:{library}" for library in LIBRARIES)]
    command += [f"-Wl,-rpath,{TENSORFLOW}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def version(saved):
    return saved / tiny.NAME / "1"


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(os.fspath(version)).signatures


def signature_defs(version):
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((version / "saved_model.pb").read_bytes())
    return message.meta_graphs[0].signature_def


def strings(data):
    """The strings that the program wrote, each after its length."""
    found = []
    while data:
        size = int.from_bytes(data[:8], "little")
        found.append(data[8 : 8 + size])
        data = data[8 + size :]
    return np.array(found, object)


@pytest.fixture
def run(program, version, tmp_path):
    """Runs a signature from C on an array, or the bytes of a file."""

    def run_signature(name, value, version=version, libraries=()):
        signature = signature_defs(version)[name]
        (tensor_in,) = (info.name for info in signature.inputs.values())
        names = sorted(signature.outputs)
        file = tmp_path / "input.raw"
        if isinstance(value, bytes):
            file.write_bytes(value)
            kind, shape = "string", "1"
        else:
            file.write_bytes(value.tobytes())
            kind, shape = str(value.dtype), "x".join(map(str, value.shape))
        tensors_out = [signature.outputs[output].name for output in names]
        done = subprocess.run(
            [program, version, tmp_path, tensor_in, kind, shape, file, *tensors_out],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "OP_LIBRARIES": ":".join(map(str, libraries)),
            },
        )
        if done.returncode:
            raise RuntimeError(f"{done.returncode}: {done.stderr}")
        lines = (tmp_path / "shapes.txt").read_text().splitlines()
        outputs = {}
        for index, (output, line) in enumerate(zip(names, lines, strict=True)):
            dtype, shape = line.split(" ")
            data = (tmp_path / f"{index}.raw").read_bytes()
            sizes = [int(size) for size in shape.split("x") if size]
            flat = strings(data) if dtype == "string" else np.frombuffer(data, dtype)
            outputs[output] = np.asarray(flat).reshape(sizes)
        return outputs

    return run_signature


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.numpy().dtype, name
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("name", ["serving_default", "seg"])
def test_c_and_python_give_the_same(run, signatures, name):
    images = tiny.images(3)
    assert_equal(run(name, images), signatures[name](images=tf.constant(images)))


def test_c_sends_image_files_as_strings(run, signatures):
    file = tf.io.encode_png(tiny.images(1)[0]).numpy()
    expected = signatures["serving_bytes"](image_bytes=tf.constant([file]))
    assert_equal(run("serving_bytes", file), expected)


@pytest.mark.parametrize("text", tiny_text.TEXTS)
def test_c_sends_texts(run, saved_text, text):
    """With the operations on texts, which a server has built in."""
    version = saved_text / tiny_text.NAME / "1"
    package = Path(tensorflow_text.__file__).parent
    libraries = sorted((package / "python" / "ops").glob("*.so"))
    found = run("serving_default", text.encode(), version, libraries)
    signature = tf.saved_model.load(os.fspath(version)).signatures["serving_default"]
    expected = signature(text=tf.constant([text]))
    assert set(found) == set(expected)
    for name, value in expected.items():
        if value.dtype == tf.string:
            np.testing.assert_array_equal(found[name], value.numpy())
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_tensorflow_errors_reach_the_caller(run):
    expected = r"(?s)^1: .*saved_model_run: run: .*JPEG or PNG"
    with pytest.raises(RuntimeError, match=expected):
        run("serving_bytes", b"no image")


def test_wrong_usage_says_what_is_wrong(program, version):
    done = subprocess.run([program, version], capture_output=True, text=True)
    assert done.returncode == 2
    assert "OUT_TENSOR..." in done.stderr
