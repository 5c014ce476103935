"""The client that is shipped with exports, against the look-alike and a real server."""

import io
import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorflow_serving.apis import predict_pb2

from mtl_zoo.export.templates import client
from tests.serving import real_server

PATH = Path(client.__file__)

REFUSED = "The server at .* refused the request: "
TASKS = {"seg_label_map", "seg_probabilities", "det_boxes", "det_scores", "light"}
TASKS |= {"det_labels", "det_count"}


@pytest.fixture(params=["grpc", "rest"])
def protocol(request):
    return request.param


@pytest.fixture
def predict(any_server, protocol):
    """`predict_grpc` or `predict_rest`, of a server."""
    ports = {"grpc": any_server.grpc_port, "rest": any_server.rest_port}
    ask = getattr(client, f"predict_{protocol}")

    def predict_by_protocol(model, inputs, **options):
        return ask(model, inputs, **{"port": ports[protocol], **options})

    return predict_by_protocol


@pytest.fixture
def command(any_server, protocol, capsys):
    """Runs the program; returns its exit code, its lines of JSON and its errors."""
    ports = {"grpc": any_server.grpc_port, "rest": any_server.rest_port}

    def run(*arguments):
        texts = [str(argument) for argument in arguments]
        options = [f"--protocol={protocol}", f"--port={ports[protocol]}"]
        code = client.main([*options, *texts])
        captured = capsys.readouterr()
        lines = captured.out.splitlines()
        return code, [json.loads(line) for line in lines], captured.err

    return run


def images(batch=2, height=8, width=10):
    return np.random.randint(0, 256, (batch, height, width, 3), "uint8")


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("kind", real_server.KINDS)
def test_a_real_server_is_among_those_tried(kind):
    reason = real_server.missing(kind)
    if reason:
        pytest.skip(f"the client is tried on the look-alike only: {reason}")


def test_pixels_go_to_the_default_signature(predict):
    batch = images()
    outputs = predict("small", batch, version=1)
    assert set(outputs) == TASKS
    np.testing.assert_allclose(outputs["light"], batch.mean((1, 2, 3)), rtol=1e-5)
    bright = batch.mean(-1) / 255 > 0.5
    np.testing.assert_array_equal(outputs["seg_label_map"], bright)
    assert outputs["det_boxes"].shape == (2, 5, 4)
    np.testing.assert_array_equal(outputs["det_boxes"][:, 0], [[0, 0, 10, 8]] * 2)
    np.testing.assert_array_equal(outputs["det_count"], [1, 1])
    assert {str(value.dtype) for value in outputs.values()} == {"float32", "int32"}


def test_files_go_to_the_bytes_signature(predict):
    batch = images()
    files = [png(image) for image in batch]
    found = predict("small", files, signature="serving_bytes")
    for name, value in predict("small", batch).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, err_msg=name)


def test_an_output_that_stands_alone_keeps_its_name(predict):
    assert list(predict("small", images(), signature="light")) == ["light"]


def test_any_inputs_are_given_by_name(predict):
    inputs = {"a": np.float32([1, np.nan]), "b": np.int32([[1, 2], [3, 4]])}
    outputs = predict("odd", inputs, signature="two")
    np.testing.assert_array_equal(outputs["double"], [2, np.nan])
    np.testing.assert_array_equal(outputs["same"], inputs["b"])


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", [[1.5, np.inf], [-np.inf, 0.1]]),
        ("float64", [1.5, 0.1]),
        ("int32", [[-(2**31)], [2**31 - 1]]),
        ("int64", [-(2**62), 2**62]),
        ("uint8", [[0, 255]]),
        ("uint32", [2**32 - 1]),
        ("bool", [True, False]),
    ],
)
def test_numbers_come_back_with_their_dtype(predict, dtype, values):
    array = np.array(values, dtype)
    found = predict("odd", {"x": array}, signature=f"echo_{dtype}")["y"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("texts", [[b"a\0\0", b""], ["a\0", "fü\0\0"], [b"one"]])
def test_bytes_and_texts_come_back_whole(predict, texts):
    expected = [t.encode() if isinstance(t, str) else t for t in texts]
    outputs = predict("odd", {"text": texts}, signature="texts")
    assert outputs["as_bytes"].tolist() == outputs["as_text"].tolist() == expected
    found = predict("odd", {"x": np.array([texts], object)}, signature="echo_string")
    assert found["y"].tolist() == [expected]


@pytest.mark.parametrize("options", [{"version": 1}, {"label": "stable"}])
def test_a_version_is_chosen_by_number_or_label(predict, options):
    white = np.full((1, 4, 4, 3), 255, np.uint8)
    chosen = predict("small", white, signature="seg", **options)
    latest = predict("small", white, signature="seg")
    assert chosen["seg_label_map"].min() == 1
    assert latest["seg_label_map"].max() == 0


@pytest.mark.parametrize(("model", "options"), [("no", {}), ("small", {"version": 9})])
def test_a_model_that_is_not_served_is_not_found(predict, model, options):
    with pytest.raises(client.ClientError, match="does not serve this version") as e:
        predict(model, images(), **options)
    assert e.value.code in ("NOT_FOUND", "404")


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (images(), {"signature": "no"}),
        (images(), {"label": "no"}),
        (images().astype("float32"), {}),
        ({"pixels": images()}, {}),
        ([b"no image"], {"signature": "serving_bytes"}),
        ([png(images(1)[0])[:60]], {"signature": "serving_bytes"}),
    ],
)
def test_a_bad_request_is_refused(predict, inputs, options):
    with pytest.raises(client.ClientError, match=REFUSED) as error:
        predict("small", inputs, **options)
    expected = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "400", "404")
    assert error.value.code in expected
    assert "{{" not in str(error.value)


@pytest.mark.parametrize("value", [[None], np.array([1, b"a"], object), 1j])
def test_what_no_server_takes_is_not_sent(value):
    for ask in (client.predict_grpc, client.predict_rest):
        with pytest.raises(client.ClientError, match="Input 'x' must be a regular"):
            ask("small", {"x": value}, port=1)


def test_a_server_out_of_reach_is_said_to_be(predict):
    with pytest.raises(client.ClientError, match=r"out of reach.*--port") as error:
        predict("small", images(), port=closed_port())
    assert error.value.code in ("UNAVAILABLE", "503")


@pytest.mark.parametrize("name", ["grpc", "rest"])
def test_a_server_that_is_silent_is_not_waited_for(name):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ask = getattr(client, f"predict_{name}")
        with pytest.raises(client.ClientError) as error:
            ask("small", images(), port=silent.getsockname()[1], timeout=0.3)
    assert error.value.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE", "504")


def test_messages_may_be_large(predict, protocol):
    side = 1500 if protocol == "grpc" else 150  # 7 MB; JSON is read slowly here
    outputs = predict("small", images(1, side, side), signature="seg", timeout=120)
    assert outputs["seg_probabilities"].shape == (1, side, side, 2)


def test_a_channel_can_be_used_again(any_server):
    with client.connect(port=any_server.grpc_port) as channel:
        for _ in range(2):
            outputs = client.predict_grpc(
                "small", images(), channel=channel, only=["light"]
            )
            assert list(outputs) == ["light"]


def test_the_program_prints_a_line_of_json_an_image(command, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.jpg"]
    for path, height in zip(paths, (8, 12), strict=True):
        Image.fromarray(images(1, height)[0]).save(path)
    code, lines, errors = command("small", *paths)
    assert (code, errors) == (0, "")
    assert [line["image"] for line in lines] == [str(path) for path in paths]
    for line, height in zip(lines, (8, 12), strict=True):
        assert set(line["outputs"]) == TASKS
        # Boxes that only fill up are left out.
        assert line["outputs"]["det_boxes"] == [[0, 0, 10, height]]
        assert line["outputs"]["det_count"] == 1
        assert np.shape(line["outputs"]["seg_label_map"]) == (height, 10)


def test_the_program_prints_one_task_and_big_maps_in_short(command, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(images(1, 40, 40)[0]).save(path)
    code, (line,), _ = command("small", path, "--task=seg", "--signature=seg")
    assert code == 0
    assert set(line["outputs"]) == {"seg_label_map", "seg_probabilities"}
    short = line["outputs"]["seg_label_map"]
    assert (short["shape"], short["dtype"]) == ([40, 40], "int32")
    _, (line,), _ = command("small", path, "--task=seg", "--full", "--label=stable")
    assert np.shape(line["outputs"]["seg_probabilities"]) == (40, 40, 2)


def test_the_program_goes_on_after_an_error(command, tmp_path):
    good, text, missing = tmp_path / "a.png", tmp_path / "a.txt", tmp_path / "no.png"
    Image.fromarray(images(1)[0]).save(good)
    text.write_text("no image")
    code, lines, errors = command("small", missing, text, good)
    assert code == 1
    assert [line["image"] for line in lines] == [str(good)]
    assert re.search(rf"{missing}: .*No such file", errors)
    assert re.search(rf"{text}: {REFUSED}.*JPEG or PNG", errors)
    code, lines, errors = command("small", good, "--task=no")
    assert (code, lines) == (1, [])
    assert "Expected a task with outputs among" in errors


@pytest.mark.parametrize(
    "arguments", [["small"], ["m", "i", "--version=1", "--label=a"]]
)
def test_wrong_usage_exits_with_2(arguments):
    with pytest.raises(SystemExit) as stopped:
        client.main(arguments)
    assert stopped.value.code == 2


def test_the_program_needs_neither_tensorflow_nor_this_package(server, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(images(1)[0]).save(path)
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'tensorflow_serving', 'keras', 'mtl_zoo'):\n"
        "    sys.modules[name] = None\n"
        f"sys.argv = ['client.py', 'small', {str(path)!r}, *sys.argv[1:]]\n"
        f"runpy.run_path({str(PATH)!r}, run_name='__main__')\n"
    )
    for protocol, port in (("grpc", server.grpc_port), ("rest", server.rest_port)):
        options = [f"--protocol={protocol}", f"--port={port}"]
        command = [sys.executable, "-c", code, *options]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert set(json.loads(done.stdout)["outputs"]) == TASKS


def test_messages_are_those_of_the_protocol():
    theirs = {
        "PredictRequest": predict_pb2.PredictRequest,
        "PredictResponse": predict_pb2.PredictResponse,
    }
    for name, ours in client._messages().items():
        if name in theirs:
            check_fields(ours.DESCRIPTOR, theirs[name].DESCRIPTOR)


def check_fields(ours, theirs):
    for field in ours.fields:
        other = theirs.fields_by_number[field.number]
        assert other.name == field.name
        if field.message_type:
            check_fields(field.message_type, other.message_type)
        elif not other.enum_type:  # enums travel as integers
            assert other.type == field.type
