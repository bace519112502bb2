import random

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processing.errors import InputError
from processing.folds import (
    PROTOCOLS,
    SPLITS,
    choose_heldout_turns,
    describe_protocol,
    fold_names,
    load_folds,
    split_rows,
)

OF_RAVDESS = ("ravdess-published", "ravdess-emobox")
SPEAKER_DISJOINT = ["speaker", "speaker-paper", "speaker-5", "session"]
EMOTIONS = ["angry", "happy", "sad", "neutral"]


@st.composite
def corpora(draw):
    """Sessions of two speakers, each with dialogues and turns of random number and emotion."""
    rows = []
    for session in range(draw(st.integers(3, 6))):
        for letter in "FM":
            for k in range(draw(st.integers(2, 25))):
                dialogue = f"Ses{session:02d}{draw(st.sampled_from('FM'))}_impro{k % 3:02d}"
                rows.append(
                    {
                        "id": f"{dialogue}_{letter}{k:03d}",
                        "speaker": f"{session:02d}{letter}",
                        "gender": draw(st.sampled_from([{"F": "female", "M": "male"}[letter]])),
                        "session": f"Ses{session:02d}",
                        "corpus": f"corpus{session % 2}",
                        "dialogue": dialogue,
                        "emotion": draw(st.sampled_from(EMOTIONS)),
                        "split": draw(st.sampled_from(["train", "validation", "test"])),
                    }
                )
    random.Random(draw(st.integers(0, 99))).shuffle(rows)
    return rows


def corpus_of(sizes, session=lambda k: None, gender=lambda k: "female" if k % 2 else "male"):
    return [
        {
            "id": f"s{k:02d}-{turn:03d}",
            "speaker": f"s{k:02d}",
            "gender": gender(k),
            "session": session(k),
            "dialogue": None,
            "emotion": EMOTIONS[turn % 4],
        }
        for k, size in enumerate(sizes)
        for turn in range(size)
    ]


def ids(rows, splits):
    return {name: [rows[k]["id"] for k in indices] for name, indices in splits.items()}


def speakers(rows, indices):
    return {rows[k]["speaker"] for k in indices}


relaxed = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if p not in ("predefined", *OF_RAVDESS)])
@relaxed
@given(rows=corpora(), seed=st.integers(0, 99))
def test_splits_are_disjoint_cover_all_rows_and_ignore_their_order(protocol, rows, seed):
    shuffled = random.Random(seed).sample(rows, len(rows))
    for fold in fold_names(rows, protocol)[:2]:
        try:
            splits = ids(rows, split_rows(rows, protocol, fold))
        except InputError as error:  # a corpus in which one dialogue prefix holds all turns
            assert protocol == "dialogue-prefix" and "is empty" in str(error)
            continue
        together = [row_id for name in SPLITS for row_id in splits[name]]
        assert sorted(together) == sorted(row["id"] for row in rows)
        assert splits == ids(shuffled, split_rows(shuffled, protocol, fold))


@pytest.mark.parametrize("protocol", SPEAKER_DISJOINT)
@relaxed
@given(rows=corpora())
def test_no_speaker_is_in_two_of_training_validation_and_test(protocol, rows):
    for fold in fold_names(rows, protocol)[:3]:
        splits = split_rows(rows, protocol, fold)
        train, validation, test = (
            speakers(rows, splits[name]) for name in ("train", "validation", "test")
        )
        assert not train & test and not validation & test and not train & validation
        assert bool(validation) == (protocol != "speaker-paper")
        assert speakers(rows, splits["heldout_turns"]) <= train


@pytest.mark.parametrize("protocol", SPEAKER_DISJOINT)
@relaxed
@given(rows=corpora())
def test_every_turn_is_tested_in_exactly_one_fold(protocol, rows):
    tested = [
        rows[k]["id"]
        for fold in fold_names(rows, protocol)
        for k in split_rows(rows, protocol, fold)["test"]
    ]
    assert sorted(tested) == sorted(row["id"] for row in rows)


@relaxed
@given(rows=corpora())
def test_held_out_turns_are_a_tenth_of_each_speaker_in_proportion_of_emotions(rows):
    chosen = choose_heldout_turns(rows)
    for speaker in {row["speaker"] for row in rows}:
        turns = [row for row in rows if row["speaker"] == speaker]
        held_out = [row for row in turns if row["id"] in chosen]
        assert len(held_out) == max(1, round(0.1 * len(turns)))
        for emotion in EMOTIONS:
            share = sum(row["emotion"] == emotion for row in turns) / len(turns)
            number = sum(row["emotion"] == emotion for row in held_out)
            assert abs(number - share * len(held_out)) < 1


def test_a_speaker_with_one_turn_keeps_it_for_training():
    assert choose_heldout_turns(corpus_of([1, 1])) == set()


def test_turns_of_unknown_speakers_are_never_held_out():
    assert choose_heldout_turns([{**row, "speaker": None} for row in corpus_of([20])]) == set()


def test_the_next_speaker_of_the_same_gender_and_another_session_validates():
    rows = corpus_of([4] * 6, session=lambda k: f"Ses{k // 2}")
    validation = {
        fold: speakers(rows, split_rows(rows, "speaker", fold)["validation"])
        for fold in fold_names(rows, "speaker")
    }
    assert validation["s00"] == {"s02"}
    assert validation["s05"] == {"s01"}


def test_a_partner_of_the_same_gender_does_not_validate():
    rows = corpus_of([4] * 4, session=lambda k: f"Ses{k // 2}", gender=lambda k: "female")
    assert speakers(rows, split_rows(rows, "speaker", "s00")["validation"]) == {"s02"}


def test_without_another_speaker_of_the_gender_any_speaker_validates():
    rows = corpus_of([4] * 3, gender=lambda k: "male" if k == 1 else "female")
    splits = split_rows(rows, "speaker", "s01")
    assert speakers(rows, splits["validation"]) == {"s02"}


def test_five_groups_balance_gender_and_size():
    rows = corpus_of([30, 28, 26, 24, 22, 20, 18, 16, 14, 12] * 2)
    sizes = []
    for fold in fold_names(rows, "speaker-5"):
        tested = split_rows(rows, "speaker-5", fold)["test"]
        members = speakers(rows, tested)
        assert sum(int(s[1:]) % 2 for s in members) == 2 and len(members) == 4
        sizes.append(len(tested))
    assert fold_names(rows, "speaker-5") == ["1", "2", "3", "4", "5"]
    assert max(sizes) - min(sizes) <= 8  # of 84


def test_few_speakers_of_a_gender_are_spread_over_the_groups():
    rows = corpus_of([20] * 9 + [2] * 2, gender=lambda k: "female" if k < 9 else "male")
    for fold in fold_names(rows, "speaker-5"):
        tested = speakers(rows, split_rows(rows, "speaker-5", fold)["test"])
        assert len(tested & {"s09", "s10"}) <= 1


def test_a_tenth_of_the_speakers_of_both_genders_validates_in_five_groups():
    rows = corpus_of([4] * 25)
    for fold in fold_names(rows, "speaker-5"):
        chosen = speakers(rows, split_rows(rows, "speaker-5", fold)["validation"])
        assert len(chosen) == 2
        assert {int(s[1:]) % 2 for s in chosen} == {0, 1}


def test_a_predefined_split_is_taken_as_it_is():
    splits = ["train"] * 10 + ["validation"] * 5 + ["test"] * 5
    rows = [{**row, "split": s} for row, s in zip(corpus_of([20]), splits, strict=True)]
    found = split_rows(rows, "predefined", "predefined")
    assert [len(found[name]) for name in SPLITS] == [9, 5, 1, 5]
    rows[3]["split"] = "dev"
    with pytest.raises(InputError, match="'s00-003': split 'dev', expected train, validation or"):
        split_rows(rows, "predefined", "predefined")


@pytest.mark.parametrize(
    ("protocol", "change", "message"),
    [
        ("speaker", {"speaker": None}, r"needs the speaker of every row.*unknown in 12 of 12.*pre"),
        ("speaker-5", {"speaker": None}, "needs the speaker"),
        ("session", {"session": None}, r"needs the session .*Use 'speaker' or 'speaker-5'"),
        ("session", {"session": "one"}, "at least 2 sessions, found 1"),
        ("dialogue-prefix", {}, "needs the dialogue"),
        ("dialogue-prefix", {"dialogue": "Ses01F_impro01"}, "train split is empty"),
        ("predefined", {}, "needs the split"),
        ("speaker-5", {}, "at least 5 speakers, found 3"),
        ("speaker", {"speaker": "a"}, r"found 1 speakers. Use 'speaker-paper'"),
        ("speaker-paper", {"speaker": "a"}, "train split is empty"),
        ("leave-one-out", {}, "no protocol 'leave-one-out'. Choose one of: speaker, "),
        ("speaker", {"id": "same"}, "id 'same' occurs twice"),
    ],
)
def test_what_a_protocol_lacks_is_said_with_the_way_out(protocol, change, message):
    rows = [{**row, **change} for row in corpus_of([4, 4, 4])]
    with pytest.raises(InputError, match=message):
        split_rows(rows, protocol, fold_names(rows, protocol)[0])


def test_an_unknown_fold_is_answered_with_the_list():
    with pytest.raises(InputError, match="no fold '9'. Choose one of: s00, s01, s02"):
        split_rows(corpus_of([4, 4, 4]), "speaker", "9")


def test_sessions_that_share_their_speakers_are_refused():
    rows = [{**row, "session": "AB"[k % 2]} for k, row in enumerate(corpus_of([4, 4, 4]))]
    with pytest.raises(InputError, match="'A' and 'B' have the same speakers"):
        split_rows(rows, "session", "A")


def test_load_folds_keeps_further_columns_and_sorts_by_id():
    rows = [{**row, "feature": [float(k)]} for k, row in enumerate(corpus_of([10, 10, 10]))]
    folds = load_folds(Dataset.from_list(rows[::-1]), "speaker", "s00")
    assert list(folds) == list(SPLITS)
    assert folds["test"]["feature"] == [[float(k)] for k in range(10)]
    assert folds["train"]["id"] == sorted(folds["train"]["id"])


def test_the_hash_tells_splits_protocols_and_nothing_else_apart():
    rows = corpus_of([10] * 6, session=lambda k: f"Ses{k // 2}")

    def digest(rows, protocol, fold):
        return describe_protocol(protocol, load_folds(Dataset.from_list(rows), protocol, fold))

    reference = digest(rows, "speaker", "s00")
    assert reference["name"] == "speaker" and reference["leaks"] is False
    relabelled = [{**row, "text": "new", "gender": row["gender"]} for row in rows[::-1]]
    assert digest(relabelled, "speaker", "s00") == reference
    others = [
        digest(rows, "speaker", "s01"),
        digest(rows[:-1], "speaker", "s00"),
        digest([{**rows[0], "id": "renamed"}, *rows[1:]], "speaker", "s00"),
        describe_protocol("session", load_folds(Dataset.from_list(rows), "speaker", "s00")),
    ]
    assert len({entry["hash"] for entry in [reference, *others]}) == 5


def test_only_dialogue_prefix_declares_shared_speakers():
    declared = [name for name, rule in PROTOCOLS.items() if rule.declares_shared_speakers]
    assert declared == ["dialogue-prefix"]


def ravdess_rows(actors=range(1, 25)):
    return [
        {"id": f"03-01-{e}-{k}-{actor:02d}", "speaker": f"ravdess{actor:02d}", "emotion": emotion}
        for actor in actors
        for e, emotion in enumerate(EMOTIONS)
        for k in range(3)
    ]


@pytest.mark.parametrize(
    ("protocol", "first"),
    [("ravdess-published", [2, 5, 14, 15, 16]), ("ravdess-emobox", [1, 11, 20, 21])],
)
def test_the_published_folds_of_ravdess_test_every_actor_once_and_share_none(protocol, first):
    rows = ravdess_rows()
    tested = []
    for fold in fold_names(rows, protocol):
        splits = split_rows(rows, protocol, fold)
        actors = {k: {rows[i]["speaker"] for i in indices} for k, indices in splits.items()}
        assert len(actors["validation"]) == 2
        assert not actors["test"] & (actors["train"] | actors["validation"])
        assert not actors["validation"] & actors["train"]
        tested += sorted(actors["test"])
    assert sorted(tested) == sorted({row["speaker"] for row in rows})
    # the first fold as its source prints it
    assert tested[: len(first)] == [f"ravdess{actor:02d}" for actor in first]


@pytest.mark.parametrize("speaker", ["Ses01F", "nemoEB0", "someone", "ravdess25"])
@pytest.mark.parametrize("protocol", OF_RAVDESS)
def test_the_published_folds_of_ravdess_are_of_no_other_corpus(speaker, protocol):
    rows = ravdess_rows()
    rows[0]["speaker"] = speaker
    with pytest.raises(InputError, match=f"speaker '{speaker}' is no actor of RAVDESS"):
        split_rows(rows, protocol, "1")
