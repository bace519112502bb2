"""A classifier as an ONNX file: any batch size, any length, and no Python code of a model.

Axes: B batch, S samples, T frames, M mel bands, L emotions.
"""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.jit._trace import TracerWarning
from torch.nn import functional as F

from modeling_decomp_ser import DecompSerForAudioClassification
from modeling_decomp_ser.masked_layers import length_mask
from modeling_decomp_ser.speech_encoder import receptive_field
from processing import DecompSerFeatureExtractor

logger = logging.getLogger(__name__)

OPSET = 17
"""Operators of ONNX 1.12, which every runtime of the last years knows."""

EXAMPLE_SAMPLES = (9000, 16000)
"""Lengths of the batch that is traced. What depended on them would fail the check of parity, which
uses others."""

SETTLED_BRANCHES = ("rnn.py", "masking_utils.py", "functional.py", "speech_encoder.py")
"""Files whose branches on a size go one way for every input: checks of arguments, the padding of a
mask that is long enough, and that of a waveform which `OnnxGraph` has made long enough."""

QUANTIZED = ("MatMul", "Gemm", "LSTM")
"""Operators with 8-bit weights. Convolutions stay: ONNX Runtime's 8-bit ones are slower on a CPU
than those in float32."""


@dataclass
class Port:
    """An input or output of the graph: its name, type, shape (names are dynamic), and meaning."""

    name: str
    type: str
    shape: Sequence[str | int | None]
    meaning: str


class OnnxGraph(nn.Module):
    """What is exported: tensors of the feature extractor to logits, probabilities and shares."""

    def __init__(self, model: DecompSerForAudioClassification):
        super().__init__()
        self.model = model
        self.ports = input_ports(model)
        self.eval()

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tensors in the order of `ports` -> logits (B, L), probabilities (B, L), component shares
        (B, 6, L).
        """
        batch = {port.name: x for port, x in zip(self.ports, tensors, strict=True)}
        if "input_values" in batch:
            batch |= self.lengthen(batch["input_values"], batch["attention_mask"])
        if "mel" in batch and "log_f0" not in batch:  # asked for, but no encoder reads it
            batch["log_f0"] = batch["voiced"] = torch.zeros_like(batch["mel"][..., 0])
        output = self.model(**batch, output_component_shares=True)
        probabilities = (output.logits / self.model.config.temperature).softmax(-1)
        return output.logits, probabilities, output.component_shares

    def lengthen(self, input_values: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """Pad to what one frame of the speech encoder reads.

        The model does the same, but by a branch, of which a trace would keep one side.
        """
        least = receptive_field(self.model.config.speech_config)
        length = torch._shape_as_tensor(input_values)[1]  # pyright: ignore[reportPrivateImportUsage]
        size = length.clamp(min=least)
        return {
            "input_values": F.pad(input_values, (0, least))[:, :size],
            "attention_mask": F.pad(attention_mask, (0, least))[:, :size],
        }


def input_ports(model: DecompSerForAudioClassification) -> list[Port]:
    """Inputs that a model reads, in the order of the feature extractor."""
    config = model.config
    ports = []
    if config.use_speech_encoder:
        waveform = "waveform of zero mean and unit variance in each row; padding is not read"
        ports += [
            Port("input_values", "float32", ["batch", "samples"], waveform),
            Port("attention_mask", "int64", ["batch", "samples"], "1 for samples, 0 for padding"),
        ]
    if config.components:
        mel = "log-mel spectrogram, 100 dB mapped to [0, 1]; padding is not read"
        ports.append(Port("mel", "float32", ["batch", "frames", config.num_mel_bins], mel))
    if "pitch" in config.components:
        log_f0 = "ln F0, normalised so that mean +- 4 standard deviations are [0, 1]"
        voiced = "whether the frame has a pitch; log_f0 is read where it has"
        ports.append(Port("log_f0", "float32", ["batch", "frames"], log_f0))
        ports.append(Port("voiced", "bool", ["batch", "frames"], voiced))
    if config.components:
        mask = "1 for frames, 0 for padding"
        ports.append(Port("frame_mask", "int64", ["batch", "frames"], mask))
    return ports


def output_ports(model: DecompSerForAudioClassification) -> list[Port]:
    """Outputs of every graph."""
    num_labels = model.config.num_labels
    tempered = "softmax of the logits divided by the temperature, as the pipeline answers"
    shares = "what each part adds to each logit; sums to it over the six parts"
    return [
        Port("logits", "float32", ["batch", num_labels], "raw, before the temperature"),
        Port("probabilities", "float32", ["batch", num_labels], tempered),
        Port("component_shares", "float32", ["batch", 6, num_labels], shares),
    ]


def random_inputs(
    ports: list[Port], num_samples: tuple[int, ...], *, hop_length: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Inputs in the ranges of real ones, for turns of these lengths, padded with zeros."""
    random = torch.Generator().manual_seed(seed)
    samples = torch.tensor(num_samples)
    frames = samples // hop_length + 1
    speech = length_mask(samples, int(samples.max()))
    frame_mask = length_mask(frames, int(frames.max()))
    batch, steps = frame_mask.shape
    bands = next((port.shape[2] or 0 for port in ports if port.name == "mel"), 0)
    values = {
        "input_values": torch.randn(speech.shape, generator=random) * speech,
        "attention_mask": speech.long(),
        "mel": torch.rand((batch, steps, int(bands)), generator=random) * frame_mask[..., None],
        "log_f0": torch.rand((batch, steps), generator=random) * frame_mask,
        "voiced": (torch.rand((batch, steps), generator=random) > 0.4) & frame_mask,
        "frame_mask": frame_mask.long(),
    }
    return {port.name: values[port.name].numpy() for port in ports}


def write_graph(model: DecompSerForAudioClassification, path: Path, *, hop_length: int) -> None:
    """Trace a model in evaluation mode and float32, and write it; weights beyond 2 GB stand beside.

    The tracing exporter it is, because the newer one unrolls the LSTMs to the length of its
    example. The model is left with eager attention.
    """
    speech_encoder = model.speech_encoder
    if speech_encoder is not None and speech_encoder.config._attn_implementation != "eager":
        model.set_attn_implementation("eager")
    graph = OnnxGraph(model)
    example = random_inputs(graph.ports, EXAMPLE_SAMPLES, hop_length=hop_length)
    outputs = output_ports(model)
    axes = {
        port.name: {i: axis for i, axis in enumerate(port.shape) if isinstance(axis, str)}
        for port in (*graph.ports, *outputs)
    }
    # With gradients, because without them the model works in place, which has no ONNX operator.
    with torch.enable_grad(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(x) for x in example.values()),
            path,
            input_names=[port.name for port in graph.ports],
            output_names=[port.name for port in outputs],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    for warning in unsettled_branches(caught):
        logger.warning(
            "%s, line %d: a branch was fixed while tracing; if it depends on the length, the check "
            "of parity fails.",
            warning.filename,
            warning.lineno,
        )


def unsettled_branches(caught: list[warnings.WarningMessage]) -> list[warnings.WarningMessage]:
    """Warnings of the tracer about branches that are not known to go one way for every input."""
    return [
        warning
        for warning in caught
        if issubclass(warning.category, TracerWarning)
        and Path(warning.filename).name not in SETTLED_BRANCHES
    ]


def describe_graph(
    model: DecompSerForAudioClassification, extractor: DecompSerFeatureExtractor
) -> dict:
    """All that a user of the file has to know."""
    left_out = ("auto_map", "feature_extractor_type", "processor_class", "settings_digest")
    return {
        "labels": list((model.config.id2label or {}).values()),
        "sampling_rate": extractor.sampling_rate,
        "temperature": model.config.temperature,
        "abstain_below": model.config.abstain_below,
        "inputs": [asdict(port) for port in input_ports(model)],
        "outputs": [asdict(port) for port in output_ports(model)],
        "feature_extractor": {
            name: value for name, value in extractor.to_dict().items() if name not in left_out
        },
    }


def write_description(path: Path, description: dict) -> None:
    """Store a description in the metadata of an ONNX file, each entry as JSON."""
    content = onnx.load(str(path), load_external_data=False)
    onnx.checker.check_model(content)
    onnx.helper.set_model_props(content, {k: json.dumps(v) for k, v in description.items()})
    onnx.save(content, str(path))


def quantize_weights(source: Path, target: Path) -> None:
    """Write the graph with 8-bit weights; activations are quantised as they come."""
    root = logging.getLogger()
    root.addFilter(is_no_advice)
    try:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.removeFilter(is_no_advice)


def is_no_advice(record: logging.LogRecord) -> bool:
    """False for the advice to optimise a graph before it is quantised, of which only static
    quantisation has a benefit.
    """
    return "pre-processing before quantization" not in record.getMessage()


class OnnxClassifier:
    """An exported graph that runs, on as many threads as torch."""

    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.names = [port.name for port in self.session.get_inputs()]

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Inputs by name, of which those that the graph does not have are left out -> outputs by
        name.
        """
        names = [port.name for port in self.session.get_outputs()]
        given = {name: inputs[name] for name in self.names}
        outputs = map(np.asarray, self.session.run(names, given))
        return dict(zip(names, outputs, strict=True))
