import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from processing.corpora.espeak import speak
from processing.errors import InputError

espeakng_loader = pytest.importorskip("espeakng_loader")


def test_a_sentence_is_audible_speech_of_plausible_length():
    waveform, sampling_rate = speak("The bus leaves at seven.")
    assert sampling_rate == 22050
    assert 1.0 < len(waveform) / sampling_rate < 1.8  # seven syllables
    assert 0.3 < np.abs(waveform).max() <= 1.0


def test_longer_texts_take_longer():
    short, _ = speak("Monday")
    long, _ = speak("Monday, Tuesday, Wednesday and Thursday")
    assert len(long) > 3 * len(short)


def test_samples_do_not_depend_on_what_was_spoken_before():
    first, _ = speak("We walk along the river.", voice="en-us+m3")
    speak("Something else entirely.", voice="en-us+f2")
    again, _ = speak("We walk along the river.", voice="en-us+m3")
    np.testing.assert_array_equal(first, again)


def test_threads_take_turns():
    texts = ["One.", "Two and three.", "Four, five and six."] * 4
    expected = [speak(text)[0] for text in texts]
    with ThreadPoolExecutor(4) as pool:
        spoken = [waveform for waveform, _ in pool.map(speak, texts)]
    for waveform, reference in zip(spoken, expected, strict=True):
        np.testing.assert_array_equal(waveform, reference)


def test_variants_are_different_voices():
    low, _ = speak("We walk along the river.", voice="en-us+m3")
    high, _ = speak("We walk along the river.", voice="en-us+f4")
    assert len(low) != len(high) or not np.allclose(low, high)


def test_an_unknown_voice_is_named():
    with pytest.raises(InputError, match="no voice 'xx-martian'"):
        speak("Hello.", voice="xx-martian")


def test_a_text_without_words_is_refused():
    with pytest.raises(InputError, match="nothing to say for the text ''"):
        speak("")


def test_speech_goes_on_after_an_error():
    before, _ = speak("Hello.")
    with pytest.raises(InputError):
        speak("Hello.", voice="xx-martian")
    np.testing.assert_array_equal(speak("Hello.")[0], before)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r"pip install 'decomp-ser\[synthetic\]'"):
        speak("Hello.")


def test_unreadable_voice_data_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="cannot read its data in .*nowhere"):
        speak("Hello.")
