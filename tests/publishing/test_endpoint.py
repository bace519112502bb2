"""The handler of Inference Endpoints, loaded and called as the platform does."""

import base64
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from support.tiny_pipeline import as_dict, encode, save_tiny_model, voice

from train_scripts.publishing.upload import ENDPOINT


@pytest.fixture(scope="module")
def handler(tmp_path_factory):
    """From a folder with the files of a repository, by their names."""
    folder = tmp_path_factory.mktemp("repository")
    save_tiny_model(folder)
    for path in ENDPOINT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    spec = importlib.util.spec_from_file_location("handler", folder / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(path=str(folder))


@pytest.fixture(scope="module")
def clip():
    return encode(voice(1.5))


@pytest.fixture(scope="module")
def expected(handler, clip):
    return as_dict(handler.recognize(clip))


def as_json(content):
    """What comes out of the body of a request."""
    return json.loads(json.dumps(content))


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_the_bytes_of_a_file_are_answered(handler, clip, expected, kind):
    answer = handler({"inputs": kind(clip)})
    assert as_dict(answer) == pytest.approx(expected)
    assert as_json(answer) == answer


@pytest.mark.parametrize("head", ["", "data:audio/wav;base64,"])
@pytest.mark.parametrize("nested", [True, False])
def test_base64_is_answered_with_parameters(handler, clip, expected, head, nested):
    text = head + base64.b64encode(clip).decode()
    request = {
        "inputs": {"bytes": text} if nested else text,
        "parameters": {"top_k": 1, "return_timeline": True, "return_flags": True},
    }
    answer = as_json(handler(as_json(request)))
    [best] = answer["scores"]
    assert expected[best["label"]] == pytest.approx(best["score"]) == max(expected.values())
    assert answer["timeline"][0]["end"] == 1.5 and "flags" in answer


def test_samples_are_answered_at_their_rate(handler):
    samples = voice(1.5, 8000)
    request = as_json({"inputs": {"array": samples.tolist(), "sampling_rate": 8000}})
    wanted = handler.recognize({"array": samples, "sampling_rate": 8000})
    assert as_dict(handler(request)) == pytest.approx(as_dict(wanted), abs=1e-6)


def test_several_are_answered_in_order(handler, clip, expected):
    texts = [base64.b64encode(c).decode() for c in (clip, encode(voice(1.0, seed=3)))]
    answers = handler({"inputs": texts, "parameters": None})
    assert len(answers) == 2 and as_dict(answers[0]) == pytest.approx(expected)
    assert as_dict(answers[1]) != pytest.approx(expected)


def test_what_is_no_sound_is_refused_and_no_path_is_opened(handler, clip, tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(clip)
    for inputs in (str(path), f"file://{path}", "http://127.0.0.1/x.wav", {"path": str(path)}, 3):
        with pytest.raises(ValueError, match=r"'inputs' is|cannot be decoded|0 bytes"):
            handler({"inputs": inputs})
    with pytest.raises(ValueError, match="NoneType"):
        handler({})
    with pytest.raises(ValueError, match="cannot be decoded"):
        handler({"inputs": b"RIFF is all there is"})
    with pytest.raises(TypeError, match="temperature"):
        handler({"inputs": clip, "parameters": {"temperature": 2}})


def test_it_needs_no_more_than_the_page_of_a_space():
    def lines(folder):
        return set((folder / "requirements.txt").read_text().splitlines())

    assert lines(ENDPOINT) < lines(Path(ENDPOINT).with_name("space"))
