"""The area under the ROC curve, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mtl_zoo.evaluation import TwoClassAUC


@pytest.mark.parametrize("offset", [0.0, -6.0])
def test_equals_scikit_learn_over_batches_and_with_weights(offset):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 2000)
    logits = rng.normal(size=(2000, 2)) + np.stack([0 * truth, truth + offset], 1)
    weight = rng.integers(0, 2, 2000).astype("float32")
    metric = TwoClassAUC()
    for part in np.split(np.arange(2000), 4):
        metric.update_state(truth[part], logits[part], weight[part])
    expected = roc_auc_score(truth, logits[:, 1] - logits[:, 0], sample_weight=weight)
    assert float(metric.result()) == pytest.approx(expected, abs=2e-4)


def test_ties_count_half_and_one_class_alone_gives_zero():
    metric = TwoClassAUC()
    metric.update_state([1], np.zeros((1, 2)))
    assert float(metric.result()) == 0
    metric.update_state([0], np.zeros((1, 2)))
    assert float(metric.result()) == 0.5
