"""The look-alike: what it loads, which version it serves, how it refuses.

Its JSON rules are in `test_json_rules.py`.
"""

import json
import shutil
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import grpc_side, look_alike, servables, small_exports

IMAGES = np.full((2, 8, 10, 3), 200, np.uint8)


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"localhost:{server.grpc_port}") as opened:
        yield opened


@pytest.fixture
def predict(channel):
    """Sends a PredictRequest and returns the answer, or the refusal."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def ask(images=IMAGES, only=(), **spec):
        request = predict_pb2.PredictRequest(output_filter=only)
        request.model_spec.CopyFrom(spec_of(**spec))
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        try:
            return stub.Predict(request, timeout=30)
        except grpc.RpcError as error:
            return error.code(), error.details()

    return ask


@pytest.fixture
def http(server):
    """Sends a request; returns the code and the answer."""

    def ask(path, document=None):
        data = None if document is None else json.dumps(document).encode()
        url = f"http://localhost:{server.rest_port}{path}"
        try:
            with urllib.request.urlopen(url, data, timeout=30) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error"]

    return ask


def spec_of(name="small", signature="", version=None, label=""):
    spec = model_pb2.ModelSpec(name=name, signature_name=signature, version_label=label)
    if version is not None:
        spec.version.value = version
    return spec


def load(folder, **changes):
    """The models of a folder, by a configuration with some words changed."""
    text = small_exports.CONFIG
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    config = folder / "changed.config"
    config.write_text(text)
    return servables.Models(config, folder)


def test_the_answer_names_model_version_and_signature(predict):
    spec = predict().model_spec
    assert (spec.name, spec.version.value) == ("small", 2)
    assert spec.signature_name == "serving_default"
    assert predict(signature="seg").model_spec.signature_name == "seg"


@pytest.mark.parametrize(
    ("spec", "version"), [({"version": 1}, 1), ({"label": "stable"}, 1), ({}, 2)]
)
def test_version_and_label_choose_the_version(predict, spec, version):
    assert predict(**spec).model_spec.version.value == version


def test_an_output_filter_leaves_out_the_rest(predict):
    assert set(predict(only=["light"]).outputs) == {"light"}
    code, message = predict(only=["lihgt"])
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("output tensor alias not found in signature: lihgt")


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", "has no name"),
        ({"name": "no"}, "NOT_FOUND", "Servable not found for request: Latest(no)"),
        ({"version": 9}, "NOT_FOUND", "not found for request: Specific(small, 9)"),
        ({"label": "x"}, "INVALID_ARGUMENT", "Unrecognized servable version label: x"),
        ({"signature": "x"}, "FAILED_PRECONDITION", 'signature key "x" not found.'),
    ],
)
def test_what_is_not_served_is_refused(predict, spec, code, message):
    found, text = predict(**spec)
    assert found.name == code
    assert message in text


def test_inputs_of_another_dtype_are_refused_not_cast(predict):
    assert predict(IMAGES.astype("float32")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Expects arg[0] to be uint8 but float is provided",
    )


def test_shapes_are_left_to_the_operations(predict):
    code, _ = predict(IMAGES[0])
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert predict(IMAGES[:0]).outputs["light"].tensor_shape.dim[0].size == 0


def test_xla_is_switched_off(predict):
    code, message = predict(signature="serving_default_xla")
    assert code == grpc.StatusCode.INTERNAL
    assert message.startswith("XLA compilation disabled")


def test_metadata_has_the_signatures(channel):
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec_of())
    with pytest.raises(grpc.RpcError, match="at least one metadata_field"):
        stub.GetModelMetadata(request)
    request.metadata_field.append("signature_def")
    signatures = get_model_metadata_pb2.SignatureDefMap()
    stub.GetModelMetadata(request).metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "seg", "det"} <= set(signatures.signature_def)


def test_status_lists_the_versions(channel, http):
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest(model_spec=spec_of())
    found = stub.GetModelStatus(request).model_version_status
    assert [(s.version, s.state) for s in found] == [(2, 30), (1, 30)]
    code, answer = http("/v1/models/small")
    assert code == 200
    assert [(s["version"], s["state"]) for s in answer["model_version_status"]] == [
        ("2", "AVAILABLE"),
        ("1", "AVAILABLE"),
    ]
    assert http("/v1/models/no")[0] == 404


def test_rest_metadata_has_no_types_of_protocol_buffers(http):
    code, answer = http("/v1/models/small/versions/1/metadata")
    assert (code, answer["model_spec"]["version"]) == (200, "1")
    signature = answer["metadata"]["signature_def"]["signature_def"]["light"]
    assert signature["outputs"]["light"]["dtype"] == "DT_FLOAT"


def test_rest_predicts_by_version_and_label(http):
    body = {"signature_name": "seg", "instances": IMAGES.tolist()}
    for path in ("small", "small/versions/1", "small/labels/stable"):
        code, answer = http(f"/v1/models/{path}:predict", body)
        assert code == 200
        bright = 0 if path == "small" else 1
        assert np.all(np.array(answer["predictions"][0]["seg_label_map"]) == bright)


@pytest.mark.parametrize(
    ("path", "document", "code", "message"),
    [
        ("small:predict", {"instances": []}, 400, "No values"),
        ("small:predict", {"inputs": [[[["1"]]]]}, 400, "expected type: uint8"),
        ("small:predict", {"inputs": [], "signature_name": "no"}, 400, '"no" not'),
        ("odd:predict", {"inputs": []}, 400, '"serving_default" not found'),
        ("no:predict", {"inputs": []}, 404, "Latest(no)"),
        ("small/versions/9:predict", {"inputs": []}, 404, "Specific(small, 9)"),
        ("small:guess", {"inputs": []}, 400, "Malformed request: POST"),
        ("small:predict", None, 400, "Malformed request: GET"),
        ("small:classify", {"examples": []}, 501, "classify"),
    ],
)
def test_rest_refuses_with_a_status(http, path, document, code, message):
    found, text = http(f"/v1/models/{path}", document)
    assert found == code
    assert message in text


def test_xla_errors_are_500_over_rest(http):
    body = {"signature_name": "serving_default_xla", "inputs": IMAGES.tolist()}
    code, message = http("/v1/models/small:predict", body)
    assert code == 500
    assert message.startswith("XLA compilation disabled")


def test_the_latest_version_is_served_and_other_folders_are_not(served_folder):
    models = load(served_folder)
    assert models.served(spec_of("odd")) == [7]
    assert models.served(spec_of("small")) == [2, 1]


@pytest.mark.parametrize(
    ("policy", "versions"),
    [("all {}", [2, 1]), ("latest { num_versions: 1 }", [2]), ("", [2])],
)
def test_the_policy_chooses_the_versions(served_folder, policy, versions):
    models = load(
        served_folder,
        policy=("specific { versions: 1 versions: 2 }", policy),
        labels=('{ key: "stable" value: 1 }', '{ key: "stable" value: 2 }'),
    )
    assert models.served(spec_of("small")) == versions


def test_a_server_without_its_models_does_not_start(served_folder):
    with pytest.raises(ValueError, match=r"Expected versions \[3\].*Found: \[1, 2\]"):
        load(served_folder, policy=("versions: 1 versions: 2", "versions: 3"))
    with pytest.raises(ValueError, match="Labels of model 'small'"):
        load(served_folder, labels=('"stable" value: 1', '"stable" value: 5'))
    with pytest.raises(ValueError, match=r"Expected versions \(any\) of model 'odd'"):
        load(served_folder, path=("/models/odd", "/models/no"))


def test_warm_up_requests_are_replayed(served_folder, tmp_path):
    shutil.copytree(served_folder, tmp_path, dirs_exist_ok=True)
    version = tmp_path / "small" / "2"
    small_exports.write_warmup(version, "seg", IMAGES)
    servable, _ = load(tmp_path).find(spec_of())
    assert servable.warmup_records == 1
    small_exports.write_warmup(version, "no", IMAGES)
    with pytest.raises(ValueError, match=r"not become available.*record 0 .*'no'"):
        load(tmp_path)


def test_a_server_that_does_not_start_says_why(served_folder, tmp_path, monkeypatch):
    config = tmp_path / "models.config"
    with (
        pytest.raises(RuntimeError, match=r"no file .*models\.config"),
        look_alike.running(config, served_folder),
    ):
        pass
    config.write_text(small_exports.CONFIG.replace("base_path", "basepath"))
    command = ["look_alike.py", f"--config={config}", f"--models={tmp_path}", "--xla"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit, match=r'Failed to start.*no field named "basepath"'):
        look_alike.main()


def test_with_xla_the_twin_runs(served_folder):
    # In this process XLA was never switched off.
    servable, _ = load(served_folder).find(spec_of())
    twin = servable.predict("serving_default_xla", {"images": IMAGES})
    for name, value in servable.predict("", {"images": IMAGES}).items():
        np.testing.assert_allclose(twin[name], value, atol=1e-6)


def test_memory_is_that_of_the_process(server):
    assert 50e6 < server.memory() < 5e9


@pytest.mark.parametrize("dtype", [*small_exports.DTYPES, "int16"])
def test_answers_use_the_typed_fields_of_tensors(dtype):
    array = np.array([[0, 1, 1]]).astype(dtype)
    proto = grpc_side.typed_proto(array)
    assert not proto.tensor_content
    np.testing.assert_array_equal(tf.make_ndarray(proto), array)
    assert tf.make_ndarray(proto).dtype == array.dtype


def test_the_shipped_models_are_served():
    folder = look_alike.ROOT / "saved_models"
    models = servables.Models(folder / "models.config", folder)
    recorded = sorted(folder.glob("*/golden.npz"))
    assert recorded
    for path in recorded:
        golden = np.load(path)
        servable, _ = models.find(spec_of(path.parent.name))
        inputs = {
            key.removeprefix("inputs/"): golden[key]
            for key in golden
            if key.startswith("inputs/")
        }
        found = servable.predict("", inputs)
        for name in found:
            expected = golden[f"outputs/{name}"]
            if expected.dtype.kind == "S":
                assert (found[name].astype("S") == expected).all(), name
            elif expected.dtype.kind == "f":
                np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-3)
            else:
                assert np.mean(found[name] != expected) < 1e-3, name
