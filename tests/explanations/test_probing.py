import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from modeling_decomp_ser import DecompSerConfig
from processing.errors import InputError
from train_scripts.cli import VERBS
from train_scripts.explanations.linear_probes import TRAINS_ONLY
from train_scripts.explanations.probe_table import (
    describe_condition,
    render_findings,
    render_probe,
)
from train_scripts.explanations.probing import (
    leave_out_speakers,
    probe_model,
    split_turns,
    trained_with_resampling,
)
from train_scripts.probe import app
from train_scripts.runs.run_folder import load_model


@pytest.fixture(scope="module")
def report(trained_run, corpus_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("probe") / "report"
    found = probe_model(
        str(trained_run[1]),
        data=str(corpus_folder),
        output=folder,
        pretrained=str(trained_run[0]),
        num_shuffles=3,
    )
    return found, folder


def test_every_code_is_probed_for_every_factor_in_every_condition(report):
    found, _ = report
    conditions = [(c["stage"], c["resampling"]) for c in found["conditions"]]
    assert conditions == [
        ("fine-tuned", False), ("fine-tuned", True), ("pre-trained", False), ("pre-trained", True),
    ]  # fmt: skip
    codes = ["wav2vec2", "rhythm", "content", "pitch", "timbre", "log-mel"]
    for condition in found["conditions"]:
        with_speech = condition["stage"] == "fine-tuned"
        assert list(condition["scores"]) == codes[0 if with_speech else 1 :]
        for row in condition["scores"].values():
            assert list(row) == list(found["factors"])
            for score in row.values():
                assert np.isfinite(score["score"]) and np.isfinite(score["chance"])
                assert score["num_turns"] == 48 and score["num_speakers"] == 4
        pairs = 10 if with_speech else 6
        assert len(condition["dependence"]) == pairs


def test_the_spectrogram_knows_loudness_and_level_of_pitch_knows_gender(report):
    found, _ = report
    scores = found["conditions"][0]["scores"]["log-mel"]
    assert scores["energy"]["informativeness"] > 0.4
    ideal = found["ideal"]["scores"]
    assert ideal["pitch"]["gender"]["score"] > 0.9  # the corpus ties them together
    assert ideal["content"]["transcript"]["score"] == 1.0
    assert found["ideal"]["verdict"]["verdict"] == "disentangled"  # such ties are forgiven


def test_resampling_leaves_rhythm_and_the_speech_encoder_as_they_are(report):
    plain, resampled = report[0]["conditions"][:2]
    for code in ("rhythm", "wav2vec2", "log-mel"):
        assert plain["scores"][code] == resampled["scores"][code]
    assert plain["scores"]["content"] != resampled["scores"]["content"]


@pytest.mark.parametrize(
    ("stage", "settings", "trained"),
    [
        ("fine-tuned", {}, True),
        ("fine-tuned", {"resampling_in_finetuning": False}, False),
        ("pre-trained", {"resampling_in_finetuning": False}, True),
        ("pre-trained", {"resampling_input": False, "resampling_inner": False}, False),
    ],
)
def test_resampled_codes_are_those_of_training_only_where_training_resampled(
    stage, settings, trained
):
    config = DecompSerConfig(**settings)
    assert trained_with_resampling(stage, config) is trained
    said = describe_condition(
        {"stage": stage, "resampling": True, "resampling_in_training": trained}
    )
    where = {"fine-tuned": "fine-tuning", "pre-trained": "pre-training"}[stage]
    assert ("as it was trained" in said) is trained
    assert (f"which this model did not see in {where}" in said) is not trained


def test_a_report_says_whether_its_models_heard_resampled_speech(report, trained_run):
    found, _ = report
    model, _ = load_model(str(trained_run[1]))
    for condition in found["conditions"]:
        expected = trained_with_resampling(condition["stage"], model.config)
        assert condition["resampling_in_training"] is expected


def test_the_report_says_what_its_figures_depend_on(report, corpus_folder):
    found, folder = report
    assert json.loads((folder / "probe.json").read_text())["seed"] == found["seed"] == 0
    assert found["num_known_speakers"] == 2  # one of four speakers tested, another validated
    assert found["protocol"]["name"] == "speaker-paper" and found["protocol"]["num_folds"] == 4
    assert len(found["protocol"]["hash"]) == 16 and found["commit"]
    assert found["corpus"] == [Path(corpus_folder).name]  # its rows name none
    text = (folder / "probe.md").read_text()
    assert text == render_probe(found) + "\n"
    for word in ("speaking rate", "the encoders were trained on 2 of the speakers", "48 turns"):
        assert word in text
    assert "F0 is normalised by mean and deviation of the utterance." in text
    for code in ("rhythm", "content", "pitch", "timbre"):
        assert f"{code.capitalize()} is " in render_findings(found)
    assert (folder / "probe.png").stat().st_size > 20_000


def test_a_report_is_rendered_in_brief_for_the_card(report):
    brief = render_probe(report[0], brief=True)
    assert brief.startswith(render_findings(report[0])) and "| *chance (shuffled)* |" in brief
    assert "canonical correlation" in render_probe(report[0]) and "canonical" not in brief


def test_figures_in_the_table_are_those_of_the_report(report):
    found, folder = report
    score = found["conditions"][0]["scores"]["timbre"]["speaker"]
    row = next(
        r for r in (folder / "probe.md").read_text().splitlines() if r.startswith("| timbre")
    )
    assert f"{score['score']:.2f}" in row.split("|")[2]
    assert f"({score['interval'][0]:.2f} to {score['interval'][1]:.2f})" in row.split("|")[2]


def test_speakers_are_divided_and_known_speakers_by_what_they_say(corpus):
    splits, described = split_turns(corpus, None, None)
    for fold in set(splits.by_speaker):
        tested = splits.by_speaker == fold
        assert not set(splits.speakers[tested]) & set(splits.speakers[~tested])
    texts = np.array(corpus["text"])
    assert splits.divided_by == "sentences"
    for fold in set(splits.within_speaker):
        tested = splits.within_speaker == fold
        assert not set(texts[tested]) & set(texts[~tested])
        assert set(splits.speakers[tested]) == set(splits.speakers)
    assert described["name"] == "speaker-paper"


def test_without_transcripts_the_turns_of_a_speaker_are_divided(corpus):
    silent = corpus.remove_columns("text").add_column("text", [None] * len(corpus))
    splits, _ = split_turns(silent, None, None)
    assert splits.divided_by == "turns"
    for speaker in set(splits.speakers):
        counts = np.bincount(splits.within_speaker[splits.speakers == speaker])
        assert len(counts) == 5 and counts.max() - counts.min() <= 1


def test_one_fold_tests_its_speakers_alone(corpus, fold):
    splits, described = split_turns(corpus, "speaker", fold)
    tested = splits.by_speaker >= 0
    assert (
        set(splits.speakers[tested]) == {fold} and (splits.by_speaker[~tested] == TRAINS_ONLY).all()
    )
    assert ((splits.within_speaker >= 0) == tested).all() and described["num_folds"] == 1


def test_known_speakers_are_left_out_on_demand(corpus):
    speakers = sorted(set(corpus["speaker"]))
    left = leave_out_speakers(corpus, set(speakers[:2]))
    assert sorted(set(left["speaker"])) == speakers[2:]
    with pytest.raises(InputError, match="1 speakers of the corpus are unknown to the model"):
        leave_out_speakers(corpus, set(speakers[:3]))
    with pytest.raises(InputError, match="training_rows.json is missing"):
        leave_out_speakers(corpus, None)


def test_a_finished_report_is_not_overwritten(report, trained_run, corpus_folder):
    with pytest.raises(InputError, match="holds a report already"):
        probe_model(str(trained_run[1]), data=str(corpus_folder), output=report[1])


def test_one_speaker_is_too_few(corpus):
    one = corpus.filter(lambda s: s == corpus["speaker"][0], input_columns="speaker")
    with pytest.raises(InputError, match="1 speakers are named"):
        split_turns(one, None, None)


def test_the_command_explains_itself():
    assert VERBS["probe"][0] == "probe"
    answer = CliRunner().invoke(app, ["--help"])
    assert answer.exit_code == 0 and "--pretrained" in answer.stdout
