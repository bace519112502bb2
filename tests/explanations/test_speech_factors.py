import numpy as np
import pytest

from processing.feature_extraction_decomp_ser import DecompSerFeatureExtractor
from processing.features import add_signals
from train_scripts.explanations.speech_factors import (
    BY_LETTERS,
    BY_SEGMENTS,
    class_factor,
    f0_factors,
    find_factors,
    level_db,
    speaking_rates,
    transcript_factor,
)


def contour(*semitones, per_step=10):
    """F0 in Hz around 100 Hz, unvoiced where None."""
    steps = [0.0 if s is None else 100 * 2 ** (s / 12) for s in semitones]
    return np.repeat(steps, per_step).astype(np.float32)


def test_f0_by_hand():
    rising = contour(*range(13))
    mean, width, direction = f0_factors([rising, rising[::-1], contour(0, 0), contour(None)])
    assert mean.values[1] == pytest.approx(12 * np.log2(100) + 6, abs=0.01)
    assert mean.values[0] - mean.values[2] == pytest.approx(6, abs=0.01)
    assert 10 < width.values[0] <= 12.01 and width.values[2] == 0
    assert direction.values[0] == pytest.approx(1, abs=0.01)
    assert direction.values[1] == pytest.approx(-1, abs=0.01)
    assert direction.known.tolist() == [True, True, False, False]
    assert mean.known.tolist() == [True, True, True, False]


def loudness(*levels_db, per_step=10):
    """A log-mel spectrogram of steps this far below the loudest."""
    return np.repeat([[1 + level / 100] * 80 for level in levels_db], per_step, axis=0)


def test_the_rate_counts_letters_of_speech_without_the_pauses_at_its_ends():
    mel = loudness(-60, -10, -50, 0, -31)  # 30 frames of speech
    f0_hz = contour(None, 0, None, None, 0)
    found = speaking_rates(["Ab, c!", "ABCDEF"], [mel, mel], [f0_hz, f0_hz], 0.01)
    assert found.definition.startswith(BY_LETTERS)
    assert found.values.tolist() == pytest.approx([3 / 0.3, 6 / 0.3])


def test_without_every_transcript_the_rate_counts_voiced_segments():
    contours = [contour(0, None, 0), contour(0, 0, 0), contour(None, None, None)]
    found = speaking_rates(["Abc", None, ""], [loudness(0, -5, 0)] * 3, contours, 0.01)
    assert found.definition.startswith(BY_SEGMENTS)
    assert found.values.tolist() == pytest.approx([2 / 0.3, 1 / 0.3, 0])


def test_faster_speech_has_a_higher_rate(corpus):
    pytest.importorskip("pyworld")
    from processing.audio_files import read_audio
    from processing.corpora.resynthesis import analyze, change_rate, synthesize

    extractor = DecompSerFeatureExtractor(f0_method="dio")
    speech = analyze(read_audio(corpus[0]["audio"]), 16000)
    sounds = [
        synthesize(change_rate(speech, lambda t, r=r: np.full_like(t, r))).astype(np.float32)
        for r in (0.8, 1.25)
    ]
    signals = extractor.extract(sounds)
    mels, contours = ([s[name] for s in signals] for name in ("mel", "f0_hz"))
    slow, fast = speaking_rates([corpus[0]["text"]] * 2, mels, contours, 0.016).values
    assert fast / slow == pytest.approx(1.25 / 0.8, rel=0.1)


def test_few_sentences_are_classes_and_many_are_characters():
    few = transcript_factor(["One.", "two", "ONE"] * 5 + [None])
    assert few.kind == "class" and few.classes == ["ONE", "TWO"] and few.known.sum() == 15
    many = transcript_factor([f"sentence {chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(60)])
    assert many.kind == "text" and many.values[0] == "SENTENCE AA"


def test_rare_classes_and_unknown_ones_are_left_out():
    found = class_factor("emotion", ["sad"] * 5 + ["happy"] * 5 + ["odd"] + [None])
    assert found.classes == ["happy", "sad"]
    assert found.known.sum() == 10 and not found.known[-2:].any()
    assert not class_factor("emotion", ["sad"] * 20).varies


def test_a_corpus_has_its_factors(corpus):
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    rows = add_signals(corpus, extractor, num_proc=1).with_format(
        "numpy", columns=["mel", "f0_hz"], output_all_columns=True
    )
    factors = {f.name: f for f in find_factors(rows, extractor.hop_length, 16000)}
    assert list(factors) == [
        "speaker", "transcript", "gender", "speaking_rate", "f0_mean", "f0_range", "f0_direction",
        "energy", "emotion",
    ]  # fmt: skip
    assert len(factors["speaker"].classes) == 4 and len(factors["transcript"].classes) == 3
    by_gender = [
        factors["f0_mean"].values[np.array(rows["gender"]) == g].mean() for g in ("female", "male")
    ]
    assert by_gender[0] - by_gender[1] > 3  # semitones
    by_emotion = {
        e: factors["energy"].values[np.array(rows["emotion"]) == e].mean() for e in ("angry", "sad")
    }
    assert by_emotion["angry"] > by_emotion["sad"] + 3  # dB


def test_level_of_a_sine_and_of_silence():
    sine = np.sin(2 * np.pi * 100 * np.arange(16000) / 16000).astype(np.float32)

    def audio(samples):
        from processing.audio_files import encode_flac

        return {"bytes": encode_flac(samples, sampling_rate=16000), "path": None}

    assert level_db(audio(0.5 * sine), 16000) == pytest.approx(-9.03, abs=0.02)
    assert np.isnan(level_db(audio(0 * sine), 16000))
