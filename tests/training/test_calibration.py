import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_networks import tiny_classifier

from processing.errors import InputError
from train_scripts.runs.inference import TurnPredictions
from train_scripts.runs.metrics import expected_calibration_error
from train_scripts.training import calibration
from train_scripts.training.calibration import (
    abstain_threshold,
    calibrate,
    calibrate_model,
    calibrate_on,
    fit_temperature,
    risk_coverage,
)


def draw_turns(num_turns=4000, *, true_temperature=2.0, seed=0):
    """Logits of which only `logits / true_temperature` are the truth, and labels drawn from it."""
    random = np.random.default_rng(seed)
    logits = random.standard_normal((num_turns, 4)) * 4
    truth = torch.from_numpy(logits / true_temperature).softmax(-1).numpy()
    labels = np.array([random.choice(4, p=p / p.sum()) for p in truth])
    return logits, labels


def negative_log_likelihood(logits, labels, temperature) -> float:
    log_probabilities = torch.from_numpy(logits / temperature).log_softmax(-1).numpy()
    return -log_probabilities[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(true_temperature):
    logits, labels = draw_turns(true_temperature=true_temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(true_temperature, rel=0.06)
    grid = [true_temperature * factor for factor in np.linspace(0.8, 1.25, 91)]
    best = min(grid, key=lambda t: negative_log_likelihood(logits, labels, t))
    assert found == pytest.approx(best, rel=0.006)


def test_calibration_lowers_the_error_of_overconfident_answers():
    logits, labels = draw_turns(true_temperature=3.0)
    found = calibrate(logits, labels)
    assert found.ece_before > 0.15
    assert found.ece_after < 0.03
    assert found.nll_after < found.nll_before - 0.1
    assert found.abstain_below == 0.0
    assert found.num_turns == len(labels)


def plant_loud_errors():
    """Turns whose likelihood asks for a temperature that worsens calibration.

    Forty turns are answered about as surely as they are right (73 and 88 %; 80 and 90 % right), and
    twenty with 99.8 % although a quarter of them is wrong. These few cost most of the likelihood;
    the temperature that softens them makes the forty far too doubtful.
    """
    logits, labels = np.zeros((60, 2)), np.ones(60, int)
    for group, (margin, num_right) in enumerate([(1.0, 16), (2.0, 18), (6.0, 15)]):
        logits[20 * group : 20 * (group + 1), 0] = margin
        labels[20 * group : 20 * group + num_right] = 0
    return logits, labels


def test_a_temperature_that_worsens_the_calibration_is_not_kept():
    logits, labels = plant_loud_errors()
    found = calibrate(logits, labels)
    assert found.fitted_temperature > 2
    assert found.nll_after < found.nll_before - 0.1
    assert found.ece_after > found.ece_before + 0.05
    assert not found.kept
    assert found.temperature == 1.0
    plain = torch.from_numpy(logits).softmax(-1).numpy()
    assert found.risk_coverage == risk_coverage(labels, plain)


def test_a_temperature_that_lowers_the_error_is_kept():
    logits, labels = draw_turns(true_temperature=3.0)
    found = calibrate(logits, labels)
    assert found.kept
    assert found.temperature == found.fitted_temperature == pytest.approx(3.0, rel=0.06)


def test_the_threshold_goes_with_the_temperature_that_is_stored():
    logits, labels = plant_loud_errors()
    model = tiny_classifier()
    rows = Dataset.from_dict({"emotion": [model.config.id2label[i] for i in labels]})
    # of the turns answered with a margin of 2 or more, 33 of 40 are right
    found = calibrate_on(model, TurnPredictions(logits=logits), rows, wanted_risk=0.175)
    assert not found.kept
    assert model.config.temperature == 1.0
    assert model.config.abstain_below == pytest.approx(1 / (1 + np.exp(-2)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.01, 100))
def test_what_is_stored_never_raises_the_error_on_the_validation_turns(seed, num_turns, scale):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((num_turns, 3)) * scale
    labels = random.integers(3, size=num_turns)
    found = calibrate(logits, labels)
    stored = torch.from_numpy(logits / found.temperature).softmax(-1).numpy()
    assert expected_calibration_error(labels, stored) <= found.ece_before


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0.01, 100))
def test_a_temperature_always_exists_and_never_makes_it_worse(seed, num_turns, scale):
    random = np.random.default_rng(seed)
    logits = random.standard_normal((num_turns, 3)) * scale
    labels = random.integers(3, size=num_turns)
    found = fit_temperature(logits, labels)
    assert 0.05 <= found <= 20
    assert negative_log_likelihood(logits, labels, found) <= (
        negative_log_likelihood(logits, labels, 1.0) + 1e-6
    )


def test_extremes_end_at_the_bounds():
    right = np.eye(4)[[0, 1, 2, 3]]
    assert fit_temperature(right * 10, [0, 1, 2, 3]) <= 1.0
    assert fit_temperature(right * 0.01, [0, 1, 2, 3]) == 0.05
    assert fit_temperature(right * 100, [1, 2, 3, 0]) == 20.0
    assert fit_temperature(np.zeros((3, 4)), [0, 1, 2]) == pytest.approx(1.0)


def test_the_curve_counts_errors_of_the_most_confident():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.6, 0.4]])
    curve = risk_coverage([0, 1, 1, 1], probabilities)
    assert [p["confidence"] for p in curve] == [0.9, 0.8, 0.6]
    assert [p["coverage"] for p in curve] == [0.25, 0.75, 1.0]
    assert [p["risk"] for p in curve] == pytest.approx([0, 1 / 3, 0.5])


@pytest.mark.parametrize("wanted_risk", [0.02, 0.1, 0.2])
def test_answers_above_the_threshold_keep_to_the_risk(wanted_risk):
    logits, labels = draw_turns(true_temperature=1.5)
    found = calibrate(logits, labels, wanted_risk=wanted_risk)
    probabilities = torch.from_numpy(logits / found.temperature).softmax(-1).numpy()
    wrong = probabilities.argmax(1) != labels
    confidences = probabilities.max(1)
    answered = confidences >= found.abstain_below
    assert 0 < answered.sum() < len(labels)
    assert wrong[answered].mean() <= wanted_risk
    # and no lower threshold does
    for lower in np.unique(confidences[~answered])[-200:]:
        assert wrong[confidences >= lower].mean() > wanted_risk


def test_no_threshold_is_needed_or_none_suffices():
    curve = [
        {"confidence": 0.9, "coverage": 0.5, "risk": 0.1},
        {"confidence": 0.6, "coverage": 1.0, "risk": 0.2},
    ]
    assert abstain_threshold(curve, 0.2) == 0.0
    assert abstain_threshold(curve, 0.15) == 0.9
    with pytest.raises(InputError, match=r"risk of 0\.1 at least"):
        abstain_threshold(curve, 0.05)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((0, 4)), [], "at least one turn"),
        (np.zeros((2, 4)), [0], "one label for each"),
        (np.zeros(4), [0], "one label for each"),
        (np.array([[np.nan, 0.0]]), [0], "NaN"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        calibrate(logits, labels)


def test_the_configuration_of_a_model_takes_what_was_fitted(monkeypatch, tmp_path):
    logits, labels = draw_turns(400, true_temperature=2.0)
    predictions = TurnPredictions(logits=logits)
    monkeypatch.setattr(calibration, "predict_turns", lambda *args, **kwargs: predictions)
    model = tiny_classifier()
    words = [model.config.id2label[i] for i in labels]
    found = calibrate_model(model, None, Dataset.from_dict({"emotion": words}), wanted_risk=0.1)
    assert found.temperature == pytest.approx(2.0, rel=0.25)
    assert found.abstain_below > 0.3
    model.save_pretrained(tmp_path)
    loaded = type(model.config).from_pretrained(tmp_path)
    assert loaded.temperature == found.temperature
    assert loaded.abstain_below == found.abstain_below
    with pytest.raises(InputError, match="no validation turn"):
        calibrate_model(model, None, Dataset.from_dict({"emotion": []}))


def test_a_risk_that_no_threshold_keeps_to_costs_nobody_the_model(caplog):
    model = tiny_classifier()
    words = [model.config.id2label[i] for i in range(4)]
    always_first = TurnPredictions(logits=np.tile([3.0, 0.0, 0.0, 0.0], (4, 1)))
    rows = Dataset.from_dict({"emotion": words})
    found = calibrate_on(model, always_first, rows, wanted_risk=0.1)
    assert "No abstain threshold is set: wanted risk 0.1" in caplog.text
    assert model.config.abstain_below == 0.0 and found.wanted_risk is None
    assert model.config.temperature == found.temperature > 1
