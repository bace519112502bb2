import pytest
import torch
from transformers import set_seed

from modeling_decomp_ser import DecompSerForAudioClassification
from processing.errors import InputError
from train_scripts.runs.settings import build_config, load_settings
from train_scripts.training.lora import add_adapters, merge_adapters


def build(preset="table3_m1"):
    set_seed(0)
    return DecompSerForAudioClassification(build_config(load_settings(preset, ["size=tiny"])))


def answer(model):
    waveform = torch.randn(2, 8000, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.eval()(input_values=waveform).logits


def test_only_adapters_and_the_other_parts_are_trained():
    model = build()
    add_adapters(model, 4)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trained if "lora_" not in n} == {"emotion_head.weight", "emotion_head.bias"}
    # two layers with four projections of two matrices each
    assert sum("lora_" in n for n in trained) == 2 * 4 * 2


def test_merged_adapters_answer_as_before_and_leave_a_plain_model():
    model = build()
    names = set(model.state_dict())
    add_adapters(model, 4)
    untouched = answer(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(2))
    adapted = answer(model)
    assert (adapted - untouched).abs().max() > 1e-3
    merge_adapters(model)
    torch.testing.assert_close(answer(model), adapted, rtol=0, atol=1e-5)
    assert set(model.state_dict()) == names


def test_a_model_without_speech_encoder_has_nothing_to_adapt():
    with pytest.raises(InputError, match="lora_rank=4: this preset has no speech encoder"):
        add_adapters(build("encoders_alone"), 4)
