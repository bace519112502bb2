import numpy as np
import pytest

from train_scripts.explanations.character_probe import frames_per_code, probe_characters

TEXTS = ["ABBA", "CAB", "BACA", "ABC", "BCA", "CCB"] * 8
SPLIT = {"train": np.arange(36), "validation": np.arange(36, 42), "test": np.arange(42, 48)}


def spelled(seed=0, noise=0.2):
    """A code for each pair of letters, which a linear map can spell."""
    rng = np.random.default_rng(seed)
    sequences = []
    for text in TEXTS:
        letters = np.zeros((-(-len(text) // 2), 2, 4))
        for i in range(letters.shape[0] * 2):
            letters[i // 2, i % 2, "ABC".index(text[i]) if i < len(text) else 3] = 1
        codes = letters.reshape(len(letters), 8)
        sequences.append((codes + noise * rng.standard_normal(codes.shape)).astype(np.float32))
    return sequences


def test_letters_that_are_in_the_codes_are_read_and_others_are_not():
    planted = probe_characters(spelled(), TEXTS, **SPLIT, seed=0)
    assert planted.score > 0.8
    noise = [np.random.default_rng(i).standard_normal((2, 8)).astype(np.float32) for i in range(48)]
    assert probe_characters(noise, TEXTS, **SPLIT, seed=0).score < 0.5 < planted.score
    assert planted.counts[:, 0].tolist() == [len(t) for t in TEXTS[42:]]


def test_the_same_seed_spells_the_same():
    first, second = (probe_characters(spelled(), TEXTS, **SPLIT, seed=3) for _ in range(2))
    assert (first.hits == second.hits).all()


@pytest.mark.parametrize(
    ("codes", "text", "frames"), [(4, "ABCD", 1), (2, "ABCD", 2), (2, "AA", 2)]
)
def test_a_code_gives_as_many_characters_as_the_longest_transcript_needs(codes, text, frames):
    # equal letters need a blank between them
    assert frames_per_code([np.zeros((codes, 3))], [text], np.array([0])) == frames
