import math

import numpy as np
import pytest
import torch

from processing.corpora.schema import SAMPLING_RATE
from train_scripts.baselines.frame_features import (
    FFT_SIZE,
    HOP,
    NUM_CHROMA,
    NUM_MFCC,
    WINDOW,
    chroma,
    chroma_filters,
    frame_features,
    power_spectrum,
)


def tone(hertz, seconds=1.0):
    times = torch.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    return torch.sin(2 * math.pi * hertz * times)


def test_a_frame_lasts_as_long_as_at_48_kilohertz():
    assert pytest.approx(4096 / 48_000, abs=1e-4) == WINDOW / SAMPLING_RATE
    assert pytest.approx(2048 / 48_000, abs=1e-4) == HOP / SAMPLING_RATE


@pytest.mark.parametrize("octave", [4, 5, 6])
@pytest.mark.parametrize("pitch_class", range(12))
def test_a_pure_tone_is_of_its_pitch_class(pitch_class, octave):
    hertz = 440.0 * 2 ** ((pitch_class - 9) / 12 + octave - 4)
    found = chroma(power_spectrum(tone(hertz)))[3:-3]
    assert (found.argmax(-1) == pitch_class).all()
    assert torch.allclose(found.amax(-1), torch.tensor(1.0))
    far = [(pitch_class + k) % 12 for k in range(3, 10)]
    assert found[:, far].max() < 0.35


def test_a_tone_between_two_classes_counts_for_both_alike():
    found = chroma(power_spectrum(tone(1760.0 * 2 ** (0.5 / 12))))[3:-3].mean(0)
    assert found[9] == pytest.approx(found[10].item(), abs=0.1)
    assert found[[3, 4]].max() < 0.1


def test_the_filters_are_those_of_their_definition():
    filters = chroma_filters().numpy()
    for k in (20, 75, 141, 700):
        hertz = k * SAMPLING_RATE / FFT_SIZE
        width = max(1.0, 12 * math.log2((k + 1) / k))
        weights = []
        for pitch_class in range(NUM_CHROMA):
            notes = [440 * 2 ** ((pitch_class - 9) / 12 + o) for o in range(-8, 9)]
            apart = min(abs(12 * math.log2(hertz / note)) for note in notes)
            weights.append(math.exp(-0.5 * (2 * apart / width) ** 2))
        norm = math.sqrt(sum(w * w for w in weights))
        octave = math.exp(-0.5 * ((math.log2(hertz / 27.5) - 5) / 2) ** 2)
        expected = [w / norm * octave for w in weights]
        assert np.allclose(filters[k], expected, atol=1e-5)
    assert filters[0].max() == 0


def test_silence_has_no_pitch_class_and_no_nan():
    found = frame_features(torch.zeros(SAMPLING_RATE))
    assert found.shape == (SAMPLING_RATE // HOP + 1, NUM_MFCC + NUM_CHROMA)
    assert torch.isfinite(found).all() and found[:, NUM_MFCC:].abs().max() == 0


@pytest.mark.parametrize("samples", [1, HOP - 1, HOP, HOP + 1, WINDOW, 16_001])
def test_every_length_has_its_frames(samples):
    found = frame_features(
        tone(300.0)[:samples].clone() if samples <= 16_000 else tone(300.0, 1.1)[:samples]
    )
    assert found.shape == (samples // HOP + 1, 46)


def test_cepstrum_is_a_cosine_transform_of_decibels():
    generator = torch.Generator().manual_seed(0)
    power = power_spectrum(torch.randn(8000, generator=generator))
    from train_scripts.baselines.frame_features import cepstrum, mel_bands

    bands = power.double().numpy() @ mel_bands().double().numpy()
    decibels = 10 * np.log10(np.maximum(bands, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    n = decibels.shape[1]
    k, m = np.arange(NUM_MFCC)[:, None], np.arange(n)
    basis = np.cos(np.pi / n * (m + 0.5) * k) * np.sqrt(2 / n)
    basis[0] /= np.sqrt(2)
    assert np.allclose(cepstrum(power).numpy(), decibels @ basis.T, atol=1e-2)


def test_louder_speech_changes_the_first_coefficient_alone():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8000, generator=generator)
    quiet, loud = frame_features(0.1 * noise), frame_features(noise)
    assert torch.allclose(quiet[2:-2, 1:], loud[2:-2, 1:], atol=1e-2)
    assert (loud[:, 0] - quiet[:, 0]).min() > 100  # 20 dB in 128 bands
