"""Which code carries which factor of speech, and how far the codes are from disentangled."""

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from datasets.utils import tqdm

from processing import DecompSerDataCollator
from processing.corpora.loading import load_corpus
from processing.errors import InputError
from processing.features import add_signals, signal_settings
from processing.folds import NUM_SPEAKER_GROUPS, describe_protocol, fold_names, load_folds
from processing.text import normalize_transcript
from train_scripts.explanations.character_probe import probe_characters
from train_scripts.explanations.code_dependence import measure_dependence
from train_scripts.explanations.code_readouts import SPECTROGRAM, read_turns, readouts
from train_scripts.explanations.disentanglement import (
    ideal_codes,
    informativeness,
    judge_codes,
    subject_matrix,
    subjects_of,
)
from train_scripts.explanations.linear_probes import LEFT_OUT, NUM_SHUFFLES, TRAINS_ONLY, probe
from train_scripts.explanations.probe_plot import plot_probe
from train_scripts.explanations.probe_table import render_probe
from train_scripts.explanations.speech_factors import Factor, find_factors
from train_scripts.runs.fold_data import with_arrays
from train_scripts.runs.record import git_commit, package_versions, write_json
from train_scripts.runs.run_folder import load_model, read_training_rows
from train_scripts.runs.whole_files import whole_files

logger = logging.getLogger(__name__)

REPORT = "probe.json"
KNOWN_TO_THE_PROBE = ("speaker", "voice")
"""Factors whose classes are speakers, so that their turns and not their speakers are divided."""

VALIDATION_EVERY = 5
"""Of so many speakers, one chooses the epoch of the character probe."""


@dataclass
class Splits:
    """Which turns test a probe."""

    # fold of each turn, no speaker in two, (N,); TRAINS_ONLY where none tests it
    by_speaker: np.ndarray
    within_speaker: np.ndarray  # the same for factors whose classes are speakers
    divided_by: str  # what the folds of `within_speaker` divide: "sentences" or "turns"
    speakers: np.ndarray  # (N,)


def probe_model(
    model_name: str,
    *,
    data: str,
    output: str | Path,
    pretrained: str | None = None,
    protocol: str | None = None,
    fold: str | None = None,
    unseen_speakers: bool = False,
    seed: int = 0,
    num_shuffles: int = NUM_SHUFFLES,
    skip_bad: bool = False,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Probe the codes of a model and write probe.json, probe.md and probe.png.

    Args:
        model_name: folder of a run of `finetune`, or a repository id.
        data: see `load_corpus`.
        output: folder of the report.
        pretrained: folder of the `pretrain` run that the model began from, probed in the same way.
        protocol: whose folds divide the speakers of the probes; default "speaker-5", or
            "speaker-paper" for fewer than five speakers.
        fold: test the probes on this fold only; default on every fold in turn.
        unseen_speakers: use turns of speakers only that no given model was trained on.
        seed: of shuffles, draws and random resampling.
        num_shuffles: shuffled copies of each factor that chance is measured on.
        skip_bad: leave out clips that cannot be used.
        batch_size: turns a batch; does not change the result.

    Returns:
        The content of probe.json.

    Raises:
        InputError: if a model or the corpus cannot be used, or output holds a report.
    """
    if (Path(output) / REPORT).exists():
        raise InputError(f"{output}: holds a report already. Choose another --output.")
    begin = time.monotonic()
    stages = load_stages(model_name, pretrained)
    extractor = stages[0][2].feature_extractor
    corpus = load_corpus(data, skip_bad=skip_bad)
    known = trained_speakers([model_name] + ([pretrained] if pretrained else []))
    if unseen_speakers:
        corpus = leave_out_speakers(corpus, known)
    rows, splits, described = prepare_turns(corpus, extractor, protocol, fold, skip_bad=skip_bad)
    factors = find_factors(rows, extractor.hop_length, extractor.sampling_rate)
    scorer = Scorer(factors, splits, seed=seed, num_shuffles=num_shuffles)
    report = {
        "model": Path(model_name).name,
        "pretrained": Path(pretrained).name if pretrained else None,
        "corpus": sorted(set(rows["corpus"]) - {None}) or [Path(data).name],
        "protocol": described,
        "fold": fold,
        "seed": seed,
        **count_speakers(splits.speakers, known),
        "unseen_speakers_only": unseen_speakers,
        "f0_stats": extractor.f0_stats,
        **judge_stages(stages, rows, scorer, batch_size),
        "seconds": time.monotonic() - begin,
    }
    return write_report(report, Path(output))


def prepare_turns(
    corpus: Dataset, extractor, protocol: str | None, fold: str | None, *, skip_bad: bool
) -> tuple[Dataset, Splits, dict[str, Any]]:
    """Turns with signals, and their folds as of `split_turns`."""
    found = split_turns(corpus, protocol, fold)  # what is wrong is said before the long work
    rows = with_arrays(add_signals(corpus, extractor, skip_bad=skip_bad))
    if len(rows) < len(corpus):
        found = split_turns(rows.remove_columns(["mel", "f0_hz"]), protocol, fold)
    return rows, *found


def write_report(report: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Add versions and commit; write probe.png, probe.md and probe.json."""
    report |= {"versions": package_versions(), "commit": git_commit()}
    with whole_files(folder) as place:
        plot_probe(report, place / "probe.png")
        (place / "probe.md").write_text(render_probe(report) + "\n", encoding="utf-8")
        write_json(place / REPORT, report)
    return report


def count_speakers(speakers: np.ndarray, known: set[str] | None) -> dict[str, int | None]:
    """Turns, their speakers, and how many of these the models were trained on, for the report."""
    names = set(speakers)
    return {
        "num_turns": len(speakers),
        "num_speakers": len(names),
        "num_known_speakers": None if known is None else len(names & known),
    }


def load_stages(model_name: str, pretrained: str | None) -> list[tuple[str, Any, Any]]:
    """Name, model and processor of each stage of training, the last first."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, processor = load_model(model_name)
    stages = [("fine-tuned", model.to(device), processor)]
    if pretrained is not None:
        model, other = load_model(pretrained, pretraining=True)
        own = signal_settings(processor.feature_extractor)
        if signal_settings(other.feature_extractor) != own:
            raise InputError(
                f"--pretrained {pretrained}: its signals have other settings than those of "
                f"'{model_name}'. Give the folder that the model was fine-tuned from."
            )
        stages.append(("pre-trained", model.to(device), other))
    return stages


def trained_speakers(names: Sequence[str]) -> set[str] | None:
    """Speakers that any of the models was trained on; None if one does not say."""
    rows = [read_training_rows(name) for name in names]
    if any(found is None for found in rows):
        return None
    return {speaker for found in rows if found is not None for speaker in found["speakers"]}


def leave_out_speakers(corpus: Dataset, known: set[str] | None) -> Dataset:
    """Turns of speakers that the encoders do not know.

    Raises:
        InputError: if it is not recorded whom they know, or fewer than two others are left.
    """
    if known is None:
        raise InputError(
            "--unseen-speakers: the model does not say whom it was trained on (training_rows.json "
            "is missing)."
        )
    kept = [i for i, s in enumerate(corpus["speaker"]) if s is not None and s not in known]
    left = corpus.select(kept)
    if len(set(left["speaker"])) < 2:
        raise InputError(
            f"--unseen-speakers: {len(set(left['speaker']))} speakers of the corpus are unknown to "
            "the model, at least 2 are needed. Give another corpus."
        )
    return left


def split_turns(
    corpus: Dataset, protocol: str | None, fold: str | None
) -> tuple[Splits, dict[str, Any]]:
    """Folds of the probes, and how results.json names a protocol.

    Raises:
        InputError: if protocol or fold is unknown, or fewer than two speakers are named.
    """
    speakers = np.array([str(s) for s in corpus["speaker"]])
    number = len(set(corpus["speaker"]) - {None})
    if number < 2:
        raise InputError(f"{number} speakers are named in the corpus, probes need at least 2.")
    if protocol is None:
        protocol = "speaker-5" if number >= NUM_SPEAKER_GROUPS else "speaker-paper"
    index = {row_id: i for i, row_id in enumerate(corpus["id"])}
    by_speaker = np.full(len(corpus), TRAINS_ONLY)
    names = fold_names(corpus, protocol) if fold is None else [fold]
    for k, name in enumerate(names):
        folds = load_folds(corpus, protocol, name)
        by_speaker[[index[row_id] for row_id in folds["test"]["id"]]] = k
    described = {**describe_protocol(protocol, folds), "num_folds": len(names)}
    if fold is None:  # the protocol's own hash is of one fold's split
        content = "\n".join(f"{row_id} {by_speaker[i]}" for row_id, i in sorted(index.items()))
        described["hash"] = digest(content)[:16]
    within, divided_by = split_within_speakers(corpus, speakers)
    within[by_speaker < 0] = TRAINS_ONLY
    return Splits(by_speaker, within, divided_by, speakers), described


def split_within_speakers(corpus: Dataset, speakers: np.ndarray) -> tuple[np.ndarray, str]:
    """Folds that divide every speaker's turns: by what is said where that leaves every speaker in
    two folds, else by turns. So a speaker is not known by a sentence.
    """
    texts = [normalize_transcript(text) if text else "" for text in corpus["text"]]
    sentences = sorted(set(texts), key=digest)
    order = {text: i % NUM_SPEAKER_GROUPS for i, text in enumerate(sentences)}
    folds = np.array([order[text] for text in texts])
    if all(texts) and all(len(set(folds[speakers == s])) > 1 for s in set(speakers)):
        return folds, "sentences"
    hashes = [digest(row_id) for row_id in corpus["id"]]
    for speaker in sorted(set(speakers)):
        turns = sorted(np.flatnonzero(speakers == speaker), key=hashes.__getitem__)
        folds[turns] = np.arange(len(turns)) % NUM_SPEAKER_GROUPS
    return folds, "turns"


def digest(text: str) -> str:
    """A hash that orders texts by nothing they mean."""
    return hashlib.sha256(text.encode()).hexdigest()


def describe_factor(factor: Factor, splits: Splits) -> dict[str, Any]:
    """A factor and its probe for the report."""
    metrics = {"class": "UAR", "number": "R squared", "text": "1 - CER"}
    within = factor.name in KNOWN_TO_THE_PROBE
    return {
        "definition": factor.definition,
        "metric": metrics[factor.kind],
        "num_classes": len(factor.classes) or None,
        "constant_answer": 1 / len(factor.classes) if factor.kind == "class" else 0.0,
        "held_out": splits.divided_by if within else "speakers",
        "num_turns": int(factor.known.sum()),
    }


class Scorer:
    """Scores of every factor read from a code, remembered for codes that are equal."""

    def __init__(self, factors: Sequence[Factor], splits: Splits, *, seed: int, num_shuffles: int):
        self.factors, self.splits = factors, splits
        self.seed, self.num_shuffles = seed, num_shuffles
        self.remembered: dict[bytes, dict] = {}

    def score_all(
        self,
        features: Mapping[str, np.ndarray],
        sequences: Mapping[str, list[np.ndarray]] | None = None,
        label: str = "",
    ) -> dict[str, dict[str, Any]]:
        """Code -> factor -> score, from readouts (N, D); characters are read from sequences."""
        found = {}
        for name in tqdm(features, desc=f"Probes of {label}", unit="code", leave=False):
            key = hashlib.sha256(np.ascontiguousarray(features[name]).tobytes()).digest()
            if key not in self.remembered:
                codes = sequences[name] if sequences is not None else None
                self.remembered[key] = self.score(features[name].astype(np.float64), codes)
            found[name] = self.remembered[key]
        return found

    def score(self, features: np.ndarray, codes: list[np.ndarray] | None) -> dict[str, Any]:
        """Factor -> score of one code."""
        found, projections, speakers = {}, {}, self.splits.speakers
        for factor in self.factors:
            if factor.kind == "text":
                if codes is not None:
                    found[factor.name] = self.score_text(factor, codes)
                continue
            within = factor.name in KNOWN_TO_THE_PROBE
            folds = self.splits.within_speaker if within else self.splits.by_speaker
            folds = np.where(factor.known, folds, LEFT_OUT)
            outcome, shuffled = probe(
                features,
                factor.values,
                folds,
                np.arange(len(folds)) if within else speakers,
                seed=self.seed,
                num_shuffles=self.num_shuffles,
                projections=projections,
            )
            found[factor.name] = self.describe(outcome, shuffled, speakers[folds >= 0])
        return found

    def score_text(self, factor: Factor, codes: list[np.ndarray]) -> dict[str, Any]:
        """Score of the characters in the first fold; chance is that of shuffled transcripts."""
        turns = np.flatnonzero(factor.known)
        test = turns[self.splits.by_speaker[turns] == 0]
        others = np.setdiff1d(turns, test)
        speakers = sorted(set(self.splits.speakers[others]))
        choosing = np.isin(self.splits.speakers[others], speakers[::VALIDATION_EVERY])
        parts = {"train": others[~choosing], "validation": others[choosing], "test": test}
        if min(len(part) for part in parts.values()) == 0:
            raise InputError("characters need speakers to train, to validate and to test on: 3.")
        shuffled = factor.values.copy()
        shuffled[turns] = shuffled[np.random.default_rng(self.seed).permutation(turns)]
        outcome = probe_characters(codes, list(factor.values), **parts, seed=self.seed)
        chance = probe_characters(codes, list(shuffled), **parts, seed=self.seed)
        return self.describe(outcome, np.array([chance.score]), self.splits.speakers[test])

    def describe(self, outcome, shuffled: np.ndarray, speakers: np.ndarray) -> dict[str, Any]:
        """A score for the report."""
        score = {
            "score": outcome.score,
            "interval": outcome.interval(speakers, self.seed),
            "chance": float(shuffled.mean()),
            "shuffled_95": float(np.quantile(shuffled, 0.95)),
            "num_turns": len(speakers),
            "num_speakers": len(set(speakers)),
        }
        return {**score, "informativeness": informativeness(score)}


def judge_stages(stages, rows: Dataset, scorer: Scorer, batch_size: int) -> dict[str, Any]:
    """Factors, subjects, conditions and ideal codes as probe.json has them."""
    subjects = subjects_of([factor.name for factor in scorer.factors])
    ideal = scorer.score_all(ideal_codes(scorer.factors, subjects), label="ideal codes")
    ideal_matrix = subject_matrix(ideal, subjects)
    conditions = []
    for condition in probe_stages(stages, rows, scorer, batch_size):
        matrix = subject_matrix(condition["scores"], subjects)
        verdict = judge_codes(matrix, ideal_matrix)
        conditions.append({**condition, "verdict": verdict, "subject_matrix": matrix})
    return {
        "num_shuffles": scorer.num_shuffles,
        "factors": {f.name: describe_factor(f, scorer.splits) for f in scorer.factors},
        "subjects": {code: list(names) for code, names in subjects.items()},
        "conditions": conditions,
        "ideal": {
            "scores": ideal,
            "subject_matrix": ideal_matrix,
            "verdict": judge_codes(ideal_matrix, ideal_matrix),
        },
    }


def probe_stages(stages, rows: Dataset, scorer: Scorer, batch_size: int):
    """Scores and dependence of the codes of each stage, without and with random resampling."""
    for stage, model, processor in stages:
        plain: dict[str, list[np.ndarray]] = {}
        for resampling in (False, True):
            if resampling and model.decomposition is None:
                continue
            collator = DecompSerDataCollator(
                processor,
                labels=(),
                # the speech encoder hears no resampling
                with_waveform=not resampling and getattr(model, "speech_encoder", None) is not None,
                with_text=False,
                with_row_keys=True,
            )
            logger.info("codes of the %s model, resampling %s", stage, resampling)
            seed = scorer.seed if resampling else None
            sequences = plain | read_turns(
                model, collator, rows, resampling_seed=seed, batch_size=batch_size
            )
            plain = plain or sequences
            features = readouts(sequences)
            label = f"{stage} codes{', resampled' if resampling else ''}"
            codes = {name: x for name, x in features.items() if name != SPECTROGRAM}
            yield {
                "stage": stage,
                "resampling": resampling,
                "resampling_in_training": trained_with_resampling(stage, model.config),
                "scores": scorer.score_all(features, sequences, label),
                "dependence": measure_dependence(codes, scorer.seed),
            }


def trained_with_resampling(stage: str, config) -> bool:
    """Whether the encoders of a stage heard randomly resampled speech when they were trained."""
    resampled = config.resampling_input or config.resampling_inner
    return resampled and (stage != "fine-tuned" or config.resampling_in_finetuning)
