import keras
import numpy as np
import pytest

from mtl_zoo.trunks import Trunk, mlp


def test_one_stage_a_layer_by_hand():
    trunk = mlp([2, 1], activation="relu")
    trunk.build((None, 2))
    first, second = trunk.stages.values()
    first.set_weights([np.array([[1.0, -1.0], [1.0, -1.0]]), np.array([0.5, 0.0])])
    second.set_weights([np.array([[2.0], [7.0]]), np.array([1.0])])
    features = trunk(np.array([[1.0, 2.0]], "float32"))
    # relu(1 + 2 + 0.5), relu(-1 - 2); 2 * 3.5 + 7 * 0 + 1
    np.testing.assert_allclose(features["layer_1"], [[3.5, 0.0]])
    np.testing.assert_allclose(features["layer_2"], [[8.0]])


def test_dropout_only_while_training():
    trunk = mlp([64], dropout=0.5, activation=None)
    x = np.ones((4, 8), "float32")
    still = np.asarray(trunk(x)["layer_1"])
    dropped = np.asarray(trunk(x, training=True)["layer_1"])
    assert np.all((dropped == 0) | np.isclose(dropped, 2 * still))
    assert 0.2 < np.mean(dropped == 0) < 0.8
    (kernel,) = trunk.last_shared_variables
    assert kernel.shape == (8, 64)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_keras_file(tmp_path, dropout):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, mlp([4, 2], "tanh", dropout)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.rand(5, 3).astype("float32")
    for name, value in model(x).items():
        np.testing.assert_array_equal(value, loaded(x)[name])
    assert isinstance(loaded.layers[-1], Trunk)
    assert loaded.layers[-1].name == "mlp"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), r"at least one layer.*units=\(\)"),
        (([4, 0],), r"units=\(4, 0\)"),
        (([4], "relu", 1.0), r"dropout=1.0"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        mlp(*arguments)
