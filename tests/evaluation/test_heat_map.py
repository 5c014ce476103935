"""Heat maps of correlations."""

import numpy as np
import pytest

from mtl_zoo.evaluation import draw_correlations


def test_colours_are_of_one_scale_over_all_matrices():
    """1 is dark red, -1 dark blue and 0 white, whatever else there is."""
    matrix = np.array([[1.0, -1.0], [-1.0, 1.0]])
    picture = draw_correlations([matrix]).astype(int)
    red, blue = (103, 0, 31), (5, 48, 97)
    for colour in (red, blue):
        distance = np.abs(picture - np.array(colour)).sum(axis=-1)
        assert np.sum(distance < 12) > 1000
    faint = draw_correlations([0.01 * matrix]).astype(int)
    # What is dark red there is the legend alone.
    assert np.sum(np.abs(faint - np.array(red)).sum(axis=-1) < 12) < 500


def test_many_rows_have_no_names():
    picture = draw_correlations([np.eye(30)] * 2, names=[str(i) for i in range(30)])
    assert picture.dtype == np.uint8 and picture.ndim == 3
    one = draw_correlations([np.eye(30)])
    assert picture.shape[1] > one.shape[1]


def test_bad_arguments_say_what_is_expected():
    for wrong in (
        {"matrices": []},
        {"matrices": [np.eye(2)], "titles": []},
        {"matrices": [np.eye(2)], "names": ["a"]},
    ):
        with pytest.raises(ValueError, match=r"Expected.*Received"):
            draw_correlations(**wrong)
