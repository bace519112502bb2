"""How far the outputs of an exported graph are from those of its model."""

from collections.abc import Callable

import numpy as np
import torch

from modeling_decomp_ser import DecompSerForAudioClassification
from train_scripts.exporting.onnx_graph import OnnxGraph, input_ports, output_ports, random_inputs

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


def as_classifier(model: DecompSerForAudioClassification) -> Classifier:
    """A torch model in the form of an exported graph."""
    graph, outputs = OnnxGraph(model), output_ports(model)

    @torch.no_grad()
    def classify(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = graph(*(torch.from_numpy(batch[port.name]) for port in graph.ports))
        return {port.name: x.numpy() for port, x in zip(outputs, values, strict=True)}

    return classify


def largest_difference(
    model: DecompSerForAudioClassification, exported: Classifier, *, hop_length: int
) -> float:
    """Largest absolute difference of a graph to its model over all outputs of `CHECKED_SAMPLES`;
    infinite where one of them is not finite or the graph cannot run.
    """
    reference, ports, largest = as_classifier(model), input_ports(model), 0.0
    for seed, num_samples in enumerate(CHECKED_SAMPLES):
        batch = random_inputs(ports, num_samples, hop_length=hop_length, seed=seed)
        expected, found = reference(batch), exported(batch)
        for name, value in expected.items():
            difference = float(np.abs(found[name] - value).max())
            largest = max(largest, difference if np.isfinite(difference) else np.inf)
    return largest
