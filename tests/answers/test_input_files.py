import io

import pytest
from support.tiny_pipeline import encode, voice

from processing.errors import InputError
from train_scripts.answers.input_files import find_inputs


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in ("b.wav", "a.flac", "below/deeper/c.MP3", "below/.hidden.wav", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*words):
    return [source.name for source in find_inputs(words)]


def test_a_folder_stands_for_the_sounds_below_it(folder):
    assert names(".") == ["a.flac", "b.wav", "below/deeper/c.MP3"]


def test_patterns_files_and_urls_come_in_their_order_and_once(folder):
    url = "https://example.org/a.wav"
    assert names("b.wav", "*.wav", "**/*.MP3", url, ".") == [
        "b.wav",
        "below/deeper/c.MP3",
        url,
        "a.flac",
    ]


def test_a_named_file_is_taken_whatever_its_name(folder):
    assert names("notes.txt", "gone.wav", "below/.hidden.wav") == [
        "notes.txt",
        "gone.wav",
        "below/.hidden.wav",
    ]


@pytest.mark.parametrize(
    ("word", "message"), [("*.ogg", "no file has a name"), ("empty", "no sound file is in")]
)
def test_what_stands_for_nothing_is_refused(folder, word, message):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        find_inputs([word])


def test_standard_input_is_read_once(monkeypatch):
    content = encode(voice(0.5))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    [source] = find_inputs(["-"])
    assert source.audio == {"path": "stdin", "bytes": content}
    assert source.size == len(content)
    with pytest.raises(InputError, match="once"):
        find_inputs(["-", "-"])


def test_a_recording_is_known_by_its_content(folder):
    one, other = find_inputs(["a.flac", "b.wav"])
    (folder / "b.wav").write_bytes((folder / "a.flac").read_bytes())
    assert one.content_hash == other.content_hash
    [gone] = find_inputs(["gone.wav"])
    with pytest.raises(InputError, match=r"gone\.wav: .*Check the path"):
        _ = gone.content_hash
