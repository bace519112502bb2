"""How far an exported graph is from its model: differences, accuracy and speed."""

import time
from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset

from modeling_decomp_ser import DecompSerForAudioClassification
from modeling_decomp_ser.modeling_decomp_ser import DecompSerOutput
from processing.collation import DecompSerDataCollator
from train_scripts.exporting.onnx_graph import OnnxGraph, output_ports, random_inputs
from train_scripts.runs.inference import TurnPredictions, predict_turns
from train_scripts.runs.results import score_rows

Classifier = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""Inputs by name to outputs by name: a graph, or a model in the same form."""

CHECKED_SAMPLES = (
    (16000,),
    (160,),  # shorter than a frame of wav2vec2
    (400, 7013),
    (31999, 56000, 160, 24000),
    (192000,),
    (16001, 16001, 16001),
)
"""Batches of the check of parity, at 16 kHz: one turn and several, 10 ms to 12 s."""

TIMED_SAMPLES = 72000
"""A turn of 4.5 s at 16 kHz, the mean of IEMOCAP's."""
REPETITIONS = 7


def as_classifier(model: DecompSerForAudioClassification) -> Classifier:
    """A torch model in the form of an exported graph."""
    graph = OnnxGraph(model)
    inputs = [port.name for port in graph.ports]
    outputs = [port.name for port in output_ports(model)]

    @torch.no_grad()
    def classify(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = graph(*(torch.from_numpy(batch[name]) for name in inputs))
        return {name: value.numpy() for name, value in zip(outputs, values, strict=True)}

    return classify


def largest_difference(
    model: DecompSerForAudioClassification, exported: Classifier, *, hop_length: int
) -> float:
    """Largest absolute difference of a graph to its model over all outputs of `CHECKED_SAMPLES`;
    infinite where one of them is not finite or the graph cannot run.
    """
    reference = as_classifier(model)
    ports = OnnxGraph(model).ports
    largest = 0.0
    for seed, num_samples in enumerate(CHECKED_SAMPLES):
        batch = random_inputs(ports, num_samples, hop_length=hop_length, seed=seed)
        expected, found = reference(batch), exported(batch)
        for name, value in expected.items():
            difference = float(np.abs(found[name] - value).max())
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest


def milliseconds_per_second(
    model: DecompSerForAudioClassification, classifier: Classifier, *, hop_length: int
) -> float:
    """Milliseconds that a classifier takes for a second of sound, one turn at a time: the least of
    several repetitions, which other processes have disturbed least; without the feature extractor.
    """
    ports = OnnxGraph(model).ports
    batch = random_inputs(ports, (TIMED_SAMPLES,), hop_length=hop_length)
    classifier(batch)  # the first call also plans
    times = []
    for _ in range(REPETITIONS):
        begin = time.perf_counter()
        classifier(batch)
        times.append(time.perf_counter() - begin)
    return 1000 * min(times) / (TIMED_SAMPLES / 16000)


class _TurnModel:
    """A classifier in the form that `predict_turns` asks for."""

    training = False
    device = torch.device("cpu")

    def __init__(self, classifier: Classifier):
        self.classifier = classifier

    def eval(self) -> None:
        """Nothing to switch."""

    def train(self, mode: bool) -> None:
        """Nothing to switch."""

    def __call__(self, **batch: torch.Tensor) -> DecompSerOutput:
        outputs = self.classifier({name: value.numpy() for name, value in batch.items()})
        return DecompSerOutput(logits=torch.from_numpy(outputs["logits"]))


def classify_turns(
    classifier: Classifier, collator: DecompSerDataCollator, rows: Dataset
) -> TurnPredictions:
    """Predict every turn, one at a time: activations of an 8-bit graph share their scale over a
    batch, so that its answers depend a little on batch mates.
    """
    return predict_turns(_TurnModel(classifier), collator, rows, batch_size=1)


def score_classifiers(
    classifiers: dict[str, Classifier],
    collator: DecompSerDataCollator,
    rows: Dataset,
    labels: list[str],
) -> dict[str, dict[str, float]]:
    """WA, UAR, and the share of turns that get the answer of the first classifier.

    Args:
        classifiers: by name, the torch model first.
        collator: makes batches.
        rows: with signals.
        labels: emotion words in the order of the labels.
    """
    scores: dict[str, dict[str, float]] = {}
    first = None
    for name, classifier in classifiers.items():
        turns = classify_turns(classifier, collator, rows)
        answers = turns.probabilities.argmax(1)
        first = answers if first is None else first
        metrics = score_rows(rows, turns, labels).metrics
        scores[name] = {
            "weighted_accuracy": metrics.weighted_accuracy,
            "unweighted_average_recall": metrics.unweighted_average_recall,
            "same_answers": float((answers == first).mean()),
        }
    return scores
