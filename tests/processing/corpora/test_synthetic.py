import hashlib
import io
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import pyworld
import soundfile
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from processing.corpora.schema import EMOTIONS, ROW_FEATURES, SAMPLING_RATE
from processing.corpora.synthetic import describe_corpus, synthesize_corpus
from processing.corpora.synthetic_voices import NEUTRAL_LEVEL_DB, SENTENCES, VOICES, make_turn
from processing.errors import InputError

pytest.importorskip("espeakng_loader")

NUM_SPEAKERS, NUM_SENTENCES = 8, 8
CHANCE = 1 / len(EMOTIONS)
# Three standard deviations of the UAR of guessing on this many turns.
CHANCE_LIMIT = CHANCE + 3 * np.sqrt(CHANCE * (1 - CHANCE) / (NUM_SPEAKERS * NUM_SENTENCES * 4))


@pytest.fixture(scope="module")
def corpus():
    return synthesize_corpus(
        num_speakers=NUM_SPEAKERS, num_sentences=NUM_SENTENCES, num_workers=2, progress=False
    )


@pytest.fixture(scope="module")
def waveforms(corpus):
    return [soundfile.read(io.BytesIO(audio["bytes"]))[0] for audio in corpus["audio"]]


@pytest.fixture(scope="module")
def cues(waveforms):
    """Mean and spread of log-F0, level, duration and two spectral balances of each turn."""
    return np.array([_cues(waveform) for waveform in waveforms])


def _cues(waveform):
    f0_hz, times = pyworld.dio(waveform, SAMPLING_RATE, 60.0, 600.0)
    f0_hz = pyworld.stonemask(waveform, f0_hz, times, SAMPLING_RATE)
    log_f0 = np.log(f0_hz[f0_hz > 0])
    position = np.flatnonzero(f0_hz > 0) / len(f0_hz)
    power = np.abs(np.fft.rfft(waveform)) ** 2
    frequencies = np.fft.rfftfreq(len(waveform), 1 / SAMPLING_RATE)
    bands = [
        10 * np.log10(power[(frequencies >= low) & (frequencies < high)].sum())
        for low, high in ((100, 1000), (1000, 2500), (2500, 8000))
    ]
    return [
        log_f0.mean(),
        log_f0.std(),
        np.polyfit(position, log_f0, 1)[0],
        10 * np.log10(np.mean(waveform**2)),
        len(waveform) / SAMPLING_RATE,
        bands[1] - bands[0],
        bands[2] - bands[0],
    ]


def _recall(classifier, features, corpus, *, groups=None):
    """Cross-validated UAR of the emotion, over speakers where these are given as groups."""
    folds = LeaveOneGroupOut() if groups else StratifiedKFold(5, shuffle=True, random_state=0)
    emotions = corpus["emotion"]
    predicted = cross_val_predict(classifier, features, emotions, groups=groups, cv=folds)
    return recall_score(emotions, predicted, average="macro")


# What the corpus is -------------------------------------------------------------------------------


def test_rows_have_the_schema_and_embedded_16_khz_flac(corpus):
    assert corpus.features == ROW_FEATURES
    assert len(corpus) == NUM_SPEAKERS * NUM_SENTENCES * len(EMOTIONS)
    assert set(corpus["corpus"]) == {"synthetic"}
    for row in corpus.select(range(0, len(corpus), 17)):
        info = soundfile.info(io.BytesIO(row["audio"]["bytes"]))
        assert (info.format, info.samplerate, info.channels) == ("FLAC", SAMPLING_RATE, 1)
        assert info.frames / SAMPLING_RATE == row["duration"]


def test_every_speaker_says_every_sentence_in_every_emotion_once(corpus):
    cells = Counter(zip(corpus["speaker"], corpus["text"], corpus["emotion"], strict=True))
    assert len(cells) == len(corpus)
    assert len(set(corpus["speaker"])) == NUM_SPEAKERS
    assert len(set(corpus["text"])) == NUM_SENTENCES
    assert len(set(corpus["id"])) == len(corpus)


def test_texts_are_upper_case_letters_of_three_to_six_words(corpus):
    for text in set(corpus["text"]):
        assert text.replace(" ", "").isalpha() and text == text.upper()
    assert all(3 <= len(sentence.split()) <= 6 for sentence in SENTENCES)
    assert len(set(SENTENCES)) == len(SENTENCES)


def test_half_of_the_speakers_are_female(corpus):
    genders = dict(zip(corpus["speaker"], corpus["gender"], strict=True))
    assert Counter(genders.values()) == {"female": 4, "male": 4}
    assert len(set(VOICES)) == len(VOICES)


def test_turns_are_short_and_never_clip(corpus, waveforms):
    assert min(corpus["duration"]) > 0.9 and max(corpus["duration"]) < 2.7
    peaks = [np.abs(waveform).max() for waveform in waveforms]
    assert max(peaks) < 0.8


def test_pauses_are_quiet_but_not_digital_silence(waveforms):
    for waveform in waveforms[::13]:
        for pause in (waveform[:700], waveform[-700:]):  # the shortest is 800 samples
            level = 10 * np.log10(np.mean(pause**2))
            assert -77 < level < -68  # the vocoder rings into the pause a little


def test_a_turn_beyond_full_scale_is_an_error_not_a_clip():
    with pytest.raises(ValueError, match="'loud' exceeds full scale"):
        make_turn("loud", np.array([0.0, 1.0, 0.0]), sentence=0, voice=0)


def test_the_description_says_that_it_is_no_evidence_about_people():
    assert "demonstration, not evidence about people" in describe_corpus()


# The same every time ------------------------------------------------------------------------------


def test_a_fresh_process_with_other_threads_makes_the_same_bytes(corpus):
    """It also imports everything while espeakng-loader cannot be imported."""
    code = (
        "import sys; sys.modules['espeakng_loader'] = None\n"
        "from processing.corpora.synthetic import synthesize_corpus\n"
        "del sys.modules['espeakng_loader']\n"
        "rows = synthesize_corpus(num_speakers=2, num_sentences=2, num_workers=1)\n"
        "import hashlib; print(hashlib.sha256(repr(list(rows)).encode()).hexdigest())\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert process.returncode == 0, process.stderr
    texts = {sentence.rstrip(".").upper() for sentence in SENTENCES[:2]}
    part = [row for row in corpus if row["speaker"] in ("s01", "s02") and row["text"] in texts]
    assert len(part) == 16
    assert process.stdout.split() == [hashlib.sha256(repr(part).encode()).hexdigest()]
    assert "synthetic corpus" in process.stderr  # the progress bar


def test_another_seed_makes_other_turns_of_the_same_design(corpus):
    other = synthesize_corpus(num_speakers=1, num_sentences=2, seed=1, progress=False)
    part = corpus.select(range(len(other)))
    assert other["id"] == part["id"] and other["text"] == part["text"]
    assert not set(map(str, other["audio"])) & set(map(str, part["audio"]))


def test_no_progress_bar_when_it_is_not_wanted(capfd):
    synthesize_corpus(num_speakers=1, num_sentences=1, progress=False)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["num_speakers", "num_sentences"])
@pytest.mark.parametrize("value", [0, 17])
def test_counts_beyond_what_there_is_are_refused(name, value):
    with pytest.raises(InputError, match=rf"{name}={value}: .* Choose 1 to 16"):
        synthesize_corpus(**{name: value})


# Where the emotion can and cannot be read ---------------------------------------------------------


def test_text_and_speaker_are_independent_of_the_emotion(corpus):
    for column in ("text", "speaker", "gender"):
        cells = Counter(zip(corpus[column], corpus["emotion"], strict=True))
        assert len(set(cells.values())) == 1, column


def test_text_alone_stays_at_chance(corpus):
    classifier = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4)), LogisticRegression()
    )
    assert _recall(classifier, corpus["text"], corpus) < CHANCE_LIMIT


def test_speaker_alone_stays_at_chance(corpus):
    classifier = make_pipeline(OneHotEncoder(), LogisticRegression())
    assert _recall(classifier, [[s] for s in corpus["speaker"]], corpus) < CHANCE_LIMIT


def test_id_file_name_and_order_of_rows_alone_stay_at_chance(corpus):
    assert [audio["path"] for audio in corpus["audio"]] == [f"{i}.flac" for i in corpus["id"]]
    assert not any(emotion in " ".join(corpus["id"]).lower() for emotion in EMOTIONS)
    takes = [[row_id[-1]] for row_id in corpus["id"]]
    by_take = make_pipeline(OneHotEncoder(), LogisticRegression())
    assert _recall(by_take, takes, corpus) < CHANCE_LIMIT
    by_characters = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 3)), LogisticRegression()
    )
    assert _recall(by_characters, corpus["id"], corpus) < CHANCE_LIMIT
    position = np.arange(len(corpus))
    order = np.stack([position, position % 2, position % 4, position % 8], axis=1)
    by_order = make_pipeline(StandardScaler(), LogisticRegression())
    assert _recall(by_order, order, corpus) < CHANCE_LIMIT


def test_the_emotion_is_learnable_from_the_sound_of_unseen_speakers_but_not_trivially(corpus, cues):
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    recall = _recall(classifier, cues, corpus, groups=corpus["speaker"])
    assert 0.7 < recall < 0.95


def test_no_single_cue_suffices(corpus, cues):
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    recalls = [
        _recall(classifier, cues[:, [cue]], corpus, groups=corpus["speaker"])
        for cue in range(cues.shape[1])
    ]
    assert recalls[0] < 0.45  # a threshold on mean F0
    assert max(recalls) < 0.75


def test_emotions_differ_in_the_direction_their_prosody_says(corpus, cues):
    mean = {
        emotion: cues[np.array(corpus["emotion"]) == emotion].mean(axis=0) for emotion in EMOTIONS
    }
    pitch, spread, slope, level, duration, tilt = range(6)
    assert mean["happy"][pitch] > mean["neutral"][pitch] > mean["sad"][pitch]
    assert mean["happy"][spread] > mean["neutral"][spread] > mean["sad"][spread]
    assert mean["happy"][slope] > mean["angry"][slope]
    assert mean["angry"][level] > mean["neutral"][level] + 2 > mean["sad"][level] + 5
    assert mean["neutral"][level] == pytest.approx(NEUTRAL_LEVEL_DB, abs=1.5)
    assert mean["sad"][duration] > mean["neutral"][duration] > mean["angry"][duration]
    assert mean["angry"][tilt] > mean["neutral"][tilt] > mean["sad"][tilt]


def test_turns_of_one_speaker_and_emotion_differ(corpus, cues):
    level = cues[:, 3]
    for speaker in set(corpus["speaker"]):
        for emotion in EMOTIONS:
            own = (np.array(corpus["speaker"]) == speaker) & (
                np.array(corpus["emotion"]) == emotion
            )
            assert 0.5 < np.std(level[own]) < 3  # dB; the pauses alone make 0.3


def test_speakers_are_told_apart_by_their_timbre_on_unseen_sentences(corpus, waveforms):
    spectra = np.array([_mean_spectrum(waveform) for waveform in waveforms])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, C=0.1))
    predicted = cross_val_predict(
        classifier, spectra, corpus["speaker"], groups=corpus["text"], cv=LeaveOneGroupOut()
    )
    assert np.mean(predicted == np.array(corpus["speaker"])) > 0.9


def _mean_spectrum(waveform, window=400):
    frames = waveform[: len(waveform) // window * window].reshape(-1, window)
    power = np.abs(np.fft.rfft(frames * np.hanning(window), axis=1)) ** 2
    return np.log(power + 1e-8).mean(axis=0)
