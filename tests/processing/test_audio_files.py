import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from processing import DecompSerFeatureExtractor, audio_files
from processing.audio_files import audio_duration, encode_flac, read_audio
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
    for function in (read_audio, audio_duration):
        with pytest.raises(InputError, match="(10|5|6) s or more, expected at most 5 s"):
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
