import numpy as np
import pytest
from support.tiny_networks import HOP
from support.tiny_pipeline import trained_classifier

from train_scripts.exporting.onnx_parity import (
    CHECKED_SAMPLES,
    as_classifier,
    largest_difference,
)


@pytest.fixture(scope="module")
def model():
    return trained_classifier("table3_m1")


def changed(model, change):
    """The model, but for one value of the longest batch."""
    exact = as_classifier(model)

    def classify(inputs):
        outputs = {name: value.copy() for name, value in exact(inputs).items()}
        if len(inputs["input_values"]) == max(len(samples) for samples in CHECKED_SAMPLES):
            outputs["logits"][2, 1] = change(outputs["logits"][2, 1])
        return outputs

    return classify


@pytest.mark.parametrize(
    ("change", "expected"),
    [(lambda x: x, 0.0), (lambda x: x - 0.25, 0.25), (lambda x: np.nan, np.inf)],
)
def test_the_largest_difference_is_found_in_any_row_of_any_batch(model, change, expected):
    found = largest_difference(model, changed(model, change), hop_length=HOP)
    assert found == pytest.approx(expected, abs=1e-6)
