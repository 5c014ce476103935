"""Two texts in one string."""

import pytest
import tensorflow as tf

from mtl_zoo.text_pairs import SEPARATOR, paired
from tests.zoo import tiny_text


@pytest.mark.parametrize("texts", [("a\x1eb", "c"), ("a", "\x1e")])
def test_texts_with_the_separator_are_refused(texts):
    with pytest.raises(ValueError, match="without the separator"):
        paired(*texts)


def test_a_model_reads_both_texts():
    model = tiny_text.model()
    texts = [paired("jane saw oslo", "bad film"), paired("jane saw oslo", "new york")]
    found = model.predict_tasks(tf.constant([*texts, "jane saw oslo"]))
    one, two, alone = found["sentiment"]["probabilities"].numpy()
    assert not (abs(one - two) < 1e-6).all() and not (abs(one - alone) < 1e-6).all()
    # Entities have their places in the whole string.
    places = set(range(len(texts[0]))) - {texts[0].index(SEPARATOR)}
    starts = found["ner"]["starts"][0].numpy()
    assert {int(s) for s in starts if s >= 0} <= places
