"""Entries of the persistent cache: made, converted, and warmed on a device."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from mtl_zoo.export.xla_gpu import cache, on_device, warm
from mtl_zoo.export.xla_gpu.gpu import find_target

SHAPE = (4, 3)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """A SavedModel with a plain signature, a compiled one and one on strings."""
    module = tf.Module()
    module.kernel = tf.Variable(np.eye(3, dtype="float32"))

    @tf.function(jit_compile=True)
    def trunk(x):
        return {"out": tf.nn.relu(tf.linalg.matmul(x, module.kernel))}

    spec = tf.TensorSpec((None, None, 3), name="inputs")
    names = tf.TensorSpec((None,), tf.string, name="names")
    plain = tf.function(lambda inputs: {"out": inputs + module.kernel[0]})
    compiled = tf.function(lambda inputs: trunk(inputs))
    strings = tf.function(lambda names: {"out": tf.strings.length(names)})
    folder = tmp_path_factory.mktemp("twins") / "1"
    tf.saved_model.save(
        module,
        str(folder),
        signatures={
            "serving_default": plain.get_concrete_function(spec),
            "serving_default_xla": compiled.get_concrete_function(spec),
            "serving_bytes_xla": strings.get_concrete_function(names),
        },
    )
    return folder


@pytest.fixture(scope="module")
def entries(twins):
    return cache.cpu_entries(twins, (1, 2), SHAPE)


def test_one_entry_a_batch_size(entries):
    assert len(entries) == 2
    assert all("XLA_CPU_JIT" in entry.name for entry in entries)
    assert len({cache.module_of(entry) for entry in entries}) == 2


def test_names_do_not_depend_on_the_process(entries, twins):
    again = cache.cpu_entries(twins, (2,), SHAPE)
    assert {entry.name for entry in again} < {entry.name for entry in entries}


def test_for_gpu(entries):
    converted = cache.for_gpu(entries[0], b"executable")
    assert converted.name == entries[0].name.replace("CPU", "GPU")
    assert cache.module_of(converted) == cache.module_of(entries[0])
    assert b"XLA_GPU_JIT" in converted.content and b"CPU" not in converted.content[:60]
    with pytest.raises(ValueError, match="Expected an entry for XLA_CPU_JIT"):
        cache.for_gpu(converted, b"executable")


def test_write_cache(tools, entries, tmp_path):
    folder = tmp_path / cache.CACHE_FOLDER
    said = cache.write_cache(entries, find_target("sm_80"), folder, tools)
    assert said["experimental"] is True and said["entries"] == 2
    names = sorted(entry.name.replace("CPU", "GPU") for entry in entries)
    assert sorted(os.listdir(folder)) == names


def test_a_model_without_twins(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    with pytest.raises(warm.WarmError, match=r"no \*_xla signatures"):
        cache.cpu_entries(tmp_path / "1", (1,), SHAPE)


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU here"
)
def test_on_device_without_a_gpu(twins):
    before = sorted(os.listdir(twins))
    with pytest.raises(on_device.NoGpuError) as error:
        on_device.warm_on_device(twins, (1,), SHAPE)
    assert str(error.value).startswith("TensorFlow sees no GPU here; run this on the")
    assert "\n" not in str(error.value)
    assert [n for n in sorted(os.listdir(twins)) if n != "assets.extra"] == before
    assert not (twins / on_device.FOLDER).exists()


def test_on_device_writes_what_the_run_left(twins, monkeypatch):
    def fills(version, folder, device, batch_sizes, shape):
        assert (version, device, batch_sizes, shape) == (twins, "GPU", (1,), SHAPE)
        (folder / "entry.pb").touch()
        return "NVIDIA Made-Up"

    monkeypatch.setattr(on_device, "warm", fills)
    folder = on_device.warm_on_device(twins, (1,), SHAPE)
    about = json.loads((folder / "device.json").read_text())
    assert about == {"device": "NVIDIA Made-Up", "batch_sizes": [1]}
    assert os.listdir(folder / "cache") == ["entry.pb"]
    with pytest.raises(FileExistsError, match="Remove it"):
        on_device.warm_on_device(twins, (1,), SHAPE)


def test_on_device_that_cached_nothing(twins, tmp_path, monkeypatch):
    monkeypatch.setattr(on_device, "warm", lambda *arguments: "NVIDIA Made-Up")
    with pytest.raises(on_device.WarmError, match="cached nothing"):
        on_device.warm_on_device(tmp_path, (1,), SHAPE)
