from dataclasses import replace

import numpy as np
import pytest
from support.planted_runs import LABELS, corpus_rows, fold_rows, plant_row, plant_run

from processing.errors import InputError
from train_scripts.reports.corpora import adjust, by_corpus, training_shares
from train_scripts.reports.writing import report
from train_scripts.runs.finished_runs import read_runs
from train_scripts.runs.record import CorpusCounts, MixtureRecord


def mixed_rows(corpora=("east", "west")):
    return [
        {**row, "id": f"{corpus}/{row['id']}", "speaker": f"{corpus}/{row['speaker']}"}
        for corpus in corpora
        for row in corpus_rows()
    ]


def counts(turns: int, emotions: dict[str, int] | None = None):
    of: dict[str, int] = emotions or dict.fromkeys(LABELS, turns // 4)
    return CorpusCounts(turns=turns, speakers=10, minutes=1.0, without_text=0, emotions=of)


def mixture(train, test, **more):
    found = {"train": train, "test": test}
    options = {"labels": None, "sampling": "proportional", "shares": None, **more}
    return MixtureRecord(counts=found, **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each corpus alone, both together by speakers, and each tested by the other."""
    root = tmp_path_factory.mktemp("runs")
    for corpus in ("east", "west"):
        plant_row(root / corpus, "table3_ours", corpus=corpus, seeds=(0, 1))
    everything = mixed_rows()
    for seed in (0, 1):
        for fold in range(1, 6):
            test = [
                row for corpus in ("east", "west") for row in fold_rows(mixed_rows([corpus]), fold)
            ]
            plant_run(
                root / "both" / f"{seed}-{fold}",
                seed=seed,
                fold=fold,
                rows=everything,
                test=test,
                corpus="east+west",
                right=0.9,
                trained_on="east+west",
                mixture=mixture(
                    {"east": counts(96), "west": counts(96)},
                    {"east": counts(24), "west": counts(24)},
                ),
            )
        for trained, tested in (("east", "west"), ("west", "east")):
            plant_run(
                root / "cross" / f"{seed}-{tested}",
                seed=seed,
                fold=tested,
                rows=everything,
                test=mixed_rows([tested]),
                corpus=tested,
                protocol="corpus",
                right=0.4,
                trained_on=trained,
                mixture=mixture({trained: counts(120)}, {tested: counts(120)}),
            )
    return root


@pytest.fixture(scope="module")
def content(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    return report([runs], folder, num_resamples=2000, adjust_logits="uniform"), folder


def row_of(content, **wanted):
    [row] = [r for r in content["rows"] if all(r[k] == v for k, v in wanted.items())]
    return row


def test_a_run_on_two_corpora_is_shown_corpus_by_corpus(content):
    content, _ = content
    both = row_of(content, corpus="east+west", overrides=[])
    east = row_of(content, corpus="east", training="east+west", overrides=[])
    assert both["num_turns"] == 240 and east["num_turns"] == 120 and not east["missing"]
    assert set(east["per_speaker"]) == {f"s{k:02}" for k in range(10)}
    assert east["title"] == "table3_ours trained on east+west"
    assert not any("OTHER SPLITS" in note for note in east["notes"])


def test_a_model_of_both_is_compared_with_that_of_one_on_its_turns(content):
    content, _ = content
    titles = {(c["corpus"], *c["titles"]): c for c in content["comparisons"]}
    found = titles["east", "table3_ours trained on east+west", "table3_ours"]
    assert found["num_turns"] == 120 and found["num_speakers"] == 10
    assert found["difference"]["unweighted_average_recall"]["value"] > 0.1


def test_the_matrix_has_training_in_rows_and_test_in_columns(content):
    content, folder = content
    matrix = content["cross_corpus"]
    assert matrix["tests"] == ["east", "west"]
    [plain] = [s for s in matrix["systems"] if s["name"] == "table3_ours small"]
    assert list(plain["trainings"]) == ["east", "west", "east+west"]
    within, across = plain["trainings"]["east"]
    assert within["within"] and within["protocol"] == "speaker-5"
    assert not across["within"] and across["protocol"] == "corpus"
    assert across["unweighted_average_recall"]["pooled"] < 0.7
    assert (folder / "cross_corpus.png").stat().st_size > 5000
    page = (folder / "report.md").read_text()
    assert "| training | east | west |\n| --- | --- | --- |\n| east | *0." in page


def test_a_report_of_single_corpora_has_no_matrix(runs, tmp_path):
    content = report([runs / "east"], tmp_path, num_resamples=2000)
    assert content["cross_corpus"] == {"tests": [], "systems": []}
    assert "Across corpora" not in (tmp_path / "report.md").read_text()
    assert [row["row"] for row in content["rows"]] == ["east_speaker-5_table3_ours_small"]


@pytest.fixture
def skewed(tmp_path):
    """Answers of a model that learnt nine angry turns for each other emotion."""
    rows = mixed_rows(["west"])
    emotions = {"angry": 90, "happy": 10, "sad": 10, "neutral": 10}
    record = plant_run(
        tmp_path / "run",
        rows=rows,
        test=rows,
        corpus="west",
        protocol="corpus",
        mixture=mixture({"east": counts(120, emotions)}, {"west": counts(120)}),
        settings={"finetuning": {"class_weights": "none"}, "overrides": []},
    )
    assert record.mixture is not None
    [run] = by_corpus(read_runs([tmp_path])[0])
    return run


def test_adjusted_answers_expect_other_shares_than_training_had(skewed):
    prior = training_shares(skewed)
    assert prior is not None and prior.tolist() == pytest.approx([0.75] + [1 / 12] * 3)
    found = adjust(skewed, prior, "uniform")
    before = np.array([skewed.turns[f"probability_{name}"] for name in LABELS])
    after = np.array([found.turns[f"probability_{name}"] for name in LABELS])
    odds = (after[0] / after[1]) / (before[0] / before[1])
    assert odds == pytest.approx(np.full(120, 1 / 9))
    assert found.key.title == "table3_ours logit_adjustment=uniform trained on east"
    assert skewed.turns["prediction"].count("angry") > found.turns["prediction"].count("angry")


def test_shares_of_the_tested_turns_are_estimated_without_their_labels(skewed):
    prior = np.full(4, 0.25)
    chosen = [i for i, label in enumerate(skewed.turns["label"]) if label != "happy"]
    turns = {name: [values[i] for i in chosen] for name, values in skewed.turns.items()}
    few = adjust(replace(skewed, turns=turns), prior, "estimated")
    assert few.turns["prediction"].count("happy") < turns["prediction"].count("happy")


def test_what_weighs_emotions_itself_is_not_adjusted(skewed):
    balanced = {"finetuning": {"class_weights": "balanced"}}
    run = replace(skewed, results=replace(skewed.results, settings=balanced))
    assert training_shares(run) is None
    machine = replace(skewed, results=replace(skewed.results, size=None))
    assert training_shares(machine) is None


def test_an_unknown_adjustment_is_refused(runs, tmp_path):
    with pytest.raises(InputError, match="--adjust-logits even: expected uniform or estimated"):
        report([runs / "cross"], tmp_path, adjust_logits="even")
