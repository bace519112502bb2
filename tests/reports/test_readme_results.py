import re
from dataclasses import replace

import pytest
from support.planted_runs import plant_row
from support.records import make_record

from processing.errors import InputError
from train_scripts.reports import readme_results
from train_scripts.reports.pages import interval_caption, p_value, render
from train_scripts.reports.readme_results import (
    README,
    README_PROTOCOL,
    README_ROWS,
    REPOSITORY,
    read_pages,
    readme_table,
    update_text,
)
from train_scripts.reports.writing import report
from train_scripts.runs.record import Metrics

RESULTS = make_record(
    metrics=Metrics(num_turns=64, weighted_accuracy=0.75, word_error_rate=0.25),
    constant_baselines={"word_error_rate": 0.8},
    seed=3,
    size="tiny",
    backbone="scratch",
    commit="0123456789abcdef",
)


def test_pages_show_what_the_files_beside_them_say():
    pages = read_pages()
    assert "readme:table" in pages[README] and all(pages.values())
    for page, blocks in pages.items():
        text = page.read_text(encoding="utf-8")
        assert update_text(text, blocks) == text, f"{page.name}: run `make readme`"


def test_every_committed_figure_is_small_and_on_a_page():
    folders = (REPOSITORY / "model_cards", REPOSITORY / "docs")
    figures = {path.resolve() for folder in folders for path in folder.rglob("*.png")}
    shown = {
        (page.parent / name).resolve()
        for page in (README, *(page for folder in folders for page in folder.rglob("*.md")))
        for name in re.findall(r"!\[[^\]]*\]\(([^)]+\.png)\)", page.read_text(encoding="utf-8"))
    }
    assert figures and figures <= shown
    assert len(figures) <= 12
    assert max(figure.stat().st_size for figure in figures) <= 150_000


def test_a_block_goes_where_its_markers_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_results, "REPOSITORY", tmp_path)
    pages = (tmp_path / "first.md", tmp_path / "second.md")
    monkeypatch.setattr(readme_results, "PAGES", pages)
    blocks = {"search:x": "a", "search:xy": "b", "search:not-shown": "c"}
    monkeypatch.setattr(readme_results, "read_blocks", lambda: blocks)
    pages[0].write_text("<!-- search:x -->\n<!-- /search:x -->\n")
    pages[1].write_text("<!-- search:xy -->\n<!-- /search:xy -->\n<!-- example:z.py -->\n")
    assert read_pages() == {pages[0]: {"search:x": "a"}, pages[1]: {"search:xy": "b"}}
    pages[1].write_text("<!-- search:typo -->\n<!-- /search:typo -->\n")
    with pytest.raises(InputError, match=r"second\.md: no file makes the block <!-- search:typo"):
        read_pages()


def test_a_table_names_its_protocol_seed_and_commit():
    table = render("quickstart", run=RESULTS)
    assert "| WA (correct / all) | 0.75 |" in table
    assert "| word error rate | 0.25 (the best constant sentence: 0.8) |" in table
    assert "reconstruction" not in table
    for item in ("speaker-5", "version 1 (abc)", "seed (3)", "0123456789ab", "scratch"):
        assert item in table
    assert "leaks" not in table
    changed = replace(RESULTS, commit=f"{RESULTS.commit}+changes")
    assert "commit 0123456789ab+changes." in render("quickstart", run=changed)
    leaking = replace(RESULTS, protocol=replace(RESULTS.protocol, leaks=True))
    assert "It leaks." in render("quickstart", run=leaking)


def test_only_what_stands_between_the_markers_is_replaced():
    text = "a\n<!-- results:x -->\nstale\n<!-- /results:x -->\nb\n"
    new = update_text(text, {"results:x": render("quickstart", run=RESULTS)})
    assert new.startswith("a\n<!-- results:x -->\n| test turns | 64 |")
    assert new.endswith("<!-- /results:x -->\nb\n") and "stale" not in new
    with pytest.raises(InputError, match="results:y"):
        update_text(text, {"results:y": "anything"})


def test_each_protocol_of_an_experiment_has_its_own_table(tmp_path):
    for protocol in ("speaker", "speaker-5"):
        for preset in ("table3_ours", "table3_m4"):
            plant_row(tmp_path / protocol, preset, seeds=(0,), protocol=protocol)
    content = report([tmp_path], tmp_path / "report", num_resamples=2000)
    text = render("experiment", **content)
    first, second = text.split("planted, protocol `speaker` version 1")
    for part in (first, second):
        assert part.count("| `table3_ours` |") == 1
        assert part.count("`table3_ours` against `table3_m4`") == 1
    assert "planted, protocol `speaker-5` version 1" in second


def test_rows_are_named_with_the_settings_in_which_they_differ(tmp_path):
    common = "finetuning.num_train_epochs=3"
    plain, changed = "pretraining.max_steps=0", "pretraining.max_steps=500"
    for preset, change in (("table3_m4", plain), ("table3_ours", plain), ("table3_ours", changed)):
        overrides = (common, change)
        plant_row(tmp_path / preset / change, preset, seeds=(0,), overrides=overrides)
    plant_row(tmp_path / "majority", "baseline_majority", seeds=(0,), size=None)
    pairs = [("table3_ours", "table3_ours")]
    content = report([tmp_path], tmp_path / "new", pairs=pairs, num_resamples=2000)
    text = render("experiment", **content)
    for name in (f"table3_m4 {plain}", f"table3_ours {plain}", f"table3_ours {changed}"):
        assert f"| `{name}` |" in text
    assert f"`table3_ours {changed}` against `table3_ours {plain}`: UAR" in text
    assert "| `baseline_majority` |" in text
    assert f"size `small` `{common}`, commit" in text


def test_rows_say_whether_resampling_and_pretraining_were_on(tmp_path):
    settings = {"model": {"resampling_in_finetuning": False}, "overrides": ["size=small"]}
    plant_row(tmp_path / "plain", "table3_ours", seeds=(0,), settings=settings)
    trained = {"model": {}, "overrides": ["size=small", "pretraining.max_steps=500"]}
    plant_row(tmp_path / "new", "table2_all", seeds=(0,), settings=trained, pretrained="fold-1")
    raw_wave = {"model": {"components": []}, "overrides": ["size=small"]}
    plant_row(tmp_path / "wave", "table3_m1", seeds=(0,), settings=raw_wave)
    plant_row(tmp_path / "majority", "baseline_majority", seeds=(0,), size=None)
    text = render("experiment", **report([tmp_path], tmp_path / "report", num_resamples=2000))
    cells = {
        line.split("`")[1].split()[0]: line.split(" | ")[7]
        for line in text.splitlines()
        if line.startswith("| `")
    }
    assert cells == {
        "table3_ours": "no / no",
        "table2_all": "yes / yes",
        "table3_m1": "- / no",
        "baseline_majority": "- / -",
    }


def test_tables_say_what_their_intervals_count(tmp_path):
    for preset in ("table3_ours", "table3_m4"):
        plant_row(tmp_path / preset, preset, seeds=(0, 1))
    content = report([tmp_path], tmp_path / "report", num_resamples=2000)
    text = render("experiment", **content)
    assert "Intervals count speakers and seeds." in text
    (comparison,) = content["comparisons"]
    p, p_holm = comparison["test"]["p"], comparison["test"]["p_holm"]
    assert f", p over speakers and seeds {p_holm:.2g} (uncorrected {p:.2g})" in text
    # a report.json of before says nothing of it, and tests as it did
    for item in (*content["rows"], comparison):
        del item["interval_counts"]
    comparison["wilcoxon_speakers"]["unweighted_average_recall"] |= {"p": 0.25, "p_holm": 0.5}
    del comparison["test"]
    text = render("experiment", **content)
    assert "Intervals count speakers only and leave out the noise of seeds." in text
    assert ", p over speakers 0.5 (uncorrected 0.25)" in text
    assert p_value({"test": {"p": None, "p_holm": None}}) == "-"
    mixed = [content["rows"][0], {"interval_counts": "speakers and seeds"}]
    assert interval_caption(mixed).startswith(
        "Intervals count speakers and seeds, and speakers only"
    )


def test_a_difference_of_several_seeds_is_given_for_each(tmp_path):
    for preset in ("table3_ours", "table3_m4"):
        plant_row(tmp_path / preset, preset, seeds=(0, 1))
    content = report([tmp_path], tmp_path / "report", num_resamples=2000)
    uar = {
        row["preset"]: row["metrics"]["unweighted_average_recall"]["per_seed"]
        for row in content["rows"]
    }
    by_seed = [uar["table3_ours"][s] - uar["table3_m4"][s] for s in ("0", "1")]
    assert by_seed[0] != by_seed[1]
    assert f"; by seed {by_seed[0]:+.3f}, {by_seed[1]:+.3f}" in render("experiment", **content)


def readme_report(folder, seeds):
    """Of the rows of README in their protocol and in another, where they were run as well."""
    for preset, right in zip(README_ROWS, (0.9, 0.5), strict=True):
        for protocol in ("speaker", README_PROTOCOL):
            own = {"protocol": protocol, "right": right, "seeds": seeds}
            plant_row(folder / "runs" / protocol / preset, preset, **own)
    return report(
        [folder / "runs"], folder / "report", pairs=[tuple(README_ROWS)], num_resamples=2000
    )


def test_the_table_of_the_readme_takes_its_rows_from_one_protocol(tmp_path):
    content = readme_report(tmp_path, seeds=(0,))
    other = [row for row in content["rows"] if row["protocol"]["name"] == "speaker"]
    for row in other:
        row["metrics"]["weighted_accuracy"]["pooled"] = 9.0
    one = next(row for row in content["rows"] if row not in other and row["preset"] == "undivided")
    one["notes"] = ["trained on validation speakers as well"]
    text = render("readme", **readme_table(content))
    lines = text.splitlines()
    assert [line.split("`")[1] for line in lines[2:4]] == list(README_ROWS)
    assert "9.000" not in text and f"protocol `{README_PROTOCOL}` version 1" in lines[-1]
    assert lines[-1].endswith("Trained on validation speakers as well: `undivided`.")
    content["rows"].remove(one)
    with pytest.raises(InputError, match="0 rows of undivided"):
        readme_table(content)


def test_the_table_of_the_readme_says_what_was_on_in_training(tmp_path):
    content = readme_report(tmp_path, seeds=(0,))
    for row in content["rows"]:
        row["resampled"] = {"table3_ours": True}.get(row["preset"])
        row["pretrained"] = row["preset"] == "table3_ours"
    lines = render("readme", **readme_table(content)).splitlines()
    cells = {line.split("`")[1]: line.split(" | ")[-2:] for line in lines[2:4]}
    assert cells == {"table3_ours": ["yes", "yes |"], "undivided": ["-", "no |"]}


def test_the_table_of_the_readme_ends_in_the_difference_of_its_rows(tmp_path):
    content = readme_report(tmp_path, seeds=(0, 1))
    found = next(c for c in content["comparisons"] if c["protocol"] == README_PROTOCOL)
    difference = found["difference"]["unweighted_average_recall"]["value"]
    text = render("readme", **readme_table(content))
    assert difference > 0.2 and f"`table3_ours` minus `undivided`: UAR {difference:+.3f} [" in text
    assert "Intervals count speakers and seeds." in text and "INCOMPLETE" not in text
