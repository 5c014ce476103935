"""Warm-up requests: what is in them, and that they run."""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.export.warmup import FILE, read_warmup, write_warmup
from tests.zoo import tiny


def run(version, requests):
    signatures = tf.saved_model.load(str(version)).signatures
    for request in requests:
        inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        signatures[request.model_spec.signature_name](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )


def test_one_for_each_plain_signature(exported):
    requests = list(read_warmup(exported / "1"))
    names = [request.model_spec.signature_name for request in requests]
    assert names == [
        "det",
        "features",
        "raw",
        "seg",
        "serving_bytes",
        "serving_default",
    ]
    assert {request.model_spec.name for request in requests} == {"discs"}
    run(exported / "1", requests)


def test_from_real_inputs(exported):
    request = list(read_warmup(exported / "1"))[-1]
    sent = tf.make_ndarray(request.inputs["images"])
    np.testing.assert_array_equal(sent, tiny.images()[:1])


def test_the_xla_profile_warms_the_twins_at_every_batch_size(exported, tmp_path):
    signatures = tf.saved_model.load(str(exported / "1")).signatures
    inputs = {"images": tiny.images()}
    count = write_warmup(tmp_path, "discs", signatures, inputs, (1, 2, 4), xla=True)
    requests = list(read_warmup(tmp_path))
    assert count == len(requests) == 6 + 3
    twins = [r for r in requests if r.model_spec.signature_name.endswith("_xla")]
    assert {r.model_spec.signature_name for r in twins} == {"serving_default_xla"}
    shapes = [tf.make_ndarray(r.inputs["images"]).shape[0] for r in twins]
    assert shapes == [1, 2, 4]
    run(exported / "1", twins)


def test_no_file_is_no_request(tmp_path):
    assert list(read_warmup(tmp_path)) == []


def test_what_is_no_predict_request(tmp_path):
    (tmp_path / FILE).parent.mkdir()
    with tf.io.TFRecordWriter(os.fspath(tmp_path / FILE)) as writer:
        writer.write(b"")
    with pytest.raises(ValueError, match="record without content"):
        list(read_warmup(tmp_path))
