import numpy as np
import pytest
import soxr
import torch
from support.copied_sounds import RATE, encode, rows_of, utterance

from processing.audio_files import encode_flac
from processing.copies import find_copies, fingerprint_audio
from processing.landmarks import find_landmarks
from train_scripts.corruptions.codecs import gsm
from train_scripts.corruptions.effects import change_speed, telephone

COPIES = {
    "quieter": lambda w: encode(0.25 * w),
    "louder and clipped": lambda w: encode(3 * w),
    "0.1 s off the start": lambda w: encode(w[1600:]),
    "0.1 s off the end": lambda w: encode(w[:-1600]),
    "0.1 s off both, at an odd sample": lambda w: encode(w[1607:-1603]),
    "telephone rate": lambda w: encode(soxr.resample(w, RATE, 8000), 8000),
    "CD rate": lambda w: encode(soxr.resample(w, RATE, 44100), 44100),
    "Vorbis": lambda w: encode(w, file_format="OGG", subtype="VORBIS"),
    "MP3": lambda w: encode(w, file_format="MP3", subtype="MPEG_LAYER_III"),
    "telephone band": lambda w: encode(telephone(torch.from_numpy(w)).numpy()),
    "the middle two thirds": lambda w: encode(w[len(w) // 6 : -len(w) // 6]),
    "1 % faster": lambda w: encode(change_speed(torch.from_numpy(w), 1).numpy()),
    "9 % slower": lambda w: encode(change_speed(torch.from_numpy(w), -9).numpy()),
    "GSM": lambda w: encode(gsm(torch.from_numpy(w)).numpy()),
    "all at once": lambda w: encode(
        soxr.resample(0.3 * w[1607:], RATE, 8000), 8000, "MP3", "MPEG_LAYER_III"
    ),
}


@pytest.fixture(scope="module")
def originals():
    return {f"clip{k:03d}": utterance(k) for k in range(60)}


@pytest.mark.parametrize("change", COPIES)
def test_planted_copies_are_found_and_nothing_else(originals, change):
    planted = {f"copy{k:03d}": COPIES[change](originals[f"clip{k:03d}"]) for k in range(20)}
    encoded = {name: encode(waveform) for name, waveform in originals.items()} | planted
    found = find_copies(fingerprint_audio(rows_of(encoded)))
    expected = {(f"clip{k:03d}", f"copy{k:03d}") for k in range(20)}
    pairs = {(a, b) for a, b, _ in found}
    assert pairs <= expected
    assert len(pairs) >= 19  # 95 %
    assert all(agreement < 1 for _, _, agreement in found)


def test_identical_samples_agree_fully_whatever_the_format(originals):
    waveform = originals["clip000"]
    integers = np.round(waveform * 32768).astype(np.int16)
    encoded = {
        "b-flac": encode_flac(waveform),
        "a-wav": encode(integers),
        "other": encode(originals["clip001"]),
    }
    assert find_copies(fingerprint_audio(rows_of(encoded))) == [("a-wav", "b-flac", 1.0)]


def test_silent_clips_are_copies_only_if_identical():
    encoded = {
        "a": encode(np.zeros(8000)),
        "b": encode(np.zeros(8000)),
        "c": encode(np.zeros(9000)),
    }
    assert find_copies(fingerprint_audio(rows_of(encoded))) == [("a", "b", 1.0)]


@pytest.mark.parametrize("number", [0, 1])
def test_a_corpus_of_no_or_one_clip_has_no_copies(number):
    encoded = {name: encode(utterance(0)) for name in ["a"][:number]}
    assert find_copies(fingerprint_audio(rows_of(encoded))) == []


def test_landmarks_of_a_tone_lie_on_its_frequency_and_move_with_it():
    time = np.arange(RATE) / RATE
    bursts = np.sin(2 * np.pi * 1000 * time) * (np.sin(2 * np.pi * 4 * time) > 0)
    landmarks = find_landmarks(bursts)
    assert np.abs(landmarks[:, 1] * 4000 / 256 - 1000).min() < 3
    later = find_landmarks(np.concatenate([np.zeros(RATE // 2), bursts]))
    assert later[:, 0].min() - landmarks[:, 0].min() == pytest.approx(125, abs=2)


def test_two_takes_of_one_melody_are_no_copies():
    """The same sentence again: alike in pitch and formants, but not to the millisecond."""
    takes = {}
    for k in range(10):
        take = utterance(k)
        takes[f"a{k}"] = encode(take)
        warped = np.interp(np.linspace(0, 1, 19000) ** 1.1, np.linspace(0, 1, len(take)), take)
        takes[f"b{k}"] = encode(warped)
    assert find_copies(fingerprint_audio(rows_of(takes))) == []
