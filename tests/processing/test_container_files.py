import importlib.util

import numpy as np
import pytest
from support.containers import contain
from support.tiny_pipeline import encode, voice

from processing import container_files
from processing.audio_files import open_audio, read_audio
from processing.errors import InputError

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV is not installed (decomp-ser[video])"
)


def two_sides(seconds=2.0, rate=16000) -> np.ndarray:
    return np.stack([voice(seconds, rate), voice(seconds, rate, seed=1, f0_hz=220)], axis=1)


@needs_av
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_m4a_is_read_as_what_was_written(tmp_path, rate):
    samples = two_sides(rate=rate)
    path = tmp_path / "call.m4a"
    path.write_bytes(contain(samples, rate))
    heard = np.concatenate(list(open_audio(str(path), 16000, mix=False).blocks))
    assert heard.shape[1] == 2
    for channel in range(2):
        lags = [
            np.corrcoef(heard[lag : lag + rate, channel], samples[:rate, channel])[0, 1]
            for lag in range(0, 4096, 1024)  # a coder begins with a frame or two of silence
        ]
        assert max(lags) > 0.95
    assert len(heard) == pytest.approx(2 * rate, abs=4096)


@needs_av
def test_of_a_video_the_sound_is_heard():
    content = contain(two_sides(), picture=True)
    assert len(read_audio({"bytes": content})) == pytest.approx(32000, abs=4096)


@needs_av
def test_a_video_without_sound_says_so():
    content = contain(two_sides(), picture=True, sound=False)
    with pytest.raises(InputError, match=r"mute\.mp4: there is no sound in it"):
        read_audio({"bytes": content, "path": "mute.mp4"})


@needs_av
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_a_container_that_is_cut_off_is_refused_with_its_name(share):
    content = contain(two_sides())
    with pytest.raises(InputError, match=r"cut\.m4a: cannot be decoded"):
        read_audio({"bytes": content[: int(share * len(content))], "path": "cut.m4a"})


def test_without_pyav_a_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(container_files.importlib.util, "find_spec", lambda name: None)
    content = b"\0\0\0\x18ftypM4A " + bytes(100)
    with pytest.raises(InputError, match=r"call\.m4a: .*decomp-ser\[video\]"):
        read_audio({"bytes": content, "path": "call.m4a"})


def test_one_channel_is_heard_alone_and_a_missing_one_is_named(tmp_path):
    samples = two_sides()
    path = tmp_path / "call.wav"
    path.write_bytes(encode(samples, subtype="FLOAT"))
    for channel in (1, 2):
        stream = open_audio({"path": str(path), "channel": channel}, 16000)
        assert np.array_equal(np.concatenate(list(stream.blocks)), samples[:, channel - 1])
    mixed = np.concatenate(list(open_audio(str(path), 16000).blocks))
    assert np.allclose(mixed, samples.mean(1))
    with pytest.raises(InputError, match=r"call\.wav: channel 3, expected 1 to 2"):
        list(open_audio({"path": str(path), "channel": 3}, 16000).blocks)
