"""Which numbers a model can be computed with on this machine."""

import logging

import torch
import torch.nn.functional as F
from torch import nn

logger = logging.getLogger(__name__)

LARGEST_ERROR = 0.05
"""Of a convolution in bfloat16, relative to its norm; rounding alone makes .003."""


def can_use_bfloat16(model: nn.Module, asked_by: str) -> bool:
    """Whether the device computes in bfloat16 itself, where others emulate it and take longer, and
    computes the convolutions of this model right; if not, a warning says why float32 is used.

    Args:
        model: what is to be computed.
        asked_by: the option or setting, for the warning.
    """
    if not has_bfloat16():
        logger.warning("%s: this machine has no bfloat16, float32 is used.", asked_by)
        return False
    if not torch.cuda.is_available() and not convolves_right(model):
        logger.warning(
            "%s: torch %s computes a convolution of this model wrongly in bfloat16 on this "
            "processor, float32 is used.",
            asked_by,
            torch.__version__,
        )
        return False
    return True


def has_bfloat16() -> bool:
    """Whether the first GPU, or the processor where there is none, computes in bfloat16 itself."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def convolves_right(model: nn.Module) -> bool:
    """Whether the grouped convolutions of a model are right in bfloat16 on the processor.

    With torch 2.14 on processors with AMX those of 4 to 12 channels a group and a kernel of 16 give
    something else altogether (no error, relative difference above 1), as in wav2vec2's positional
    convolution at the sizes `tiny` and `small`; that of wav2vec2-base, of 48, is right.
    """
    generator = torch.Generator().manual_seed(0)
    for layer in model.modules():
        if not isinstance(layer, nn.Conv1d) or layer.groups == 1:
            continue
        x = torch.randn(1, layer.in_channels, 64, generator=generator)
        kernel = torch.randn(layer.weight.shape, generator=generator)
        around, groups = layer.kernel_size[0] // 2, layer.groups
        found = F.conv1d(x.bfloat16(), kernel.bfloat16(), padding=around, groups=groups).float()
        expected = F.conv1d(x, kernel, padding=around, groups=groups)
        if (found - expected).norm() > LARGEST_ERROR * expected.norm():
            return False
    return True
