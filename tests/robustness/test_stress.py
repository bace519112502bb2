import json

import numpy as np
import pytest
from datasets import Dataset
from support.tiny_pipeline import save_tiny_model
from typer.testing import CliRunner

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from processing.errors import InputError
from train_scripts.answers.evaluation import evaluate
from train_scripts.corruptions.conditions import CORRUPTIONS
from train_scripts.robustness import stress_run
from train_scripts.robustness.corrupted_turns import Condition, conditions_of
from train_scripts.robustness.stress_page import render_stress, summarize_stress
from train_scripts.robustness.stress_run import choose_turns, stress
from train_scripts.robustness.stress_scores import Answers, score_conditions
from train_scripts.runs.record import read_record
from train_scripts.runs.run_folder import load_model

ONLY = ("clipping", "gsm")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder, temperature=1.5, abstain_below=0.4)
    return str(folder)


@pytest.fixture(scope="module")
def asked(model, corpus_folder):
    return {"model_name": model, "data": str(corpus_folder), "only": ONLY, "num_turns": 8}


@pytest.fixture(scope="module")
def stressed(asked, tmp_path_factory):
    output = tmp_path_factory.mktemp("stress") / "stress"
    return output, stress(output=output, **asked)


def by_title(report):
    return {condition["title"]: condition for condition in report["conditions"]}


def test_every_strength_of_what_was_asked_for_is_scored(stressed):
    output, report = stressed
    assert json.loads((output / "stress.json").read_text()) == report
    assert [c["corruption"] for c in report["conditions"]] == [
        None,
        "gsm",
        *["clipping"] * 3,
    ]
    assert report["num_turns"] == 8
    clean = report["conditions"][0]
    assert (clean["change"]["value"], clean["unchanged"]) == (0.0, 1.0)
    loud = by_title(report)["clipping, 20 dB"]
    assert loud["change"]["value"] == pytest.approx(loud["uar"]["value"] - clean["uar"]["value"])
    assert (output / "stress.png").stat().st_size > 10000


def test_clean_answers_are_those_of_evaluate_and_of_the_pipeline(asked, stressed, model):
    output, report = stressed
    own, whole = read_record(output), evaluate(model, data=asked["data"])
    assert own.metrics.num_turns == 8 and whole.metrics.num_turns == 48
    answers = Answers.read(output / "answers" / "clean.json")
    network, processor = load_model(model)
    pipeline = DecompSerPipeline(
        model=network,
        feature_extractor=processor.feature_extractor,
        task="audio-classification",
        top_k=None,
    )
    for row_id, probabilities, flags in zip(
        answers.ids, answers.probabilities(1.5), answers.flags, strict=True
    ):
        clip = f"{asked['data']}/audio/{row_id.rpartition('/')[2].removesuffix('.flac')}.flac"
        told = pipeline(clip, return_flags=True)
        best = told["scores"][0]
        assert best["score"] == pytest.approx(probabilities.max(), abs=1e-4)
        unsure = ["unsure"] if best["score"] < 0.4 else []
        assert told["flags"] == [*flags, *unsure]


def test_an_interrupted_call_is_resumed_and_ends_alike(asked, stressed, tmp_path, monkeypatch):
    answered = []
    answer = stress_run.answer_turns

    def interrupted(model, collator, heard, **options):
        answered.append(heard.condition.name)
        if len(answered) == 3:  # of five
            raise KeyboardInterrupt
        return answer(model, collator, heard, **options)

    monkeypatch.setattr(stress_run, "answer_turns", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stress(output=tmp_path, **asked)
    report = stress(output=tmp_path, **asked)
    assert len(answered) == 1 + len(conditions_of(ONLY))  # one was begun twice
    assert report["conditions"] == stressed[1]["conditions"]


def test_a_folder_is_not_shared_by_two_seeds_models_or_sets_of_turns(asked, stressed, tmp_path):
    output, _ = stressed
    for change, said in (({"seed": 1}, "other seed"), ({"num_turns": 5}, "other turns")):
        with pytest.raises(InputError, match=said):
            stress(output=output, **{**asked, **change})
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="holds results already"):
        stress(output=tmp_path, **asked)
    with pytest.raises(InputError, match="--only=hiss: expected one of white_noise"):
        stress(output=tmp_path, **{**asked, "only": ["hiss"]})


def test_further_corruptions_join_a_folder(asked, stressed):
    output, before = stressed
    report = stress(output=output, **{**asked, "only": ("gsm", "louder")})
    assert by_title(report)["GSM 06.10"] == by_title(before)["GSM 06.10"]
    assert "louder, 20 dB" in by_title(report)


def test_processes_and_batches_do_not_change_the_answers(asked, stressed, tmp_path):
    report = stress(output=tmp_path, **{**asked, "only": ["gsm"]}, jobs=2, batch_size=3)
    gsm = by_title(report)["GSM 06.10"]
    assert gsm["unchanged"] == by_title(stressed[1])["GSM 06.10"]["unchanged"]
    assert gsm["ece"] == pytest.approx(by_title(stressed[1])["GSM 06.10"]["ece"], abs=1e-4)


def planted(right, num_speakers=4, each=10):
    """Answers of which the share `right` of each speaker's turns is right, and their turns."""
    emotions = ["angry", "happy"] * (num_speakers * each // 2)
    turns = Dataset.from_dict(
        {
            "id": [str(i) for i in range(len(emotions))],
            "emotion": emotions,
            "speaker": [str(i // each) for i in range(len(emotions))],
        }
    )
    logits = []
    for i, emotion in enumerate(emotions):
        label = ["angry", "happy"].index(emotion)
        hit = i % each < right * each
        logits.append([3.0 if k == (label if hit else 1 - label) else 0.0 for k in range(2)])
    return turns, Answers(list(turns["id"]), logits, [[] for _ in emotions])


def test_scores_are_those_that_were_planted():
    turns, clean = planted(0.8)
    _, worse = planted(0.4)
    worse.flags[0] = ["too_quiet"]
    answers = {Condition(): clean, Condition("gsm", 1.0): worse}
    report = score_conditions(
        turns, answers, ["angry", "happy"], temperature=1.0, abstain_below=0.5
    )
    first, second = report["conditions"]
    assert first["uar"]["value"] == pytest.approx(0.8)
    assert second["change"]["value"] == pytest.approx(-0.4)
    # every speaker lost as much, so the paired difference is certain
    assert second["change"]["interval_95"] == pytest.approx([-0.4, -0.4])
    assert second["unchanged"] == pytest.approx(0.6)
    assert second["flags"] == {"too_quiet": 1 / 40}
    confidence = float(np.exp(3) / (1 + np.exp(3)))
    assert second["ece"] == pytest.approx(confidence - 0.4, abs=1e-6)
    unsure = score_conditions(
        turns, answers, ["angry", "happy"], temperature=1.0, abstain_below=0.99
    )
    assert unsure["conditions"][0]["flags"] == {"unsure": 1.0}


def test_turns_are_chosen_by_their_ids_alone():
    turns, _ = planted(1.0)
    chosen = set(choose_turns(turns, 7)["id"])
    assert len(chosen) == 7
    assert set(choose_turns(turns.select(range(39, -1, -1)), 7)["id"]) == chosen
    assert choose_turns(turns, 100) is turns


def test_the_page_and_the_summary_say_what_was_measured(stressed):
    _, report = stressed
    page = render_stress(report)
    loud = by_title(report)["clipping, 20 dB"]
    line = next(x for x in page.splitlines() if "clipping, 20 dB" in x)
    assert f"{loud['uar']['value']:.3f}" in line and f"{loud['change']['value']:+.3f}" in line
    assert "8 turns of" in page and "seed 0" in page
    summary = summarize_stress(report).splitlines()
    assert [line[:11].strip() for line in summary[1:]] == [
        "clean",
        "GSM 06.10",
        "clipping, 2",
    ]


def test_the_verb_ends_with_one_line_for_a_missing_package(asked, tmp_path, monkeypatch):
    from train_scripts.runs import foreseen_errors
    from train_scripts.stress import app

    monkeypatch.setattr(foreseen_errors.importlib.util, "find_spec", lambda name: None)
    arguments = [asked["model_name"], "--data", asked["data"], "--output", str(tmp_path / "new")]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError)
    assert "pyroomacoustics is not installed" in str(done.exception)
    assert "decomp-ser[stress]" in str(done.exception)


def test_help_names_every_corruption():
    from train_scripts.stress import app

    said = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    assert f"One of: {', '.join(CORRUPTIONS)}." in said
