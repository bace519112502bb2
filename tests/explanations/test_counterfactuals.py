import types

import numpy as np
import pytest
import torch
from torch import nn

from processing import DecompSerFeatureExtractor
from processing.corpora.resynthesis import analyze
from train_scripts.explanations.counterfactuals import (
    ANOTHER_VOICE,
    FASTER,
    LONGER_TRACT,
    SEMITONES,
    SHORTER_TRACT,
    UNCHANGED,
    ask,
    counterfactuals,
    flatten_pitch,
    list_changes,
    mean_spectrum,
    resynthesize,
    take_spectrum,
)

RATE = 16000


def vowel(f0_hz=120.0, formants=(700, 1200, 2600), seconds=0.8, glide=0.3) -> np.ndarray:
    """A vowel by impulses through resonators, its F0 gliding by `glide` octaves; float32 (S,)."""
    from scipy.signal import lfilter

    octaves = glide * np.linspace(-0.5, 0.5, int(seconds * RATE))
    phase = np.cumsum(f0_hz * 2**octaves / RATE)
    wave = np.diff(np.floor(phase), prepend=0.0)
    for formant in formants:
        radius = np.exp(-np.pi * 90 / RATE)
        pole = radius * np.exp(2j * np.pi * formant / RATE)
        wave = lfilter([1.0], [1, -2 * pole.real, radius**2], wave)
    return (0.1 * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


@pytest.fixture(scope="module")
def speech():
    return analyze(vowel(), RATE)


@pytest.fixture(scope="module")
def changed(speech):
    """The vocoder parameters that each change is found to have after it has become sound."""
    voice = analyze(vowel(220, (500, 1700, 3000)), RATE)
    return {
        name: analyze(resynthesize(vowel(), change(speech)), RATE)
        for name, change in list_changes(speech, voice).items()
    }


def semitones_to(speech, other) -> float:
    return 12 * (other.mean_log_f0 - speech.mean_log_f0) / np.log(2)


def strongest_peak_hz(speech) -> float:
    return float(speech.frequencies_hz[mean_spectrum(speech).argmax()])


def test_resynthesis_alone_changes_neither_pitch_nor_duration_nor_formants(speech, changed):
    same = changed[UNCHANGED]
    assert abs(semitones_to(speech, same)) < 0.3
    assert abs(len(same.f0_hz) - len(speech.f0_hz)) <= 2
    assert abs(np.log2(strongest_peak_hz(same) / strongest_peak_hz(speech))) < 0.08


def test_flat_pitch_is_a_monotone_at_the_same_level(speech, changed):
    flat = changed["flat pitch"]
    assert abs(semitones_to(speech, flat)) < 0.5
    # half of the frames, so that what the tracker errs at the ends does not count
    spreads = [np.subtract(*np.percentile(x.log_f0[x.voiced], [75, 25])) for x in (speech, flat)]
    assert spreads[0] > 0.05 and spreads[1] < 0.003


@pytest.mark.parametrize(("direction", "sign"), [("up", 1), ("down", -1)])
def test_a_shift_moves_the_level_and_keeps_the_contour(speech, changed, direction, sign):
    shifted = changed[f"pitch {SEMITONES:g} semitones {direction}"]
    assert semitones_to(speech, shifted) == pytest.approx(sign * SEMITONES, abs=0.4)
    spreads = [x.log_f0[x.voiced].std() for x in (speech, shifted)]
    assert spreads[1] == pytest.approx(spreads[0], rel=0.2)


def test_faster_speech_is_shorter_at_the_same_pitch(speech, changed):
    fast = changed[f"{FASTER:g} times as fast"]
    assert len(speech.f0_hz) / len(fast.f0_hz) == pytest.approx(FASTER, rel=0.04)
    assert abs(semitones_to(speech, fast)) < 0.4


@pytest.mark.parametrize(
    ("name", "factor"),
    [("shorter vocal tract", SHORTER_TRACT), ("longer vocal tract", LONGER_TRACT)],
)
def test_another_tract_moves_the_formants_and_not_the_pitch(speech, changed, name, factor):
    found = strongest_peak_hz(changed[name]) / strongest_peak_hz(speech)
    assert found == pytest.approx(factor, rel=0.05)
    assert abs(semitones_to(speech, changed[name])) < 0.4


def test_another_speakers_spectrum_is_that_speakers_and_the_pitch_stays(speech, changed):
    voice = analyze(vowel(220, (500, 1700, 3000)), RATE)
    taken = take_spectrum(speech, voice)
    np.testing.assert_allclose(mean_spectrum(taken), mean_spectrum(voice))
    assert not np.allclose(mean_spectrum(speech), mean_spectrum(voice), atol=0.5)
    heard = strongest_peak_hz(changed[ANOTHER_VOICE])
    assert heard == pytest.approx(strongest_peak_hz(voice), rel=0.1)
    assert abs(semitones_to(speech, changed[ANOTHER_VOICE])) < 0.5


def test_every_change_is_as_loud_as_the_original(speech):
    waveform = vowel()
    for change in list_changes(speech).values():
        level = np.sqrt(np.mean(resynthesize(waveform, change(speech)) ** 2))
        assert level == pytest.approx(0.1, rel=1e-3)


class PitchListener(nn.Module):
    """A planted model: low speech is 'sad', high speech 'happy', nothing else matters."""

    device = torch.device("cpu")
    config = types.SimpleNamespace(id2label={0: "sad", 1: "happy"}, temperature=1.0)

    def forward(self, log_f0, voiced, **inputs):
        height = 40 * (log_f0[voiced].mean() - 0.5)
        return types.SimpleNamespace(logits=torch.stack([-height, height])[None])


def test_a_planted_model_that_hears_the_level_of_pitch_is_moved_by_that_alone():
    extractor = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="global", f0_global_stats=(np.log(120.0), 0.3)
    )
    answers = {
        c.name: c.probabilities["happy"]
        for c in counterfactuals(PitchListener(), extractor, vowel(), vowel(220))
    }
    low, high = (f"pitch {SEMITONES:g} semitones {way}" for way in ("down", "up"))
    assert next(iter(answers)) == UNCHANGED
    assert answers[high] > 0.9 and answers[low] < 0.1
    for name in set(answers) - {low, high}:
        assert answers[name] == pytest.approx(answers[UNCHANGED], abs=0.15)


@pytest.mark.parametrize("num_samples", [400, 401, 4000])
def test_silence_and_the_shortest_clips_have_no_counterfactual_of_pitch(num_samples):
    class Indifferent(PitchListener):
        def forward(self, **inputs):
            return types.SimpleNamespace(logits=torch.zeros(1, 2))

    found = counterfactuals(
        Indifferent(), DecompSerFeatureExtractor(f0_method="dio"), np.zeros(num_samples, np.float32)
    )
    assert len(found) == 5 and not any("pitch" in c.name for c in found)
    assert all(np.isfinite(c.waveform).all() and len(c.waveform) >= 320 for c in found)


def test_changes_leave_the_speech_as_it_was(speech):
    before = speech.f0_hz.copy(), speech.log_envelope.copy()
    for change in list_changes(speech, speech).values():
        change(speech)
    assert (speech.f0_hz == before[0]).all() and (speech.log_envelope == before[1]).all()


def test_an_answer_is_a_distribution_over_the_models_labels():
    extractor = DecompSerFeatureExtractor(
        f0_method="dio", f0_stats="global", f0_global_stats=(np.log(110.0), 0.3)
    )
    answer = ask(PitchListener(), extractor, vowel())
    assert list(answer) == ["sad", "happy"] and sum(answer.values()) == pytest.approx(1)
    mild = PitchListener()
    mild.config = types.SimpleNamespace(id2label={0: "sad", 1: "happy"}, temperature=2.0)
    calibrated = ask(mild, extractor, vowel())
    odds = [np.log(x["happy"] / x["sad"]) for x in (answer, calibrated)]
    assert odds[1] == pytest.approx(odds[0] / 2, abs=1e-3) and abs(odds[0]) > 0.5


def test_flattening_keeps_what_is_unvoiced(speech):
    assert (flatten_pitch(speech).voiced == speech.voiced).all()
