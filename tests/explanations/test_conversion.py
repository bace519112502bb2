from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support.tiny_networks import random_batch, tiny_autoencoder, tiny_classifier
from torch.testing import assert_close

from modeling_decomp_ser.decomposition import Codes
from processing import DecompSerFeatureExtractor
from processing.audio_files import read_audio
from processing.errors import InputError
from train_scripts.explanations.conversion import (
    check_decoder,
    convert,
    decode,
    encode,
    mel_to_waveform,
    reconstructions,
    remove_component,
    stretch,
    take_component,
)

SPEECH = Path(__file__).parents[1] / "assets" / "rapt" / "middle.flac"


def utterance(num_samples=20000, seed=0):
    batch = random_batch([num_samples], seed=seed, labelled=False)
    return {name: batch[name] for name in ("mel", "log_f0", "voiced", "frame_mask")}


@pytest.fixture(scope="module", params=[tiny_classifier, tiny_autoencoder])
def model(request):
    return request.param().eval()


def test_decoding_all_codes_is_the_models_own_reconstruction():
    model = tiny_classifier().eval()
    batch = random_batch([20000], labelled=False)
    with torch.no_grad():
        expected = model(**batch, output_reconstruction=True).reconstruction[0].clamp(0, 1)
    found = decode(model, encode(model, batch), 79)
    assert_close(torch.from_numpy(found), expected)
    assert found.std() > 0.01


def test_removing_a_component_puts_that_of_silence_in_its_place(model):
    inputs = utterance()
    codes = encode(model, inputs)
    silent = encode(
        model, inputs | {"mel": torch.zeros(1, 79, 80), "voiced": torch.zeros(1, 79).bool()}
    )
    for name in codes:
        without = remove_component(model, inputs, codes, name)
        assert_close(without[name].values, silent[name].values)
        assert (without[name].values - codes[name].values).abs().max() > 1e-4
        assert all(without[other] is codes[other] for other in codes if other != name)


def test_removing_what_a_planted_decoder_does_not_read_changes_nothing_and_the_rest_does():
    model, inputs = tiny_autoencoder().eval(), utterance()
    widths = [model.config.code_size(c) for c in model.config.components]
    lstm = model.decomposition.decoder.lstm
    with torch.no_grad():
        for layer in (lstm.forward_layers[0], lstm.backward_layers[0]):
            layer.weight_ih_l0.split(widths, dim=1)[2].zero_()  # deaf to pitch
    mels = reconstructions(model, inputs)
    assert list(mels) == [
        "original", "all components", "without rhythm", "without content", "without pitch",
        "without timbre",
    ]  # fmt: skip
    np.testing.assert_array_equal(mels["original"], inputs["mel"][0])
    change = {name: np.abs(mels[name] - mels["all components"]).max() for name in mels}
    assert change.pop("without pitch") == 0 == change.pop("all components")
    assert min(change.values()) > 1e-5


def test_taking_a_component_of_the_utterance_itself_changes_nothing(model):
    codes = encode(model, utterance())
    for name in codes:
        mixed = take_component(codes, codes, name)
        np.testing.assert_array_equal(decode(model, mixed, 79), decode(model, codes, 79))


@pytest.mark.parametrize("component", ["rhythm", "content", "pitch", "timbre"])
def test_a_conversion_has_the_codes_of_both_and_the_length_of_the_rhythms_owner(model, component):
    codes, donor = encode(model, utterance(20000)), encode(model, utterance(33000, seed=1))
    mixed = take_component(codes, donor, component)
    timed_by = donor if component == "rhythm" else codes
    assert {c.values.shape[1] for c in mixed.values()} == {timed_by["rhythm"].values.shape[1]}
    assert all(c.lengths.equal(timed_by["rhythm"].lengths) for c in mixed.values())
    own = [name for name in codes if name != component]
    if component == "rhythm":
        assert mixed["rhythm"].values.equal(donor["rhythm"].values)
        for name in own:  # stretched, so both ends stay
            assert_close(mixed[name].values[:, [0, -1]], codes[name].values[:, [0, -1]])
    else:
        assert all(mixed[name].values.equal(codes[name].values) for name in own)
        ends = mixed[component].values[:, [0, -1]]
        assert_close(ends, donor[component].values[:, [0, -1]])
    num_frames = 33000 // 256 + 1 if component == "rhythm" else 79
    assert decode(model, mixed, num_frames).shape == (num_frames, 80)


def test_stretching_is_linear():
    codes = Codes(torch.tensor([[[0.0], [2.0]]]), torch.tensor([2]))
    longer = stretch(codes, Codes(torch.zeros(1, 5, 3), torch.tensor([5])))
    assert longer.values[0, :, 0].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert longer.lengths.tolist() == [5]


def decibels(mel_a, mel_b) -> float:
    """Mean distance of two log-mel spectrograms in dB."""
    return 100 * float(np.abs(mel_a - mel_b).mean())


def test_the_sound_of_a_spectrogram_has_that_spectrogram_and_that_level():
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    waveform = read_audio(SPEECH)
    mel = extractor.extract([waveform])[0]["mel"]
    sound = mel_to_waveform(mel, extractor)
    assert len(sound) == (len(mel) - 1) * 256 and sound.dtype == np.float32
    heard = extractor.extract([sound])[0]["mel"]
    assert decibels(heard, mel) < 2.5
    assert decibels(heard[::-1], mel) > 10
    level = 20 * np.log10(np.std(sound) / np.std(waveform))
    assert abs(level) < 1.0
    np.testing.assert_array_equal(mel_to_waveform(mel, extractor), sound)  # no random start


@pytest.mark.parametrize("num_frames", [2, 3, 4, 5, 6])
def test_the_shortest_spectrograms_have_a_sound(num_frames):
    sound = mel_to_waveform(np.full((num_frames, 80), 0.6, np.float32), DecompSerFeatureExtractor())
    assert len(sound) == (num_frames - 1) * 256
    assert np.isfinite(sound).all() and np.abs(sound).max() > 0


@pytest.fixture(scope="module")
def recordings(corpus_folder):
    return sorted((corpus_folder / "audio").glob("*.flac"))[:2]


def test_convert_writes_a_sound_of_each_and_a_plot(trained_run, recordings, tmp_path):
    written = convert(str(trained_run[1]), recordings[0], tmp_path)
    assert [p.name for p in written] == [
        "original.flac", "all_components.flac", "without_rhythm.flac", "without_content.flac",
        "without_pitch.flac", "without_timbre.flac", "spectrograms.png",
    ]  # fmt: skip
    original = soundfile.info(recordings[0]).frames
    for path in written[:-1]:
        assert abs(soundfile.info(path).frames - original) <= 256
    assert written[-1].stat().st_size > 10_000


def test_convert_takes_the_length_with_the_rhythm(trained_run, recordings, tmp_path):
    written = convert(
        str(trained_run[1]), recordings[0], tmp_path, take="rhythm", source=recordings[1]
    )
    frames = {p.name: soundfile.info(p).frames for p in written if p.suffix == ".flac"}
    assert frames["rhythm_of_the_source.flac"] == frames["source.flac"] != frames["original.flac"]


def test_wrong_requests_are_named(trained_run, recordings, tmp_path):
    with pytest.raises(InputError, match="go together"):
        convert(str(trained_run[1]), recordings[0], tmp_path, take="pitch")
    with pytest.raises(InputError, match="--take melody: .* has rhythm, content, pitch, timbre"):
        convert(str(trained_run[1]), recordings[0], tmp_path, take="melody", source=recordings[1])
    with pytest.raises(InputError, match="model 'm1': has no decoder"):
        check_decoder(tiny_classifier("table3_m1"), "m1", None)
