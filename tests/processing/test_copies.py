import numpy as np
import pytest
import soxr
import torch
from support.copied_sounds import RATE, encode, rows_of, utterance

from processing.audio_files import encode_flac
from processing.copies import Fingerprints, digest_audio, find_copies, fingerprint_audio
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


def test_a_copy_with_its_sign_turned_is_one(originals):
    waveform = originals["clip000"]
    found = find_copies(fingerprint_audio(rows_of({"a": encode(waveform), "b": encode(-waveform)})))
    assert [pair[:2] for pair in found] == [("a", "b")]
    assert 0.99 < found[0][2] < 1


def fingerprints(waveforms, digests=None, spectra=None):
    ids = [f"{k:02d}" for k in range(len(waveforms))]
    spectra = np.zeros((len(ids), 32)) if spectra is None else spectra
    waveforms = [w.astype(np.float16) for w in waveforms]
    return Fingerprints(ids, digests or ids, spectra, waveforms, [np.zeros((0, 2))] * len(ids))


@pytest.mark.parametrize(("correlation", "copies"), [(0.72, 1), (0.68, 0)])
def test_clips_are_copies_from_a_correlation_of_seven_tenths_on(correlation, copies):
    noise = np.random.default_rng(0).standard_normal((2, 4000))
    a, b = (noise / np.linalg.norm(noise, axis=1, keepdims=True)).tolist()
    b = np.array(b) - np.dot(a, b) * np.array(a)
    b /= np.linalg.norm(b)
    mixed = correlation * np.array(a) + np.sqrt(1 - correlation**2) * b
    found = find_copies(fingerprints([mixed, np.array(a)]))
    assert len(found) == copies
    if copies:
        assert found[0][:2] == ("00", "01")
        assert found[0][2] == pytest.approx(correlation, abs=2e-3)
        assert found[0][2] == round(found[0][2], 4)


def test_equal_samples_are_paired_however_many_there_are():
    # more than each clip is compared with by its spectrum; 1.0 whatever the correlation
    number = 16
    noise = np.random.default_rng(0).standard_normal((number, 64))
    spectra = np.arange(number)[:, None] * np.ones(32)
    found = find_copies(fingerprints(list(noise), ["same"] * number, spectra))
    assert found == [(f"{a:02d}", f"{b:02d}", 1.0) for a in range(number) for b in range(a + 1, 16)]


def test_a_changed_copy_is_looked_for_among_the_twelve_most_similar_spectra_alone():
    sound = np.zeros(64)
    sound[3] = 1.0
    spectra = np.array([0.0, *np.linspace(1, 2, 12), 3.0])[:, None] * np.ones(32)
    noise = list(np.random.default_rng(0).standard_normal((12, 64)) / 100)
    # the last clip is the 13th of the first, which is not among the last's nearest either
    assert find_copies(fingerprints([sound, *noise, sound], spectra=spectra)) == []
    nearer = fingerprints([sound, *noise[1:], sound], spectra=np.delete(spectra, 5, axis=0))
    assert find_copies(nearer) == [("00", "12", 0.9999)]


@pytest.mark.parametrize(("a", "b", "equal"), [(0.99999, 1.0, True), (0.0, 1e-4, False)])
def test_digests_are_of_samples_at_16_bits(a, b, equal):
    clips = {
        name: encode(np.full(400, level), subtype="FLOAT") for name, level in (("a", a), ("b", b))
    }
    digests = digest_audio(rows_of(clips))
    assert (digests["a"] == digests["b"]) == equal
