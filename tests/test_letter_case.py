"""Which letters of a word are capitals."""

import pytest
import tensorflow as tf

from mtl_zoo.letter_case import CASES, letter_cases


@pytest.mark.parametrize(
    ("word", "case"),
    [
        ("", "no capital"),
        ("oslo", "no capital"),
        ("3,5", "no capital"),
        ("東京", "no capital"),
        ("Oslo", "first letter"),
        ("A", "first letter"),
        ("Éire", "first letter"),
        ("4Q", "first letter"),
        ("OSLO", "all letters"),
        ("R2D2", "all letters"),
        ("iPhone", "some letters"),
        ("McDonald", "some letters"),
        ("Ab\nC", "some letters"),
    ],
)
def test_by_hand(word, case):
    assert CASES[int(letter_cases([word])[0])] == case


def test_any_shape_and_in_a_graph():
    words = tf.constant([["a", "B"], ["CD", "eF"]])
    assert tf.function(letter_cases)(words).numpy().tolist() == [[0, 1], [2, 3]]
