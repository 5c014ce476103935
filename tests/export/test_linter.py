"""Every rule of the linter, by an export that breaks it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import mtl_zoo as mtl
from mtl_zoo.export.warmup import FILE, write_warmup
from tests.zoo import tiny


@pytest.fixture
def folder(exported, tmp_path) -> Path:
    return shutil.copytree(exported, tmp_path / "discs")


def save(path: Path, serve, name="serving_default", spec=((None, 3), tf.float32)):
    """A SavedModel of one signature."""
    shape, dtype = spec
    module = tf.Module()
    module.serve = tf.function(
        serve, input_signature=[tf.TensorSpec(shape, dtype, "x")], autograph=False
    )
    tf.saved_model.save(module, os.fspath(path), {name: module.serve})
    return path


def rules(directory) -> set[str]:
    return {problem.rule for problem in mtl.export.lint(directory)}


def test_our_own_exports_have_no_problem(exported):
    assert mtl.export.lint(exported) == []
    assert mtl.export.lint(exported / "1") == []
    mtl.export.check(exported.parent)


def test_what_is_no_export(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError, match="Expected a SavedModel"):
            mtl.export.lint(path)


def test_check_names_every_problem(tmp_path):
    save(tmp_path / "1", lambda x: {"a": tf.reduce_sum(x), "b": tf.cast(x, tf.half)})
    with pytest.raises(ValueError) as raised:
        mtl.export.check(tmp_path)
    lines = str(raised.value).splitlines()
    assert "TensorFlow Serving would refuse" in lines[0]
    assert lines[1].startswith("  [output-rank] 1: output 'a' of signature")
    assert lines[2].startswith("  [output-dtype] 1: output 'b' of signature")


@pytest.mark.parametrize(
    ("rule", "serve"),
    [
        ("dense-output", lambda x: {"y": tf.RaggedTensor.from_tensor(x)}),
        ("dense-output", lambda x: {"y": tf.sparse.from_dense(x)}),
        ("output-rank", lambda x: {"y": tf.reduce_sum(x)}),
        ("output-batch", lambda x: {"y": tf.reduce_sum(x, 0)}),
        ("output-dtype", lambda x: {"y": tf.cast(x, tf.half)}),
        ("output-dtype", lambda x: {"y": tf.cast(x, tf.bfloat16)}),
        ("output-dtype", lambda x: {"y": tf.cast(x, tf.complex64)}),
        ("bytes-name", lambda x: {"y_bytes": x}),
        (
            "bytes-name",
            lambda x: {"y": tf.map_fn(tf.io.serialize_tensor, x, tf.string)},
        ),
    ],
    ids=[
        "ragged",
        "sparse",
        "scalar",
        "sum",
        "half",
        "bfloat16",
        "complex",
        "no-bytes",
        "bytes",
    ],
)
def test_outputs(tmp_path, rule, serve):
    assert rules(save(tmp_path / "1", serve)) == {rule}


def test_bytes_by_their_right_name(tmp_path):
    def serve(x):
        return {
            "y_bytes": tf.map_fn(tf.io.serialize_tensor, x, tf.string),
            "name": tf.strings.as_string(x),
        }

    assert rules(save(tmp_path / "1", serve)) == set()


def test_inputs_need_a_batch(tmp_path):
    assert rules(
        save(tmp_path / "1", lambda x: {"y": x[None]}, spec=((3,), tf.float32))
    ) == {"input-batch", "output-batch"}


@tf.function(jit_compile=True, autograph=False)
def doubled(x):
    return x * 2.0


@tf.function(jit_compile=True, autograph=False)
def tripled(x):
    return x * 3.0


@pytest.mark.parametrize(
    ("name", "serve"),
    [
        ("serving_default", lambda x: {"y": doubled(x)}),
        ("serving_default_xla", lambda x: {"y": x * 2.0}),
        ("serving_default_xla", lambda x: {"y": doubled(tripled(x))}),
    ],
    ids=["plain-needs-it", "twin-without", "twin-with-two"],
)
def test_marks_for_xla(tmp_path, name, serve):
    assert rules(save(tmp_path / "1", serve, name)) == {"xla-marks"}


def test_one_mark_in_a_twin_is_right(tmp_path):
    path = save(tmp_path / "1", lambda x: {"y": doubled(x) + 1.0}, "default_xla")
    assert rules(path) == set()


def test_twins_that_compile_different_functions(tmp_path):
    module, spec = tf.Module(), tf.TensorSpec([None], tf.float32, "x")
    signatures = {
        name: tf.function(lambda x, f=f: {"y": f(x)}).get_concrete_function(spec)
        for name, f in (("a_xla", doubled), ("b_xla", tripled))
    }
    tf.saved_model.save(module, str(tmp_path / "1"), signatures)
    assert rules(tmp_path / "1") == {"xla-marks"}


def test_a_mark_that_no_signature_reaches(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.float32, "x")
    module.unused = tf.function(lambda x: doubled(x), input_signature=[spec])
    plain = tf.function(lambda x: {"y": x + 1.0}).get_concrete_function(spec)
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": plain})
    assert rules(tmp_path / "1") == {"xla-marks"}


def test_strings_inside_xla(tmp_path):
    @tf.function(jit_compile=True, autograph=False)
    def inner(x):
        return tf.strings.to_number(x)

    path = save(
        tmp_path / "1", lambda x: {"y": inner(x)}, "a_xla", ((None,), tf.string)
    )
    assert rules(path) == {"xla-strings"}


def change(version: Path, edit) -> None:
    path = version / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    edit(saved.meta_graphs[0])
    path.write_bytes(saved.SerializeToString(deterministic=True))


def test_method_name_and_stale_fingerprint(folder):
    def edit(graph):
        graph.signature_def["seg"].method_name = "tensorflow/serving/classify"

    change(folder / "1", edit)
    assert rules(folder) == {"method-name", "fingerprint"}


def test_no_fingerprint(folder):
    os.remove(folder / "1" / "fingerprint.pb")
    assert rules(folder) == {"fingerprint"}


def rewrite_warmup(folder, signatures, inputs, xla=False):
    write_warmup(folder / "1", "discs", signatures, inputs, (1,), xla)


@pytest.mark.parametrize(
    ("signatures", "inputs", "xla"),
    [
        (["depth"], {"images": tiny.images()}, False),
        (["seg"], {"pictures": tiny.images()}, False),
        (["seg"], {"images": tiny.images().astype("float32")}, False),
        (["seg"], {"images": tiny.images()[..., :1]}, False),
        (["seg"], {"images": np.zeros((1, 32, 32), "uint8")}, False),
        (["seg"], {"images": tiny.images()}, True),
    ],
    ids=["signature", "name", "dtype", "channels", "rank", "xla"],
)
def test_warmup(folder, signatures, inputs, xla):
    rewrite_warmup(folder, signatures, inputs, xla)
    assert rules(folder) == {"warmup"}


def test_warmup_that_is_cut_off(folder):
    path = folder / "1" / FILE
    path.write_bytes(path.read_bytes()[:-7])
    assert rules(folder) == {"warmup"}


def test_warmup_for_xla_in_its_profile(folder):
    rewrite_warmup(folder, ["seg"], {"images": tiny.images()}, xla=True)
    about = folder / "1" / "assets.extra" / "mtl_zoo.json"
    about.write_text(about.read_text().replace('"plain"', '"xla_cpu"'))
    assert rules(folder) == set()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("max_batch_size { value: 8 }", "max_batch_size { value: 16 }"),
        ("allowed_batch_sizes: 4", "allowed_batch_sizes: 1"),
        ("allowed_batch_sizes: 1\n", "allowed_batch_sizes: 0\n"),
        ("num_batch_threads { value: 2 }", "num_batch_threads { value: 0 }"),
        ("batch_timeout_micros", "batch_timeout_micro"),
        ("batch_timeout_micros { value: 2000 }", "batch_timeout_micros { value: -1 }"),
    ],
)
def test_batching(folder, old, new):
    text = (folder / "batching.config").read_text()
    assert old in text
    (folder / "batching.config").write_text(text.replace(old, new))
    assert rules(folder) == {"batching"}
    (folder / "batching.config").rename(folder / "1" / "batching_params.pbtxt")
    assert rules(folder) == {"batching"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("base_path", "basepath"),
        ("versions: 1", "versions: 2 versions: 1"),
        ('"stable" value: 1', '"stable" value: 7'),
    ],
)
def test_models_config(folder, old, new):
    text = (folder / "models.config").read_text()
    (folder / "models.config").write_text(text.replace(old, new))
    assert rules(folder) == {"models-config"}


def test_monitoring(folder):
    (folder / "monitoring.config").write_text("prometheus { enable: true }")
    assert rules(folder) == {"monitoring"}
