"""Confidence that can be believed: temperature, and when to abstain.

Both are fitted on turns of validation speakers, which the model was not trained on, and stored in
its configuration, from where the pipeline applies them. Axes: N turns, L labels.
"""

import logging
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from processing.collation import DecompSerDataCollator
from processing.errors import InputError
from train_scripts.runs.inference import TurnPredictions, predict_turns
from train_scripts.runs.metrics import expected_calibration_error
from train_scripts.runs.record import Calibration

logger = logging.getLogger(__name__)

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
"""A model that is always right on the validation turns would ask for 0, one that knows nothing for
infinity."""


def fit_temperature(logits: np.ndarray, labels: Sequence[int] | np.ndarray) -> float:
    """Divisor of the logits with the least negative log-likelihood (Guo et al., "On calibration of
    modern neural networks", ICML 2017, section 4.2).

    Args:
        logits: (N, L).
        labels: label ids, (N,).

    Returns:
        A temperature from 0.05 to 20. It changes no decision.

    Raises:
        ValueError: if there is no turn, lengths differ, or a logit is not finite.

    Examples:
        >>> round(fit_temperature(np.array([[2.0, 0.0]] * 4), [0, 0, 0, 1]), 3)
        1.82
    """
    scores, targets = check_logits(logits, labels)

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(scores / np.exp(log_temperature), targets))

    bounds = np.log([LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE])
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    # The search never evaluates its bounds; 1 comes first, so that it stays where none is better.
    candidates = (1.0, LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE, float(np.exp(found.x)))
    return min(candidates, key=lambda temperature: loss(np.log(temperature)))


def risk_coverage(
    labels: Sequence[int] | np.ndarray, probabilities: np.ndarray
) -> list[dict[str, float]]:
    """Error rate of the answers at each least confidence (selective classification; El-Yaniv and
    Wiener, JMLR 2010).

    Args:
        labels: label ids, (N,).
        probabilities: (N, L).

    Returns:
        See `Calibration.risk_coverage`; one entry for each confidence that occurs.

    Examples:
        >>> risk_coverage([0, 1], np.array([[0.9, 0.1], [0.6, 0.4]]))[-1]
        {'confidence': 0.6, 'coverage': 1.0, 'risk': 0.5}
    """
    confidences = probabilities.max(1)
    wrong = probabilities.argmax(1) != np.asarray(labels)
    order = np.argsort(-confidences, kind="stable")
    confidences, errors = confidences[order], np.cumsum(wrong[order])
    last_of_equals = np.append(confidences[1:] < confidences[:-1], True)
    return [
        {
            "confidence": float(confidences[i]),
            "coverage": float((i + 1) / len(order)),
            "risk": float(errors[i] / (i + 1)),
        }
        for i in np.flatnonzero(last_of_equals)
    ]


def abstain_threshold(curve: list[dict[str, float]], wanted_risk: float) -> float:
    """Least confidence at which the answers that remain keep to a risk, with the widest coverage.

    Args:
        curve: from `risk_coverage`.
        wanted_risk: error rate in [0, 1].

    Returns:
        The threshold; 0 where nothing has to be refused.

    Raises:
        InputError: if no threshold keeps to it.

    Examples:
        >>> curve = [
        ...     {"confidence": 0.9, "coverage": 0.5, "risk": 0.0},
        ...     {"confidence": 0.6, "coverage": 1.0, "risk": 0.5},
        ... ]
        >>> abstain_threshold(curve, 0.1)
        0.9
    """
    kept = [point for point in curve if point["risk"] <= wanted_risk]
    if not kept:
        least = min(point["risk"] for point in curve)
        raise InputError(
            f"wanted risk {wanted_risk:g}: however confident, the answers have a risk of "
            f"{least:.3g} at least. Ask for that or more."
        )
    return 0.0 if kept[-1] is curve[-1] else kept[-1]["confidence"]


def calibrate(
    logits: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    *,
    wanted_risk: float | None = None,
) -> Calibration:
    """Fit temperature and threshold to the logits of validation turns.

    A temperature that raises the expected calibration error of these turns is not kept, and the
    threshold goes with the temperature that is. Figures after fitting are of the same turns; on
    other speakers expect somewhat more.

    Args:
        logits: (N, L).
        labels: label ids, (N,).
        wanted_risk: error rate that the answers given shall keep to; None answers all.

    Raises:
        ValueError: if there is no turn, lengths differ, or a logit is not finite; if no threshold
            keeps to the risk.
    """
    scores, targets = check_logits(logits, labels)
    fitted = fit_temperature(logits, labels)
    before, after = scores.softmax(-1).numpy(), (scores / fitted).softmax(-1).numpy()
    ece_before = expected_calibration_error(labels, before)
    ece_after = expected_calibration_error(labels, after)
    kept = ece_after <= ece_before
    curve = risk_coverage(labels, after if kept else before)
    return Calibration(
        temperature=fitted if kept else 1.0,
        fitted_temperature=fitted,
        kept=kept,
        abstain_below=0.0 if wanted_risk is None else abstain_threshold(curve, wanted_risk),
        num_turns=len(scores),
        ece_before=ece_before,
        ece_after=ece_after,
        nll_before=float(F.cross_entropy(scores, targets)),
        nll_after=float(F.cross_entropy(scores / fitted, targets)),
        wanted_risk=wanted_risk,
        risk_coverage=curve,
    )


def calibrate_model(
    model,
    collator: DecompSerDataCollator,
    rows: Dataset,
    *,
    wanted_risk: float | None = None,
    batch_size: int = 8,
) -> Calibration:
    """Fit a model's temperature and threshold and store them in its configuration.

    Args:
        model: `DecompSerForAudioClassification`.
        collator: makes its batches.
        rows: turns of validation speakers, with signals.
        wanted_risk: see `calibrate`.
        batch_size: turns a batch; does not change the result.

    Returns:
        What was fitted.

    Raises:
        InputError: if there is no validation turn.
    """
    if not len(rows):
        raise InputError(
            "there is no validation turn to calibrate on. Choose a protocol with validation "
            "speakers."
        )
    turns = predict_turns(model, collator, rows, batch_size=batch_size)
    return calibrate_on(model, turns, rows, wanted_risk=wanted_risk)


def calibrate_on(
    model, turns: TurnPredictions, rows: Dataset, *, wanted_risk: float | None = None
) -> Calibration:
    """`calibrate_model` on turns that have been predicted; where no threshold keeps to the risk,
    none is set, with a warning.
    """
    labels, logits = label_ids(model, rows), np.asarray(turns.logits)
    try:
        found = calibrate(logits, labels, wanted_risk=wanted_risk)
    except InputError as error:  # whoever trained for hours keeps the model, without a threshold
        logger.warning("No abstain threshold is set: %s", error)
        found = calibrate(logits, labels)
    if not found.kept:
        logger.info(
            "The fitted temperature of %.3g is not kept: the expected calibration error would rise "
            "from %.3f to %.3f.",
            found.fitted_temperature,
            found.ece_before,
            found.ece_after,
        )
    model.config.temperature = found.temperature
    model.config.abstain_below = found.abstain_below
    return found


def measure_on_test(calibration: Calibration, model, turns: TurnPredictions, rows: Dataset) -> None:
    """Store the calibration error of test turns before and after the model's temperature; both are
    the same where none was kept.

    Args:
        calibration: of `calibrate_on`; changed.
        model: that it was fitted for.
        turns: predicted test turns.
        rows: the same turns.
    """
    labels = label_ids(model, rows)
    logits = torch.from_numpy(np.asarray(turns.logits, np.float64))
    calibration.ece_test_before, calibration.ece_test_after = (
        expected_calibration_error(labels, (logits / temperature).softmax(-1).numpy())
        for temperature in (1.0, calibration.temperature)
    )


def label_ids(model, rows: Dataset) -> list[int]:
    """Label ids of turns."""
    ids = {model.config.id2label[i]: i for i in range(model.config.num_labels)}
    return [ids[emotion] for emotion in rows["emotion"]]


def check_logits(logits: np.ndarray, labels: Sequence[int] | np.ndarray):
    """Logits and labels as float64 (N, L) and int64 (N,) tensors; see `calibrate` for errors."""
    scores, targets = np.asarray(logits, np.float64), np.asarray(labels, np.int64)
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or not len(scores):
        raise ValueError(
            f"logits of shape {scores.shape} and labels of shape {targets.shape}, expected (turns, "
            "labels) and one label for each of at least one turn."
        )
    if not np.isfinite(scores).all():
        raise ValueError("logits hold NaN or infinity, expected finite numbers.")
    return torch.from_numpy(scores), torch.from_numpy(targets)
