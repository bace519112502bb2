"""Flash attention, as far as it can be tested without a GPU: that the library dispatches to it,
what it is given of a padded batch, and that this is the same attention. Its kernels are stood in
for.
"""

import sys
from types import ModuleType

import pytest
import torch
from support.tiny_networks import random_batch, tiny_classifier
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import PreTrainedModel, modeling_flash_attention_utils

from modeling_decomp_ser import DecompSerForAudioClassification
from modeling_decomp_ser.speech_encoder import encoder_lengths

FLASH = "flash_attention_2"
PADDED, EQUAL = [20000, 9000, 1, 16000], [16000, 16000]


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
    """Plain attention in flash attention's layout, (B, T, heads, D)."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2)


class FlashAttention(ModuleType):
    """A package of this name; remembers what it was called with."""

    def __init__(self):
        super().__init__("flash_attn")
        self.__version__ = "2.8.3"
        self.called: list[list[int] | None] = []  # ends of the rows in the packed batch
        self.bert_padding = ModuleType("flash_attn.bert_padding")
        self.bert_padding.pad_input = modeling_flash_attention_utils._pad_input
        self.bert_padding.unpad_input = modeling_flash_attention_utils._unpad_input
        self.flash_attn_with_kvcache = None

    def flash_attn_func(self, q, k, v, *, causal=False, softmax_scale=None, dropout_p=0.0):
        self.called.append(None)
        return attend(q, k, v, softmax_scale)

    def flash_attn_varlen_func(
        self,
        q,
        k,
        v,
        *,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        causal=False,
        softmax_scale=None,
        dropout_p=0.0,
    ):
        assert not causal and torch.equal(cu_seqlens_q, cu_seqlens_k)
        ends = cu_seqlens_q.tolist()
        self.called.append(ends)
        rows = zip(ends[:-1], ends[1:], strict=True)
        parts = [attend(*(x[None, a:b] for x in (q, k, v)), softmax_scale)[0] for a, b in rows]
        return torch.cat(parts)


@pytest.fixture
def flash_attn(monkeypatch):
    package = FlashAttention()
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", package.bert_padding)
    available = modeling_flash_attention_utils
    monkeypatch.setattr(available, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(available, "_loaded_implementation", None)
    can_dispatch = PreTrainedModel._flash_attn_can_dispatch

    def dispatch(self, flash_attn_version, is_init_check=False):
        # what asks for a GPU is left out where a model is only being made
        return can_dispatch(self, flash_attn_version, is_init_check=True)

    monkeypatch.setattr(PreTrainedModel, "_flash_attn_can_dispatch", dispatch)
    # asks for the version of the package as it was installed
    monkeypatch.setattr(PreTrainedModel, "_flash_attn_import_error", lambda self, **_: None)
    return package


def saved(folder, **speech) -> str:
    tiny_classifier(speech=speech).save_pretrained(folder)
    return str(folder)


def loaded(folder: str, attention: str) -> DecompSerForAudioClassification:
    return DecompSerForAudioClassification.from_pretrained(folder, attn_implementation=attention)


@torch.no_grad()
@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("samples", [PADDED, EQUAL], ids=["padded", "equal"])
def test_flash_attention_is_given_the_valid_frames_alone(flash_attn, tmp_path, family, samples):
    folder = saved(tmp_path, model_type=family)
    model, plain = loaded(folder, FLASH), loaded(folder, "sdpa")
    assert model.speech_encoder.config._attn_implementation == FLASH
    batch = random_batch(samples, garbage=float("nan"))
    answer, expected = model(**batch), plain(**batch)
    lengths = encoder_lengths(model.config.speech_config, torch.tensor(samples))
    ends = [0, *lengths.cumsum(0).tolist()] if samples is PADDED else None
    # frames of all rows in one sequence, cut where each ends; nothing to cut without padding
    assert flash_attn.called == [ends] * model.config.speech_config.num_hidden_layers
    for name in ("logits", "loss", "speaker_logits", "reconstruction"):
        assert_close(answer[name], expected[name], atol=1e-5, rtol=1e-5)
    for i, length in enumerate(lengths):
        assert_close(
            answer.ctc_logits[i, :length], expected.ctc_logits[i, :length], atol=1e-5, rtol=1e-5
        )


def test_flash_attention_trains_as_the_default_does(flash_attn):
    batch = {**random_batch([20000, 9000]), "resampling_keys": torch.arange(2)}
    flash, plain = tiny_classifier().train(), tiny_classifier().train()
    flash.set_attn_implementation(FLASH)
    for model in (flash, plain):
        model(**batch).loss.backward()
    assert len(flash_attn.called) == flash.config.speech_config.num_hidden_layers
    for (name, a), b in zip(flash.named_parameters(), plain.parameters(), strict=True):
        assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


def test_without_the_package_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ImportError, match="FlashAttention2.*doesn't seem to be installed"):
        loaded(saved(tmp_path), FLASH)


def test_an_encoder_that_has_no_flash_attention_says_so(flash_attn, tmp_path):
    with pytest.raises(ValueError, match="WavLM"):
        loaded(saved(tmp_path, model_type="wavlm"), FLASH)
