"""Fine-tune a saved model on your own speech: a CSV table with file_name, emotion and speaker."""

import sys

from transformers import Trainer, TrainingArguments

from modeling_decomp_ser import DecompSerForAudioClassification
from processing import DecompSerDataCollator, DecompSerProcessor, load_folds
from processing.corpora.loading import load_corpus
from processing.corpora.schema import label_order
from processing.features import add_signals
from train_scripts.runs.metrics import emotion_metrics
from train_scripts.runs.run_folder import save_model
from train_scripts.runs.training_mean import store_training_mean


def main(base: str, table: str, output: str, epochs: float | str = 10) -> None:
    """Train, score on a speaker who was left out, and save."""
    processor = DecompSerProcessor.from_pretrained(base)
    rows = add_signals(load_corpus(table), processor.feature_extractor)
    rows = rows.with_format("numpy", columns=["mel", "f0_hz"], output_all_columns=True)
    folds = load_folds(rows, "speaker", min(rows["speaker"]))  # this speaker tests
    labels = label_order(rows["emotion"])
    model = DecompSerForAudioClassification.from_pretrained(
        base, for_training=True, id2label=dict(enumerate(labels)), ctc_weight=0, speaker_weight=0
    )
    collator = DecompSerDataCollator(processor, labels=labels, with_text=False)
    arguments = TrainingArguments(
        output,
        num_train_epochs=float(epochs),
        learning_rate=1e-4,
        remove_unused_columns=False,
        label_names=["labels"],
    )
    trainer = Trainer(model, arguments, collator, folds["train"], compute_metrics=emotion_metrics)
    trainer.train()
    print(trainer.evaluate(folds["test"]))  # type: ignore[arg-type]
    model.config.emotion_head_trained = True  # or the pipeline refuses to answer
    store_training_mean(model, collator, folds["train"])  # what component shares deviate from
    save_model(output, model, processor, folds["train"], base=base)


if __name__ == "__main__":
    main(*sys.argv[1:])
