import numpy as np
import pytest
import torch
from support.tone_corpora import write_tones

from modeling_decomp_ser.multitask_losses import classification_loss
from processing.collation import DecompSerDataCollator
from processing.errors import InputError
from train_scripts.runs.metrics import vote_metrics
from train_scripts.training.finetuning import finetune

SETTINGS = [
    "size=tiny",
    "features.f0_method=dio",
    "finetuning.num_train_epochs=1",
    "finetuning.targets=votes",
]


def test_the_emotion_loss_takes_shares_and_counts_known_labels():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    shares = torch.tensor([[0.5, 0.5], [0.0, 0.0]])
    loss = classification_loss(logits, torch.tensor([0, -100]), shares)
    assert loss.counted.tolist() == [True, False]
    wanted = -logits.log_softmax(-1)[0].mean()
    assert loss.mean().item() == pytest.approx(wanted.item())
    hard = classification_loss(logits, torch.tensor([0, 1]), torch.eye(2))
    plain = classification_loss(logits, torch.tensor([0, 1]))
    assert hard.per_row.tolist() == pytest.approx(plain.per_row.tolist())


def test_a_turn_without_votes_keeps_its_label():
    collator = DecompSerDataCollator(None, labels=["angry", "sad"], with_votes=True)  # pyright: ignore
    rows = [
        {"emotion": "sad", "votes": "angry:1;sad:3;calm:4"},
        {"emotion": "sad", "votes": None},
        {"emotion": "sad", "votes": "calm:4"},
        {"emotion": "calm", "votes": None},
    ]
    found = collator.label_distribution(rows)
    assert found.tolist() == [[0.25, 0.75], [0, 1], [0, 1], [0, 0]]


def test_votes_are_scored_by_cross_entropy_and_rank():
    shares = np.array([[0.5, 0.5, 0.0], [1 / 3] * 3])
    found = vote_metrics(shares, np.array([[0.25, 0.25, 0.5], [0.2, 0.3, 0.5]]))
    assert found["vote_cross_entropy"] == pytest.approx(
        (np.log(4) - np.log(0.2 * 0.3 * 0.5) / 3) / 2
    )
    assert found["vote_rank_correlation"] == pytest.approx(-1.0)  # the second has no ranks


def write_votes_of(folder, votes):
    table = folder / "metadata.csv"
    head, *lines = table.read_text().splitlines()
    filled = [f"{head},votes", *(f"{line},{votes(line.split(',')[1])}" for line in lines)]
    table.write_text("\n".join(filled) + "\n")


def test_a_run_on_votes_is_scored_against_them(tmp_path):
    folder = tmp_path / "own"
    data = write_tones(folder, corpus="own", num_speakers=3)
    options = {"data": data, "protocol": "speaker-paper", "fold": "s0", "overrides": SETTINGS}
    with pytest.raises(InputError, match="no training turn has votes"):
        finetune("encoders_alone", output=tmp_path / "none", **options)
    write_votes_of(folder, lambda emotion: f"{emotion}:2;other:1;angry:1")
    record = finetune("encoders_alone", output=tmp_path / "run", **options)
    # three quarters of the turns have two thirds of their votes on one label, others all
    entropy = 0.75 * (np.log(3) - 2 / 3 * np.log(2))
    assert record.metrics.vote_cross_entropy is not None
    assert record.metrics.vote_cross_entropy > entropy
    assert record.metrics.vote_rank_correlation is not None
    assert record.settings["finetuning"]["targets"] == "votes"
