import pyarrow.parquet
import pytest
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)

from processing.errors import InputError
from train_scripts.baselines.baseline_runs import run_baseline
from train_scripts.baselines.hub_model import Settings, build_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A random wav2vec 2.0 of a few thousand weights, saved as the Hub has it."""
    folder = tmp_path_factory.mktemp("hub") / "tiny-wav2vec2"
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(20, 16),
        conv_stride=(20, 16),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        num_labels=2,
        mask_time_prob=0.0,
    )
    Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def test_a_checkpoint_is_fine_tuned_in_a_fold(checkpoint, corpus, fold, tmp_path):
    record = run_baseline(
        f"rival_hub:{checkpoint}",
        data=corpus,
        protocol="speaker",
        fold=fold,
        output=tmp_path / "run",
        overrides=["num_epochs=2", "learning_rate=1e-3"],
    )
    assert record.preset == "rival_hub_tiny-wav2vec2" and record.backbone == str(checkpoint)
    assert record.selected_by == "validation" and record.best_epoch in (1, 2)
    assert record.trained_on is None and record.n_parameters > 1000
    assert record.calibration is not None
    turns = pyarrow.parquet.read_table(tmp_path / "run" / "predictions.parquet").to_pydict()
    assert set(turns["speaker"]) == {fold} and len(turns["id"]) == record.metrics.num_turns
    assert record.publishable().backbone == "tiny-wav2vec2"
    assert record.publishable().settings["model"] == "tiny-wav2vec2"
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"results.json", "predictions.parquet", "validation_predictions.parquet"}


def test_the_head_gets_the_labels_and_the_front_end_stays(checkpoint):
    model, extractor = build_model(Settings(model=str(checkpoint)), ["angry", "sad", "calm"])
    assert model.config.id2label == {0: "angry", 1: "sad", 2: "calm"}
    assert model.classifier.out_features == 3 and extractor.sampling_rate == 16_000
    trained = {n.split(".")[1] for n, p in model.named_parameters() if not p.requires_grad}
    assert trained == {"feature_extractor"}


def test_what_is_no_model_is_refused_in_one_line(corpus, fold, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in (str(tmp_path / "empty"), "nobody/no-such-model"):
        with pytest.raises(InputError, match="rival_hub .*Give a repository id"):
            run_baseline(
                f"rival_hub:{name}",
                data=corpus,
                protocol="speaker",
                fold=fold,
                output=tmp_path / "run",
            )
    assert not (tmp_path / "run").exists()
