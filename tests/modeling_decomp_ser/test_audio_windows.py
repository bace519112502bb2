import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling_decomp_ser.audio_windows import (
    RollingWindows,
    cut_spans,
    cut_windows,
    own_spans,
    window_samples,
)
from processing.audio_files import BLOCK_SAMPLES

RATE = 16000


@settings(max_examples=60, deadline=None)
@given(
    num_samples=st.integers(0, 200),
    size=st.integers(1, 50),
    hop=st.integers(1, 50),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_windows_cover_a_sound_whatever_the_pieces_it_comes_in(num_samples, size, hop, cuts):
    hop = min(hop, size)
    sound = np.arange(num_samples)
    pieces = np.split(sound, sorted(min(cut, num_samples) for cut in cuts))
    windows = list(cut_windows(pieces, size, hop))
    assert all((w == sound[s : s + len(w)]).all() for s, w in windows)
    assert {i for s, w in windows for i in range(s, s + len(w))} == set(range(num_samples))
    assert {len(w) for _, w in windows} <= {min(size, num_samples)}
    starts = [s for s, _ in windows]
    assert starts[:-1] == [k * hop for k in range(len(starts[:-1]))]
    if num_samples:
        assert starts[-1] + len(windows[-1][1]) == num_samples
    if num_samples > size and len(starts) > 1:
        assert 0 < starts[-1] - starts[-2] <= hop


def test_no_more_than_two_windows_and_a_block_are_held():
    windows = RollingWindows(10 * RATE, 5 * RATE)
    most = 0
    for _ in range(100):
        windows.push(np.zeros(BLOCK_SAMPLES, np.float32))
        # a view would keep what it is a part of
        most = max(most, sum(len(p if p.base is None else p.base) for p in windows.pieces))
    assert 10 * RATE < most <= 20 * RATE + BLOCK_SAMPLES


def test_window_seconds_become_samples_of_the_source():
    assert window_samples(10.0, None, 44100) == (441000, 220500)
    assert window_samples(3.0, 1.0, 8000) == (24000, 8000)


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=9), st.floats(5, 20))
def test_own_spans_follow_each_other_inside_their_windows(hops, size):
    starts = np.cumsum([0.0, *hops])
    windows = [(s, s + size) for s in starts]
    spans = own_spans(windows)
    assert spans[0][0] == 0
    assert spans[-1][1] == windows[-1][1]
    assert all(left[1] == right[0] for left, right in zip(spans, spans[1:], strict=False))
    assert all(w[0] <= s[0] <= s[1] <= w[1] for w, s in zip(windows, spans, strict=True))


def test_windows_by_hand_of_any_number_of_channels():
    sound = np.arange(22).reshape(11, 2)
    windows = RollingWindows(4, 3)
    assert windows.push(sound[:3]) == []
    found = windows.push(sound[3:10]) + windows.push(sound[10:]) + windows.finish()
    assert [(start, window[:, 0].tolist()) for start, window in found] == [
        (0, [0, 2, 4, 6]),
        (3, [6, 8, 10, 12]),
        (6, [12, 14, 16, 18]),
        (7, [14, 16, 18, 20]),  # moved back to end with the sound
    ]
    assert RollingWindows(4, 3).finish() == []
    short = RollingWindows(4, 3)
    assert short.push(sound[:1]) == short.push(sound[1:3]) == []
    ((start, window),) = short.finish()
    assert start == 0 and window.tolist() == sound[:3].tolist()
    whole = RollingWindows(4, 3)
    assert len(whole.push(sound[:4])) == 1 and whole.finish() == []


@pytest.mark.parametrize(
    ("window", "hop", "message"),
    [
        (0.49, 0.1, "^window_seconds=0.49, expected 0.5 s or more.$"),
        (float("nan"), None, "^window_seconds=nan"),
        (2.0, 2.1, "^hop_seconds=2.1, expected 0.01 s to the window's 2.0 s: longer hops would"),
        (2.0, 0.009, "^hop_seconds=0.009"),
        (2.0, 0.0, "^hop_seconds=0.0"),
    ],
)
def test_windows_that_are_too_short_or_leave_gaps_are_refused(window, hop, message):
    with pytest.raises(ValueError, match=message):
        window_samples(window, hop, RATE)


def test_the_shortest_windows_and_the_longest_hops_are_accepted():
    assert window_samples(0.5, 0.5, 1000) == (500, 500)
    assert window_samples(0.5, 0.01, 1000) == (500, 10)


def test_own_spans_meet_in_the_middle_of_overlaps():
    assert own_spans([(1.0, 11.0), (6.0, 16.0), (9.0, 19.0)]) == [
        (1.0, 8.5),
        (8.5, 12.5),
        (12.5, 19.0),
    ]
    assert own_spans([(0.5, 2.0)]) == [(0.5, 2.0)]


@given(
    st.lists(st.tuples(st.integers(0, 90), st.integers(1, 30)), min_size=1, max_size=8),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_spans_are_cut_from_blocks_as_from_the_whole(spans, sizes):
    total = sum(sizes)
    whole = np.arange(total)
    blocks = np.split(whole, np.cumsum(sizes)[:-1])
    limits = [(a, a + n) for a, n in spans]
    if max(a for a, _ in limits) >= total:
        with pytest.raises(ValueError, match="the sound ends"):
            list(cut_spans(iter(blocks), limits, "a"))
        return
    for (first, samples), (a, b) in zip(
        cut_spans(iter(blocks), limits, "a"), sorted(limits), strict=True
    ):
        assert first == a
        assert np.array_equal(samples, whole[a:b])


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(3, 3)], "^clip.wav: a span of samples 3 to 3, expected some.$"),
        ([(0, 2), (-1, 2)], "^clip.wav: a span of samples -1 to 2"),
        ([(10, 12)], "^clip.wav: a span begins at sample 10, but the sound ends at 10.$"),
    ],
)
def test_spans_outside_of_the_sound_are_refused(spans, message):
    with pytest.raises(ValueError, match=message):
        list(cut_spans([np.zeros(4), np.zeros(6)], spans, "clip.wav"))


def test_what_lies_beyond_the_end_is_left_off():
    blocks = [np.arange(4), np.arange(4, 10)]
    found = list(cut_spans(blocks, [(9, 99), (0, 12)], "clip.wav"))
    assert [(first, samples.tolist()) for first, samples in found] == [
        (0, list(range(10))),
        (9, [9]),
    ]
    assert list(cut_spans(blocks, [], "clip.wav")) == []


def test_no_more_is_held_than_spans_need_and_no_more_read():
    given, alive = [], []

    def blocks():
        for _ in range(100):
            block = np.zeros(10)
            given.append(weakref.ref(block))
            yield block
            del block
            alive.append(sum(ref() is not None for ref in given))

    cut = cut_spans(blocks(), [(100, 130), (500, 520), (505, 510)], "a")
    assert [len(samples) for _, samples in cut] == [30, 20, 5]
    assert len(given) == 52  # with which the last span ends
    # nothing before a span but the block that was just heard, and no more than its three blocks
    assert max(alive[:9]) <= 1 and max(alive) <= 3 and max(alive[20:45]) <= 1


def test_of_spans_that_overlap_only_what_the_next_needs_is_joined(monkeypatch):
    joined, join = [], np.concatenate
    monkeypatch.setattr(
        np, "concatenate", lambda held: joined.append(sum(map(len, held))) or join(held)
    )
    blocks = (np.arange(10 * k, 10 * k + 10) for k in range(60))
    spans = [(10 * k + 5, 10 * k + 20) for k in range(50)]
    for (first, samples), (start, end) in zip(cut_spans(blocks, spans, "a"), spans, strict=True):
        assert first == start and samples.tolist() == list(range(start, end))
    assert max(joined) <= 20  # a span and the rest of its first block
