import importlib.util
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_decomp_ser.speech_activity import (
    FRAME_SECONDS,
    load_detector,
    speech_probabilities,
    speech_spans,
)

needs_detector = pytest.mark.skipif(
    importlib.util.find_spec("silero_vad") is None,
    reason="silero-vad is not installed (decomp-ser[vad])",
)


@pytest.fixture(scope="module")
def spoken(corpus):
    """Half a second of silence, a sentence, a second of silence, a sentence."""
    from processing.audio_files import read_audio

    one, other = (read_audio(corpus[i]["audio"]) for i in (0, 20))
    quiet = np.zeros(16000, np.float32)
    return np.concatenate([quiet[:8000], one, quiet, other]), len(one), len(other)


@needs_detector
def test_probabilities_are_those_of_the_package(spoken):
    import silero_vad

    threads = torch.get_num_threads()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = silero_vad.load_silero_vad()
    torch.set_num_threads(threads)
    waveform = spoken[0][: len(spoken[0]) // 512 * 512]
    with torch.no_grad():
        frames = torch.from_numpy(waveform).split(512)
        expected = [package(frame, 16000).item() for frame in frames]
    found = speech_probabilities([waveform[:1000], waveform[1000:]])
    assert np.abs(found - expected).max() < 1e-4
    assert max(expected) > 0.9 > 0.1 > min(expected)


@needs_detector
def test_blocks_of_any_size_are_heard_as_one(spoken):
    long = np.tile(spoken[0], 8)  # longer than what is heard at once
    whole = speech_probabilities([long])
    pieces = speech_probabilities(np.array_split(long, 37))
    assert len(whole) == -(-len(long) // 512)
    assert np.abs(whole - pieces).max() < 1e-4


@needs_detector
def test_two_sentences_are_two_spans(spoken):
    waveform, one, other = spoken
    spans = speech_spans(speech_probabilities([waveform]), len(waveform) / 16000, 30.0)
    assert len(spans) == 2
    expected = [(0.5, 0.5 + one / 16000), (1.5 + one / 16000, 1.5 + (one + other) / 16000)]
    for span, limits in zip(spans, expected, strict=True):
        assert span == pytest.approx(limits, abs=0.4)


@needs_detector
def test_no_thread_is_lost_and_nothing_is_drawn():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    load_detector.__wrapped__()
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"decomp-ser\[vad\]"):
        load_detector.__wrapped__()


@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.6, 1.0]), min_size=1, max_size=400),
    st.floats(0.6, 12.0),
)
def test_spans_are_in_order_apart_and_no_longer_than_asked(probabilities, longest):
    seconds = len(probabilities) * FRAME_SECONDS
    spans = speech_spans(np.array(probabilities), seconds, longest)
    limits = [t for span in spans for t in span]
    assert limits == sorted(limits)
    assert all(0 <= a < b <= seconds + 1e-3 and b - a <= longest + 1e-3 for a, b in spans)
    # all that is surely speech, of a quarter of a second and more, is in a span
    run = 0
    for frame, probability in enumerate([*probabilities, 0.0]):
        if probability >= 0.5:
            run += 1
            continue
        if run >= 8:
            middle = (frame - run / 2) * FRAME_SECONDS
            assert any(a <= middle <= b for a, b in spans)
        run = 0


def test_long_speech_is_cut_at_its_pause():
    probabilities = np.ones(500)
    probabilities[240:246] = 0.1  # 0.19 s: no pause that ends a span
    spans = speech_spans(probabilities, 16.0, 10.0)
    assert len(spans) == 2
    assert 240 * FRAME_SECONDS <= spans[0][1] <= 246 * FRAME_SECONDS
    assert spans[0][1] == pytest.approx(spans[1][0])
