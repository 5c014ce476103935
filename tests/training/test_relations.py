"""The callback that follows the relations of tasks."""

import numpy as np
import pytest
from PIL import Image

from mtl_zoo.priors import Normal
from mtl_zoo.training import Relations
from tests import fakes
from tests.architectures.test_deep_relationship import arrays, model


def test_keeps_and_draws_what_the_prior_has(tmp_path):
    network = model()
    callback = Relations(tmp_path / "pictures", log_dir=tmp_path / "logs", every=2)
    x, labels = arrays()
    network.fit(x, labels, batch_size=8, epochs=4, verbose=0, callbacks=[callback])
    assert callback.epochs == [1, 3]
    assert set(callback.correlations) == {"hidden_1", "heads"}
    last = callback.correlations["heads"]["tasks"][-1]
    np.testing.assert_array_equal(last, network.prior("heads").correlation(2))
    np.testing.assert_allclose(np.diagonal(last), 1.0, atol=1e-5)
    kept = np.load(tmp_path / "pictures" / "relations.npz")
    assert kept["heads_tasks"].shape == (2, 3, 3)
    names = {file.name for file in (tmp_path / "pictures").glob("*.png")}
    assert names == {
        f"{layer}_{mode}.png"
        for layer in ("hidden_1", "heads")
        for mode in ("features", "outputs", "tasks")
    }
    assert Image.open(tmp_path / "pictures" / "heads_tasks.png").size[0] > 500
    assert list((tmp_path / "logs").glob("events*"))


def test_needs_a_model_with_covariances():
    with pytest.raises(ValueError, match="every=0"):
        Relations(every=0)
    x, labels = arrays()
    with pytest.raises(ValueError, match=r"Expected.*DeepRelationship.*TensorNormal"):
        model(prior=Normal()).fit(x, labels, verbose=0, callbacks=[Relations()])
    with pytest.raises(ValueError, match=r"Expected.*DeepRelationship"):
        fakes.model().fit(fakes.batches(), verbose=0, callbacks=[Relations()])
