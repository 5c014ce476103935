"""Each rule of TF Serving's JSON, on the look-alike."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import json_rules, servables, small_exports


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    directory = tmp_path_factory.mktemp("odd") / "1"
    small_exports.write_odd(directory)
    return servables.Servable(directory)


@pytest.fixture
def ask(odd):
    """Posts a document, or text, and returns the answer."""

    def types(signature):
        inputs = odd.signature(signature).inputs
        return {name: tf.as_dtype(inputs[name].dtype) for name in inputs}

    def post(document, signature=None):
        if signature:
            document = {"signature_name": signature, **document}
        text = document if isinstance(document, str) else json.dumps(document)
        name, inputs, rows = json_rules.read_request(text.encode(), types)
        answer = json_rules.write_response(odd.predict(name, inputs), rows)
        return json.loads(answer)

    return post


@pytest.fixture
def refusal(ask):
    """Posts what must be refused and returns the message."""

    def post(document, signature=None):
        with pytest.raises(servables.ServingError) as refused:
            ask(document, signature)
        return str(refused.value)

    return post


ROWS = [{"a": 1.0, "b": [1, 2]}, {"a": 2.0, "b": [3, 4]}]


def test_rows_of_several_inputs_give_rows_of_several_outputs(ask):
    assert ask({"instances": ROWS}, "two") == {
        "predictions": [
            {"double": 2.0, "same": [1, 2]},
            {"double": 4.0, "same": [3, 4]},
        ]
    }


def test_columns_of_several_inputs_give_columns(ask):
    columns = {"a": [1.0, 2.0], "b": [[1, 2], [3, 4]]}
    assert ask({"inputs": columns}, "two") == {
        "outputs": {"double": [2.0, 4.0], "same": [[1, 2], [3, 4]]}
    }


def test_a_single_output_comes_without_its_name(ask):
    assert ask({"instances": [1.5, 2.5]}, "echo_float32") == {"predictions": [1.5, 2.5]}
    assert ask({"inputs": [1.5, 2.5]}, "echo_float32") == {"outputs": [1.5, 2.5]}


def test_a_single_input_may_be_named_or_not(ask):
    for rows in ([[1], [2]], [{"x": [1]}, {"x": [2]}]):
        assert ask({"instances": rows}, "echo_int32") == {"predictions": [[1], [2]]}
    for columns in ([[1], [2]], {"x": [[1], [2]]}):
        assert ask({"inputs": columns}, "echo_int32") == {"outputs": [[1], [2]]}


def test_a_column_may_be_a_scalar(ask):
    assert ask({"inputs": 3}, "echo_int32") == {"outputs": 3}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "JSON Parse error"),
        ("{", "JSON Parse error"),
        ("[1]", "Is not object"),
        ({"signature_name": 1, "inputs": [1]}, "'signature_name' key must be a string"),
    ],
)
def test_a_document_is_an_object_with_a_signature_name(refusal, document, message):
    assert message in refusal(document)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"inputs": [1], "instances": [1]}, "expecting only one of 'inputs' or"),
        ({"instances": 1}, "'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
    ],
)
def test_values_are_rows_or_columns(refusal, document, message):
    assert message in refusal(document, "echo_int32")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1.0], "expecting list of objects as multiple input tensors required"),
        ([ROWS[0], 1.0], "Expecting object but got list at item 1"),
        ([{"a": 1.0}], "keys must be equal to: a,b"),
        ([{**ROWS[0], "c": 1}], "keys must be equal to: a,b"),
        ([ROWS[0], {"a": 1.0, "b": [1]}], "Expecting tensor size: 2 but got: 1"),
        ([ROWS[0], {"a": 1.0, "b": [[1, 2]]}], r"Expecting shape [2] but got: [1, 2]"),
    ],
)
def test_rows_are_alike_and_complete(refusal, rows, message):
    assert message in refusal({"instances": rows}, "two")


def test_a_plain_row_among_named_ones_is_refused_and_the_other_way_round(refusal):
    message = refusal({"instances": [1, {"x": 2}]}, "echo_int32")
    assert message == "Expecting value/list but got object at item 1 of input list"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([1.0], "expecting an object as multiple input tensors required"),
        ({"a": [1.0]}, "Missing named input: b in 'inputs' object."),
    ],
)
def test_columns_are_complete(refusal, columns, message):
    assert message in refusal({"inputs": columns}, "two")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], [1, 2]], "list at unexpected size: 2 at level: 1 expected size: 1"),
        ([[1], 2], "found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
    ],
)
def test_ragged_lists_are_refused(refusal, values, message):
    assert message in refusal({"inputs": values}, "echo_int32")


@pytest.mark.parametrize(
    ("dtype", "value", "answer"),
    [
        ("float32", 1, 1.0),
        ("float32", 16777215, 16777215.0),
        ("float64", 9007199254740991, 9007199254740991.0),
        ("int32", -5, -5),
        ("int64", 2**62, 2**62),
        ("uint32", 2**32 - 1, 2**32 - 1),
        ("uint8", 255, 255),
        ("uint8", 300, 44),  # the server cuts off what is too much
        ("bool", True, True),
        ("string", "füß", "füß"),
    ],
)
def test_values_that_fit_a_dtype_come_back(ask, dtype, value, answer):
    assert ask({"inputs": [value]}, f"echo_{dtype}") == {"outputs": [answer]}


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("float32", "1"),
        ("float32", True),
        ("float32", None),
        ("float32", {"b64": "AA=="}),
        ("int32", 1.0),
        ("int32", True),
        ("int32", 2**31),
        ("int64", 2**63),
        ("uint8", float("nan")),
        ("uint32", -1),
        ("bool", 1),
        ("bool", "true"),
        ("string", 1),
        ("string", None),
    ],
)
def test_values_of_another_type_are_refused(refusal, dtype, value):
    message = refusal({"inputs": [value]}, f"echo_{dtype}")
    assert "is not of expected type: " in message


@pytest.mark.parametrize(
    ("dtype", "value"), [("float32", 2**24), ("float32", 1e39), ("float64", 2**53)]
)
def test_numbers_that_a_float_does_not_hold_are_refused(refusal, dtype, value):
    message = refusal({"inputs": [value]}, f"echo_{dtype}")
    assert "without loss of precision" in message


def test_nan_and_infinity_are_tokens_both_ways(ask):
    answer = ask('{"signature_name": "echo_float32", "inputs": [NaN, -Infinity, 1]}')
    np.testing.assert_array_equal(answer["outputs"], [np.nan, -np.inf, 1.0])


def test_half_types_are_refused_both_ways(refusal):
    assert "to type: half" in refusal({"inputs": [1.0]}, "echo_float16")
    with pytest.raises(servables.ServingError, match="tensor type: half"):
        json_rules.write_response({"y": np.zeros(1, "float16")}, rows=True)


def test_base64_is_taken_for_any_string_input(ask):
    for values in ([{"b64": "aGk="}], {"x": [{"b64": "aGk="}]}):
        assert ask({"inputs": values}, "echo_string") == {"outputs": ["hi"]}
    assert ask({"inputs": {"b64": "aGk="}}, "echo_string") == {"outputs": "hi"}
    rows = [{"b64": "aGk="}, {"b64": "aG8="}]
    assert ask({"instances": rows}, "echo_string") == {"predictions": ["hi", "ho"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"b64": "aGk=", "other": 1}, "not formatted correctly for base64 data"),
        ({"b64": 1}, "not formatted correctly for base64 data"),
        ({"b64": "*"}, "Unable to base64 decode"),
    ],
)
def test_base64_stands_alone_and_is_base64(refusal, value, message):
    assert message in refusal({"inputs": [value]}, "echo_string")


def test_outputs_whose_name_ends_in_bytes_are_written_as_base64(ask):
    answer = ask({"instances": ["hi"]}, "texts")["predictions"]
    assert answer == [{"as_text": "hi", "as_bytes": {"b64": "aGk="}}]


def test_other_string_outputs_are_written_as_they_are():
    body = json_rules.write_response({"y": np.array([b"\xff"], object)}, rows=True)
    assert b'["\xff"]' in body  # which is no JSON
    with pytest.raises(UnicodeDecodeError):
        json.loads(body)


def test_rows_need_outputs_with_the_batch_first(refusal):
    message = refusal({"instances": [1.0, 2.0]}, "scalar")
    assert message == "Tensor name: all has no shape information "
    message = refusal({"instances": [1.0, 2.0]}, "uneven")
    assert message == "Tensor name: one has inconsistent batch size: 1 expecting: 2"


def test_columns_need_no_batch(ask):
    answer = ask({"inputs": [1.0, 2.0]}, "scalar")["outputs"]
    assert answer == {"all": 3.0, "each": [1.0, 2.0]}
    answer = ask({"inputs": [1.0, 2.0]}, "uneven")["outputs"]
    assert answer == {"one": [1.0], "each": [1.0, 2.0]}
