import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from support.tiny_networks import FAMILIES, HOP, random_batch
from support.tiny_pipeline import trained_classifier

from processing import DecompSerFeatureExtractor
from train_scripts.exporting.onnx_graph import (
    OnnxClassifier,
    describe_graph,
    input_ports,
    quantize_weights,
    random_inputs,
    unsettled_branches,
    write_description,
    write_graph,
)
from train_scripts.exporting.onnx_parity import as_classifier, largest_difference

SPEECH = ["input_values", "attention_mask"]
SIGNALS = ["mel", "log_f0", "voiced", "frame_mask"]
SPECTRUM = ["mel", "frame_mask"]
INPUTS = {
    "table3_m1": SPEECH,
    "table3_m2": SPEECH,
    "table3_m4": SPEECH + SPECTRUM,
    "table3_ours": SPEECH + SIGNALS,
    "table2_pitch": SPEECH + SIGNALS,
    "table2_content": SPEECH + SPECTRUM,
    "table2_rhythm": SPEECH + SPECTRUM,
    "table2_timbre": SPEECH + SPECTRUM,
    "encoders_alone": SIGNALS,
}
OTHER_LAYERS = {
    "pooling": "statistics",
    "mel_normalization": "utterance",
    "timbre_pooling": "utterance",
    "conv_stride": 2,
    "temperature": 1.7,
}
# The layers of these are in the others too.
REPEATED = ("table3_m2", "table2_content", "table2_timbre")
MODELS = [
    *(pytest.param(v, {}, marks=[pytest.mark.slow] if v in REPEATED else [], id=v) for v in INPUTS),
    ("table3_ours", OTHER_LAYERS),
    *(
        ("table3_m1", {"speech": FAMILIES[family]})
        for family in ("wav2vec2-large", "hubert-batch-norm", "wavlm", "data2vec-audio")
    ),
]


@pytest.mark.parametrize(("variant", "fields"), MODELS)
def test_a_graph_answers_as_its_model_at_any_length_and_batch_size(
    variant, fields, tmp_path, caplog
):
    model = trained_classifier(variant, **fields)
    write_graph(model, tmp_path / "model.onnx", hop_length=HOP)
    exported = OnnxClassifier(tmp_path / "model.onnx")
    assert exported.names == INPUTS[variant]
    assert largest_difference(model, exported, hop_length=HOP) < 1e-5
    assert "a branch was fixed" not in caplog.text


@pytest.fixture(scope="module")
def model():
    return trained_classifier("table3_ours", temperature=1.5)


@pytest.fixture(scope="module")
def path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "model.onnx"
    write_graph(model, path, hop_length=HOP)
    return path


def test_a_graph_reads_no_padding(path):
    exported = OnnxClassifier(path)
    lengths = [9000, 30000, 700]
    clean, dirty = (
        {k: v.numpy() for k, v in random_batch(lengths, labelled=False, garbage=g).items()}
        for g in (0.0, 50.0)
    )
    for name, value in exported(clean).items():
        np.testing.assert_allclose(exported(dirty)[name], value, atol=1e-6)


def test_probabilities_are_tempered_and_shares_sum_to_the_logits(path, model):
    inputs = random_inputs(input_ports(model), (12345, 6789), hop_length=HOP)
    found = OnnxClassifier(path)(inputs)
    tempered = torch.from_numpy(found["logits"] / 1.5).softmax(-1).numpy()
    np.testing.assert_allclose(found["probabilities"], tempered, atol=1e-6)
    np.testing.assert_allclose(found["component_shares"].sum(1), found["logits"], atol=1e-5)


def test_inputs_of_a_check_are_in_the_ranges_of_real_ones(model):
    inputs = random_inputs(input_ports(model), (1600, 160), hop_length=HOP)
    assert {name: value.shape for name, value in inputs.items()} == {
        "input_values": (2, 1600),
        "attention_mask": (2, 1600),
        "mel": (2, 7, 80),
        "log_f0": (2, 7),
        "voiced": (2, 7),
        "frame_mask": (2, 7),
    }
    assert inputs["attention_mask"].sum(1).tolist() == [1600, 160]
    assert inputs["frame_mask"].sum(1).tolist() == [7, 1]
    assert inputs["mel"].min() >= 0 and inputs["mel"].max() <= 1
    assert not inputs["mel"][1, 1:].any() and not inputs["voiced"][1, 1:].any()


def test_a_file_says_itself_what_it_reads(path, model, tmp_path):
    described = tmp_path / "model.onnx"
    described.write_bytes(path.read_bytes())
    description = describe_graph(model, DecompSerFeatureExtractor(f0_method="dio"))
    write_description(described, description)
    exported = OnnxClassifier(described)
    metadata = exported.session.get_modelmeta().custom_metadata_map
    assert {name: json.loads(value) for name, value in metadata.items()} == description
    assert description["temperature"] == 1.5
    assert description["feature_extractor"]["f0_method"] == "dio"
    for port, found in zip(description["inputs"], exported.session.get_inputs(), strict=True):
        assert (port["name"], port["shape"]) == (found.name, found.shape)
    for port, found in zip(description["outputs"], exported.session.get_outputs(), strict=True):
        assert (port["name"], port["shape"]) == (found.name, found.shape)


def test_eight_bits_are_near_and_leave_no_product_in_float32(path, model, tmp_path, caplog):
    quantize_weights(path, tmp_path / "int8.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLSTM", "Conv"} <= kinds
    assert not {"LSTM", "Gemm", "ConvInteger"} & kinds
    assert caplog.text == ""
    inputs = random_inputs(input_ports(model), (40000,), hop_length=HOP)
    exact, near = as_classifier(model)(inputs), OnnxClassifier(tmp_path / "int8.onnx")(inputs)
    difference = np.abs(near["logits"] - exact["logits"]).max()
    assert 0 < difference < 0.3


def test_a_branch_that_may_be_frozen_is_told():
    class Branching(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] > 3 else x

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.jit.trace(Branching(), torch.zeros(5), check_trace=False)
    (warning,) = unsettled_branches(caught)
    assert warning.filename == __file__
