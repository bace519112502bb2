"""What of the transcript a linear map reads from codes: characters by CTC, for corpora with more
sentences than could be classes.

Each code gives a fixed number of character frames, by one linear layer and nothing else.

Axes: N turns, K codes, D code width, U character frames, V characters and the blank.
"""

from collections.abc import Sequence

import jiwer
import numpy as np
import torch
from datasets.utils import tqdm
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from train_scripts.explanations.linear_probes import Outcome

MOST_FRAMES_PER_CODE = 8
"""Character frames of a code; what needs more cannot be aligned and is not learned from."""

EPOCHS = 30
BATCH_SIZE = 32
LEARNING_RATE = 0.01
MOST_TURNS = 2000
"""Turns that the probe is trained on; of more, as many are drawn."""


def probe_characters(
    sequences: Sequence[np.ndarray],
    texts: Sequence[str],
    *,
    train: np.ndarray,
    validation: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> Outcome:
    """Train a linear layer by CTC and count the characters it gets right.

    Args:
        sequences: codes of each turn, (K, D).
        texts: normalised transcripts, none empty.
        train: positions of the turns to train on.
        validation: of those that choose the epoch, of other speakers.
        test: of those that are scored.
        seed: of initialisation, order and turns drawn.

    Returns:
        Outcome on the test turns: characters less edits, and characters. Its score is 1 - CER.
    """
    generator = torch.Generator().manual_seed(seed)
    train = train[torch.randperm(len(train), generator=generator).numpy()[:MOST_TURNS]]
    characters = sorted(set("".join(texts[int(i)] for i in train)))
    ids = {character: i + 1 for i, character in enumerate(characters)}  # 0 is the blank
    frames = frames_per_code(sequences, [texts[int(i)] for i in train], train)
    stacked = np.concatenate([sequences[i] for i in train])
    mean, deviation = stacked.mean(0), stacked.std(0) + 1e-6
    codes = {
        int(i): torch.from_numpy(((sequences[i] - mean) / deviation).astype(np.float32))
        for part in (train, validation, test)
        for i in part
    }
    targets = {int(i): torch.tensor([ids[c] for c in texts[i]]) for i in train}
    layer = nn.Linear(stacked.shape[1], frames * (len(ids) + 1))
    with torch.no_grad():
        layer.weight.normal_(std=0.01, generator=generator)
        layer.bias.zero_()
    optimizer = torch.optim.Adam(layer.parameters(), LEARNING_RATE)
    best, kept = -np.inf, None
    for _ in tqdm(range(EPOCHS), desc="Characters", unit="epoch", leave=False):
        train_epoch(layer, optimizer, codes, targets, train, frames, generator)
        score = score_characters(layer, codes, texts, validation, characters, frames).score
        if score > best:
            best, kept = score, {k: v.clone() for k, v in layer.state_dict().items()}
    layer.load_state_dict(kept)  # type: ignore[arg-type]
    return score_characters(layer, codes, texts, test, characters, frames)


def frames_per_code(sequences, texts: Sequence[str], train: np.ndarray) -> int:
    """Fewest character frames of a code that let every training transcript be aligned."""
    needed = [
        # CTC puts a blank between equal characters
        (len(t) + sum(a == b for a, b in zip(t, t[1:], strict=False))) / len(sequences[i])
        for i, t in zip(train, texts, strict=True)
    ]
    return int(min(MOST_FRAMES_PER_CODE, np.ceil(max(needed))))


def train_epoch(layer, optimizer, codes, targets, train, frames: int, generator) -> None:
    """One pass over the training turns in random order."""
    order = train[torch.randperm(len(train), generator=generator).numpy()]
    for start in range(0, len(order), BATCH_SIZE):
        batch = [int(i) for i in order[start : start + BATCH_SIZE]]
        log_probabilities = emit(layer, [codes[i] for i in batch], frames)  # (N, U, V)
        loss = F.ctc_loss(
            log_probabilities.transpose(0, 1),
            pad_sequence([targets[i] for i in batch], batch_first=True),
            torch.tensor([frames * len(codes[i]) for i in batch]),
            torch.tensor([len(targets[i]) for i in batch]),
            zero_infinity=True,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def emit(layer: nn.Linear, codes: list[Tensor], frames: int) -> Tensor:
    """Log-probabilities of characters, (N, U, V), U = frames * longest K."""
    padded = pad_sequence(codes, batch_first=True)  # (N, K, D)
    return layer(padded).reshape(len(codes), padded.shape[1] * frames, -1).log_softmax(-1)


@torch.no_grad()
def score_characters(layer, codes, texts, turns, characters: list[str], frames: int) -> Outcome:
    """Characters less edits, and characters, of each turn."""
    hits, counts = np.zeros((2, len(turns), 1))
    for row, i in enumerate(turns):
        ids = emit(layer, [codes[int(i)]], frames)[0].argmax(-1)
        kept = torch.unique_consecutive(ids).tolist()
        answer = "".join(characters[k - 1] for k in kept if k)
        found = jiwer.process_characters(texts[i], answer)
        edits = found.substitutions + found.deletions + found.insertions
        hits[row], counts[row] = len(texts[i]) - edits, len(texts[i])
    return Outcome(hits, counts)
