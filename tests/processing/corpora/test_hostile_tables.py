"""Tables of somebody else: paths that leave the folder, formulas, names with markup, damage."""

import csv
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
import soundfile

from modeling_decomp_ser import timeline_formats
from processing import text
from processing.corpora.loading import load_corpus
from processing.corpora.metadata_folder import read_metadata_folder
from processing.corpora.preparation import PrepareOptions, prepare
from processing.corpora.statistics import corpus_statistics, format_statistics, plot_statistics
from processing.corpora.unlabelled import load_speech
from processing.errors import InputError
from processing.folder_locks import sole_writer
from train_scripts.answers.answer_formats import csv_text

ODD_NAMES = ["$\\frac{", "a|b", "<b>x</b>", "=1+1", "`x` *y* _z_", "$x$ 100 %", "\\$", "{{ x }}"]


@pytest.fixture
def folder(tmp_path):
    """A folder with one clip, and one beside it."""
    folder = tmp_path / "corpus"
    (folder / "x").mkdir(parents=True)
    for path in (folder / "a.wav", tmp_path / "secret.wav"):
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 8000), 16000)
    return folder


def write_table(folder, rows, header="file_name,emotion,speaker"):
    (folder / "metadata.csv").write_text(header + "\n" + "\n".join(rows) + "\n")


@pytest.mark.parametrize("name", ["../secret.wav", "x/../../secret.wav", "{outside}/secret.wav"])
def test_audio_outside_of_the_folder_is_read_only_where_that_is_allowed(folder, tmp_path, name):
    write_table(folder, [f"{name.format(outside=tmp_path)},sad,s1"])
    for read in (load_corpus, load_speech):
        with pytest.raises(InputError, match="metadata.csv line 2: .*outside .* --allow-outside"):
            read(folder)
    with pytest.raises(InputError, match="--allow-outside"):
        prepare("folder", str(folder), tmp_path / "out", options=PrepareOptions(skip_bad=True))
    rows, _ = read_metadata_folder(folder, allow_outside=True)
    assert len(rows) == 1
    write_table(folder, ["./x/../a.wav,sad,s1"])  # does not leave it
    assert len(load_corpus(folder)) == 1


def test_a_column_of_numbers_is_not_taken_for_emotions(folder):
    write_table(folder, [f"a.wav,{k},s1" for k in range(10_000)])
    with pytest.raises(InputError, match="more than 256 different values in the column 'emotion'"):
        load_corpus(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"file_name,emotion\na.wav,s\0d\n", "has a NUL byte in line 2"),
        (b"file_name,emotion\na.wav,sad\nb\xe9.wav,sad\n", r"not UTF-8 \(byte 29\)"),
        ("file_name,emotion\na.wav,sad\n".encode("utf-16"), r"not UTF-8 \(byte 0\)"),
        (b"file_name;emotion\na.wav;sad\n", "column 'file_name' is missing"),
        (b'file_name,emotion\n"a.wav,sad\n', "line 1: unexpected end of data"),
        (b"", "column 'file_name' is missing; found nothing"),
    ],
)
def test_a_table_that_is_damaged_is_named_with_its_line(folder, content, message):
    (folder / "metadata.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"metadata.csv.*{message}"):
        load_corpus(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"a.wav,s\0d\n", r"has a NUL byte in line 200002"),
        (b"b\xe9.wav,sad\n", r"not UTF-8 \(byte 2000019\)"),
        ("ä.wav".encode()[:1], r"not UTF-8 \(byte 2000018\)"),  # ends within a letter
    ],
)
def test_damage_far_behind_is_named_with_its_place(folder, damage, message):
    head = b"file_name,emotion\n" + b"a.wav,sad\n" * 200_000
    (folder / "metadata.csv").write_bytes(head + damage)
    with pytest.raises(InputError, match=message):
        load_corpus(folder)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_letter_may_lie_across_two_blocks(folder, shift):
    table = bytearray(b"file_name,emotion,id,text\n")
    while len(table) < 2**20 - 200:
        table += b"a.wav,sad,%d,%s\n" % (len(table), b"x" * 100)
    last = b"a.wav,sad,last,"
    table += last + b"x" * (2**20 - shift - len(table) - len(last)) + "äö".encode()
    (folder / "metadata.csv").write_bytes(table)
    assert load_corpus(folder)[-1]["text"].endswith("xäö")


def test_rows_take_little_memory_beside_their_table(folder):
    def peak(number):
        lines = [f"a.wav,sad,s{k % 100},{k:06}" for k in range(number)]
        write_table(folder, lines, "file_name,emotion,speaker,id")
        tracemalloc.start()
        rows = load_corpus(folder)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(rows) == number and rows[-1]["id"] == lines[-1][-6:]
        return most

    # bytes a row: 400, with its id as a string; lists of dictionaries took 1,170
    assert peak(24_000) - peak(12_000) < 12_000 * 700


def test_names_with_markup_are_written_as_they_are(folder, tmp_path):
    lines = [["a.wav", name, name, str(i)] for i, name in enumerate(ODD_NAMES)]
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["file_name", "emotion", "speaker", "id"], *lines])
    manifest = prepare("folder", str(folder), tmp_path / "out")
    assert manifest["rows"] == len(ODD_NAMES)
    page = (tmp_path / "out" / "statistics.md").read_text()
    columns = {line.replace("\\|", "").count("|") for line in page.splitlines() if line}
    assert columns == {0, 5, len(ODD_NAMES) + 4}  # no name opens a column of its own
    assert "\\<b\\>x\\</b\\>" in page


def test_formulas_are_escaped_in_every_table(folder, tmp_path):
    (folder / "=bad.wav").write_bytes(b"no sound")
    write_table(folder, ["a.wav,sad,s1,a", "=bad.wav,sad,s1,=b"], "file_name,emotion,speaker,id")
    prepare("folder", str(folder), tmp_path / "out", options=PrepareOptions(skip_bad=True))
    [_, (clip, _)] = csv.reader((tmp_path / "out" / "left_out.csv").open())
    assert not clip.startswith("=")
    window = {"start": 0.0, "end": 1.0, "scores": [{"label": "=1+1", "score": 1.0}]}
    written = timeline_formats.timeline_csv([("-cmd.wav", [window])])
    assert written.splitlines() == [
        "file,start,end,emotion,'=1+1,flags",
        "'-cmd.wav,0.000,1.000,'=1+1,1.000000,",
    ]
    entry = {"start": 0.0, "end": 1.0, "emotion": "@x", "probabilities": {"@x": 1.0}, "flags": []}
    whole = {"seconds": 1.0, "flags": [], "probabilities": {"@x": 1.0}}
    answer = {"file": "+a.wav", **whole, "timeline": [entry]}
    head, row = csv_text([answer]).splitlines()
    assert "'@x" in head and row.startswith("'+a.wav,0.000,1.000,'@x,1.000000")


def test_both_packages_escape_alike():
    for cell in ("=a", "+a", "-a", "@a", "\ta", "a", ""):
        assert text.spreadsheet_cell(cell) == timeline_formats.spreadsheet_cell(cell)


def test_statistics_take_time_by_rows_and_not_by_rows_and_names(tmp_path):
    rows = [
        {"emotion": f"e{i % 200}", "speaker": f"s{i % 5000}", "duration": 1.0, "text": None}
        for i in range(50_000)
    ]
    began = time.process_time()
    statistics = corpus_statistics(rows)
    assert time.process_time() - began < 10  # 5000 speakers times 50,000 rows took minutes
    assert statistics["emotion"]["e7"] == {"turns": 250, "minutes": 4.167}
    assert statistics["speaker"]["s7"]["emotion"]["e7"] == 10


def test_a_figure_shows_names_that_look_like_formulas(tmp_path):
    rows = [{"emotion": n, "speaker": n, "duration": 1.0, "text": None} for n in ODD_NAMES]
    statistics = corpus_statistics(rows)
    plot_statistics(statistics, [1.0] * len(rows), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert "a\\|b" in format_statistics(statistics)


HOLD = """
import sys, time
from pathlib import Path
from processing.folder_locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_of_two_prepares_into_one_folder_is_told_and_the_first_goes_on(folder, tmp_path):
    write_table(folder, ["a.wav,sad,s1"])
    output = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=rf"another process \(number {first.pid}\) is writing"):
            prepare("folder", str(folder), output)
    finally:
        first.kill()  # as the kernel does
        first.wait()
    assert prepare("folder", str(folder), output)["rows"] == 1


def test_a_lock_is_free_after_its_writer(tmp_path):
    for _ in range(2):
        with sole_writer(tmp_path / "out"):
            pass
