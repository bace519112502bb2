import numpy as np
import pytest

from train_scripts.runs import evaluate_metrics, metrics

REFERENCES, PREDICTIONS = [0, 0, 1, 1, 2, 2], [0, 3, 1, 1, 2, 2]
CONFUSION = metrics.confusion_matrix(REFERENCES, PREDICTIONS, num_labels=4)
LABELS = ["angry", "happy", "sad", "neutral"]


@pytest.fixture
def make(tmp_path):
    """A metric that keeps its files in a temporary folder."""
    return lambda name: getattr(evaluate_metrics, name)(cache_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("WeightedAccuracy", {"weighted_accuracy": 5 / 6}),
        ("UnweightedAverageRecall", {"unweighted_average_recall": 2.5 / 3, "absent_labels": 1}),
        ("MacroF1", {"macro_f1": (2 / 3 + 1 + 1) / 3}),
    ],
)
def test_classes_of_the_confusion_matrix_compute_its_figures(make, name, expected):
    result = make(name).compute(predictions=PREDICTIONS, references=REFERENCES, num_labels=4)
    assert result == pytest.approx(expected)


def test_the_confusion_matrix_has_every_label(make):
    result = make("ConfusionMatrix").compute(
        predictions=PREDICTIONS, references=REFERENCES, num_labels=4
    )
    assert result == {"confusion": CONFUSION.tolist()}


def test_batches_are_scored_as_one(make):
    metric = make("UnweightedAverageRecall")
    for start in (0, 2, 4):
        stop = start + 2
        metric.add_batch(predictions=PREDICTIONS[start:stop], references=REFERENCES[start:stop])
    uar = metric.compute(num_labels=4)["unweighted_average_recall"]
    assert uar == metrics.unweighted_average_recall(CONFUSION)


def test_classes_are_named_by_the_caller(make):
    result = make("PerClass").compute(
        predictions=PREDICTIONS, references=REFERENCES, label_names=LABELS
    )
    assert list(result) == LABELS
    assert result == {k: vars(v) for k, v in metrics.class_metrics(CONFUSION, LABELS).items()}


@pytest.mark.parametrize("groups", [list("aabbcc"), ["female", "male"] * 3])
def test_groups_are_speakers_or_genders(make, groups):
    result = make("PerGroup").compute(
        predictions=PREDICTIONS, references=REFERENCES, groups=groups, num_labels=4
    )
    expected = metrics.recalls_by_group(REFERENCES, PREDICTIONS, groups, num_labels=4)
    assert result == {k: vars(v) for k, v in expected.items()} and len(result) == len(set(groups))


def test_word_error_rate_takes_texts_and_empty_references(make):
    texts = {"references": ["GO HOME", ""], "predictions": ["GO", "OH"]}
    assert make("WordErrorRate").compute(**texts) == {"word_error_rate": 1.0}
    nothing = {"references": ["", ""], "predictions": ["", "OH"]}
    assert make("WordErrorRate").compute(**nothing) == {"word_error_rate": None}


def test_calibration_error_takes_probabilities(make):
    probabilities = np.random.default_rng(0).dirichlet([1.0] * 4, size=6)
    result = make("ExpectedCalibrationError").compute(
        predictions=probabilities, references=REFERENCES
    )
    expected = metrics.expected_calibration_error(REFERENCES, probabilities)
    assert result["ece"] == pytest.approx(expected) and expected > 0.05


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("WeightedAccuracy", "correct turns / all turns"),
        ("UnweightedAverageRecall", "confusion[i, i] / n_i over the classes that occur"),
        ("WordErrorRate", "(substitutions + deletions + insertions) / reference words"),
    ],
)
def test_a_metric_describes_itself_with_its_formula(make, name, formula):
    assert formula in make(name).description
