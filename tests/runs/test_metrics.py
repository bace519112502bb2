import jiwer
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from train_scripts.runs.metrics import (
    class_metrics,
    confusion_matrix,
    expected_calibration_error,
    grouped_confusions,
    macro_f1,
    recalls_by_group,
    unweighted_average_recall,
    unweighted_average_recalls,
    weighted_accuracies,
    weighted_accuracy,
    word_error_rate,
)

LABELS = ["angry", "happy", "sad", "neutral"]
CLOSE = {"rel": 1e-12, "abs": 1e-12}

ids = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60
)  # (reference, prediction); short lists lack classes
words = st.lists(st.sampled_from(["A", "B", "C"]), max_size=5).map(" ".join)


def confusion_of(pairs):
    references, predictions = np.array(pairs).T
    return references, predictions, confusion_matrix(references, predictions, num_labels=4)


# Against scikit-learn -----------------------------------------------------------------------------


@given(ids)
def test_confusion_and_weighted_accuracy_agree_with_scikit_learn(pairs):
    references, predictions, confusion = confusion_of(pairs)
    expected = sklearn_metrics.confusion_matrix(references, predictions, labels=range(4))
    np.testing.assert_array_equal(confusion, expected)
    accuracy = sklearn_metrics.accuracy_score(references, predictions)
    assert weighted_accuracy(confusion) == pytest.approx(accuracy, **CLOSE)


@given(ids)
def test_recall_and_f1_agree_with_scikit_learn_over_the_classes_that_occur(pairs):
    references, predictions, confusion = confusion_of(pairs)
    occurring = sorted(set(references))
    for ours, theirs in (
        (unweighted_average_recall, sklearn_metrics.recall_score),
        (macro_f1, sklearn_metrics.f1_score),
    ):
        expected = theirs(
            references, predictions, labels=occurring, average="macro", zero_division=0
        )
        assert ours(confusion) == pytest.approx(expected, **CLOSE)


@given(ids)
def test_figures_of_classes_agree_with_scikit_learn_and_undefined_ones_are_none(pairs):
    references, predictions, confusion = confusion_of(pairs)
    expected = sklearn_metrics.precision_recall_fscore_support(
        references, predictions, labels=range(4), zero_division=np.nan
    )
    for label, precision, recall, f1, support in zip(LABELS, *expected, strict=True):
        figures = class_metrics(confusion, LABELS)[label]
        assert figures.num_turns == support
        for ours, theirs in ((figures.precision, precision), (figures.recall, recall)):
            assert (ours is None) == np.isnan(theirs)
            assert ours is None or ours == pytest.approx(theirs, **CLOSE)
        assert (figures.f1 is None) == (support == 0)
        assert support == 0 or figures.f1 == pytest.approx(f1, **CLOSE)


def test_a_fold_that_lacks_a_class_is_averaged_over_the_others():
    references, predictions = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 3]
    confusion = confusion_matrix(references, predictions, num_labels=4)
    assert unweighted_average_recall(confusion) == pytest.approx((1 + 1 + 0.5) / 3)
    assert macro_f1(confusion) == pytest.approx((1 + 1 + 2 / 3) / 3)


def test_many_matrices_score_as_one_by_one():
    confusions = np.random.default_rng(0).integers(0, 9, (20, 4, 4)).astype(float)
    confusions[0, 1] = 0.0  # a class that does not occur
    expected = [np.trace(c) / c.sum() for c in confusions]
    assert weighted_accuracies(confusions) == pytest.approx(expected)
    expected = [unweighted_average_recall(c) for c in confusions]
    assert unweighted_average_recalls(confusions) == pytest.approx(expected)


def test_groups_are_counted_as_if_alone_and_weights_count_as_much():
    rng = np.random.default_rng(1)
    groups, references, predictions = rng.integers(0, 3, (3, 50))
    sums = grouped_confusions(groups, references, predictions, shape=(4, 3), weights=groups / 2)
    for group in range(3):
        chosen = groups == group
        alone = confusion_matrix(references[chosen], predictions[chosen], num_labels=3)
        np.testing.assert_array_equal(sums[group], alone * group / 2)
    assert not sums[3].any() and np.isnan(weighted_accuracies(sums)[3])
    assert np.isnan(unweighted_average_recalls(sums)[3])


def test_precision_of_less_than_one_turn_is_a_share_of_it():
    # The mean of three seeds, of which one takes one turn for the second label.
    confusion = np.array([[1.0, 0.0], [2 / 3, 1 / 3]])
    assert class_metrics(confusion, ["a", "b"])["b"].precision == pytest.approx(1.0)


def test_favouring_the_large_class_raises_weighted_accuracy_and_not_uar():
    references = [0] * 8 + [1] * 2
    fair = confusion_matrix(references, [0] * 6 + [1] * 2 + [1] * 2, num_labels=2)
    biased = confusion_matrix(references, [0] * 10, num_labels=2)
    assert (weighted_accuracy(fair), weighted_accuracy(biased)) == (0.8, 0.8)
    assert (unweighted_average_recall(fair), unweighted_average_recall(biased)) == (0.875, 0.5)


def test_the_order_of_turns_does_not_matter_and_ids_keep_their_place():
    confusion = confusion_matrix([3, 1], [3, 0], num_labels=4)
    assert confusion[3, 3] == 1 and confusion[1, 0] == 1 and confusion.sum() == 2
    np.testing.assert_array_equal(confusion, confusion_matrix([1, 3], [0, 3], num_labels=4))


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ([], [], "at least one turn"),
        ([0, 1], [0], "one label id each"),
        ([0, 4], [0, 1], "reference of turn 1 is 4, expected a label id from 0 to 3"),
        ([0, 1], [-100, 1], "prediction of turn 0 is -100"),
        ([0.5], [0], "reference of turn 0 is 0.5"),
    ],
)
def test_wrong_ids_are_named(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(references, predictions, num_labels=4)


# Words --------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(words.filter(bool), words), min_size=1, max_size=8))
def test_word_error_rate_is_jiwers_where_no_reference_is_empty(pairs):
    references, predictions = map(list, zip(*pairs, strict=True))
    expected = jiwer.wer(references, predictions)
    assert word_error_rate(references, predictions) == pytest.approx(expected, **CLOSE)


def edits(reference, recognized):
    """Word edit distance by recursion over the last word: slow and obvious."""
    if not reference or not recognized:
        return len(reference) + len(recognized)
    return min(
        edits(reference[:-1], recognized) + 1,
        edits(reference, recognized[:-1]) + 1,
        edits(reference[:-1], recognized[:-1]) + (reference[-1] != recognized[-1]),
    )


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_word_error_rate_pools_edits_and_words_of_all_turns(pairs):
    split = [(reference.split(), recognized.split()) for reference, recognized in pairs]
    num_words = sum(len(reference) for reference, _ in split)
    num_edits = sum(edits(*pair) for pair in split)
    rate = word_error_rate(*map(list, zip(*pairs, strict=True)))
    if num_words == 0:
        assert rate is None
    else:
        assert rate == pytest.approx(num_edits / num_words, **CLOSE)


def test_words_in_an_empty_reference_are_insertions():
    assert word_error_rate(["GO", ""], ["GO", ""]) == 0.0
    assert word_error_rate(["GO", ""], ["GO", "OH NO NO"]) == 3.0


def test_without_a_reference_word_there_is_no_rate():
    assert word_error_rate(["", " "], ["OH", ""]) is None
    assert word_error_rate([], []) is None


def test_a_missing_recognised_text_is_an_error():
    with pytest.raises(ValueError, match="2 reference texts and 1 recognised"):
        word_error_rate(["A", "B"], ["A"])


# Calibration --------------------------------------------------------------------------------------


def slow_ece(references, probabilities, num_bins=15):
    error = 0.0
    for index in range(num_bins):
        low, high = index / num_bins, (index + 1) / num_bins
        turns = [
            (max(row), int(np.argmax(row) == reference))
            for reference, row in zip(references, probabilities, strict=True)
            if low < max(row) <= high
        ]
        if turns:
            confidence, accuracy = np.mean(turns, axis=0)
            error += len(turns) / len(references) * abs(accuracy - confidence)
    return error


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.floats(0.05, 10))
def test_calibration_error_agrees_with_a_slow_loop(seed, num_turns, concentration):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet([concentration] * 4, size=num_turns)
    references = generator.integers(4, size=num_turns)
    expected = slow_ece(references, probabilities)
    ece = expected_calibration_error(references, probabilities)
    assert ece == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_certain_and_right_is_calibrated_and_certain_and_wrong_is_not():
    certain = np.eye(4)[[0, 1, 2]]
    assert expected_calibration_error([0, 1, 2], certain) == 0.0
    assert expected_calibration_error([1, 2, 3], certain) == 1.0


def test_errors_of_opposite_sign_cancel_within_a_bin_only():
    same_bin = np.array([[0.61, 0.39], [0.65, 0.35]])
    other_bins = np.array([[0.61, 0.39], [0.95, 0.05]])
    assert expected_calibration_error([0, 1], same_bin) == pytest.approx(abs(1 - 1.26) / 2)
    assert expected_calibration_error([0, 1], other_bins) == pytest.approx((0.39 + 0.95) / 2)


def test_a_confidence_on_an_edge_belongs_to_the_bin_below():
    edge = np.array([[9 / 15, 6 / 15], [0.65, 0.35]])
    assert expected_calibration_error([0, 1], edge) == pytest.approx((0.4 + 0.65) / 2)


@pytest.mark.parametrize(
    "probabilities",
    [[[2.0, -1.0]], [[0.5, 0.4]], [[np.nan, 1.0]], [0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], []],
)
def test_what_is_not_a_distribution_is_refused(probabilities):
    with pytest.raises(ValueError, match="probabilities of"):
        expected_calibration_error([0], np.array(probabilities))


# Groups and the whole list ------------------------------------------------------------------------


@given(ids, st.randoms(use_true_random=False))
def test_groups_are_scored_as_if_alone(pairs, random):
    references, predictions, _ = confusion_of(pairs)
    groups = [random.choice(["b", "a", None]) for _ in pairs]
    scores = recalls_by_group(references, predictions, groups, num_labels=4)
    assert list(scores) == sorted(set(groups) - {None})
    for name, figures in scores.items():
        own = [pair for pair, group in zip(pairs, groups, strict=True) if group == name]
        _, _, confusion = confusion_of(own)
        assert figures.num_turns == len(own)
        assert figures.weighted_accuracy == weighted_accuracy(confusion)
        assert figures.unweighted_average_recall == unweighted_average_recall(confusion)
        assert figures.absent_labels == 4 - len({reference for reference, _ in own})
