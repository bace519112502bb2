import pyarrow as pa
import pytest
from support.tone_corpora import write_tones

from processing import DecompSerFeatureExtractor
from processing.corpora.loading import load_corpus
from processing.corpora.mixture import Mixture, read_data, sampling_shares
from processing.corpora.mixture_rows import count_corpora
from processing.corpora.preparation import prepare
from processing.corpora.rows import rows_to_dataset
from processing.errors import InputError
from processing.features import add_signals
from processing.folds import split_rows


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return write_tones(tmp_path_factory.mktemp("first") / "one", corpus="one", seed=1)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    folder = tmp_path_factory.mktemp("second") / "two"
    labels = ("angry", "happy", "calm")
    return write_tones(folder, corpus=None, emotions=labels, num_speakers=6, text=None, seed=2)


def test_ids_and_speakers_of_two_corpora_are_kept_apart(first, second):
    both = load_corpus(read_data([first, second], labels="union"))
    assert len(set(both["id"])) == len(both) == 40 + 36
    assert set(both["corpus"]) == {"one", "two"}  # the second is called as its folder
    assert {s.split("/")[0] for s in both["speaker"]} == {"one", "two"}
    assert len(set(both["speaker"])) == 11  # both have s0 to s4
    assert both[0]["id"] == "one/" + both[0]["own_id"] and both[0]["dialogue"] is None


def test_one_corpus_is_loaded_as_before(first):
    assert read_data([first]) == first
    assert load_corpus(first)[0]["id"] == "audio/s0-00.wav"
    with pytest.raises(InputError, match=r"--sampling equal: is of several corpora"):
        read_data([first], sampling="equal")


def test_other_emotions_ask_for_a_choice(first, second):
    with pytest.raises(InputError, match=r"two: angry, happy, calm\)\. Choose --labels inter"):
        load_corpus(read_data([first, second]))
    common = load_corpus(read_data([first, second], labels="intersection"))
    assert set(common["emotion"]) == {"angry", "happy"} and len(common) == 20 + 24


def test_a_mixture_file_has_label_maps_names_and_weights(first, second, tmp_path):
    path = tmp_path / "mixture.yaml"
    path.write_text(
        f"labels: intersection\ncorpora:\n- {{data: {first}, name: a, weight: 3}}\n"
        f"- {{data: {second}, name: b, map: {{calm: neutral}}, weight: 1}}\n"
    )
    mixture = read_data([str(path)])
    both = load_corpus(mixture)
    assert set(both["emotion"]) == {"angry", "happy", "neutral"}
    assert set(both["corpus"]) == {"a", "b"}
    assert sampling_shares(mixture, {"a": 10, "b": 30}) == {"a": 0.75, "b": 0.25}
    # the command line wins
    equal = read_data([str(path)], sampling="equal")
    assert sampling_shares(equal, {"a": 10, "b": 30}) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    "content, problem",
    [
        ("corpora: [x]", "two or more"),
        ("corpora: [x, y]\nweight: 3", "'weight' is unknown, expected labels, sampling, corpora"),
        ("corpora: [x, {data: y, maps: {}}]", "corpus y: 'maps' is unknown"),
        ("corpora: [x, {data: y, name: y, weight: 2}]", "some corpora have a weight"),
        ("corpora: [x, {data: y, name: a/b}]", "name 'a/b', expected a word"),
        ("corpora: [x, y]\nsampling: 0.5", "sampling '0.5': expected proportional, equal"),
        ("corpora: [x, y]\nlabels: all", "labels 'all': expected union or intersection"),
        ("corpora: [x, x]", "is given 2 times"),
        ("a: [", "cannot be read as a mixture"),
    ],
)
def test_a_wrong_mixture_file_says_what_is_wrong(tmp_path, content, problem):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=problem):
        read_data([str(path)])


def test_two_corpora_of_one_name_are_refused(first, tmp_path):
    other = write_tones(tmp_path / "other", corpus="one")
    with pytest.raises(InputError, match="both hold the corpus 'one'"):
        load_corpus(read_data([first, other]))


def test_a_map_of_an_emotion_that_is_not_there_is_refused(first, second, tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(f"corpora:\n- {{data: {first}, map: {{clam: neutral}}}}\n- {second}\n")
    with pytest.raises(InputError, match="emotion 'clam', which is not in this corpus"):
        load_corpus(read_data([str(path)]))


def test_shares_by_temperature_lie_between_proportional_and_equal():
    of = {"a": 100, "b": 900}
    assert sampling_shares(Mixture(()), of) is None
    assert sampling_shares(Mixture((), sampling="1"), of) == pytest.approx({"a": 0.1, "b": 0.9})
    assert sampling_shares(Mixture((), sampling="2"), of) == pytest.approx({"a": 0.25, "b": 0.75})


def test_corpora_are_counted_one_by_one(first, second):
    counts = count_corpora(load_corpus(read_data([first, second], labels="union")))
    assert counts["one"]["without_text"] == 0 and counts["two"]["without_text"] == 36
    assert counts["two"]["speakers"] == 6 and counts["one"]["minutes"] == pytest.approx(0.267)
    assert counts["two"]["emotions"] == {"angry": 12, "happy": 12, "calm": 12}


def test_signals_stored_of_a_corpus_alone_are_found_in_a_mixture(first, second, tmp_path):
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    for name in (first, second):
        add_signals(load_corpus(name), extractor, cache_folder=tmp_path, num_proc=1)
    stored = {path.name for path in tmp_path.iterdir()}
    both = load_corpus(read_data([first, second], labels="union"))
    found = add_signals(both, extractor, cache_folder=tmp_path, num_proc=1)
    assert {path.name for path in tmp_path.iterdir()} == stored and len(found) == 76
    assert found[40]["id"] == "two/audio/s0-00.wav"


def test_two_prepared_corpora_cost_no_memory_for_their_audio(first, second, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, source in zip(folders, (first, second), strict=True):
        prepare("folder", source, folder)
    before = pa.total_allocated_bytes()
    both = load_corpus(read_data(list(map(str, folders)), labels="union"))
    audio = sum(len(row["audio"]["bytes"]) for row in both)
    taken = pa.total_allocated_bytes() - before
    assert audio > 300_000 and taken < audio / 10


def rows_of(corpus, num_speakers, prefix=""):
    return [
        {
            "id": f"{prefix}{s}-{k}",
            "speaker": f"{prefix}{s}",
            "gender": ("female", "male")[s % 2],
            "corpus": corpus,
            "emotion": ("sad", "happy")[k % 2],
        }
        for s in range(num_speakers)
        for k in range(4 + s)
    ]


def test_a_fold_of_a_mixture_tests_the_speakers_that_it_tests_of_each_corpus():
    alone = [rows_of("a", 7), rows_of("b", 9)]
    mixed = [*rows_of("a", 7, "a/"), *rows_of("b", 9, "b/")]
    for fold in ("1", "3"):
        for split in ("test", "validation"):
            wanted = {
                f"{row['corpus']}/{row['id']}"
                for rows in alone
                for row in (rows[i] for i in split_rows(rows, "speaker-5", fold)[split])
            }
            found = {mixed[i]["id"] for i in split_rows(mixed, "speaker-5", fold)[split]}
            assert found == wanted


def test_corpora_of_few_speakers_are_dealt_together():
    mixed = [*rows_of("a", 3, "a/"), *rows_of("b", 2, "b/"), *rows_of("c", 6, "c/")]
    folds = [split_rows(mixed, "speaker-5", str(k)) for k in range(1, 6)]
    tested = [{mixed[i]["speaker"] for i in fold["test"]} for fold in folds]
    assert [len(t) for t in tested] and set.union(*tested) == {row["speaker"] for row in mixed}
    assert all(any(s.startswith("c/") for s in t) for t in tested)


def test_a_speaker_is_validated_by_one_of_the_same_corpus():
    mixed = [*rows_of("a", 3, "a/"), *rows_of("b", 3, "b/")]
    splits = split_rows(mixed, "speaker", "a/2")
    assert {mixed[i]["speaker"] for i in splits["validation"]} == {"a/0"}


def test_one_corpus_tests_and_a_speaker_of_each_other_validates():
    mixed = [*rows_of("a", 3, "a/"), *rows_of("b", 12, "b/"), *rows_of("c", 2, "c/")]
    splits = {
        name: {mixed[i]["speaker"] for i in indices}
        for name, indices in split_rows(mixed, "corpus", "a").items()
    }
    assert splits["test"] == {"a/0", "a/1", "a/2"}
    assert len(splits["validation"]) == 1 and min(splits["validation"]).startswith("b/")
    assert {"c/0", "c/1"} <= splits["train"]
    with pytest.raises(InputError, match="needs at least 2 corpora, found 1"):
        split_rows(rows_of("a", 3), "corpus", "a")
    with pytest.raises(InputError, match="no fold 'd'. Choose one of: a, b, c"):
        split_rows(mixed, "corpus", "d")


def test_a_data_set_without_the_columns_of_another_gets_nulls(first, second, monkeypatch):
    extra = rows_to_dataset([{**load_corpus(first)[0], "valence": 2.0}])
    loaded = {"x": extra, "y": load_corpus(second)}
    from processing.corpora.mixture_rows import join_corpora

    both = join_corpora(read_data(["x", "y"], labels="union"), loaded.__getitem__)
    assert both["valence"][0] == 2.0 and both["valence"][1] is None
