import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from processing.corpora.registry import common_licence, reasons_not_to_publish, training_corpora
from processing.errors import InputError
from train_scripts.explanations.probe_table import render_probe
from train_scripts.publishing.model_card import METRICS, PAPER, TEMPLATE, render_card
from train_scripts.runs.finished_runs import Run
from train_scripts.runs.record import Calibration, Protocol, RunRecord, Scores, read_record

CALIBRATION = Calibration(
    temperature=1.75,
    fitted_temperature=1.75,
    kept=True,
    abstain_below=0.625,
    num_turns=37,
    ece_before=0.123,
    ece_after=0.045,
    ece_test_before=0.234,
    ece_test_after=0.156,
    nll_before=1.5,
    nll_after=1.2,
    wanted_risk=0.111,
    risk_coverage=[
        {"confidence": 0.9, "coverage": 0.3, "risk": 0.022},
        {"confidence": 0.625, "coverage": 0.7, "risk": 0.088},
        {"confidence": 0.3, "coverage": 1.0, "risk": 0.333},
    ],
)

REPOSITORY = Path(__file__).parents[2]
RESULTS = REPOSITORY / "tests" / "assets" / "model_card" / "results.json"


@pytest.fixture
def results():
    """Real results of a run on RAVDESS, with what newer runs store."""
    return replace(
        read_record(RESULTS),
        corpus="ravdess",
        trained_on="ravdess",
        calibration=CALIBRATION,
        best_epoch=17,
        precision="bfloat16",
    )


def load(card: ModelCard, folder) -> ModelCard:
    """The card as the Hub's library reads it from a file."""
    path = folder / "README.md"
    card.save(path)
    return ModelCard.load(path)


def test_its_metadata_names_every_metric_with_its_protocol(results, tmp_path):
    data = load(render_card(results, "me/speech"), tmp_path).data
    assert (data.license, data.language, data.pipeline_tag) == (
        "cc-by-nc-sa-4.0",
        ["en"],
        "audio-classification",
    )
    found = {e.metric_name: e for e in data.eval_results}
    assert len(found) == len(METRICS)
    for key, (name, kind, _) in METRICS.items():
        entry = found[name]
        assert (entry.metric_type, entry.metric_value) == (kind, getattr(results.metrics, key))
        assert (entry.dataset_type, entry.dataset_name) == ("ravdess", "RAVDESS")
        assert entry.dataset_config == "speaker-5, fold 1"
        assert entry.dataset_args == {"fold": "1", **vars(results.protocol)}
        assert entry.dataset_args["hash"] == "d61146fb28a1a927"
    assert found["WA, weighted accuracy"].metric_args == {"num_turns": 140}
    assert found["Speaker accuracy"].metric_args == {"num_turns": 51}
    # what was loaded is what was rendered, in full
    assert data.to_dict() == render_card(results, "me/speech").data.to_dict()


def test_its_text_says_what_the_results_say(results):
    text = render_card(results, "me/speech", revision="run-abc").text
    for part in (
        'model="me/speech", revision="run-abc", trust_remote_code=True',
        "hash `d61146fb28a1a927`, fold 1: 140 test turns of 5 speakers",
        "| WA, weighted accuracy | 0.579 | correct / all |",
        "| sad | 40 | 0.625 | 0.439 | 0.515 |",
        "| ravdess12 | 28 | 0.464 | 0.406 |",
        "WA lies between 0.464 (ravdess12) and 0.643",
        "| female | 84 | 0.571 | 0.542 |",
        "| **sad** | 0 | 12 | 25 | 3 |",
        "temperature of 1.75, fitted on 37 turns",
        "| validation turns | 0.123 | 0.045 |",
        "| test turns | 0.234 | 0.156 |",
        "below 0.625 is flagged `unsure`",
        "at most 0.111 of the other",
        "| 0.7 | 0.088 | 0.625 |",
        "The words of 140 of the 140 test turns are also said in training",
        "No test speaker was in the training set, and no test turn. 5 speakers test, 17 train.",
        "| the same words | 140 of 140 | 140 of 140 |",
        "| a dialogue | not known | not known |",
        "**RAVDESS**: CC BY-NC-SA 4.0",
        "Article 5(1)(f)",
        "at the workplace or in education",
        "- best epoch: 17",
        "- precision: bfloat16",
        "count as right, its MSE is 0.00865",
        results.commit,
        "transformers 5.23.0",
        "booktitle = {Interspeech 2023}",
        "Hsu, Jia-Hao and Wu, Chung-Hsien and Wei, Yu-Hung",
        "828,953 parameters",
    ):
        assert part in text, part
    for absent in ("leak.**", "demonstration", "{{", "None", "Not measured"):
        assert absent not in text, absent
    settings = text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(settings) == results.settings


def test_another_figure_gives_another_card(results):
    results.metrics.weighted_accuracy = 0.111
    text = render_card(results, "me/speech").text
    assert "| WA, weighted accuracy | 0.111 | correct / all |" in text and "0.579" not in text


def test_the_card_states_both_errors_and_whether_the_temperature_was_kept(results):
    worse = replace(CALIBRATION, ece_before=0.137, ece_after=0.253)
    both = "| validation turns | 0.137 | 0.253 |"

    results.calibration = worse  # of before temperatures could be refused
    text = render_card(results, "me/speech").text
    assert both in text and "Its logits are divided by a temperature of 1.75" in text
    assert "That raised the calibration error on these very turns." in text

    results.calibration = replace(worse, temperature=1.0, kept=False)
    text = render_card(results, "me/speech").text
    assert both in text and "It was not calibrated" in text
    assert "temperature of 1.75 was fitted on 37 turns of validation speakers and not kept" in text
    assert "| test turns | 0.234 | not used |" in text
    assert "Its logits are divided" not in text

    results.calibration = CALIBRATION
    text = render_card(results, "me/speech").text
    assert "Its logits are divided by a temperature of 1.75" in text
    assert "not calibrated" not in text and "raised the calibration error" not in text


def test_the_card_says_what_copies_were_looked_for_and_found(results):
    text = render_card(results, "me/speech").text
    assert "Copies of a sound were not looked for." in text
    assert "| the same samples | not known | not known |" in text

    results.leaks.in_train["identical_audio"] = results.leaks.in_validation["identical_audio"] = 0
    text = render_card(results, "me/speech").text
    assert "| the same samples | 0 of 140 | 0 of 140 |" in text
    assert "| a copy of the sound | not known | not known |" in text
    assert "gain, length or coding was changed were not looked for." in text
    assert "No test speaker was in the training set, and no test turn." in text

    results.leaks.in_train["identical_audio"] = 3
    text = render_card(results, "me/speech").text
    assert "**3 of the test turns are copies of training turns**" in text
    assert "and no test turn" not in text

    results.leaks.in_train["near_identical_audio"] = 4
    text = render_card(results, "me/speech").text
    assert "**4 of the test turns are copies" in text and "also those whose gain" in text


def test_the_citation_is_that_of_the_repository(results):
    paper = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["references"][0]
    text = render_card(results, "me/speech").text.split("```bibtex\n")[1]
    assert text.endswith("\n```")
    said = [paper["title"], paper["collection-title"], str(paper["year"])]
    said += [f"{a['family-names']}, {a['given-names']}" for a in paper["authors"]]
    assert all(part in text for part in said)


def test_the_template_holds_no_figure_of_any_run():
    prose = re.sub(r"\{[{%#].*?[}%#]\}", "", TEMPLATE.read_text(encoding="utf-8"), flags=re.DOTALL)
    laws = ("5(1)(f)", "2024/1689", "2 February 2025", "Article 50", "2023")
    for known in (*laws, "mp3", "| F1 |", "at temperature 1 |"):
        prose = prose.replace(known, "")
    assert not any(character.isdigit() for character in prose)


def test_a_leaking_result_says_so_in_words_and_in_its_metadata(results, tmp_path):
    results.protocol.leaks = True
    card = load(render_card(results, "me/speech"), tmp_path)
    assert "**The scores below leak.** The protocol `speaker-5` tests on speakers" in card.text
    assert "Honest scores are lower." in card.text
    assert all("leaking" in e.metric_name for e in card.data.eval_results)
    assert all(e.dataset_args["leaks"] for e in card.data.eval_results)
    results.pretraining_overlap = "3 of the test turns are in its training set"
    assert "leak.** 3 of the test turns" in render_card(results, "me/speech").text


def test_shared_speakers_are_named_as_a_leak(results):
    results.leaks.shared_speakers = ["ravdess02", "ravdess09"]
    text = render_card(results, "me/speech").text
    assert "**2 of the test speakers.**" in text and "No test speaker was" not in text


def test_validation_speakers_that_were_trained_on_are_told(results):
    told = "It was trained on the validation speakers as well"
    assert told not in render_card(results, "me/speech").text
    results.settings["train_on_validation"] = True
    assert told in render_card(results, "me/speech").text


def test_a_metric_that_was_not_measured_is_left_out_and_named(results, tmp_path):
    results.metrics.word_error_rate = results.metrics.ece = None
    results.tasks_switched_off = {"ctc": "no training row has a transcript"}
    results.per_gender = {}
    card = load(render_card(results, "me/speech"), tmp_path)
    assert {e.metric_type for e in card.data.eval_results}.isdisjoint({"wer", "ece"})
    assert "Not measured: Word error rate, Expected calibration error." in card.text
    assert "*ctc* was switched off: no training row has a transcript." in card.text
    assert "### Each gender" not in card.text and "remembered sentences" not in card.text


def test_the_embedded_corpus_is_a_demonstration(results, tmp_path):
    results.corpus = results.trained_on = "synthetic"
    card = load(render_card(results, "me/speech"), tmp_path)
    head = card.text.split("## Use")[0]
    assert "**A demonstration, no evidence about people.**" in head
    assert "demonstration" in card.data.tags


@pytest.mark.parametrize(
    ("corpus", "licence", "language", "said"),
    [
        ("iemocap", "other", ["en"], "licensed by USC SAIL"),
        ("nemo+ravdess", "cc-by-nc-sa-4.0", ["en", "pl"], "**nEMO**"),
        ("crema-d+ravdess", "other", ["en"], "Open Database License"),
        ("my calls", "other", None, "**my calls**: its terms are not known to this software"),
        (None, "other", None, "do not name the training corpus. Ask"),
    ],
)
def test_it_names_the_training_data_and_their_licence(
    results, tmp_path, corpus, licence, language, said
):
    results.corpus = results.trained_on = corpus
    card = load(render_card(results, "me/speech"), tmp_path)
    assert (card.data.license, card.data.language) == (licence, language)
    assert said in card.text


def test_a_pretrained_speech_encoder_is_the_base_model(results, tmp_path):
    results.backbone = "facebook/wav2vec2-base"
    card = load(render_card(results, "me/speech"), tmp_path)
    assert card.data.base_model == "facebook/wav2vec2-base"
    assert "`facebook/wav2vec2-base` was pretrained elsewhere" in card.text


def test_scores_of_evaluate_are_enough_for_a_card(results, tmp_path):
    results = RunRecord(
        **{name: getattr(results, name) for name in Scores.__dataclass_fields__},
        backbone="wav2vec2",
        corpus="ravdess",
        protocol=Protocol(name="all", version=1, hash=None, leaks=False),
        labels=results.labels,
        n_parameters=results.n_parameters,
        seconds=1.0,
    )
    card = load(render_card(results, "me/speech"), tmp_path)
    text = card.text
    # the scored corpus need not be the one that it was trained on
    assert card.data.license == "other" and "do not name the training corpus" in text
    assert card.data.eval_results[0].dataset_name == "RAVDESS"
    assert "Protocol `all` version 1: 140 test turns" in text
    assert "It was not calibrated" in text and "No further audit" in text
    assert "None" not in text


def test_names_that_look_like_markup_break_no_table(results):
    results.per_speaker = {"a|b\nc": results.per_speaker["ravdess02"]}
    assert "| a\\|b c | 28 |" in render_card(results, "me/speech").text


def test_the_row_of_a_report_joins_the_metadata_and_no_other(results, tmp_path):
    def entry(row, value):
        metric = {
            "task_type": "audio-classification",
            "dataset_type": "ravdess",
            "dataset_name": "RAVDESS",
            "metric_type": "recall",
            "metric_name": "UAR, all folds",
            "metric_value": value,
        }
        return {"row": row, "results": [metric]}

    own = Run(Path(), results).key.slug
    assert own.startswith("ravdess_speaker-5_base_small")
    report = {"model_index": [entry("another", 0.9), entry(own, 0.61)]}
    data = load(render_card(results, "me/speech", report=report), tmp_path).data
    assert len(data.eval_results) == len(METRICS) + 1
    found = [e.metric_value for e in data.eval_results if e.metric_name == "UAR, all folds"]
    assert found == [0.61]
    with pytest.raises(InputError, match="no row of this model, 'ravdess_.*but another"):
        render_card(results, "me/speech", report={"model_index": [entry("another", 0.9)]})


def test_a_probe_is_shown_where_there_is_one(results):
    path = REPOSITORY / "model_cards" / "results" / "probe_ravdess.json"
    probe = json.loads(path.read_text(encoding="utf-8"))
    text = render_card(results, "me/speech", probe=probe).text
    assert "### Which code carries what" in text and render_probe(probe, brief=True) in text
    assert "Which code" not in render_card(results, "me/speech").text


def test_every_kept_result_renders(tmp_path):
    kept = read_record(Path(__file__).parents[2] / "model_cards" / "results" / "quickstart.json")
    assert load(render_card(kept, "me/quickstart"), tmp_path).data.eval_results


@pytest.mark.parametrize(
    ("names", "reasons"),
    [
        ("ravdess", []),
        ("nemo+ravdess+synthetic", []),
        ("iemocap", ["USC SAIL"]),
        ("iemocap+ravdess", ["USC SAIL"]),
        ("mine", ["mine: its terms are not known"]),
        (None, ["do not name the training corpus"]),
    ],
)
def test_only_known_terms_that_allow_it_let_weights_be_public(names, reasons):
    found = reasons_not_to_publish(names)
    assert len(found) == len(reasons)
    assert all(reason in text for reason, text in zip(reasons, found, strict=True))


def test_corpora_with_different_licences_have_no_common_one():
    both = training_corpora("ravdess+synthetic")
    assert list(both) == ["ravdess", "synthetic"]
    assert common_licence(list(both.values())) == "other"
    assert common_licence([]) == "other"


def test_the_citation_in_a_card_is_that_of_the_project():
    project = Path(__file__).parents[2] / "CITATION.cff"
    paper = yaml.safe_load(project.read_text(encoding="utf-8"))["references"][0]
    authors = " and ".join(f"{a['family-names']}, {a['given-names']}" for a in paper["authors"])
    fields = {
        "title": paper["title"],
        "author": authors,
        "booktitle": paper["collection-title"],
        "year": paper["year"],
    }
    assert PAPER.read_text(encoding="utf-8").splitlines()[1:-1] == [
        f"  {k} = {{{v}}}," for k, v in fields.items()
    ]
