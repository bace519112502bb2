import http.server
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.tiny_networks import VARIANTS, tiny_classifier
from support.tiny_pipeline import (
    RATE,
    as_dict,
    encode,
    save_tiny_model,
    tiny_pipeline,
    trained_classifier,
    voice,
)
from transformers.pipelines.pt_utils import KeyDataset

from modeling_decomp_ser import COMPONENTS, pipeline_decomp_ser
from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline, Segment, shared_flags
from modeling_decomp_ser.timeline_formats import timeline_csv, timeline_rttm
from processing import DecompSerFeatureExtractor, audio_files
from processing.audio_files import read_audio
from train_scripts.runs.run_folder import load_model


@pytest.fixture(scope="module")
def recognize():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def clip():
    return voice(1.5)


def difference(answer, other) -> float:
    """Largest difference of two answers' probabilities."""
    left, right = as_dict(answer), as_dict(other)
    assert left.keys() == right.keys()
    return max(abs(left[name] - right[name]) for name in left)


@pytest.fixture
def server():
    """A web server of one file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            found = self.path == "/clip.wav"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(encode(voice(1.5), subtype="FLOAT") if found else b"nothing here")

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


# What a sound may be given as.


def test_every_way_to_give_a_sound_gives_the_same_answer(recognize, clip, tmp_path, server):
    wav = encode(clip, subtype="FLOAT")
    path = tmp_path / "clip.wav"
    path.write_bytes(wav)
    decoder = type("Decoder", (), {})()
    samples = type("Samples", (), {"data": torch.tensor(clip)[None], "sample_rate": RATE})
    decoder.get_all_samples = lambda: samples
    ways = {
        "path": str(path),
        "Path": path,
        "bytes": wav,
        "bytearray": bytearray(wav),
        "memoryview": memoryview(wav),
        "url": f"{server}/clip.wav",
        "tensor": torch.tensor(clip),
        "dict of array": {"array": clip, "sampling_rate": RATE},
        "dict of list": {"array": clip.tolist(), "sampling_rate": RATE},
        "dict of raw": {"raw": clip, "sampling_rate": RATE, "path": "gone.wav"},
        "dict of bytes": {"bytes": wav, "path": "gone.wav"},
        "dict of path": {"bytes": None, "path": str(path)},
        "torchcodec": decoder,
        "samples x channels": np.stack([clip, clip], axis=1),
        "channels x samples": np.stack([clip] * 6),
    }
    expected = recognize(clip)
    assert max(as_dict(expected).values()) > 0.3
    for name, given_as in ways.items():
        assert difference(recognize(given_as), expected) < 1e-5, name


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_files_are_read_without_ffmpeg(recognize, clip, tmp_path, monkeypatch, form):
    monkeypatch.setenv("PATH", "")
    path = tmp_path / f"clip.{form.lower()}"
    path.write_bytes(encode(clip, form=form))
    # lossy formats change a random network's answer a little
    assert difference(recognize(str(path)), recognize(clip)) < (0.05 if form == "MP3" else 0.02)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_any_sampling_rate_is_resampled(recognize, rate):
    samples = voice(1.0, rate)
    ours = recognize({"array": samples, "sampling_rate": rate})
    wav = encode(samples, rate, subtype="FLOAT")
    resampled = read_audio({"bytes": wav, "path": None})
    assert difference(ours, recognize(resampled)) < 1e-4
    assert difference(ours, recognize({"bytes": wav, "path": None})) < 1e-5


def test_integer_samples_are_scaled(recognize, clip):
    integers = np.round(clip * 32768).astype(np.int16)
    assert difference(recognize(integers), recognize(clip)) < 1e-2
    assert difference(recognize(integers), recognize(integers / 32768)) < 1e-5


def test_half_precision_rounds_the_waveform_alone(clip):
    half = tiny_pipeline()
    half.model.to(torch.bfloat16)
    (features,) = half.preprocess(clip)
    assert features["input_values"].dtype == torch.bfloat16
    assert features["log_f0"].dtype == features["mel"].dtype == torch.float32
    assert len(half(clip)) == 4


def test_channels_are_averaged(recognize, clip):
    other = voice(1.5, seed=1, f0_hz=220)
    both = recognize(np.stack([clip, other]))
    assert difference(both, recognize((clip + other) / 2)) < 1e-5
    assert difference(both, recognize(clip)) > 1e-4


@pytest.mark.parametrize(
    ("given_as", "message"),
    [
        ("gone.wav", "gone.wav: no such audio file"),
        (".", "a folder, expected a sound file"),
        (b"", "the bytes given: 0 bytes"),
        (b"RIFF", "cannot be decoded as audio"),
        (np.zeros(0, np.float32), "holds no samples"),
        (np.zeros((2, 0)), "holds no samples"),
        (np.zeros((2, 2, 2)), "with one axis"),
        (np.array(1.0), "expected a path"),
        (np.array(["a", "b"]), "expected a path"),
        (np.zeros(9000, np.uint8), "signed integers"),
        (np.zeros(9000, complex), "expected a path"),
        (1.5, "expected a path"),
        (None, "expected a path"),
        ({"array": [[1.0], [1.0, 2.0]], "sampling_rate": RATE}, "expected a path"),
        ({"array": np.zeros(9000)}, 'without "sampling_rate"'),
        ({"array": np.zeros(9000), "sampling_rate": 0}, "sampling rate of 0 Hz"),
        ({"array": np.zeros(9000), "sampling_rate": "16k"}, "sampling rate of '16k' Hz"),
        ({"samples": [0.0]}, "dict with"),
        ({"bytes": None, "path": None}, "dict with"),
        (np.full(9000, np.nan), "the array given, .*: waveform holds NaN"),
        (np.zeros(399), r"399 samples at 16000 Hz \(0.0249 s\), expected at least 0.025 s\.$"),
    ],
)
def test_what_is_no_sound_is_refused_in_words(recognize, given_as, message):
    with pytest.raises(ValueError, match=message):
        recognize(given_as)


def test_the_window_that_cannot_be_used_is_named(recognize):
    sound = voice(3.0)
    sound[40000] = np.nan
    message = "^the array given, 1 s from 2.00 s: waveform holds NaN or infinity"
    with pytest.raises(ValueError, match=message):
        recognize(sound, window_seconds=1.0, hop_seconds=1.0)


def test_a_frame_of_the_speech_encoder_is_enough(recognize):
    assert len(recognize(voice(1.0)[:400])) == 4


def test_an_address_that_cannot_be_reached_is_refused_in_words(recognize, server):
    with pytest.raises(ValueError, match=r"gone.wav: cannot be downloaded .*404"):
        recognize(f"{server}/gone.wav")
    with pytest.raises(ValueError, match=r"cannot be downloaded"):
        recognize("http://127.0.0.1:1/clip.wav")


def test_files_without_soundfile_say_what_to_install(recognize, clip, monkeypatch):
    monkeypatch.setattr(audio_files, "soundfile", None)
    with pytest.raises(ImportError, match="pip install soundfile"):
        recognize(encode(clip))
    assert recognize(clip)


def test_a_sound_that_cannot_be_used_is_named_in_a_list(recognize, clip, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"bad\.wav"):
        recognize([clip, str(tmp_path / "bad.wav")])


# The stock options.


def test_many_sounds_come_as_list_tuple_generator_and_iterator(recognize):
    sounds = [voice(s, seed=i) for i, s in enumerate((0.6, 2.0, 1.1))]
    expected = recognize(sounds)
    assert len(expected) == 3
    assert recognize(tuple(sounds)) == expected
    assert list(recognize(s for s in sounds)) == expected
    assert list(recognize(iter(sounds))) == expected
    assert recognize(sounds[1]) == expected[1]
    assert recognize([]) == []
    assert list(recognize(iter([]))) == []


def test_data_sets_rows_and_columns_are_answered(recognize, corpus):
    rows = corpus.select(range(3))
    expected = [recognize(audio) for audio in rows["audio"]]
    assert recognize(rows[1]) == expected[1]
    assert recognize(rows["audio"]) == expected
    for data in (rows, rows.to_iterable_dataset(), KeyDataset(rows, "audio")):
        assert list(recognize(data)) == expected


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_answers_do_not_depend_on_the_batch(recognize, batch_size):
    options = {
        "window_seconds": 1.0,
        "return_timeline": True,
        "return_flags": True,
        "return_speaker_embedding": True,
    }
    sounds = [voice(s, seed=i) for i, s in enumerate((0.3, 3.2, 1.0, 2.5, 0.7))]
    alone = recognize(sounds, **options)
    together = recognize(sounds, batch_size=batch_size, **options)
    assert [len(a["timeline"]) for a in alone] == [1, 6, 1, 4, 1]
    for one, other in zip(alone, together, strict=True):
        assert difference(one["scores"], other["scores"]) < 1e-5
        assert one["flags"] == other["flags"]
        embeddings = [torch.tensor(a["speaker_embedding"]) for a in (one, other)]
        torch.testing.assert_close(*embeddings, atol=1e-5, rtol=1e-4)
        for window, same in zip(one["timeline"], other["timeline"], strict=True):
            assert (window["start"], window["end"]) == (same["start"], same["end"])
            assert difference(window["scores"], same["scores"]) < 1e-5


def test_top_k_counts_the_answers_and_a_default_holds_for_all_calls(clip):
    ranked = tiny_pipeline()(clip)
    assert len(ranked) == 4
    assert [e["score"] for e in ranked] == sorted((e["score"] for e in ranked), reverse=True)
    best = tiny_pipeline(options={"top_k": 1})
    assert best(clip) == ranked[:1]
    assert best(clip, top_k=2) == ranked[:2]
    assert best(clip, top_k=None) == best(clip, top_k=99) == ranked
    assert [len(w["scores"]) for w in best(clip, return_timeline=True)["timeline"]] == [1]


def test_other_functions_of_the_logits_can_be_applied(recognize, clip):
    logits = torch.tensor([e["score"] for e in recognize(clip, function_to_apply="none")])
    for name, function in (("sigmoid", torch.sigmoid), ("softmax", lambda x: x.softmax(-1))):
        scores = [e["score"] for e in recognize(clip, function_to_apply=name)]
        torch.testing.assert_close(torch.tensor(scores), function(logits))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"return_timline": True}, TypeError, "return_timline"),
        ({"top_k": 0}, ValueError, "top_k=0"),
        ({"function_to_apply": "exp"}, ValueError, "function_to_apply='exp'"),
        ({"window_seconds": 0.1}, ValueError, "window_seconds=0.1"),
        ({"window_seconds": float("nan")}, ValueError, "window_seconds=nan"),
        ({"hop_seconds": 20.0}, ValueError, "leave gaps"),
        ({"hop_seconds": 0.0}, ValueError, "hop_seconds=0.0"),
    ],
)
def test_wrong_options_are_refused(recognize, clip, options, error, message):
    with pytest.raises(error, match=message):
        recognize(clip, **options)


@pytest.mark.parametrize(
    ("problem", "function"),
    [
        (None, lambda x: x.softmax(-1)),
        ("single_label_classification", lambda x: x.softmax(-1)),
        ("regression", lambda x: x),
        ("multi_label_classification", torch.sigmoid),
    ],
)
def test_the_problem_says_which_function_is_applied(problem, function, monkeypatch):
    recognize = tiny_pipeline()
    monkeypatch.setattr(recognize.model.config, "problem_type", problem)
    logits = torch.tensor([[1.0, -2.0, 0.5, 0.0]])
    torch.testing.assert_close(recognize.scores(logits), function(logits))
    torch.testing.assert_close(recognize.scores(logits, "none"), logits)
    torch.testing.assert_close(recognize.scores(logits, "softmax"), logits.softmax(-1))


def test_the_extractor_is_compared_with_that_of_training(monkeypatch):
    model, extractor, asked = trained_classifier(), DecompSerFeatureExtractor(), []
    monkeypatch.setattr(
        type(model.config), "warn_of_other_signals", lambda self, given: asked.append((self, given))
    )
    DecompSerPipeline(model=model, feature_extractor=extractor, task="audio-classification")
    assert asked == [(model.config, extractor)]


def test_a_model_whose_emotion_head_was_never_trained_is_refused():
    with pytest.raises(ValueError, match="never trained"):
        DecompSerPipeline(
            model=tiny_classifier(),
            feature_extractor=DecompSerFeatureExtractor(),
            task="audio-classification",
        )


# Long sounds.


@pytest.fixture(scope="module")
def long_sound():
    """7.3 s, of which the second half is another voice."""
    return np.concatenate([voice(3.5), voice(3.8, seed=1, f0_hz=260) * 0.5])


WINDOWS = {"window_seconds": 2.0, "hop_seconds": 1.0, "return_timeline": True}


def test_the_timeline_has_the_answer_of_each_window_alone(recognize, long_sound):
    answer = recognize(long_sound, **WINDOWS)
    starts = [window["start"] for window in answer["timeline"]]
    assert starts == pytest.approx([0, 1, 2, 3, 4, 5, 5.3])
    for window in answer["timeline"]:
        assert window["end"] - window["start"] == pytest.approx(2.0)
        first = round(window["start"] * RATE)
        alone = recognize(long_sound[first : first + 2 * RATE])
        assert difference(window["scores"], alone) < 1e-6
    assert difference(answer["timeline"][0]["scores"], answer["timeline"][-1]["scores"]) > 1e-3


def test_the_answer_for_a_long_sound_is_the_mean_of_its_windows(recognize, long_sound):
    answer = recognize(long_sound, **WINDOWS)
    windows = [as_dict(window["scores"]) for window in answer["timeline"]]
    mean = {name: np.mean([w[name] for w in windows]) for name in windows[0]}
    assert as_dict(answer["scores"]) == pytest.approx(mean, abs=1e-6)
    plain = recognize(long_sound, window_seconds=2.0, hop_seconds=1.0)
    assert plain == answer["scores"]


def test_up_to_one_window_a_sound_is_answered_whole(recognize, long_sound):
    whole = recognize(long_sound, return_timeline=True)
    assert [(w["start"], w["end"]) for w in whole["timeline"]] == [(0, pytest.approx(7.3))]
    assert whole["timeline"][0]["scores"] == whole["scores"]
    exact = recognize(long_sound, return_timeline=True, window_seconds=7.3)
    assert difference(exact["scores"], whole["scores"]) == 0
    assert len(exact["timeline"]) == 1


def test_windows_in_which_nothing_is_heard_do_not_count(recognize, long_sound):
    silence = np.zeros(4 * RATE, np.float32)
    options = {**WINDOWS, "hop_seconds": 2.0, "return_flags": True}
    speech = long_sound[: 2 * RATE]
    answer = recognize(np.concatenate([silence, speech]), **options)
    assert [w["flags"] for w in answer["timeline"]] == [["too_quiet"], ["too_quiet"], []]
    assert difference(answer["scores"], recognize(speech)) < 1e-6
    assert answer["flags"] == []
    silent = recognize(silence, **options)
    assert silent["flags"] == ["too_quiet"]
    assert difference(silent["scores"], silent["timeline"][0]["scores"]) < 1e-6


def test_flags_of_a_sound_are_those_of_all_its_windows():
    flags = [("a", "b", "c"), ("c", "a"), ("a", "d", "c")]
    assert shared_flags([Segment(0.0, 1.0, of_one) for of_one in flags]) == ["a", "c"]
    assert shared_flags([Segment(0.0, 1.0, ())]) == []


def test_flags_are_read_from_the_signals_of_a_window(recognize, monkeypatch):
    calls = []
    monkeypatch.setattr(
        pipeline_decomp_ser, "signal_flags", lambda *a, **k: calls.append((a, k)) or ("flag",)
    )
    monkeypatch.setattr(pipeline_decomp_ser, "detector_is_installed", lambda: True)
    monkeypatch.setattr(pipeline_decomp_ser, "speech_probabilities", lambda blocks: list(blocks))
    sound = voice(1.5, 8000)
    inputs = recognize.window_inputs(sound, 4000, 8000, "a sound")
    [((waveform, mel, log_f0, voiced), named)] = calls
    assert len(waveform) == 1.5 * RATE and named["seconds"] == 1.5
    assert named.keys() == {"seconds", "speech"} and named["speech"][0] is waveform
    for name, signal in (("mel", mel), ("log_f0", log_f0), ("voiced", voiced)):
        np.testing.assert_array_equal(signal, inputs[name][0].numpy())
    assert inputs["segment"] == Segment(0.5, 2.0, ("flag",))
    # the detector knows one rate
    monkeypatch.setattr(recognize.feature_extractor, "sampling_rate", 8000)
    assert recognize.speech_probabilities(waveform) is None
    monkeypatch.setattr(recognize.feature_extractor, "sampling_rate", RATE)
    monkeypatch.setattr(pipeline_decomp_ser, "detector_is_installed", lambda: False)
    assert recognize.speech_probabilities(waveform) is None


def test_dimensions_are_means_over_the_windows_in_which_something_is_heard(clip):
    recognize = tiny_pipeline(dimensions_weight=0.1)
    names = ["valence", "activation", "dominance"]
    inputs = recognize.feature_extractor(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = recognize.model(**inputs).dimensions[0].tolist()
    answer = recognize(clip, return_dimensions=True)
    assert answer.keys() == {"scores", "dimensions"}
    assert list(answer["dimensions"]) == names
    assert list(answer["dimensions"].values()) == pytest.approx(expected, abs=1e-6)
    sound = np.concatenate([np.zeros(2 * RATE, np.float32), voice(3.0)])
    answer = recognize(sound, return_dimensions=True, **{**WINDOWS, "hop_seconds": 2.0})
    assert [w["start"] for w in answer["timeline"]] == [0.0, 2.0, 3.0]
    windows = np.array([list(w["dimensions"].values()) for w in answer["timeline"]])
    assert list(answer["dimensions"].values()) == pytest.approx(windows[1:].mean(0), abs=1e-6)
    assert np.abs(windows[1] - windows[2]).max() > 1e-4
    with pytest.raises(ValueError, match=r"^return_dimensions=True, but .* has learnt none"):
        tiny_pipeline()(clip, return_dimensions=True)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_long_file_has_the_windows_of_its_samples(recognize, long_sound, tmp_path, form):
    path = tmp_path / "long"
    path.write_bytes(encode(np.stack([long_sound] * 2, axis=1), form=form))
    of_file, of_samples = recognize(str(path), **WINDOWS), recognize(long_sound, **WINDOWS)
    for window, same in zip(of_file["timeline"], of_samples["timeline"], strict=True):
        assert window["start"] == same["start"]
        assert difference(window["scores"], same["scores"]) < 0.02  # 16 bits


@pytest.mark.parametrize(("form", "write"), [("csv", timeline_csv), ("rttm", timeline_rttm)])
def test_a_timeline_can_be_written_without_this_package(recognize, long_sound, form, write):
    answer = recognize(long_sound, **WINDOWS)
    timelines = [("talk.wav", answer["timeline"])]
    assert recognize.format_timelines(timelines, form) == write(timelines)
    with pytest.raises(ValueError, match="form='srt', expected 'csv' or 'rttm'"):
        recognize.format_timelines(timelines, "srt")


# Live streams.


@pytest.mark.parametrize("chunk", [100, 1601, 16000, 200000])
def test_a_stream_gives_the_timeline_of_the_file(recognize, long_sound, chunk):
    stream = recognize.stream(RATE, window_seconds=2.0, hop_seconds=1.0)
    found = []
    for start in range(0, len(long_sound), chunk):
        found += stream.push(long_sound[start : start + chunk])
    found += stream.finish()
    expected = recognize(long_sound, return_flags=True, **WINDOWS)["timeline"]
    assert len(found) == len(expected)
    for window, same in zip(found, expected, strict=True):
        assert (window["start"], window["end"]) == (same["start"], same["end"])
        assert window["flags"] == same["flags"]
        assert difference(window["scores"], same["scores"]) < 1e-6


def test_an_answer_comes_with_the_last_sample_of_its_window(recognize, long_sound):
    stream = recognize.stream(RATE, window_seconds=2.0, hop_seconds=0.5)
    assert stream.push(long_sound[: 2 * RATE - 1]) == []
    assert [w["end"] for w in stream.push(long_sound[2 * RATE - 1 : 2 * RATE])] == [2.0]
    assert stream.push(long_sound[2 * RATE : int(2.5 * RATE) - 1]) == []
    assert [w["end"] for w in stream.push(long_sound[int(2.5 * RATE) - 1 :][:2])] == [2.5]


def test_a_stream_takes_integers_channels_and_other_rates(recognize):
    sound = voice(3.0, 44100)
    integers = np.round(np.stack([sound] * 2, axis=1) * 32768).astype(np.int16)
    stream = recognize.stream(44100, window_seconds=2.0)
    # the recorder may use its buffer again
    buffer = integers[:44100].copy()
    found = stream.push(buffer)
    buffer[:] = 0
    found += stream.push(integers[44100:])
    expected = recognize(
        {"array": integers, "sampling_rate": 44100}, window_seconds=2.0, return_timeline=True
    )
    assert len(found) == 2
    for window, same in zip(found, expected["timeline"], strict=True):
        assert difference(window["scores"], same["scores"]) < 1e-6
    assert recognize.stream(44100).finish() == []


def test_windows_of_a_stream_are_10_s_every_5_s_unless_others_are_asked_for(recognize):
    answers = recognize.stream(RATE).push(np.zeros(15 * RATE, np.float32))
    assert [(w["start"], w["end"]) for w in answers] == [(0.0, 10.0), (5.0, 15.0)]


# Words and speaker.


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    return folder, *save_tiny_model(folder)


def load(folder):
    model, processor = load_model(str(folder))
    return DecompSerPipeline(
        model=model, feature_extractor=processor.feature_extractor, task="audio-classification"
    )


def test_words_are_read_with_the_tokenizer_of_the_models_folder(saved, clip):
    folder, model, processor = saved
    recognize = load(folder)
    assert recognize.tokenizer is None
    found = recognize(clip, return_text=True)["text"]
    features = processor.feature_extractor(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        output = model(**features, output_ctc_logits=True)
    expected = processor.decode_ctc(output.ctc_logits.argmax(-1).numpy(), output.ctc_lengths)[0]
    assert found == expected
    assert len(found) > 3


def test_words_need_a_tokenizer_and_a_head(recognize, clip):
    with pytest.raises(ValueError, match="tokenizer=processor.tokenizer"):
        recognize(clip, return_text=True)
    with pytest.raises(ValueError, match="recognises no words"):
        tiny_pipeline("table3_m3")(clip, return_text=True)


def test_words_of_overlapping_windows_are_not_said_twice(saved):
    recognize = load(saved[0])
    tokenizer = recognize.load_tokenizer()
    path = "ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT"
    # 4 frames a character, 0.02 s a frame, a blank between; windows of 100 frames every 50
    ids = [i for c in tokenizer(path).input_ids for i in (c, c, c, 0)]
    frames = torch.tensor(ids)
    outputs = []
    starts = [*range(0, len(ids) - 100, 50), len(ids) - 100]
    for start in starts:
        segment = Segment(start * 0.02, (start + 100) * 0.02, ())
        outputs.append(
            {
                "segment": segment,
                "token_ids": frames[None, start : start + 100],
                "token_lengths": torch.tensor([100]),
            }
        )
    assert len(starts) == 3
    assert recognize.transcribe(outputs) == path


def test_a_frame_is_read_once_by_the_window_whose_middle_is_nearest(recognize, monkeypatch):
    tokenizer = SimpleNamespace(decode=lambda ids: f" {ids.tolist()} ")
    monkeypatch.setattr(recognize, "tokenizer", tokenizer)
    outputs = [
        {
            "segment": Segment(start, start + 1.0, ()),
            # what is beyond the length is padding
            "token_ids": torch.tensor([[*range(first, first + 10), 99, 99]]),
            "token_lengths": torch.tensor([10]),
        }
        for start, first in ((2.0, 0), (2.4, 4))
    ]
    assert recognize.transcribe(outputs) == str(list(range(14)))
    outputs[1]["token_ids"] += 100  # the border is at 2.7 s, between two frames
    assert recognize.transcribe(outputs) == str([*range(7), *range(107, 114)])


@pytest.mark.parametrize(("commit", "revision"), [(None, "main"), ("abc", "abc")])
def test_the_tokenizer_is_of_the_commit_of_the_model(monkeypatch, commit, revision):
    recognize, asked = tiny_pipeline(), []
    recognize.model.name_or_path = "me/speech"
    recognize.model.config._commit_hash = commit
    loader = SimpleNamespace(from_pretrained=lambda *a, **k: asked.append((a, k)) or "tokenizer")
    monkeypatch.setattr(pipeline_decomp_ser, "AutoTokenizer", loader)
    assert recognize.load_tokenizer() == recognize.load_tokenizer() == "tokenizer"
    assert asked == [(("me/speech",), {"revision": revision, "config": recognize.model.config})]


def test_the_speaker_embedding_is_the_pooled_timbre_code(recognize, clip):
    model, extractor = recognize.model, recognize.feature_extractor
    inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        signals = (inputs[name] for name in ("mel", "log_f0", "voiced", "frame_mask"))
        timbre = model.decompose(*signals, None)["timbre"]
        expected = model.pool(timbre.values, timbre.lengths)[0]
    found = recognize(clip, return_speaker_embedding=True)["speaker_embedding"]
    assert len(found) == model.config.code_size("timbre")
    torch.testing.assert_close(torch.tensor(found), expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="no timbre encoder"):
        tiny_pipeline("table2_pitch")(clip, return_speaker_embedding=True)


# Why.

EXPLAINED = {"window_seconds": 1.0, "explain": True, "return_timeline": True}


def summed(shares: dict) -> dict[str, float]:
    """The logit of each emotion, from the shares of the parts."""
    return {label: sum(parts.values()) for label, parts in shares.items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_shares_of_the_parts_that_a_model_has_sum_to_its_logits(variant):
    recognize = tiny_pipeline(variant, temperature=2.5)
    logits = recognize(voice(2.2), function_to_apply="none", **EXPLAINED)
    answer = recognize(voice(2.2), **EXPLAINED)
    codes = ["content" if c == "single" else c for c in VARIANTS[variant]["components"]]
    parts = (["wav2vec2"] if variant != "encoders_alone" else []) + codes
    assert len(answer["timeline"]) == 4
    for window, of_logits in zip(answer["timeline"], logits["timeline"], strict=True):
        assert list(window["shares"]) == [s["label"] for s in window["scores"]]
        assert all(list(shares) == [*parts, "bias"] for shares in window["shares"].values())
        assert summed(window["shares"]) == pytest.approx(as_dict(of_logits["scores"]), abs=1e-5)
    # The mean of the windows' shares sums to the mean of their logits.
    assert summed(answer["shares"]) == pytest.approx(as_dict(logits["scores"]), abs=1e-5)
    assert max(map(abs, summed(answer["shares"]).values())) > 0.1


def test_shares_are_those_of_the_model(recognize, clip):
    inputs = recognize.feature_extractor(clip, sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        expected = recognize.model(**inputs, output_component_shares=True).component_shares[0]
    found = recognize(clip, explain=True)["shares"]
    for column, label in recognize.model.config.id2label.items():
        shares = [found[label][part] for part in COMPONENTS]
        torch.testing.assert_close(torch.tensor(shares), expected[:, column])


@pytest.mark.parametrize("batch_size", [2, 3, 16])
def test_shares_do_not_depend_on_the_batch(recognize, batch_size):
    sounds = [voice(s, seed=i) for i, s in enumerate((0.3, 3.2, 1.0, 2.5, 0.7))]
    alone = recognize(sounds, **EXPLAINED)
    together = recognize(sounds, batch_size=batch_size, **EXPLAINED)
    for one, other in zip(alone, together, strict=True):
        pairs = [(one, other), *zip(one["timeline"], other["timeline"], strict=True)]
        for left, right in pairs:
            for label, shares in left["shares"].items():
                assert right["shares"][label] == pytest.approx(shares, abs=1e-5)


def test_windows_in_which_nothing_is_heard_have_no_part_in_the_shares(recognize):
    sound = np.concatenate([np.zeros(2 * RATE, np.float32), voice(1.0)])
    answer = recognize(sound, hop_seconds=1.0, **EXPLAINED)
    last = answer["timeline"][-1]["shares"]
    for label, shares in answer["shares"].items():
        assert shares == pytest.approx(last[label], abs=1e-6)


def test_only_what_is_asked_for_is_computed(recognize, clip):
    inputs = recognize.window_inputs(clip, 0, RATE, "a clip")
    assert recognize.forward(inputs).keys() == {"logits", "segment"}


def test_only_the_emotions_that_are_shown_are_explained(recognize, clip):
    answer = recognize(clip, explain=True, top_k=1)
    assert answer.keys() == {"scores", "shares"}
    assert list(answer["shares"]) == [answer["scores"][0]["label"]]


def test_shares_without_a_training_mean_are_warned_of(clip, monkeypatch):
    warnings = []
    logger = SimpleNamespace(warning_once=warnings.append)
    monkeypatch.setattr(pipeline_decomp_ser, "logger", logger)
    recognize = tiny_pipeline()
    recognize(clip, explain=True)
    assert warnings == []
    recognize.model.pooled_mean.zero_()
    recognize(clip)
    assert warnings == []
    recognize(clip, explain=True)
    [warning] = warnings
    assert "no training mean" in warning


# Confidence.


def test_the_temperature_divides_the_logits(clip):
    cold, warm = tiny_pipeline(), tiny_pipeline(temperature=2.5)
    logits = as_dict(cold(clip, function_to_apply="none"))
    expected = torch.tensor(list(logits.values())).div(2.5).softmax(-1)
    assert list(as_dict(warm(clip)).values()) == pytest.approx(expected.tolist(), abs=1e-6)
    assert warm(clip)[0]["label"] == cold(clip)[0]["label"]
    assert warm(clip)[0]["score"] < cold(clip)[0]["score"] - 0.01
    assert as_dict(warm(clip, function_to_apply="none")) == pytest.approx(logits)


def test_an_answer_below_the_threshold_is_flagged_as_unsure(clip):
    best = tiny_pipeline()(clip)[0]["score"]
    for limit, flags in ((best - 1e-4, []), (best + 1e-4, ["unsure"])):
        answer = tiny_pipeline(abstain_below=limit)(clip, return_flags=True, return_timeline=True)
        assert answer["flags"] == answer["timeline"][0]["flags"] == flags
    # what is no less than the threshold is an answer
    assert tiny_pipeline(abstain_below=0.5).doubts(torch.tensor([0.25, 0.5, 0.25])) == []


# At length.


@pytest.mark.slow
def test_an_hour_needs_little_memory_and_time_in_proportion():
    benchmark = Path(__file__).parents[1] / "benchmarks" / "inference.py"
    figures = {}
    for minutes in (6, 60):
        command = [sys.executable, str(benchmark), "--one-file-of", str(minutes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures[minutes] = [float(x) for x in done.stdout.split()]
    (short_mb, short_seconds, *_), (long_mb, long_seconds, *compared) = figures[6], figures[60]
    assert long_mb < 600
    assert long_mb - short_mb < 50
    assert 7 < long_seconds / short_seconds < 13
    windows, num_compared, other_labels, largest_difference = compared
    assert windows == 719 and num_compared > 50
    assert other_labels == 0 and largest_difference < 1e-5


def test_spans_of_a_channel_are_answered_as_if_they_were_cut_out(tmp_path):
    recognize = tiny_pipeline()
    samples = np.stack([voice(5.0), voice(5.0, seed=3, f0_hz=230)], axis=1)
    path = tmp_path / "call.wav"
    path.write_bytes(encode(samples, subtype="FLOAT"))
    spans = [(3.0, 4.5), (0.5, 2.0), (1.0, 3.5)]
    sound = {"path": str(path), "channel": 2, "spans": spans}
    timeline = recognize(sound, return_timeline=True, batch_size=2)["timeline"]
    assert [(w["start"], w["end"]) for w in timeline] == sorted(spans)
    for window in timeline:
        begin, end = (round(16000 * window[name]) for name in ("start", "end"))
        expected = as_dict(recognize(samples[begin:end, 1]))
        assert as_dict(window["scores"]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(ValueError, match=r"call\.wav: a span begins at sample 96000"):
        recognize({**sound, "spans": [(6.0, 7.0)]})
