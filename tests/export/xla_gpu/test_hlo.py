"""From a function to HLO, and figures from its text."""

import keras
import pytest
import tensorflow as tf

from mtl_zoo.export.xla_gpu import hlo

TEXT = """HloModule trunk, is_scheduled=true

%fused (p: f32[2,3]) -> f32[2,3] {
  %p = f32[2,3]{1,0} parameter(0)
  ROOT %n = f32[2,3]{1,0} negate(%p)
}

ENTRY %main (a: f32[2,3], b: f32[3,4]) -> (f32[2,4]) {
  %a = f32[2,3]{1,0} parameter(0)
  %b = f32[3,4]{1,0} parameter(1)
  %f = f32[2,3]{1,0} fusion(%a), kind=kLoop, calls=%fused
  %g = f32[2,4]{1,0} fusion(%f, %b), kind=kCustom, calls=%gemm, backend_config=\
{"fusion_backend_config":{"kind":"__triton_nested_gemm_fusion","x":1}}
  %c = (f32[2,4]{1,0}, u8[16]{0}) custom-call(%g, %b), \
custom_call_target="__cublas$gemm"
  %t = f32[2,4]{1,0} get-tuple-element(%c), index=0
  %k = f32[2,4]{1,0} copy(f32[2,4]{1,0} %t)
  ROOT %r = (f32[2,4]{1,0}) tuple(%k)
}
"""


def test_statistics_by_hand():
    found = hlo.statistics(TEXT)
    assert found.launches == 4
    assert found.library_calls == {"__cublas$gemm": 1}
    assert found.triton_gemms == 1
    # a 24 bytes, b 48, f 24, g 32, c 32 + 16, k 32.
    loop, gemm, call, copy = 24 + 24, 24 + 48 + 32, 32 + 48 + 48, 32 + 32
    assert found.bytes_moved == loop + gemm + call + copy
    assert found.kinds["fusion:kLoop"] == 1 and found.kinds["copy"] == 1


def test_statistics_of_something_else():
    with pytest.raises(ValueError, match=r"ENTRY computation.*Received: 'hello'"):
        hlo.statistics("hello")


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ("f32[2,3]{1,0}", 24),
        ("f32[]", 4),
        ("(bf16[4]{0}, /*index=1*/u8[0]{0}, s64[2])", 8 + 16),
        ("pred[3]", 3),
    ],
)
def test_shape_bytes_by_hand(shape, size):
    assert hlo.shape_bytes(shape) == size


def test_hash_of_text():
    assert hlo.text_hash("a") != hlo.text_hash("b")
    assert hlo.text_hash("") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


@pytest.fixture(scope="module")
def dense():
    layer = keras.layers.Dense(4, activation="relu")
    layer.build((None, 3))
    return layer


def test_lower(dense):
    other = keras.Variable([1.0])
    lowered = hlo.lower(
        lambda x: {"out": dense(x)},
        [other, *dense.variables],
        tf.TensorSpec((2, 3), tf.float32),
    )
    assert lowered.text.startswith("HloModule trunk,")
    assert lowered.text == lowered.cpu_text
    assert "metadata" not in lowered.text
    assert [i["shape"] for i in lowered.inputs] == [[3, 4], [4], [2, 3]]
    assert lowered.outputs == [{"name": "out", "shape": [2, 4], "dtype": "float32"}]
    # Product 24 + 48 + 32, bias 32 + 16 + 32, relu 32 + 32.
    assert (lowered.operations, lowered.bytes_op_by_op) == (3, 104 + 80 + 64)


def test_text_does_not_depend_on_what_was_traced_before(dense):
    spec = tf.TensorSpec((2, 3), tf.float32)
    first = hlo.lower(dense, dense.variables, spec)
    second = hlo.lower(dense, dense.variables, spec)
    assert hlo.text_hash(first.text) == hlo.text_hash(second.text)


def test_lower_needs_known_sizes(dense):
    with pytest.raises(ValueError, match="every size of the input"):
        hlo.lower(dense, dense.variables, tf.TensorSpec((None, 3)))


def test_lower_needs_the_variables(dense):
    with pytest.raises(ValueError, match="reads 2 variables, of which only 1"):
        hlo.lower(dense, dense.variables[:1], tf.TensorSpec((2, 3)))


def test_operation_bytes_by_hand():
    add = tf.function(lambda x: tf.reshape(x + 1.0, (6,)))
    concrete = add.get_concrete_function(tf.TensorSpec((2, 3), tf.float32))
    assert hlo.operation_bytes(concrete) == (1, 24 + 4 + 24)
