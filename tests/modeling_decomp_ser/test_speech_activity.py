import importlib.machinery
import importlib.util
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_decomp_ser import speech_activity
from modeling_decomp_ser.speech_activity import (
    FRAME_SECONDS,
    cut_long,
    detector_is_installed,
    joined,
    load_detector,
    speech_probabilities,
    speech_spans,
    spoken_frames,
    whole_frames,
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
def test_what_was_heard_before_is_remembered(spoken, monkeypatch):
    whole = speech_probabilities([spoken[0]])
    monkeypatch.setattr(speech_activity, "BLOCK_FRAMES", 8)
    assert np.abs(whole - speech_probabilities([spoken[0]])).max() < 1e-4


@needs_detector
def test_the_detector_is_ready_to_hear_and_no_more():
    detector = load_detector()
    assert load_detector() is detector and not detector.training
    assert not any(p.requires_grad or p.is_meta for p in detector.parameters())
    probabilities = speech_probabilities([np.zeros(513)])
    assert probabilities.shape == (2,) and probabilities.dtype == np.float32
    empty = speech_probabilities([])
    assert empty.shape == (0,) and empty.dtype == np.float32


@needs_detector
def test_a_single_frame_is_heard_without_a_warning():
    asked = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert len(speech_probabilities([np.zeros(512)])) == 1
    finally:
        torch.set_warn_always(asked)


@needs_detector
def test_what_is_not_finite_is_heard_as_silence(spoken):
    waveform = spoken[0][8000:24000].copy()
    waveform[4000:4003] = 0.0
    expected = speech_probabilities([waveform])
    waveform[4000:4003] = np.nan, np.inf, -np.inf
    np.testing.assert_array_equal(speech_probabilities([waveform]), expected)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([], []),
        ([0], []),
        ([1], [512]),
        ([512, 512], [1024]),
        ([2047], [2048]),
        ([2048], [2048]),
        ([1000, 1049], [2048, 512]),
        ([5000], [2048, 2048, 1024]),
        ([1] * 2048, [2048]),
    ],
)
def test_sound_is_heard_in_whole_frames(monkeypatch, sizes, expected):
    monkeypatch.setattr(speech_activity, "BLOCK_FRAMES", 4)
    sound = np.arange(1, sum(sizes) + 1)
    pieces = list(whole_frames(np.split(sound, np.cumsum(sizes)[:-1]) if sizes else []))
    assert [len(piece) for piece in pieces] == expected
    assert all(piece.dtype == np.float32 for piece in pieces)
    joined_again = np.concatenate([*pieces, np.zeros(0)])
    np.testing.assert_array_equal(joined_again[: len(sound)], sound)
    assert not joined_again[len(sound) :].any()


def test_samples_that_are_not_finite_become_zeros():
    [piece] = whole_frames([[1.0, np.nan, np.inf, -np.inf, -1.0]])
    assert piece[:6].tolist() == [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]


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
    asked = []
    monkeypatch.setattr(importlib.util, "find_spec", asked.append)
    with pytest.raises(ImportError, match=r"decomp-ser\[vad\]"):
        load_detector.__wrapped__()
    assert not detector_is_installed()
    assert asked == ["silero_vad"] * 2
    # a folder of this name is no package
    namespace = importlib.machinery.ModuleSpec("silero_vad", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: namespace)
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


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ([], []),
        ([0.49, 0.49], []),
        ([0.5, 0.49, 0.35, 0.34, 0.35], [(0, 3)]),  # begins at 0.5, goes on down to 0.35
        ([0.0, 1.0, 0.0, 0.4, 0.5, 0.3], [(1, 2), (4, 5)]),
        ([0.2, 1.0, 1.0], [(1, 3)]),  # to the end
    ],
)
def test_speech_begins_at_a_half_and_ends_below_035(probabilities, expected):
    assert spoken_frames(np.array(probabilities)) == expected


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], []),
        ([(0, 7)], []),  # 0.224 s
        ([(5, 13)], [(5, 13)]),  # 0.256 s
        ([(10, 20), (29, 40)], [(10, 40)]),  # a pause of 0.288 s
        ([(10, 20), (30, 40)], [(10, 20), (30, 40)]),  # of 0.32 s
        ([(0, 4), (6, 9), (20, 24)], [(0, 9)]),
        ([(0, 9), (12, 13), (16, 17), (40, 41)], [(0, 17)]),
    ],
)
def test_short_pauses_are_filled_and_short_speech_is_left_out(spans, expected):
    assert joined(spans) == expected


@pytest.mark.parametrize(
    ("frames", "seconds", "expected"),
    [
        ([(50, 100)], 4.8, [(1.5, 3.3)]),
        ([(2, 98)], 3.2, [(0.0, 3.2)]),  # margins end where the sound does
        ([(0, 100)], 3.19, [(0.0, 3.19)]),  # and the last frame is filled with zeros
        ([(0, 20), (30, 60)], 3.2, [(0.0, 0.74), (0.86, 2.02)]),
        ([(10, 20), (31, 60), (80, 90)], 3.2, [(0.22, 0.74), (0.892, 2.02), (2.46, 2.98)]),
    ],
)
def test_spans_have_margins(frames, seconds, expected):
    probabilities = np.zeros(100)
    for first, last in frames:
        probabilities[first:last] = 1.0
    spans = speech_spans(probabilities, seconds, 10.0)
    assert np.array(spans) == pytest.approx(np.array(expected), abs=1e-9)


@pytest.mark.parametrize(
    ("last", "longest", "quiet", "expected"),
    [
        (110, 2.0, 50, [(10, 50), (50, 105), (105, 110)]),  # 56 frames and two margins are 2 s
        (66, 2.0, 50, [(10, 66)]),
        (67, 2.0, 50, [(10, 50), (50, 67)]),
        (67, 2.0, 20, [(10, 38), (38, 67)]),  # not in the earlier half
        (14, 0.1, 50, [(10, 11), (11, 12), (12, 14)]),  # two frames are the least
    ],
)
def test_long_speech_is_cut_in_the_later_half_of_a_piece(last, longest, quiet, expected):
    probabilities = np.ones(120)
    probabilities[quiet - 2 : quiet + 3] = 0.6
    if last == 110:
        probabilities[103:108] = 0.6
    assert list(cut_long(10, last, probabilities, longest)) == expected


def test_pieces_of_long_speech_touch():
    probabilities = np.ones(100)
    probabilities[48:53] = 0.6
    assert speech_spans(probabilities, 3.2, 2.0) == [(0.0, 1.6), (1.6, 3.2)]


def test_long_speech_is_cut_at_its_pause():
    probabilities = np.ones(500)
    probabilities[240:246] = 0.1  # 0.19 s: no pause that ends a span
    spans = speech_spans(probabilities, 16.0, 10.0)
    assert len(spans) == 2
    assert 240 * FRAME_SECONDS <= spans[0][1] <= 246 * FRAME_SECONDS
    assert spans[0][1] == pytest.approx(spans[1][0])
