"""Lossy codecs, there and back, by libsndfile, so that FFmpeg is not needed."""

import io

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from processing.corpora.schema import SAMPLING_RATE

TELEPHONE_RATE = 8000

# What libsndfile's compression levels 0 and 1 mean, in kbit/s.
MP3_BITRATES = (160.0, 8.0)
OPUS_BITRATES = (256.0, 6.0)
HIGHEST_LEVEL = 0.999
"""Of MP3, which refuses level 1."""


def mp3(waveform: Tensor, kilobits: float) -> Tensor:
    """MPEG-2 layer III at a constant rate, in kbit/s."""
    most, least = MP3_BITRATES
    level = min((most - kilobits) / (most - least), HIGHEST_LEVEL)
    options = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    return coded(waveform, SAMPLING_RATE, compression_level=level, **options)


def opus(waveform: Tensor, kilobits: float) -> Tensor:
    """Opus at a rate that varies about this one, in kbit/s."""
    most, least = OPUS_BITRATES
    level = (most - kilobits) / (most - least)
    return coded(waveform, SAMPLING_RATE, compression_level=level, format="OGG", subtype="OPUS")


def gsm(waveform: Tensor) -> Tensor:
    """GSM 06.10, the full-rate codec of mobile telephones: 13 kbit/s at 8 kHz."""
    return coded(waveform, TELEPHONE_RATE, format="WAV", subtype="GSM610")


def a_law(waveform: Tensor) -> Tensor:
    """G.711 A-law, the codec of telephone exchanges: 64 kbit/s at 8 kHz."""
    return coded(waveform, TELEPHONE_RATE, format="WAV", subtype="ALAW")


def coded(waveform: Tensor, rate: int, **options) -> Tensor:
    """Encode (S,) at a rate, in Hz, and decode it; what a codec adds before or after stays."""
    samples = np.clip(waveform.cpu().numpy(), -1, 1)
    encoded = io.BytesIO()
    soundfile.write(encoded, soxr.resample(samples, SAMPLING_RATE, rate), rate, **options)
    encoded.seek(0)
    decoded, own_rate = soundfile.read(encoded, dtype="float32")
    return torch.from_numpy(soxr.resample(decoded, own_rate, SAMPLING_RATE)).to(waveform)
