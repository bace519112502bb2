import numpy as np
import pyarrow.parquet
import pytest
import torch
from support.tone_corpora import write_tones

from modeling_decomp_ser import DecompSerConfig, DecompSerForAudioClassification
from modeling_decomp_ser.multitask_losses import concordance, dimensions_loss
from train_scripts.answers.overview import compact
from train_scripts.answers.prediction import load_pipeline, summarize
from train_scripts.training.finetuning import finetune

SETTINGS = [
    "size=tiny",
    "features.f0_method=dio",
    "finetuning.num_train_epochs=1",
    "model.dimensions_weight=0.1",
]


def rate(folder, ratings):
    """Add the three columns, by the number of the row."""
    table = folder / "metadata.csv"
    head, *lines = table.read_text().splitlines()
    filled = [f"{line},{ratings(i)}" for i, line in enumerate(lines)]
    table.write_text("\n".join([f"{head},valence,activation,dominance", *filled]) + "\n")


def test_concordance_is_lins():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 50, 3))
    y = 0.5 * x + 0.3 * y + 1
    for k, found in enumerate(concordance(torch.from_numpy(x), torch.from_numpy(y)).tolist()):
        a, b = x[:, k], y[:, k]
        wanted = 2 * np.cov(a, b, bias=True)[0, 1]
        assert found == pytest.approx(wanted / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    assert concordance(torch.from_numpy(x), torch.from_numpy(x)).tolist() == pytest.approx([1] * 3)
    # a correlation would not see another scale or another mean
    assert concordance(torch.from_numpy(x), torch.from_numpy(x + 1)).max() < 0.9


def test_rows_without_all_ratings_do_not_count():
    answers = torch.randn(4, 3, requires_grad=True)
    ratings = torch.tensor([[1.0, 2, 3], [2, 3, 1], [1, float("nan"), 2], [3, 1, 2]])
    loss = dimensions_loss(answers, ratings)
    assert loss.counted.tolist() == [True, True, False, True]
    kept = torch.tensor([0, 1, 3])
    wanted = 1 - concordance(answers[kept], ratings[kept]).mean()
    assert loss.mean().item() == pytest.approx(wanted.item())
    loss.mean().backward()
    assert answers.grad is not None and not answers.grad[2].any() and answers.grad[0].any()
    alone = dimensions_loss(answers, torch.where(torch.arange(4)[:, None] > 0, torch.nan, ratings))
    assert not alone.counted.any() and alone.mean().item() == 0


def test_rows_that_do_not_count_change_no_gradient():
    answers = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    ratings = torch.randn(6, 3, dtype=torch.float64)
    ratings[1, 2] = ratings[4, 0] = torch.nan
    kept = torch.tensor([0, 2, 3, 5])
    picked = 1 - concordance(answers[kept], ratings[kept]).mean()
    expected = torch.autograd.grad(picked, answers)[0]
    found = torch.autograd.grad(dimensions_loss(answers, ratings).mean(), answers)[0]
    torch.testing.assert_close(found, expected)


def test_a_model_has_no_head_unless_it_has_a_weight():
    config = {"components": ["pitch"], "use_speech_encoder": False, "speaker_weight": 0}
    config |= {"ctc_weight": 0, "pitch_conv_channels": 16, "decoder_hidden_size": 8}
    plain = DecompSerForAudioClassification(DecompSerConfig(**config))
    assert plain.dimensions_head is None and "dimensions" not in plain.loss_weights
    config = DecompSerConfig(**config, dimensions_weight=0.2)
    assert DecompSerForAudioClassification(config).loss_weights["dimensions"] == 0.2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("dimensions")
    data = write_tones(root / "own", corpus="own", num_speakers=3)
    rate(root / "own", lambda i: ",," if i % 5 == 4 else f"{1 + i % 4},{1 + i % 3},{5 - i % 4}")
    options = {"data": data, "protocol": "speaker-paper", "fold": "s0", "overrides": SETTINGS}
    record = finetune("encoders_alone", output=root / "run", **options)
    return root, record


def test_a_run_learns_and_scores_dimensions(run):
    root, record = run
    assert (record.task_weights or {})["dimensions"] == 0.1
    found = [getattr(record.metrics, f"ccc_{n}") for n in ("valence", "activation", "dominance")]
    assert all(value is not None and -1 <= value <= 1 for value in found)
    turns = pyarrow.parquet.read_table(root / "run" / "predictions.parquet")
    assert len(set(turns["predicted_valence"].to_pylist())) > 1
    log = (root / "run" / "log.jsonl").read_text()
    assert '"loss_dimensions"' in log


def test_pipeline_timeline_and_page_show_them(run):
    from train_scripts.answers.many_recordings import Listening

    recognize = load_pipeline(str(run[0] / "run"), Listening(10.0, None, "mix", "windows"), 1)
    answer = recognize(str(run[0] / "own" / "audio" / "s0-00.wav"))
    assert list(answer["dimensions"]) == ["valence", "activation", "dominance"]
    assert answer["timeline"][0]["dimensions"] == answer["dimensions"]
    entry = {"start": 0.0, "end": 1.0, "flags": [], "probabilities": {"sad": 1.0}}
    entries = [
        {**entry, "dimensions": {"valence": 1.0}},
        {**entry, "end": 3.0, "dimensions": {"valence": 4.0}},
    ]
    assert summarize(entries, 0.0)["dimensions"] == {"valence": 3.25}
    whole = {
        "file": "x",
        "seconds": 3.0,
        "flags": [],
        "segments": "windows",
        "timeline": entries[:1],
    }
    page = compact({**whole, "timeline": entries[:1]}, "x", ["sad"], run[0])
    assert page["entries"][0][-1] == "valence 1.00"


def test_the_task_is_off_where_the_corpus_has_no_ratings(run, tmp_path):
    data = write_tones(tmp_path / "own", corpus="own", num_speakers=3)
    settings = [*SETTINGS, "finetuning.max_steps=1"]
    options = {"data": data, "protocol": "speaker-paper", "fold": "s0", "overrides": settings}
    record = finetune("encoders_alone", output=tmp_path / "run", **options)
    assert "no training row has valence" in record.tasks_switched_off["dimensions"]
    assert "dimensions" not in (record.task_weights or {}) and record.metrics.ccc_valence is None
