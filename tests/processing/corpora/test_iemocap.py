import logging
import os
import shutil
import time

import datasets
import pytest
from support.iemocap_release import (
    TURNS_OF_PREFIX,
    Turn,
    full_size_turns,
    label_lines,
    small_release,
    write_turns,
)

from processing.corpora.iemocap import (
    CONFIGURATIONS,
    Iemocap,
    parse_turn_name,
    read_iemocap,
    verify_release,
)
from processing.errors import InputError
from processing.folds import fold_names, split_rows


@pytest.fixture
def release(tmp_path):
    small_release(tmp_path / "IEMOCAP")
    return tmp_path / "IEMOCAP"


@pytest.fixture(scope="module")
def full_release(tmp_path_factory):
    root = tmp_path_factory.mktemp("IEMOCAP_full_release")
    write_turns(root, full_size_turns())
    return root


def rows_of(release, configuration="all", **options):
    rows, _ = read_iemocap(release, configuration, **options)
    return {row["id"]: row for row in rows}


def test_the_speaker_is_the_letter_of_the_turn_not_of_the_dialogue(release):
    row = rows_of(release)["Ses01F_impro01_M000"]
    assert (row["speaker"], row["gender"], row["session"]) == ("01M", "male", "Ses01")
    assert (row["dialogue"], row["style"]) == ("Ses01F_impro01", "improvised")


def test_times_and_ratings_are_read_from_the_label_line(release):
    row = rows_of(release)["Ses01F_impro01_F000"]
    assert (row["start"], row["end"]) == (6.2901, 8.2357)
    assert (row["valence"], row["activation"], row["dominance"]) == (2.5, 3.0, 3.5)


def test_four_classes_merge_excited_into_happy_and_leave_the_rest_out(release):
    rows = rows_of(release, "four-class")
    assert rows["Ses01F_impro01_M000"]["emotion"] == "happy"
    assert "Ses01F_impro01_M001" not in rows  # frustrated
    assert {row["emotion"] for row in rows.values()} == {"angry", "happy", "sad", "neutral"}


def test_all_keeps_every_label_apart(release):
    rows = rows_of(release)
    assert len(rows) == 13
    assert rows["Ses01F_impro01_M000"]["emotion"] == "excited"
    assert rows["Ses01F_impro01_M001"]["emotion"] == "frustrated"
    assert rows["Ses01M_script01_1b_F000"]["emotion"] == "undecided"


def test_raters_files_and_macos_files_are_never_labels(release):
    assert rows_of(release)["Ses01F_impro01_F000"]["emotion"] == "neutral"


@pytest.mark.parametrize(
    ("turn", "text"),
    [
        ("Ses01F_impro01_F001", "Brilliant: it floats; really!"),
        ("Ses01F_impro01_M000", "The lantern is on the boat now."),  # not its second text
        ("Ses01F_impro01_M001", "[LAUGHTER]"),
        ("Ses01M_script01_1_F000", "I left the red umbrella at home."),  # CRLF
        ("Ses01M_script01_1b_M000", "Then the café will open."),  # Latin-1
        ("Ses02F_script01_1_M000", None),  # none
        ("Ses02F_script01_1_F001", ""),  # an empty one
    ],
)
def test_transcripts_survive_the_traps(release, turn, text):
    assert rows_of(release)[turn]["text"] == text


def test_a_dialogue_whose_name_is_a_prefix_of_another_keeps_its_own_turns(release):
    rows = rows_of(release)
    assert rows["Ses01M_script01_1_M000"]["dialogue"] == "Ses01M_script01_1"
    assert rows["Ses01M_script01_1b_M000"]["dialogue"] == "Ses01M_script01_1b"


def damage(release):
    wav = release / "Session1/sentences/wav"
    empty = wav / "Ses01F_impro01/Ses01F_impro01_F000.wav"
    truncated = wav / "Ses01M_script01_1/Ses01M_script01_1_F000.wav"
    content = truncated.read_bytes()[:-100]
    for path in (empty, truncated, wav / "Ses01F_impro01/Ses01F_impro01_F001.wav"):
        path.unlink()
    empty.write_bytes(b"")
    truncated.write_bytes(content)
    labels = release / "Session2/dialog/EmoEvaluation/Ses02M_impro05a.txt"
    labels.write_text(labels.read_text().replace("neu\t[2.5000", "neu\t[broken"))


def test_a_damaged_release_gives_the_good_turns_and_one_summary(release, tmp_path, caplog):
    damage(release)
    with caplog.at_level(logging.WARNING):
        builder = Iemocap("all", data_dir=release, cache_dir=tmp_path / "cache", skip_bad=True)
        builder.download_and_prepare()
    assert len(builder.as_dataset(split="train")) == 9
    summaries = [r.getMessage() for r in caplog.records if "left out 4 of 13" in r.getMessage()]
    assert len(summaries) == 1
    for part in ("F000.wav: 0 bytes", "F001.wav: no such audio", "ends 100 bytes before", "broken"):
        assert part in summaries[0]
    assert any("1 turns have no transcript" in r.getMessage() for r in caplog.records)


def test_a_damaged_release_is_refused_unless_bad_turns_may_be_skipped(release):
    damage(release)
    with pytest.raises(InputError, match=r"F000.*0 bytes.*4 of 13 clips are bad.*skip_bad"):
        read_iemocap(release, "all")


def test_a_label_that_is_not_of_the_release_is_named(release):
    labels = release / "Session2/dialog/EmoEvaluation/Ses02M_impro05a.txt"
    labels.write_text(labels.read_text().replace("\thap\t", "\tjoy\t"))
    with pytest.raises(InputError, match=r"Ses02M_impro05a_M000.*unknown label 'joy'"):
        read_iemocap(release, "all")


def test_a_turn_in_the_label_file_of_another_dialogue_is_refused(release):
    labels = release / "Session2/dialog/EmoEvaluation/Ses02M_impro05a.txt"
    stray = Turn("Ses02M_impro05_F000", "neu", 1.0, 2.0, "Stray.")
    labels.write_text(labels.read_text() + label_lines(stray))
    with pytest.raises(InputError, match="Ses02M_impro05_F000.*cannot read the label line"):
        read_iemocap(release, "all")


def test_a_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(InputError, match="no Session1 to Session5"):
        read_iemocap(tmp_path)


def test_the_cache_notices_a_changed_release(release, tmp_path):
    def build():
        builder = Iemocap(data_dir=release, cache_dir=tmp_path / "cache")
        builder.download_and_prepare()
        return builder.as_dataset(split="train")

    before = {row["id"]: row["emotion"] for row in build()}
    labels = release / "Session2/dialog/EmoEvaluation/Ses02M_impro05a.txt"
    changed = labels.read_bytes().replace(b"\thap\t", b"\tang\t")  # the same size
    labels.write_bytes(changed)
    os.utime(labels, ns=(1, 1))
    after = {row["id"]: row["emotion"] for row in build()}
    assert before["Ses02M_impro05a_M000"] == "happy"
    assert after == {**before, "Ses02M_impro05a_M000": "angry"}


def test_the_builder_stores_the_path_of_the_audio_and_its_duration(release, tmp_path):
    builder = Iemocap(data_dir=release, cache_dir=tmp_path / "cache")
    builder.download_and_prepare()
    corpus = builder.as_dataset(split="train")
    assert corpus.features["audio"] == datasets.Audio(sampling_rate=16000, decode=False)
    row = corpus.filter(lambda row: row["id"] == "Ses01F_impro01_F001")[0]
    assert row["audio"]["bytes"] is None
    assert os.path.isfile(row["audio"]["path"])
    assert row["duration"] == (400 + 16) / 16000


def test_a_full_release_is_built_within_two_minutes_and_agrees_with_table_1(
    full_release, tmp_path, caplog
):
    start = time.perf_counter()
    builder = Iemocap("all", data_dir=full_release, cache_dir=tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        builder.download_and_prepare()
    seconds = time.perf_counter() - start
    assert builder.as_dataset(split="train").num_rows == 10039
    assert seconds < 120
    assert not caplog.records


def test_what_differs_from_table_1_is_said_exactly():
    turns = [
        {"emotion": t.code, "dialogue": t.dialogue, "start": t.start, "end": t.end}
        for t in full_size_turns()
    ]
    assert verify_release(turns) == []
    angry = next(turn for turn in turns if turn["emotion"] == "ang")
    sad = next(turn for turn in turns if turn["emotion"] == "sad")
    without = [turn for turn in turns if turn is not angry]
    assert verify_release(without) == [
        "10038 labelled turns, published are 10039",
        "1102 turns angry, published are 1103",
    ]
    sad["end"] += 60 * 0.98  # 0.99 %
    assert verify_release(turns) == []
    sad["end"] += 60 * 0.02  # 1.01 %
    assert verify_release(turns) == ["100.3 minutes sad, published are 99.3 (within 1 %)"]


def test_a_full_release_that_lacks_a_dialogue_is_reported(full_release, tmp_path, caplog):
    labels = full_release / "Session3/dialog/EmoEvaluation/Ses03M_impro05.txt"
    shutil.move(labels, tmp_path)
    with caplog.at_level(logging.WARNING):
        read_iemocap(full_release)
    shutil.move(tmp_path / labels.name, labels)
    assert any("150 dialogues, published are 151" in r.getMessage() for r in caplog.records)


# --- fold sizes, from turn names alone -----------------------------------------------------------


@pytest.fixture(scope="module")
def rows_from_names():
    four_class = CONFIGURATIONS["four-class"]
    turns = [turn for turn in full_size_turns() if turn.code in four_class]
    return [
        {"id": t.name, "emotion": four_class[t.code], **(parse_turn_name(t.name) or {})}
        for t in turns
    ]


def sizes(rows, protocol, split="test"):
    return [len(split_rows(rows, protocol, fold)[split]) for fold in fold_names(rows, protocol)]


def test_speaker_folds_have_the_published_sizes(rows_from_names):
    assert fold_names(rows_from_names, "speaker")[:3] == ["01F", "01M", "02F"]
    expected = [528, 557, 481, 542, 522, 629, 528, 503, 590, 651]
    assert sizes(rows_from_names, "speaker") == expected
    assert sizes(rows_from_names, "speaker-paper") == expected


def test_session_folds_have_the_published_sizes(rows_from_names):
    assert sizes(rows_from_names, "session") == [1085, 1023, 1151, 1031, 1241]


def test_dialogue_prefix_folds_have_the_published_sizes(rows_from_names):
    assert fold_names(rows_from_names, "dialogue-prefix") == list(TURNS_OF_PREFIX)
    expected = [507, 578, 505, 518, 536, 615, 553, 478, 644, 597]
    assert sizes(rows_from_names, "dialogue-prefix") == expected


def test_every_speaker_validates_one_fold_and_never_beside_a_partner(rows_from_names):
    validation = {}
    for fold in fold_names(rows_from_names, "speaker"):
        chosen = split_rows(rows_from_names, "speaker", fold)["validation"]
        (validation[fold],) = {rows_from_names[k]["speaker"] for k in chosen}
    assert validation["01F"] == "02F"
    assert sorted(validation.values()) == sorted(validation)
    assert all(test[:2] != chosen[:2] for test, chosen in validation.items())
