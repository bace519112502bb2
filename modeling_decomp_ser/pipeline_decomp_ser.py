"""Audio-classification pipeline: any sound of any length, by windows, with a timeline on request.

It has the name of the stock task, so `pipeline("audio-classification", model=...,
trust_remote_code=True)` finds it. The stock pipeline needs the FFmpeg program for every file and
runs a long one in one piece; this one reads WAV, FLAC, OGG and MP3 by libsndfile, a window at a
time.

Axes: W windows, B batch, L emotions, P parts (6, COMPONENTS), U speech encoder frames.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AudioClassificationPipeline, AutoTokenizer
from transformers.pipelines.base import ChunkPipeline
from transformers.utils import logging

from .audio_windows import cut_spans, cut_windows, own_spans, window_samples
from .component_shares import part_names
from .configuration_decomp_ser import COMPONENTS, DIMENSIONS
from .emotion_stream import EmotionStream
from .signal_flags import TOO_QUIET, UNSURE, signal_flags
from .speech_activity import RATE, detector_is_installed, speech_probabilities
from .timeline_formats import NamedTimelines, timeline_csv, timeline_rttm

logger = logging.get_logger(__name__)

WINDOW_SECONDS = 10.0
"""Models are trained on turns, and 93 % of IEMOCAP's last up to 10 s (median 3.6 s): a window is
the longest piece of the kind that a model knows. The default hop of half a window puts every
instant of a long file well inside of at least one window."""

MINIMUM_SECONDS = 0.025
"""One frame of wav2vec2 (400 samples at 16 kHz); shorter training clips are refused too."""

WINDOWING = ("window_seconds", "hop_seconds")
MODEL_OUTPUTS = ("return_text", "return_speaker_embedding", "explain")
OF_ANSWER = ("return_timeline", "return_flags", "return_dimensions")
ANSWER = ("top_k", "function_to_apply", *OF_ANSWER, *MODEL_OUTPUTS)


@dataclass
class Segment:
    """What is known of a window without the model: start and end in seconds, and flags."""

    start: float
    end: float
    flags: tuple[str, ...]


def shared_flags(segments: Sequence[Segment]) -> list[str]:
    """Flags that all of the segments have."""
    return [f for f in segments[0].flags if all(f in segment.flags for segment in segments)]


def describe_dimensions(values: Tensor) -> dict[str, float]:
    """Values (3,) by the names of the dimensions."""
    return dict(zip(DIMENSIONS, values.tolist(), strict=True))


class DecompSerPipeline(ChunkPipeline, AudioClassificationPipeline):
    """Emotion of sounds of any length.

    Up to `window_seconds` a sound is answered whole. A longer one is cut into windows that overlap,
    of which the last is moved back to end with the sound. Its answer is the mean of the windows'
    probabilities; windows too quiet to hear anything in do not count unless all are. Memory does
    not grow with the length of a file, but for a few hundred bytes a window.

    The stock options `top_k`, `function_to_apply` and `batch_size` (windows at once, of one sound
    or of several) are the same here, and the answer without further options is: a list of
    {"score", "label"}, the best first. Probabilities are the softmax of the logits divided by the
    configuration's `temperature`. With any of these options it is a dict with that list as
    "scores":

    * `return_timeline`: "timeline", a list of {"start", "end", "scores"} with seconds from the
      beginning; with `return_flags` also "flags". It is JSON as it is; `format_timelines` writes
      it as CSV or RTTM.
    * `return_flags`: "flags", reasons not to trust the answer; see `signal_flags`. A flag of a long
      file is one that all its windows have which count. "unsure" is added where the best
      probability is below the configuration's `abstain_below`.
    * `return_text`: "text", the recognised words; where windows overlap, each transcribes what is
      nearest to its middle.
    * `return_speaker_embedding`: "speaker_embedding", the timbre code, pooled over time as the
      emotion head reads it, a list of floats; of windows their mean.
    * `return_dimensions`: "dimensions", {"valence", "activation", "dominance"} on the scale of the
      ratings that were learnt, and the same in each window of the timeline.
    * `explain`: "shares", {emotion: {part: share}} for the emotions in "scores", and the same in
      each window of the timeline: what each part of the model (wav2vec2, rhythm, content, pitch,
      timbre, as far as it has them) adds to the emotion's logit, as a deviation from the average
      training utterance, and "bias", the logit of that average. The shares of a window sum to its
      logit, which is what `function_to_apply="none"` returns; probabilities are the softmax of
      the logits over the temperature. The shares of a long sound are the mean of its counted
      windows' and sum to their mean logit, while its scores are the mean of their
      probabilities: the best of both can differ.

    Args:
        window_seconds: longest piece that is answered in one.
        hop_seconds: from window to window; default half a window.
        *args, **kwargs: as in transformers; and all options named above, as defaults of the calls.

    Raises:
        ValueError: if the model's emotion head was never trained, an option is wrong or asks for a
            head that the model does not have, or a sound cannot be used.
        TypeError: if an option is not known.

    Examples:
        ```python
        recognize = pipeline("audio-classification", model=folder, trust_remote_code=True)
        recognize("interview.mp3", return_timeline=True, return_flags=True)
        ```
    """

    model: Any
    feature_extractor: Any

    def check_model_type(self, supported_models):
        """Refuse a model whose emotion head was never trained, and warn where it was trained on
        other signals than the feature extractor gives.
        """
        if not getattr(self.model.config, "emotion_head_trained", False):
            raise ValueError(
                f"The emotion head of '{self.model.name_or_path}' was never trained: its answers "
                "would be random. Fine-tune the model (decomp-ser finetune), or set "
                "model.config.emotion_head_trained = True after your own training."
            )
        self.model.config.warn_of_other_signals(self.feature_extractor)

    def __call__(self, inputs: Any, **kwargs) -> Any:
        """Recognise the emotion of one sound or of many.

        Args:
            inputs: path or URL; the bytes of a file; samples (S,), (S, C) or (C, S), at the model's
                rate; a dict with "array" or "raw" and "sampling_rate", or with "bytes" or "path" as
                `datasets` stores audio; a row of `datasets` that has it as its "audio". Or a list,
                an iterator or a data set of these. A dict may also have "spans", (start, end) in
                seconds, to be answered instead of windows, in the order of their starts, and the
                number of the "channel" of a file to be heard alone, counted from 1.
            **kwargs: options named in the class, and `batch_size`, `num_workers`.

        Returns:
            An answer; a list of answers for a list; a generator of answers for an iterator or a
            data set, in its order.

        Raises:
            ValueError: see the class; names the sound.
        """
        sounds: Any = inputs
        single = isinstance(inputs, str | bytes | bytearray | memoryview)
        if isinstance(inputs, Sequence) and not single:
            sounds = list(inputs)  # also tuples, and columns of `datasets`
            if not sounds:
                return []
        elif isinstance(inputs, Iterator) or hasattr(inputs, "column_names"):
            sounds = (item for item in inputs)  # transformers knows generators only
        return super().__call__(sounds, **kwargs)

    def _sanitize_parameters(self, **options):
        known = (*WINDOWING, *ANSWER)
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise TypeError(f"option {unknown[0]!r}, expected one of {', '.join(known)}.")
        if options.get("top_k") is not None and options["top_k"] < 1:
            raise ValueError(f"top_k={options['top_k']}, expected 1 or more, or None for all.")
        if options.get("function_to_apply") not in (None, "softmax", "sigmoid", "none"):
            raise ValueError(
                f"function_to_apply={options['function_to_apply']!r}, expected 'softmax', "
                "'sigmoid', 'none' or None."
            )
        if options.get("return_text") and self.model.ctc_head is None:
            raise ValueError(
                "return_text=True, but this model recognises no words (its ctc_weight is 0)."
            )
        if options.get("return_dimensions") and self.model.dimensions_head is None:
            raise ValueError(
                "return_dimensions=True, but this model has learnt none (its dimensions_weight is "
                "0)."
            )
        components = self.model.config.components
        if options.get("return_speaker_embedding") and "timbre" not in components:
            raise ValueError(
                "return_speaker_embedding=True, but this model has no timbre encoder (its "
                f"components are {list(components)})."
            )
        if options.get("explain") and not self.model.pooled_mean.any():
            logger.warning_once(
                "This model stores no training mean: its shares are deviations from features of 0."
            )
        return tuple(
            {name: options[name] for name in names if name in options}
            for names in (WINDOWING, MODEL_OUTPUTS, ANSWER)
        )

    def preprocess(
        self, inputs: Any, window_seconds: float = WINDOW_SECONDS, hop_seconds: float | None = None
    ) -> Iterator[dict[str, Any]]:
        """Model inputs of each window of a sound, read as they are needed."""
        audio = self.feature_extractor.open_audio(inputs)
        rate = audio.sampling_rate
        size, hop = window_samples(window_seconds, hop_seconds, rate)
        spans = inputs.get("spans") if isinstance(inputs, Mapping) else None
        if spans is None:
            windows = cut_windows(audio.blocks, size, hop)
        else:
            limits = ((round(start * rate), round(end * rate)) for start, end in spans)
            windows = cut_spans(audio.blocks, limits, audio.name)
        waiting = None
        for start, samples in windows:
            if waiting is not None:
                yield {**waiting, "is_last": False}
            waiting = self.window_inputs(samples, start, rate, audio.name)
        if waiting is None:
            raise ValueError(f"{audio.name}: holds no samples.")
        yield {**waiting, "is_last": True}

    def window_inputs(
        self, samples: np.ndarray, start: int, sampling_rate: int, name: str
    ) -> dict[str, Any]:
        """Model inputs and the segment of one window of the sound `name`: samples (S,) or (S, C),
        of which the first is number `start` of the sound, at `sampling_rate` Hz.
        """
        extractor = self.feature_extractor
        start_seconds, seconds = start / sampling_rate, len(samples) / sampling_rate
        if seconds < MINIMUM_SECONDS:
            raise ValueError(
                f"{name}: {len(samples)} samples at {sampling_rate} Hz ({seconds:.4f} s), expected "
                f"at least {MINIMUM_SECONDS} s."
            )
        try:
            waveform = extractor.prepare_waveforms([samples], sampling_rate)[0]
            features = extractor(
                waveform, sampling_rate=extractor.sampling_rate, return_tensors="pt"
            )
        except ValueError as error:
            problem = str(error).removeprefix("utterance 0: ")
            raise ValueError(
                f"{name}, {seconds:.3g} s from {start_seconds:.2f} s: {problem}"
            ) from None
        flags = signal_flags(
            waveform,
            *(features[name][0].numpy() for name in ("mel", "log_f0", "voiced")),
            seconds=seconds,
            speech=self.speech_probabilities(waveform),
        )
        if self.dtype is not None:  # of spectrogram and pitch the model rounds what it reads
            features["input_values"] = features["input_values"].to(self.dtype)
        segment = Segment(start_seconds, start_seconds + seconds, flags)
        return {**features, "segment": segment}

    def speech_probabilities(self, waveform: np.ndarray) -> np.ndarray | None:
        """What the detector of speech says of (S,) at the model's rate; None without one."""
        if self.feature_extractor.sampling_rate != RATE or not detector_is_installed():
            return None
        return speech_probabilities([waveform])

    def _forward(
        self,
        model_inputs: dict[str, Any],
        return_text: bool = False,
        return_speaker_embedding: bool = False,
        explain: bool = False,
    ) -> dict[str, Any]:
        inputs = {k: v for k, v in model_inputs.items() if isinstance(v, Tensor)}
        carried = {k: v for k, v in model_inputs.items() if k not in inputs}
        output = self.model(
            **inputs,
            output_ctc_logits=return_text,
            output_pooled_features=return_speaker_embedding,
            output_component_shares=explain,
        )
        outputs = {"logits": output.logits.float()}  # (B, L)
        if output.dimensions is not None:
            outputs["dimensions"] = output.dimensions.float()  # (B, 3)
        if return_text:
            outputs["token_ids"] = output.ctc_logits.argmax(-1)  # (B, U)
            outputs["token_lengths"] = output.ctc_lengths
        if return_speaker_embedding:
            outputs["speaker_embedding"] = self.speaker_embedding(output.pooled_features)
        if explain:
            outputs["shares"] = output.component_shares.float()  # (B, P, L)
        return {**outputs, **carried}

    def speaker_embedding(self, pooled_features: Tensor) -> Tensor:
        """The part of the emotion head's input that is the timbre code, (B, sum D) -> (B, D)."""
        config = self.model.config
        position = int(config.use_speech_encoder) + list(config.components).index("timbre")
        return pooled_features.split(self.model.part_sizes, dim=-1)[position].float()

    def postprocess(
        self,
        model_outputs: list[dict[str, Any]],
        top_k: int | None = 5,
        function_to_apply: str | None = None,
        return_timeline: bool = False,
        return_flags: bool = False,
        return_dimensions: bool = False,
        return_text: bool = False,
        return_speaker_embedding: bool = False,
        explain: bool = False,
    ) -> list[dict[str, Any]] | dict[str, Any]:
        """The answer for a sound from the outputs of its windows."""
        segments = [window["segment"] for window in model_outputs]
        logits = torch.cat([window["logits"] for window in model_outputs])
        scores = self.scores(logits, function_to_apply)  # (W, L)
        audible = [i for i, segment in enumerate(segments) if TOO_QUIET not in segment.flags]
        counted = audible or list(range(len(segments)))
        pooled = scores[counted].mean(0)  # (L,)
        ranked = self.rank(pooled, top_k)
        timeline = [
            self.describe_segment(segment, row, top_k, return_flags)
            for segment, row in zip(segments, scores, strict=True)
        ]
        answer: dict[str, Any] = {}
        if return_flags:
            shared = shared_flags([segments[i] for i in counted])
            answer["flags"] = shared + self.doubts(pooled)
        if return_dimensions:
            found = torch.cat([window["dimensions"] for window in model_outputs])  # (W, 3)
            answer["dimensions"] = describe_dimensions(found[counted].mean(0))
            for entry, values in zip(timeline, found, strict=True):
                entry["dimensions"] = describe_dimensions(values)
        if return_text:
            answer["text"] = self.transcribe(model_outputs)
        if return_speaker_embedding:
            embeddings = torch.cat([model_outputs[i]["speaker_embedding"] for i in counted])
            answer["speaker_embedding"] = embeddings.mean(0).tolist()
        if explain:
            shares = torch.cat([window["shares"] for window in model_outputs])  # (W, P, L)
            answer["shares"] = self.describe_shares(shares[counted].mean(0), ranked)
            for entry, window_shares in zip(timeline, shares, strict=True):
                entry["shares"] = self.describe_shares(window_shares, entry["scores"])
        if return_timeline:
            answer["timeline"] = timeline
        return {"scores": ranked, **answer} if answer else ranked

    def scores(self, logits: Tensor, function_to_apply: str | None = None) -> Tensor:
        """Logits to calibrated probabilities, or to what is asked for; (W, L) -> (W, L)."""
        config = self.model.config
        by_problem = {"regression": "none", "multi_label_classification": "sigmoid"}
        function = function_to_apply or by_problem.get(config.problem_type, "softmax")
        if function == "softmax":
            return (logits / config.temperature).softmax(-1)
        return logits.sigmoid() if function == "sigmoid" else logits

    def rank(self, scores: Tensor, top_k: int | None) -> list[dict[str, Any]]:
        """The best emotions of (L,) scores, in the form of the stock pipeline."""
        values, ids = scores.topk(min(top_k or len(scores), len(scores)))
        names = self.model.config.id2label
        return [
            {"score": score, "label": names[i]}
            for score, i in zip(values.tolist(), ids.tolist(), strict=True)
        ]

    def doubts(self, scores: Tensor) -> list[str]:
        """The flag "unsure" where the best of (L,) scores is too low to answer."""
        return [UNSURE] if scores.max() < self.model.config.abstain_below else []

    def describe_segment(
        self, segment: Segment, scores: Tensor, top_k: int | None, return_flags: bool
    ) -> dict[str, Any]:
        """Entry of the timeline for a window and its scores (L,)."""
        entry = {"start": segment.start, "end": segment.end, "scores": self.rank(scores, top_k)}
        if return_flags:
            entry["flags"] = [*segment.flags, *self.doubts(scores)]
        return entry

    def describe_shares(
        self, shares: Tensor, ranked: list[dict[str, Any]]
    ) -> dict[str, dict[str, float]]:
        """Shares (P, L) by the names of the emotion, in the order of scores, and of the part."""
        config = self.model.config
        columns = {name: index for index, name in config.id2label.items()}
        parts = (*part_names(config), "bias")
        return {
            entry["label"]: {
                part: shares[COMPONENTS.index(part), columns[entry["label"]]].item()
                for part in parts
            }
            for entry in ranked
        }

    @staticmethod
    def format_timelines(timelines: NamedTimelines, form: str) -> str:
        """Write timelines, each with the name of its recording, as "csv" or "rttm"; see
        `timeline_csv` and `timeline_rttm`. A ValueError says if the form is another.

        Examples:
            ```python
            answer = recognize("talk.mp3", return_timeline=True, top_k=None)
            text = recognize.format_timelines([("talk.mp3", answer["timeline"])], "rttm")
            ```
        """
        writers = {"csv": timeline_csv, "rttm": timeline_rttm}
        if form not in writers:
            raise ValueError(f"form={form!r}, expected 'csv' or 'rttm'.")
        return writers[form](timelines)

    def transcribe(self, model_outputs: list[dict[str, Any]]) -> str:
        """Words of a sound: the frames that each window speaks for alone, as one CTC path."""
        segments = [window["segment"] for window in model_outputs]
        kept = []
        spans = own_spans([(s.start, s.end) for s in segments])
        for window, segment, (start, end) in zip(model_outputs, segments, spans, strict=True):
            ids = window["token_ids"][0, : int(window["token_lengths"][0])]
            seconds_each = (segment.end - segment.start) / len(ids)
            middles = segment.start + (torch.arange(len(ids)) + 0.5) * seconds_each
            kept.append(ids[(middles >= start) & (middles < end)])
        return self.load_tokenizer().decode(torch.cat(kept)).strip()

    def load_tokenizer(self):
        """The tokenizer: the one given, or that of the model's folder or repository, loaded once;
        raises ValueError if the model was not loaded from anywhere.
        """
        if self.tokenizer is None:
            name = self.model.name_or_path
            if not name:
                raise ValueError(
                    "return_text=True with a model that was not loaded from a folder or a "
                    "repository: pass tokenizer=processor.tokenizer to the pipeline."
                )
            revision = getattr(self.model.config, "_commit_hash", None) or "main"
            # with its configuration, which the library would not know from the Hub, and warn
            self.tokenizer = AutoTokenizer.from_pretrained(
                name, revision=revision, config=self.model.config
            )
        return self.tokenizer

    def stream(
        self,
        sampling_rate: int,
        *,
        window_seconds: float = WINDOW_SECONDS,
        hop_seconds: float | None = None,
    ) -> EmotionStream:
        """Open a live stream, such as of a microphone: `sampling_rate` of the samples to come in
        Hz, windows and hops (default half a window) in seconds. See `EmotionStream`.
        """
        return EmotionStream(self, sampling_rate, window_seconds, hop_seconds)
