"""The SavedModel equals the model, and needs nothing of Keras."""

import os
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

import mtl_zoo as mtl
from mtl_zoo.export import parity, serving
from mtl_zoo.export.versions import versions
from tests import fakes
from tests.zoo import tiny


@pytest.fixture(scope="module")
def version(saved):
    """What `to_serving` made of `network`."""
    return saved / tiny.NAME / "1"


@pytest.fixture(scope="module")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


class Reading(keras.layers.Layer):
    """A head on the last layer of `fakes.model`, whose decoding a test chooses."""

    def __init__(self, decode):
        super().__init__()
        self.decode = decode

    def call(self, features, training=None):
        return features["layer_1"]


def reader(decode, name="a"):
    """A model of one task that decodes in some way."""
    task = mtl.Task(name, Reading(decode), keras.losses.MeanSquaredError())
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), [task])
    network.build((None, 3))
    return network


PLAIN = {"serving_default", "seg", "det", "raw", "features", "serving_bytes"}
SEG = {"seg_label_map", "seg_probabilities"}
DET = {"det_boxes", "det_scores", "det_labels", "det_count"}


def outputs_of(network, signature, images):
    """What a signature should answer, by the Keras model."""
    batch = images.astype("float32")
    features = network.encode(batch)
    if signature == "features":
        return features
    if signature == "raw":
        return network.decode(features)
    return serving.sigs.flat_outputs(network.predict_tasks(batch))


def test_signatures_and_outputs_have_the_agreed_names(signatures):
    assert set(signatures) == PLAIN | {f"{name}_xla" for name in PLAIN}
    expected = {
        "seg": SEG,
        "det": DET,
        "serving_default": SEG | DET,
        "raw": {"seg", "det"},
        "features": {"stride_4"},  # what the heads read, no more
        "serving_bytes": SEG | DET | {"image_size", "content_size"},
    }
    for name, signature in signatures.items():
        found = set(signature.structured_outputs)
        assert found == expected[name.removesuffix("_xla")], name


def test_inputs_are_uint8_images_of_any_number_and_size(signatures):
    for name, signature in signatures.items():
        if name.startswith("serving_bytes"):
            spec = tf.TensorSpec((None,), tf.string, "image_bytes")
        else:
            spec = tf.TensorSpec((None, None, None, 3), tf.uint8, "images")
        assert signature.structured_input_signature == ((), {spec.name: spec})


@pytest.mark.parametrize("shape", [(1, 64, 64), (5, 32, 96)])
def test_equals_the_model(network, signatures, shape):
    images = tiny.images(*shape)
    for name, signature in signatures.items():
        plain = name.removesuffix("_xla")
        if plain == "serving_bytes":
            files = [tf.io.encode_png(image).numpy() for image in images]
            found = signature(image_bytes=tf.constant(files))
        else:
            found = signature(images=tf.constant(images))
        expected = outputs_of(network, plain, images)
        for key in set(found) - {"image_size", "content_size"}:
            np.testing.assert_allclose(found[key], expected[key], atol=1e-3)


def test_dtypes_are_such_that_json_can_carry_them(signatures):
    outputs = signatures["serving_default"].structured_outputs
    assert {spec.dtype for spec in outputs.values()} == {tf.float32, tf.int32}


def test_serves_where_keras_can_not_be_imported(version, network, tmp_path):
    """Every signature, and from another place."""
    moved = shutil.copytree(version, tmp_path / "moved")
    images, answer = tmp_path / "images.npy", tmp_path / "answer.npz"
    np.save(images, tiny.images())
    code = f"""
        import sys
        hidden = ("keras", "tf_keras", "keras_hub", "mtl_zoo")
        sys.modules.update(dict.fromkeys(hidden))  # importing them fails now
        import numpy as np, tensorflow as tf
        images = np.load({str(images)!r})
        files = tf.constant([tf.io.encode_png(image).numpy() for image in images])
        answers = {{}}
        for name, serve in tf.saved_model.load({str(moved)!r}).signatures.items():
            (key,) = serve.structured_input_signature[1]
            inputs = tf.constant(images) if key == "images" else files
            for output, value in serve(**{{key: inputs}}).items():
                answers[f"{{name}}/{{output}}"] = value
        np.savez({str(answer)!r}, **answers)
        assert not any(sys.modules[name] for name in hidden)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    with np.load(answer) as found:
        assert {key.split("/")[0] for key in found} == PLAIN | {
            f"{n}_xla" for n in PLAIN
        }
        for key in found:
            signature, output = key.split("/")
            plain = signature.removesuffix("_xla")
            expected = outputs_of(network, plain, tiny.images())
            if output in expected:
                np.testing.assert_allclose(found[key], expected[output], atol=1e-4)


def test_a_session_serves_it_from_another_place(version, signatures, tmp_path):
    """TensorFlow Serving runs the graph in a session, by the names of its tensors."""
    moved = shutil.copytree(version, tmp_path / "moved")
    images = tiny.images(3, 32, 64)
    files = np.array([tf.io.encode_png(image).numpy() for image in images])
    expected, feeds = {}, {}
    for name, signature in signatures.items():
        (key,) = signature.structured_input_signature[1]
        feeds[name] = {key: images if key == "images" else files}
        expected[name] = signature(**{key: tf.constant(feeds[name][key])})
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        loaded = v1.saved_model.load(session, ["serve"], str(moved))
        for name, outputs in expected.items():
            definition = loaded.signature_def[name]
            assert definition.method_name == "tensorflow/serving/predict"
            found = session.run(
                {key: info.name for key, info in definition.outputs.items()},
                {definition.inputs[k].name: v for k, v in feeds[name].items()},
            )
            for key, value in outputs.items():
                np.testing.assert_allclose(found[key], value, atol=1e-5)


def test_no_path_of_this_machine_in_the_graph(version):
    graph = (version / "saved_model.pb").read_bytes()
    package = os.path.dirname(mtl.__file__)
    assert package.encode() not in graph
    assert os.getcwd().encode() not in graph


def test_vectors_keep_their_dtype_and_size(tmp_path):
    network = fakes.model()
    inputs, _ = fakes.arrays(4)
    version = mtl.export.to_serving(network, tmp_path, example=inputs)
    signatures = tf.saved_model.load(str(version)).signatures
    spec = signatures["size"].structured_input_signature[1]["inputs"]
    assert (spec.shape.as_list(), spec.dtype) == ([None, 6], tf.float32)
    found = signatures["serving_default"](inputs=tf.constant(inputs))
    expected = network.predict_tasks(inputs)
    assert found["size_value"].shape == (4,)
    np.testing.assert_allclose(
        found["size_value"], expected["size"]["value"], atol=1e-6
    )


def test_a_task_alone(network, tmp_path, version):
    alone = mtl.export.to_serving(network, tmp_path, tasks=["seg"])
    signatures = tf.saved_model.load(str(alone)).signatures
    assert {n for n in signatures if not n.endswith("_xla")} == PLAIN - {"det"}
    assert set(signatures["raw"].structured_outputs) == {"seg"}
    images = tf.constant(tiny.images())
    both = tf.saved_model.load(str(version)).signatures["seg"](images=images)
    found = signatures["serving_default"](images=images)
    assert set(found) == SEG
    for key in SEG:
        np.testing.assert_allclose(found[key], both[key], atol=1e-6)
    stored = tf.train.list_variables(f"{alone}/variables/variables")
    size = sum(np.prod(shape) for key, shape in stored if key.startswith("weights/"))
    wanted = [*network.trunk.variables, *network.task("seg").head.variables]
    assert size == sum(np.prod(v.shape) for v in wanted) < network.count_params()


def test_the_twins_are_the_only_ones_that_need_xla(version, tmp_path):
    """A stock server has XLA switched off."""
    code = f"""
        import ctypes, os
        import numpy as np, tensorflow as tf
        library = os.path.join(os.path.dirname(tf.__file__), "libtensorflow_cc.so.2")
        ctypes.CDLL(library)._ZN10tensorflow21DisableXlaCompilationEv()
        signatures = tf.saved_model.load({str(version)!r}).signatures
        images = tf.zeros((1, 32, 32, 3), tf.uint8)
        file = tf.io.encode_png(images[0])[None]
        for name in signatures:
            is_file = name.startswith("serving_bytes")
            inputs = {{"image_bytes": file}} if is_file else {{"images": images}}
            try:
                signatures[name](**inputs)
                works = True
            except tf.errors.InternalError as error:
                assert "XLA compilation disabled" in str(error), error
                works = False
            assert works != name.endswith("_xla"), name
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_without_twins(tmp_path):
    version = mtl.export.to_serving(reader(lambda raw: raw), tmp_path, trunk="none")
    signatures = tf.saved_model.load(str(version)).signatures
    assert set(signatures) == {"serving_default", "a", "raw", "features"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trunk": "xla"}, "`trunk` must be one of conv, xla_native, none. Received"),
        ({"profile": "gpu"}, "`profile` must be one of plain, xla_cpu, xla_gpu"),
        ({"tasks": []}, r"Expected at least one task of \['a'\]"),
        ({"tasks": ["b"]}, "The model has the tasks .* Received: 'b'"),
        ({"preprocessing": {"kind": "crop"}}, "Expected .*native.* Received"),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        mtl.export.to_serving(reader(lambda raw: raw), tmp_path, **options)
    assert os.listdir(tmp_path) == []


def test_versions_count_up_and_never_change(tmp_path):
    network = reader(lambda raw: raw)
    assert mtl.export.to_serving(network, tmp_path).name == "1"
    assert mtl.export.to_serving(network, tmp_path, version=7).name == "7"
    assert mtl.export.to_serving(network, tmp_path).name == "8"
    with pytest.raises(FileExistsError, match="next free one is 9"):
        mtl.export.to_serving(network, tmp_path, version=7)
    assert versions(tmp_path) == [1, 7, 8]
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_difference_stops_the_export_and_leaves_nothing(tmp_path):
    drifting = iter(range(100))
    network = reader(lambda raw: {"value": raw + next(drifting)})  # differs by trace
    with pytest.raises(ValueError, match=r"'a_value'.* differs from the model by"):
        mtl.export.to_serving(network, tmp_path)
    assert os.listdir(tmp_path) == []


def test_decoding_may_turn_on_the_last_digit(tmp_path):
    """XLA adds up in another order, and a label may hang on that."""
    task = mtl.Task(
        "a",
        Reading(
            lambda raw: {"label": tf.cast(tf.math.floormod(raw * 1e6, 2), tf.int32)}
        ),
        keras.losses.MeanSquaredError(),
    )
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([256, 64]), [task])
    network.build((None, 500))
    example = np.random.default_rng(0).normal(size=(4, 500)).astype("float32")
    version = mtl.export.to_serving(network, tmp_path / "a", example=example)
    signatures = tf.saved_model.load(str(version)).signatures
    plain, twin = (
        signatures[name](inputs=tf.constant(example))["a_label"].numpy()
        for name in ("serving_default", "serving_default_xla")
    )
    assert np.any(plain != twin)  # or this shows nothing


@pytest.mark.parametrize(
    "decode",
    [
        lambda raw: tf.reduce_sum(raw),
        lambda raw: tf.RaggedTensor.from_tensor(raw),
        lambda raw: {"value": tf.cast(raw, tf.complex64)},
    ],
    ids=["scalar", "ragged", "complex"],
)
def test_outputs_that_no_server_takes(tmp_path, decode):
    with pytest.raises(ValueError, match=r"can not be served: expected a dense tensor"):
        mtl.export.to_serving(reader(decode), tmp_path)
    assert os.listdir(tmp_path) == []


def test_outputs_need_one_row_a_sample(tmp_path):
    network = reader(lambda raw: tf.reduce_sum(raw, axis=0))
    with pytest.raises(ValueError, match="one row for each of 3 samples"):
        mtl.export.to_serving(network, tmp_path)


def test_halves_become_floats(tmp_path):
    network = reader(lambda raw: tf.cast(raw, tf.float16))
    version = mtl.export.to_serving(network, tmp_path)
    outputs = tf.saved_model.load(str(version)).signatures["a"].structured_outputs
    assert outputs["a"].dtype == tf.float32


def test_names_that_clash(tmp_path):
    for name in ("serving_default", "features", "a_xla"):
        with pytest.raises(ValueError, match=f"can not be called '{name}'"):
            mtl.export.to_serving(reader(lambda raw: raw, name), tmp_path)
    tasks = [
        mtl.Task(name, Reading(decode), keras.losses.MeanSquaredError())
        for name, decode in (
            ("a", lambda raw: {"b_c": raw}),
            ("a_b", lambda raw: {"c": raw}),
        )
    ]
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), tasks)
    network.build((None, 3))
    with pytest.raises(ValueError, match="Two outputs would be called 'a_b_c'"):
        mtl.export.to_serving(network, tmp_path)


def test_unbuilt_model(tmp_path):
    network = mtl.architectures.HardSharing(mtl.trunks.mlp([2]), fakes.tasks())
    with pytest.raises(ValueError, match="Build it first"):
        mtl.export.to_serving(network, tmp_path)


def test_difference_is_relative_above_1_and_infinite_for_other_shapes():
    difference = parity.difference
    assert difference(np.array([200.0]), np.array([201.0])) == pytest.approx(1 / 201)
    assert difference(np.array([0.5]), np.array([0.25])) == pytest.approx(0.25)
    assert difference(np.zeros((0, 4)), np.zeros((0, 4))) == 0
    assert difference(np.zeros(2), np.zeros(3)) == float("inf")
    assert np.isnan(difference(np.array([np.nan]), np.array([0.0])))
    assert difference(np.array([b"a"]), np.array([b"b"])) == float("inf")
