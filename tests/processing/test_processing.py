import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.tiny_pipeline import trained_classifier
from transformers import AutoProcessor

import processing
from processing import DecompSerFeatureExtractor, DecompSerProcessor
from processing.text import ENGLISH_VOCABULARY, make_vocabulary

RATE = 16000


@pytest.fixture
def processor(tmp_path):
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    return DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, tmp_path)


def spell(labels: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Frames that CTC reads as these labels: a blank between neighbours."""
    rows = []
    for row in labels:
        tokens = [t for label in row[row >= 0] for t in (label, 0)]
        rows.append(tokens or [0])
    size = max(map(len, rows))
    return np.array([r + [0] * (size - len(r)) for r in rows]), [len(r) for r in rows]


def test_text_becomes_labels_and_comes_back(processor):
    texts = ["Well-- I don't know. [LAUGHTER]", "", "HELLO DOOR"]
    labels = processor.ctc_labels(texts)
    assert (labels[1] == -100).all()
    frames, lengths = spell(labels)
    assert processor.decode_ctc(frames, lengths) == ["WELL I DON'T KNOW", "", "HELLO DOOR"]


def test_decoding_reads_valid_frames_only(processor):
    a, b = ENGLISH_VOCABULARY["A"], ENGLISH_VOCABULARY["B"]
    assert processor.decode_ctc(np.array([[a, a, 0, a, b, b]]), [4]) == ["AA"]


def test_unknown_transcripts_have_no_labels(processor):
    assert (processor.ctc_labels([None, None]) == -100).all()


def test_polish_letters_have_labels_of_their_own(tmp_path):
    vocabulary = make_vocabulary(["ZIMA TO CZAS JEŻDŻENIA"])
    extractor = DecompSerFeatureExtractor(f0_method="dio")
    processor = DecompSerProcessor.from_vocabulary(extractor, vocabulary, tmp_path)
    frames, lengths = spell(processor.ctc_labels(["jeżdżenia"]))
    assert processor.decode_ctc(frames, lengths) == ["JEŻDŻENIA"]


def test_audio_and_text_together(processor):
    batch = processor(
        [np.zeros(4000), np.zeros(3000)], ["A", "BE"], sampling_rate=RATE, return_tensors="pt"
    )
    assert batch["ctc_labels"].shape == (2, 2)
    assert batch["mel"].shape[0] == 2
    with pytest.raises(ValueError, match="1 transcripts for 2 utterances"):
        processor([np.zeros(400), np.zeros(400)], ["A"], sampling_rate=RATE)
    with pytest.raises(ValueError, match="neither audio nor text"):
        processor()


def test_processor_survives_saving(processor, tmp_path):
    processor.save_pretrained(tmp_path / "saved")
    loaded = DecompSerProcessor.from_pretrained(tmp_path / "saved")
    assert loaded.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert loaded.feature_extractor.to_dict() == processor.feature_extractor.to_dict()
    assert loaded.tokenizer.pad_token_id == 0


def test_a_saved_processor_reads_audio_and_text_as_before(processor, tmp_path):
    processor.save_pretrained(tmp_path / "saved")
    given = {"audio": [np.ones(4000) * 0.1, np.zeros(3000)], "text": ["A", "BE"]}
    before = processor(**given, sampling_rate=RATE, return_tensors="np")
    for loader in (DecompSerProcessor, AutoProcessor):
        loaded = loader.from_pretrained(tmp_path / "saved")
        assert type(loaded) is DecompSerProcessor
        after = loaded(**given, sampling_rate=RATE, return_tensors="np")
        assert before.keys() == after.keys()
        assert all((before[name] == after[name]).all() for name in before)


def test_the_librarys_own_decoding_merges_and_drops_too(processor):
    a, b = ENGLISH_VOCABULARY["A"], ENGLISH_VOCABULARY["B"]
    frames = np.array([[a, a, 0, a, b, b], [b, b, b, 0, 0, 0]])
    assert processor.batch_decode(frames) == ["AAB", "B"]
    assert processor.decode(frames[0]) == "AAB"


def test_the_package_does_without_that_of_the_model():
    for path in Path(processing.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            tops = {name.split(".")[0] for name in names}
            assert not tops & {"modeling_decomp_ser", "train_scripts"}, f"{path}: {names}"


LOAD_ALONE = """
import sys
from processing import DecompSerProcessor
from transformers import AutoFeatureExtractor, AutoProcessor
processor = AutoProcessor.from_pretrained(sys.argv[1], trust_remote_code=False)
assert type(processor) is DecompSerProcessor
assert type(DecompSerProcessor.from_pretrained(sys.argv[1])) is DecompSerProcessor
assert AutoFeatureExtractor.from_pretrained(sys.argv[1]).hop_length == 256
assert "modeling_decomp_ser" not in sys.modules
"""


def test_a_saved_model_gives_its_processor_alone_and_without_a_word(tmp_path):
    trained_classifier().save_pretrained(tmp_path)
    extractor = DecompSerFeatureExtractor()
    DecompSerProcessor.from_vocabulary(extractor, ENGLISH_VOCABULARY, tmp_path).save_pretrained(
        tmp_path
    )
    done = subprocess.run(
        [sys.executable, "-c", LOAD_ALONE, str(tmp_path)],
        cwd=Path(processing.__file__).parents[1],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
