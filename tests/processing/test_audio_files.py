import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import DecompSerFeatureExtractor, audio_files
from processing.audio_files import (
    BLOCK_SAMPLES,
    audio_duration,
    audio_name,
    check_rate,
    encode_flac,
    in_one_line,
    open_audio,
    read_audio,
)
from processing.errors import InputError

RATE = 16000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def encode(samples, rate=RATE, file_format="WAV", subtype="PCM_16"):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "FLOAT", 1e-6),
        ("FLAC", "PCM_24", 1e-6),
        ("OGG", "VORBIS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_common_format_is_decoded(tmp_path, file_format, subtype, tolerance):
    path = tmp_path / f"tone.{file_format.lower()}"
    path.write_bytes(encode(TONE, file_format=file_format, subtype=subtype))
    waveform = read_audio(path)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - RATE) <= (1200 if file_format == "MP3" else 0)
    middle = slice(2000, 14000)  # the lag of MP3 is below 2 samples here
    assert np.abs(waveform[middle] - TONE[middle]).max() < tolerance
    assert audio_duration(path) == pytest.approx(len(waveform) / RATE, abs=1e-3)


def test_embedded_bytes_and_a_path_give_the_same(tmp_path):
    path = tmp_path / "tone.wav"
    path.write_bytes(encode(TONE))
    by_bytes = read_audio({"bytes": path.read_bytes(), "path": "gone.wav"})
    assert np.array_equal(by_bytes, read_audio({"bytes": None, "path": str(path)}))
    assert np.array_equal(by_bytes, read_audio(path))


@pytest.mark.parametrize("rate", [8000, 11025, 24000, 44100, 48000])
def test_resampling_keeps_pitch_level_and_duration(rate):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
    waveform = read_audio({"bytes": encode(tone, rate), "path": None})
    assert len(waveform) == 2 * RATE
    spectrum = np.abs(np.fft.rfft(waveform[RATE // 2 : RATE // 2 + RATE] * np.hanning(RATE)))
    assert abs(spectrum.argmax() - 440) <= 1  # Hz
    assert np.sqrt(2 * (waveform[4000:-4000] ** 2).mean()) == pytest.approx(0.5, rel=1e-3)


def test_what_lies_above_the_new_nyquist_frequency_is_removed():
    tone = 0.5 * np.sin(2 * np.pi * 10000 * np.arange(48000) / 48000)
    waveform = read_audio({"bytes": encode(tone, 48000, subtype="FLOAT"), "path": None})
    assert np.abs(waveform[2000:-2000]).max() < 0.5e-5  # -100 dB


def test_channels_are_averaged():
    stereo = np.stack([TONE, -0.5 * TONE], axis=1)
    waveform = read_audio({"bytes": encode(stereo, subtype="FLOAT"), "path": None})
    assert np.abs(waveform - 0.25 * TONE).max() < 1e-6


def test_silence_is_valid():
    assert not read_audio({"bytes": encode(np.zeros(RATE)), "path": None}).any()


@pytest.mark.parametrize(("samples", "rate"), [(400, 16000), (200, 8000), (1103, 44100)])
def test_the_shortest_audio_has_one_frame_of_wav2vec2(samples, rate):
    read_audio({"bytes": encode(np.zeros(samples), rate), "path": None})
    too_short = {"bytes": encode(np.zeros(samples - 1), rate), "path": "short.wav"}
    for function in (read_audio, audio_duration):
        with pytest.raises(
            InputError, match=rf"short.wav: {samples - 1} samples .* at least 0.025"
        ):
            function(too_short)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"this is a text, not audio" * 50, "cannot be decoded as audio"),
        (encode(TONE)[:20000], "ends 12044 bytes before its header says"),
        (encode(TONE)[:44], "ends 32000 bytes before"),
        (encode(TONE, file_format="FLAC")[:5000], "cannot be decoded|ends after"),
        (encode(TONE, file_format="MP3", subtype="MPEG_LAYER_III")[:1600], "ends after"),
        (encode(np.zeros(0)), "0 samples"),
    ],
)
def test_damaged_files_are_named_with_the_reason(tmp_path, content, message):
    path = tmp_path / "damaged.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_audio(path)
    assert "damaged.wav" in str(error.value)
    with pytest.raises(InputError, match=message):
        read_audio({"bytes": content, "path": "damaged.wav"})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_counted(value):
    samples = TONE.copy()
    samples[[10, 20]] = value
    audio = {"bytes": encode(samples, subtype="FLOAT"), "path": "broken.wav"}
    with pytest.raises(InputError, match="broken.wav: 2 of 16000 samples are NaN or infinite"):
        read_audio(audio)


def test_a_missing_file_is_named(tmp_path):
    for function in (read_audio, audio_duration):
        with pytest.raises(InputError, match="nowhere.wav: no such audio file"):
            function(tmp_path / "nowhere.wav")
    with pytest.raises(InputError, match='neither "bytes" nor "path"'):
        read_audio({"bytes": None, "path": None})


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_written_to_a_pipe_has_no_size_and_is_whole(tmp_path, size):
    content = bytearray(encode(TONE))
    content[4:8] = content[40:44] = size.to_bytes(4, "little")
    path = tmp_path / "streamed.wav"
    path.write_bytes(content)
    if size:  # libsndfile reads nothing where the size is 0
        assert audio_duration(path) == 1.0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=400, max_size=800))
def test_16_bit_audio_survives_flac_sample_for_sample(samples):
    waveform = np.array(samples, np.float32) / 32768
    assert np.array_equal(read_audio({"bytes": encode_flac(waveform), "path": None}), waveform)


def test_flac_clips_what_lies_outside_full_scale():
    waveform = np.array([2.0, -2.0] * 400, np.float32)
    decoded = read_audio({"bytes": encode_flac(waveform), "path": None})
    assert set(decoded.tolist()) == {32767 / 32768, -1.0}


def with_chunk(name: bytes, content: bytes) -> bytes:
    """A WAV file with a chunk before its samples."""
    wav = encode(TONE)
    return wav[:36] + name + len(content).to_bytes(4, "little") + content + wav[36:]


def announcing(content: bytes, mark: bytes, skipped: int, value: bytes) -> bytes:
    """A file in which other bytes stand behind a mark."""
    at = content.index(mark) + len(mark) + skipped
    return content[:at] + value + content[at + len(value) :]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (announcing(encode(TONE, file_format="FLAC"), b"fLaC", 18, b"\xff" * 4), "cannot hold"),
        (encode(TONE, rate=1), "sampling rate of 1 Hz, expected 1000 to 768000 Hz"),
        (encode(TONE, rate=4_000_000), "sampling rate of 4000000 Hz"),
        (encode(TONE, file_format="RF64")[:-999], "ends 999 bytes before its header says"),
        (encode(TONE, file_format="W64")[:-999], "ends 999 bytes before its header says"),
        (encode(TONE, file_format="AIFF")[:-999], "ends 999 bytes before its header says"),
    ],
)
def test_a_header_that_says_what_cannot_be_is_refused_before_decoding(content, message):
    for function in (read_audio, audio_duration):
        with pytest.raises(InputError, match=rf"call\.wav: .*{message}"):
            function({"bytes": content, "path": "call.wav"})


@pytest.mark.parametrize("file_format", ["RF64", "W64", "AIFF", "AU", "CAF"])
def test_formats_for_long_sounds_are_read_whole(file_format):
    waveform = read_audio({"bytes": encode(TONE, file_format=file_format)})
    assert np.abs(waveform - TONE).max() < 1e-4


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_too_long_for_memory_is_refused_as_soon_as_that_is_known(monkeypatch, streamed):
    content = encode(np.zeros(10 * RATE), file_format="FLAC")
    if streamed:  # the header of a stream does not know its length
        content = announcing(content, b"fLaC", 17, bytes([content[21] & 0xF0, 0, 0, 0, 0]))
    monkeypatch.setattr(audio_files, "LONGEST_SECONDS", 5.0)
    told = "(5|6) s" if streamed else "10 s"
    for function in (read_audio, audio_duration):
        with pytest.raises(InputError, match=f": {told} or more, expected at most 5 s"):
            function({"bytes": content})
    blocks = DecompSerFeatureExtractor().open_audio(content).blocks
    assert sum(len(block) for block in blocks) == 10 * RATE


def test_what_is_no_file_is_refused_without_waiting(tmp_path):
    pipe, loop = tmp_path / "pipe.wav", tmp_path / "loop.wav"
    os.mkfifo(pipe)
    loop.symlink_to(loop.name)
    for path, message in (
        (pipe, "a pipe, socket or device, expected a sound file"),
        ("/dev/zero", "a pipe, socket or device"),
        (tmp_path, "a folder, expected"),
        (loop, "a link that leads to no file"),
        ("a\0b.wav", r"a\\x00b.wav: no such audio file"),
    ):
        with pytest.raises(InputError, match=message):
            read_audio(str(path))
    with pytest.raises(InputError, match=r": a link that leads to no file\. Check the path"):
        read_audio(loop)


def test_a_name_that_is_no_text_is_opened_and_told_in_one_line(tmp_path):
    path = f"{tmp_path}/two\nlines-\udcff.wav"
    with open(path, "wb") as file:
        file.write(encode(TONE))
    assert len(read_audio(path)) == RATE
    with open(path, "wb") as file:
        file.write(b"no sound")
    with pytest.raises(InputError, match=r"two\\nlines-\\udcff\.wav: cannot be decoded"):
        read_audio(path)


COMMENTS = b"INFO" + b"".join(b"ICMT" + (200).to_bytes(4, "little") + b"c" * 200 for _ in range(60))


@pytest.mark.parametrize(
    "content",
    [
        encode(TONE)[:20000],
        with_chunk(b"LIST", COMMENTS)[:30000],  # more than the log of libsndfile holds
        with_chunk(b"JUNK", bytes(100000))[:120000],
        encode(TONE, file_format="FLAC")[:5000],
        encode(TONE, file_format="MP3", subtype="MPEG_LAYER_III")[:1600],
    ],
)
def test_training_and_the_pipeline_refuse_what_ends_early_in_the_same_words(tmp_path, content):
    path = tmp_path / "short.wav"
    path.write_bytes(content)
    with pytest.raises(InputError) as of_training:
        read_audio(path)
    with pytest.raises(InputError) as of_pipeline:
        list(DecompSerFeatureExtractor().open_audio(str(path)).blocks)
    words = ("ends", "cannot be decoded")
    first, second = (str(e.value).removeprefix(f"{path}: ") for e in (of_training, of_pipeline))
    assert first.startswith(words) and second.startswith(words)
    if content[:4] == b"RIFF":
        assert first == second


def test_a_long_header_does_not_make_a_whole_file_short():
    for content in (with_chunk(b"LIST", COMMENTS), with_chunk(b"JUNK", bytes(99999) + b"\0")):
        assert len(read_audio({"bytes": content, "path": None})) == RATE


@pytest.mark.parametrize("file_format", ["WAV", "FLAC", "OGG", "MP3"])
def test_blocks_join_to_the_whole(file_format):
    samples = np.tile(np.stack([TONE, -0.3 * TONE], axis=1), (3, 1))
    content = encode(samples, file_format=file_format, subtype=None)
    stream = DecompSerFeatureExtractor().open_audio(content)
    blocks = list(stream.blocks)
    whole = read_audio({"bytes": content, "path": None})
    assert len(blocks) == 3 and np.array_equal(np.concatenate(blocks), whole)
    assert stream.num_samples == len(whole) == 3 * RATE


DECODE_ODD_MP3 = """
import sys
from processing.audio_files import audio_duration, read_audio
for path in sys.argv[1:]:
    assert audio_duration(path) > 0
    assert len(read_audio(path)) > 0
print("decoded")
print("still there", file=sys.stderr)
"""


def test_the_decoder_of_mp3_keeps_its_notes_to_itself(tmp_path):
    stereo = encode(np.stack([TONE, TONE], axis=1), file_format="MP3", subtype="MPEG_LAYER_III")
    damaged = bytearray(stereo)
    for position in range(2000, len(damaged), 97):
        damaged[position] ^= 255
    contents = {"junk.mp3": stereo + b"x" * 5000, "damaged.mp3": bytes(damaged)}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", DECODE_ODD_MP3, *(str(tmp_path / name) for name in contents)],
        cwd=Path(audio_files.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("decoded\n", "still there\n")


def test_a_stream_of_unknown_length_lasts_as_long_as_it_has_samples():
    content = encode(TONE[:12345], file_format="FLAC")
    content = announcing(content, b"fLaC", 17, bytes([content[21] & 0xF0, 0, 0, 0, 0]))
    assert audio_duration({"bytes": content}) == 12345 / RATE
    assert open_audio(content, 1).num_samples is None


# Whatever holds a sound.

CLIP = TONE[:9000].astype(np.float32)


class Decoder:
    """As torchcodec's."""

    def get_all_samples(self):
        return SimpleNamespace(data=torch.tensor(CLIP)[None], sample_rate=RATE)


def samples_of(stream):
    blocks = list(stream.blocks)
    return np.concatenate(blocks) if blocks else np.zeros(0)


def test_a_sound_may_be_given_in_any_form(tmp_path, monkeypatch):
    path, wav = tmp_path / "clip.wav", encode(CLIP, subtype="FLOAT")
    path.write_bytes(wav)
    asked = []

    def fetch(url, timeout):
        asked.append((url, timeout))
        return io.BytesIO(wav)

    monkeypatch.setattr("urllib.request.urlopen", fetch)
    array, bare, bytes_name, url = "the array given", 8000, "the bytes given", "https://a.b/c.wav"
    ways = [
        (CLIP, array, bare),
        (CLIP.tolist(), array, bare),
        (torch.tensor(CLIP, requires_grad=True), array, bare),
        (torch.tensor(CLIP).double(), array, bare),
        (CLIP[:, None], array, bare),
        (CLIP[None], array, bare),
        (Decoder(), array, RATE),
        ({"array": CLIP, "sampling_rate": RATE, "bytes": b"", "path": "x"}, array, RATE),
        ({"array": None, "raw": CLIP, "sampling_rate": RATE}, array, RATE),
        (wav, bytes_name, RATE),
        (bytearray(wav), bytes_name, RATE),
        (memoryview(wav), bytes_name, RATE),
        ({"bytes": wav, "path": None}, bytes_name, RATE),
        ({"bytes": bytearray(wav), "path": "gone\n.wav"}, "gone\\n.wav", RATE),
        (path, str(path), RATE),
        (str(path), str(path), RATE),
        (os.fsencode(path).decode(), str(path), RATE),
        ({"bytes": None, "path": str(path)}, str(path), RATE),
        (url, url, RATE),
        ("http://a.b/c.wav", "http://a.b/c.wav", RATE),
        ({"path": url}, url, RATE),
    ]
    ways += [({"audio": sound, "id": "row"}, name, rate) for sound, name, rate in ways]
    for sound, name, rate in ways:
        stream = open_audio(sound, bare)
        assert (stream.name, stream.sampling_rate, stream.num_samples) == (name, rate, 9000)
        assert np.array_equal(samples_of(stream).reshape(-1), CLIP), type(sound)
    assert asked[0] == (url, 60)


def test_channels_are_mixed_kept_or_heard_alone(tmp_path):
    stereo = np.stack([CLIP, -0.5 * CLIP], axis=1)
    wav, path = encode(stereo, subtype="FLOAT"), tmp_path / "two.wav"
    path.write_bytes(wav)
    array = {"array": stereo.T, "sampling_rate": RATE}
    for sound in (wav, str(path), {"bytes": wav}, {"path": str(path)}, {"audio": {"bytes": wav}}):
        assert np.allclose(samples_of(open_audio(sound, RATE)), 0.25 * CLIP, atol=1e-7)
        assert np.array_equal(samples_of(open_audio(sound, RATE, mix=False)), stereo)
    for sound in ({"bytes": wav}, {"path": str(path)}, {"audio": {"bytes": wav}}, array):
        for channel in (1, 2):
            stream = open_audio({**sound, "channel": channel}, 1)
            assert (stream.sampling_rate, stream.num_samples) == (RATE, 9000)
            assert np.array_equal(samples_of(stream), stereo[:, channel - 1])
        for channel in (0, 3):
            stream = open_audio({**sound, "channel": channel}, 1)
            message = f"^{re.escape(stream.name)}: channel {channel}, expected 1 to 2.$"
            with pytest.raises(InputError, match=message):
                list(stream.blocks)
    mono = {"array": CLIP, "sampling_rate": RATE, "channel": 1}
    assert np.array_equal(samples_of(open_audio(mono, 1)), CLIP)
    bare = open_audio({"audio": CLIP, "channel": 1}, 8000)  # whose rate is that of bare samples
    assert bare.sampling_rate == 8000


def test_an_array_comes_in_blocks_and_its_longer_axis_is_time():
    long = np.arange(2.0 * BLOCK_SAMPLES + 5)
    for sound in (long, np.stack([long, long]), np.stack([long, long], axis=1)):
        stream = open_audio(sound, RATE)
        blocks = list(stream.blocks)
        assert [len(block) for block in blocks] == [BLOCK_SAMPLES, BLOCK_SAMPLES, 5]
        joined = np.concatenate(blocks)
        assert np.array_equal(joined if joined.ndim == 1 else joined[:, 1], long)
        assert stream.num_samples == len(long)
    square = np.array([[1.0, 2.0], [3.0, 4.0]])  # time is first where both are as long
    assert np.array_equal(samples_of(open_audio(square, RATE)), square)
    for empty in (np.zeros(0), np.zeros((2, 0)), np.zeros((0, 2))):
        stream = open_audio(empty, RATE)
        assert stream.num_samples == 0 and list(stream.blocks) == []


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ({"array": CLIP}, '^a dict with samples but without "sampling_rate", expected both. Add'),
        ({"raw": CLIP, "sampling_rate": None}, '^a dict with samples but without "sampling_rate"'),
        ({"b": 1, "a": 2}, r"^a dict with \['a', 'b'\], expected \"array\" or \"raw\" and"),
        ({"bytes": None, "path": None}, r"^a dict with \['bytes', 'path'\], expected"),
        (np.zeros((2, 2, 2)), r"^ndarray of type float64 and shape \(2, 2, 2\), expected a path"),
        (np.zeros(9, np.uint8), "^ndarray of type uint8"),
        (1.5, r"^float of type float64 and shape \(\)"),
        ([[1.0], [1.0, 2.0]], r"^list of type object and shape \(0,\)"),
        (None, "^NoneType of type object"),
    ],
)
def test_what_holds_no_sound_is_told_by_its_kind(given_as, message):
    with pytest.raises(InputError, match=message):
        open_audio(given_as, RATE)


def test_rates_are_whole_numbers_of_hertz_within_reason():
    for rate, expected in (
        (1000, 1000),
        (768000, 768000),
        (44100.4, 44100),
        (np.int64(8000), 8000),
    ):
        found = check_rate(rate, "a")
        assert found == expected and type(found) is int
    for rate in (999, 768001, 0, -16000, "16k", None, float("nan"), True):
        with pytest.raises(InputError, match=f"^a: sampling rate of {rate!r} Hz, expected 1000"):
            check_rate(rate, "a")
    with pytest.raises(InputError, match="^the array given: sampling rate of 7 Hz"):
        open_audio(CLIP, 7)


def test_names_are_told_in_one_line():
    assert in_one_line("two words é.wav") == "two words é.wav"
    assert in_one_line("a\tb\nc\udcff é") == "a\\tb\\nc\\udcff é"
    assert audio_name(Path("a.wav")) == audio_name({"path": "a.wav"}) == "a.wav"
    assert audio_name({"bytes": b"", "path": None}) == audio_name({}) == "embedded audio"
    assert audio_name("a\n") == audio_name({"path": "a\n"}) == "a\\n"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no route.\n  Try  later."), "no route. Try later"),
        (ValueError(""), "the data are damaged"),
        (ConnectionResetError("reset"), "reset"),
    ],
)
def test_what_cannot_be_downloaded_is_told_with_the_reason(error, said, monkeypatch):
    def fail(url, timeout):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", fail)
    message = rf"^http://a\.b/c: cannot be downloaded \({re.escape(said)}\)\.$"
    with pytest.raises(InputError, match=message):
        open_audio("http://a.b/c", RATE)


def test_without_soundfile_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(audio_files, "soundfile", None)
    with pytest.raises(ImportError, match="^Reading sound files needs soundfile: pip install"):
        open_audio(b"RIFF", RATE)
    assert np.array_equal(samples_of(open_audio(CLIP, RATE)), CLIP)


def test_a_container_is_opened_by_its_own_reader(monkeypatch):
    stereo = np.stack([CLIP, -0.5 * CLIP], axis=1)
    monkeypatch.setattr(
        audio_files, "is_container", lambda beginning: beginning == b"no sound of li"
    )
    monkeypatch.setattr(
        audio_files, "open_container", lambda source, name: (8000.0, iter([stereo[:5], stereo[5:]]))
    )
    stream = open_audio(b"no sound of li", 1)
    assert (stream.name, stream.sampling_rate, stream.num_samples) == (
        "the bytes given",
        8000,
        None,
    )
    assert np.allclose(samples_of(stream), 0.25 * CLIP)
    assert np.array_equal(samples_of(open_audio(b"no sound of li", 1, mix=False)), stereo)


def test_the_decoder_is_quoted_without_the_name_that_it_adds():
    message = r"^a\.wav: cannot be decoded as audio \(Format not recognised\)\. Expected WAV, FLAC"
    with pytest.raises(InputError, match=message):
        read_audio({"bytes": b"this is a text, not audio" * 50, "path": "a.wav"})


def test_the_length_that_an_mp3_announces_is_an_estimate():
    content = encode(np.tile(TONE, 4), file_format="MP3", subtype="MPEG_LAYER_III")
    announced = open_audio(content, 1).num_samples
    heard = len(read_audio({"bytes": content[: int(0.94 * len(content))]}))
    assert 0.9 * announced <= heard < announced
    with pytest.raises(InputError, match="ends after .* samples its header announces"):
        read_audio({"bytes": content[: len(content) // 2]})


def test_notes_of_the_decoder_are_kept_off_this_process_too(capfd):
    content = encode(np.tile(TONE, 2), file_format="MP3", subtype="MPEG_LAYER_III")
    damaged = bytearray(content)
    for position in range(2000, len(damaged), 97):
        damaged[position] ^= 255
    for odd in (content + b"x" * 5000, damaged):
        assert len(read_audio({"bytes": odd})) > RATE
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
