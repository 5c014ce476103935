"""DeltaMEarlyStopping: its score by hand, patience, reference and best weights."""

import numpy as np
import pytest

import mtl_zoo as mtl
from tests import fakes

# Primary metrics of fakes: kind_accuracy (up), size_mae (down), colour_loss (down).


class FakeModel:
    """Weights that tell the epoch."""

    primary_metrics = {"kind": ("kind_accuracy", "up"), "size": ("size_mae", "down")}
    stop_training = False
    weights = [np.array(-1.0)]

    def get_weights(self):
        return list(self.weights)

    def set_weights(self, weights):
        self.weights = weights


def train(stop, values, model=None):
    """Run epochs with (accuracy, mae) and return the model and the scores."""
    model = model or FakeModel()
    stop.set_model(model)
    stop.on_train_begin()
    scores = []
    for epoch, (accuracy, mae) in enumerate(values):
        model.weights = [np.array(float(epoch))]
        logs = {"val_kind_accuracy": accuracy, "val_size_mae": mae}
        stop.on_epoch_end(epoch, logs)
        scores.append(logs.get("val_delta_m"))
        if model.stop_training:
            break
    stop.on_train_end()
    return model, scores


def test_score_against_the_first_epoch_by_hand():
    _, scores = train(
        mtl.training.DeltaMEarlyStopping(), [(0.5, 2.0), (0.6, 1.0), (0.5, 3.0)]
    )
    # (20 + 50) / 2, and (0 - 50) / 2
    assert scores == pytest.approx([0.0, 35.0, -25.0], rel=1e-12)


def test_score_against_given_baselines_by_hand():
    stop = mtl.training.DeltaMEarlyStopping(baselines={"kind": 0.8, "size": 1.0})
    _, scores = train(stop, [(0.4, 2.0), (0.8, 1.0), (0.88, 0.9)])
    assert scores == pytest.approx([-75.0, 0.0, 10.0], rel=1e-12)


def test_stops_after_patience_and_restores_the_best_epoch():
    stop = mtl.training.DeltaMEarlyStopping(patience=2)
    values = [(0.5, 1.0), (0.7, 1.0), (0.6, 1.0), (0.7, 1.0), (0.9, 1.0)]
    model, scores = train(stop, values)
    assert len(scores) == 4  # equal is not better
    assert model.stop_training and stop.stopped
    assert (stop.best_epoch, model.weights[0]) == (1, 1.0)
    assert stop.best == pytest.approx(20.0)


def test_one_task_pays_for_another():
    stop = mtl.training.DeltaMEarlyStopping(patience=1)
    _, scores = train(stop, [(0.5, 1.0), (0.55, 1.2)])  # +10 and -20
    assert scores[1] == pytest.approx(-5.0)
    assert stop.stopped


def test_min_delta():
    stop = mtl.training.DeltaMEarlyStopping(patience=1, min_delta=15.0)
    train(stop, [(0.5, 1.0), (0.6, 1.0)])  # +10
    assert (stop.best_epoch, stop.stopped) == (0, True)


def test_epochs_before_all_metrics_are_there_neither_score_nor_count():
    stop = mtl.training.DeltaMEarlyStopping(patience=1)
    _, scores = train(stop, [(0.0, 1.0), (np.nan, 1.0), (0.5, 1.0), (0.6, 1.0)])
    assert scores[:2] == [None, None]
    assert scores[2:] == pytest.approx([0.0, 10.0])


def test_nan_is_no_improvement():
    stop = mtl.training.DeltaMEarlyStopping(patience=1)
    train(stop, [(0.5, 1.0), (np.nan, 1.0)])
    assert (stop.best_epoch, stop.stopped) == (0, True)


def test_without_restore_the_last_weights_stay():
    stop = mtl.training.DeltaMEarlyStopping(patience=1, restore_best_weights=False)
    model, _ = train(stop, [(0.5, 1.0), (0.4, 1.0)])
    assert model.weights[0] == 1.0


def test_state_round_trip_goes_on_as_if_never_interrupted():
    first, second = (mtl.training.DeltaMEarlyStopping(patience=2) for _ in range(2))
    train(first, [(0.5, 1.0), (0.7, 1.0), (0.6, 1.0)])
    second.set_model(FakeModel())
    second.set_state(first.get_state())
    assert vars(second).keys() == vars(first).keys()
    logs = {"val_kind_accuracy": 0.5, "val_size_mae": 1.0}
    second.on_epoch_end(3, logs)
    assert logs["val_delta_m"] == 0.0  # against the first epoch of the first
    assert (second.best_epoch, second.wait, second.stopped) == (1, 2, True)
    second.on_train_end()
    assert second.model.weights[0] == 1.0


def test_used_again_it_starts_afresh():
    stop = mtl.training.DeltaMEarlyStopping(patience=1)
    train(stop, [(0.5, 1.0), (0.4, 1.0)])
    _, scores = train(stop, [(0.9, 1.0)])
    assert scores == [0.0] and not stop.stopped


def test_in_fit_with_a_real_model():
    stop = mtl.training.DeltaMEarlyStopping(patience=1, min_delta=1e6)
    history = fakes.model().fit(
        fakes.batches(),
        validation_data=fakes.batches(),
        epochs=5,
        callbacks=[stop],
        verbose=0,
    )
    assert history.epoch == [0, 1]
    assert history.history["val_delta_m"][0] == 0.0
    assert set(stop.reference) == {"kind", "size", "colour"}


def test_epochs_without_validation_are_skipped_and_a_run_without_any_warns():
    stop = mtl.training.DeltaMEarlyStopping(patience=1)
    stop.set_model(FakeModel())
    for epoch in range(3):
        stop.on_epoch_end(epoch, {"loss": 1.0})
    assert not stop.stopped
    with pytest.warns(UserWarning, match="validation_data"):
        stop.on_train_end()


def test_missing_metric():
    stop = mtl.training.DeltaMEarlyStopping()
    stop.set_model(FakeModel())
    with pytest.raises(ValueError, match="'val_size_mae'"):
        stop.on_epoch_end(0, {"val_kind_accuracy": 1.0})


def test_missing_baseline():
    stop = mtl.training.DeltaMEarlyStopping(baselines={"kind": 0.8})
    with pytest.raises(ValueError, match="'size' has no baseline"):
        train(stop, [(0.5, 1.0)])


def test_patience_is_checked():
    with pytest.raises(ValueError, match="patience"):
        mtl.training.DeltaMEarlyStopping(patience=0)
