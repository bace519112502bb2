"""Cost of explaining a prediction, at real size with random weights, for a turn of 4.5 s.

    python tests/benchmarks/explanation.py [--repetitions N]

A ratio is the median over pairs run in turn, by processor time of the process (and by the clock in
brackets, which other work on the machine disturbs). The bar is the one the project has set itself.
"""

import argparse

import torch
from network import build, random_inputs, report

from modeling_decomp_ser.component_shares import explain_prediction
from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from train_scripts.explanations.input_ablation import ablated_shares

LABELS = ("labels", "speaker_labels", "ctc_labels")


def main() -> None:
    """Compare both kinds of Shapley values with one plain prediction."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    model = build("table3_ours").eval()
    inputs = {k: v for k, v in random_inputs(1).items() if k not in LABELS}
    waveform = torch.randn(72000, generator=torch.Generator().manual_seed(0)).numpy() / 10
    extractor = DecompSerFeatureExtractor()

    def predict():
        return model(**inputs)

    def predict_from_audio():
        return model(**extractor(waveform, sampling_rate=16000, return_tensors="pt"))

    def explain():
        output = model(**inputs, output_component_shares=True)
        return explain_prediction(output.component_shares)

    def explain_by_ablation():
        return explain_prediction(ablated_shares(model, inputs))

    with torch.inference_mode():
        report("Shapley values, means replaced", explain, predict, "<= 1.1", repetitions)
        report("Shapley values, inputs ablated", explain_by_ablation, predict, "-", repetitions)
        report("Prediction from audio", predict_from_audio, predict, "-", repetitions)


if __name__ == "__main__":
    main()
