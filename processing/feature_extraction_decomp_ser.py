"""Audio to model inputs: waveform for wav2vec2, log-mel spectrogram and F0 contour for the
decomposition.

Axes: B batch, S samples, T frames, M mel bands. Time is always axis 1 of a batch and padding is 0
at the end, so that the stock audio-classification pipeline can pad batches too.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import logging

from .audio_files import AudioStream, check_rate, open_audio
from .mel_spectrogram import check_waveform, high_pass, log_mel_spectrogram
from .pitch import F0_RANGES, METHODS, f0_contours, f0_statistics, normalize_log_f0

try:
    import soxr
except ImportError:  # resampling then goes through torchaudio
    soxr = None

logger = logging.get_logger(__name__)

# Axes of a 2-D array that is one recording rather than a batch: more channels than this do not
# occur.
MOST_CHANNELS = 8

CHOICES = {
    "f0_method": METHODS,
    "f0_range": ("unified", "gender"),
    "f0_stats": ("utterance", "utterance-mean", "speaker", "global"),
}
"""Values of the settings that are words."""

RANGES = {
    "sampling_rate": (1000, 768000),
    "hop_length": (16, 1_000_000),
    "n_fft": (16, 1_000_000),
    "win_length": (16, 1_000_000),
    "num_mel_bins": (1, 10_000),
}
"""Least and most of the settings that are whole numbers."""

STATISTICS = ("f0_global_stats", "f0_speaker_stats", "f0_deviation")
SETTINGS = (*RANGES, "mel_f_min", "mel_f_max", *CHOICES, *STATISTICS)
"""What decides the signals."""


class DecompSerFeatureExtractor(SequenceFeatureExtractor):
    """Compute what the models read (section 2.1; signals of SpeechSplit).

    Args:
        sampling_rate: of the model, in Hz. Other rates are resampled.
        hop_length: samples between frames (256: 16 ms).
        n_fft: samples of a Fourier transform.
        win_length: samples of its Hann window.
        num_mel_bins: mel bands M.
        mel_f_min: lower edge of the lowest band, in Hz.
        mel_f_max: upper edge of the highest band, in Hz.
        f0_method: "rapt" (the paper's), "harvest" or "dio" (both need pyworld).
        f0_range: "unified" (50 to 600 Hz, for users give no gender) or "gender" (50 to 250 Hz for
            men, 100 to 600 Hz for women, the unified range where the gender is not given).
        f0_stats: what log-F0 is normalised by: the "utterance" itself, its "speaker", the "global"
            training set, or "utterance-mean", the utterance's mean and the training set's
            deviation. Global keeps the level and the range of pitch, utterance-mean its range. The
            two kinds whose names begin with "utterance" work for speakers never heard before.
        f0_global_stats: mean and standard deviation of ln F0 over the training set, for "global".
        f0_speaker_stats: the same by speaker, for "speaker"; other speakers are normalised by
            utterance.
        f0_deviation: standard deviation of ln F0 within utterances of the training set, for
            "utterance-mean".
        feature_size, padding_value, **kwargs: as in transformers.

    Raises:
        ValueError: if a setting is unknown, or global statistics are asked for and not given.
    """

    model_input_names = ["input_values", "attention_mask", "mel", "log_f0", "voiced", "frame_mask"]

    def __init__(
        self,
        sampling_rate: int = 16000,
        hop_length: int = 256,
        n_fft: int = 1024,
        win_length: int = 1024,
        num_mel_bins: int = 80,
        mel_f_min: float = 90.0,
        mel_f_max: float = 7600.0,
        f0_method: Literal["rapt", "harvest", "dio"] = "rapt",
        f0_range: Literal["unified", "gender"] = "unified",
        f0_stats: Literal["utterance", "utterance-mean", "speaker", "global"] = "utterance",
        f0_global_stats: Sequence[float] | None = None,
        f0_speaker_stats: dict[str, Sequence[float]] | None = None,
        f0_deviation: float | None = None,
        feature_size: int = 1,
        padding_value: float = 0.0,
        **kwargs,
    ):
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.hop_length = hop_length
        self.n_fft = n_fft
        self.win_length = win_length
        self.num_mel_bins = num_mel_bins
        self.mel_f_min = mel_f_min
        self.mel_f_max = mel_f_max
        self.f0_method = f0_method
        self.f0_range = f0_range
        self.f0_stats = f0_stats
        self.f0_global_stats = f0_global_stats
        self.f0_speaker_stats = f0_speaker_stats
        self.f0_deviation = f0_deviation
        self.check_settings()

    def check_settings(self) -> None:
        """Raise ValueError for a setting that is unknown or that no signal can be computed with."""
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}={value!r}, expected one of {', '.join(known)}.")
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not least <= value <= most:
                raise ValueError(f"{name}={value!r}, expected a whole number, {least} to {most}.")
        if not self.win_length <= self.n_fft or not self.hop_length <= self.win_length:
            raise ValueError(
                f"hop_length={self.hop_length}, win_length={self.win_length} and n_fft="
                f"{self.n_fft}, expected them in this order: a longer hop would leave gaps."
            )
        low, high = self.mel_f_min, self.mel_f_max
        numbers = all(isinstance(edge, int | float) for edge in (low, high))
        if not numbers or not 0 <= low < high <= self.sampling_rate / 2:
            raise ValueError(
                f"mel_f_min={low!r} and mel_f_max={high!r}, expected an ascending range in Hz, up "
                f"to half the sampling rate of {self.sampling_rate} Hz."
            )
        speakers = self.f0_speaker_stats or {}
        if not isinstance(speakers, dict):
            raise ValueError(f"f0_speaker_stats={speakers!r}, expected statistics by speaker.")
        for name, pair in {"f0_global_stats": self.f0_global_stats, **speakers}.items():
            if pair is not None and not is_pair_of_numbers(pair):
                raise ValueError(f"{name}={pair!r}, expected mean and standard deviation of ln F0.")

    def settings_digest(self) -> str:
        """SHA-256 over the settings, which is saved with them and compared at loading."""
        content = {name: getattr(self, name) for name in SETTINGS}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, with the digest of the settings."""
        return {**super().to_dict(), "settings_digest": self.settings_digest()}

    @classmethod
    def from_dict(cls, feature_extractor_dict, **kwargs):
        """As in transformers; raises ValueError for stored settings that were changed."""
        stored = feature_extractor_dict.pop("settings_digest", None)
        if stored not in (None, cls(**feature_extractor_dict).settings_digest()):
            raise ValueError(
                "processor_config.json was changed after saving: it is damaged, or was edited by "
                "hand. Set settings in Python and save again, or remove settings_digest from it to "
                "keep the change."
            )
        return super().from_dict(feature_extractor_dict, **kwargs)

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[float] | Sequence[np.ndarray],
        sampling_rate: int | None = None,
        padding: bool = True,
        return_tensors: str | None = None,
        genders: Sequence[str | None] | None = None,
        speakers: Sequence[str | None] | None = None,
    ) -> BatchFeature:
        """Extract the features of one utterance or of a batch.

        Args:
            raw_speech: one waveform (S,), a batch (B, S), or a list of waveforms. An element of a
                list may have channels, which are averaged. Floats at full scale 1.0, or integers,
                which are scaled by their type.
            sampling_rate: of `raw_speech`, in Hz; default the model's.
            padding: stack a batch, padded to its longest utterance. False returns lists.
            return_tensors: "pt" or "np".
            genders: "female", "male" or None of each utterance, for `f0_range="gender"`.
            speakers: of each utterance, for `f0_stats="speaker"`.

        Returns:
            `input_values` (B, S) float32, zero mean and unit variance; `attention_mask` (B, S);
            `mel` (B, T, M) in [0, 1]; `log_f0` (B, T) in [0, 1], 0 where unvoiced; `voiced` (B, T)
            bool; `frame_mask` (B, T). One utterance gives B = 1.

        Raises:
            ValueError: if an utterance is empty, holds NaN or infinity, or is out of scale; names
                the utterance.
        """
        waveforms = self.prepare_waveforms(raw_speech, sampling_rate)
        features = self.extract(waveforms, genders)
        speakers = speakers if speakers is not None else [None] * len(waveforms)
        utterances = [
            self.assemble(waveform, **signal, speaker=speaker)
            for waveform, signal, speaker in zip(waveforms, features, speakers, strict=True)
        ]
        if not padding:
            columns = {name: [u[name] for u in utterances] for name in self.model_input_names}
            return BatchFeature(columns, tensor_type=return_tensors)
        return self.pad_utterances(utterances, return_tensors)

    def open_audio(self, audio: Any) -> AudioStream:
        """Open whatever holds a sound, to be read block by block at its own rate: path or URL; the
        bytes of a file; samples (S,), (S, C) or (C, S) at the model's rate; or a dict or row that
        `datasets` or the stock pipeline would hold these in, of one "channel" if it says so. A
        ValueError names a sound that is
        none of these or cannot be read.
        """
        return open_audio(audio, self.sampling_rate)

    def check_rate(self, sampling_rate: Any, name: str) -> int:
        """A sampling rate of the sound `name` as a whole number of Hz; a ValueError says if it can
        be none.
        """
        return check_rate(sampling_rate, name)

    def prepare_waveforms(self, raw_speech, sampling_rate: int | None = None) -> list[np.ndarray]:
        """Bring waveforms, as `__call__` takes them, to one channel of float32 (S,) at full scale
        1.0 and the model's sampling rate, which is assumed with a warning where none is given.

        Raises:
            ValueError: if there is none, or one is empty, holds NaN or infinity, or is far beyond
                full scale; names the utterance by its number.
        """
        if sampling_rate is None:
            logger.warning_once(
                f"No sampling_rate given: {self.sampling_rate} Hz is assumed. A wrong rate makes "
                "wrong answers."
            )
        waveforms = []
        for index, waveform in enumerate(split_batch(raw_speech)):
            try:
                mono = to_mono_float(waveform)
                check_waveform(mono)
            except ValueError as error:
                raise ValueError(f"utterance {index}: {error}") from None
            if sampling_rate not in (None, self.sampling_rate):
                mono = resample_waveform(mono, sampling_rate, self.sampling_rate)
            waveforms.append(mono)
        if not waveforms:
            raise ValueError("no utterance given, expected at least one waveform.")
        return waveforms

    def extract(
        self, waveforms: Sequence[np.ndarray], genders: Sequence[str | None] | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Signals that do not depend on any statistics, the costly part: what a corpus is cached
        as.

        For each waveform (S,), mono at the model's rate: `mel` (T, M) float32 in [0, 1] and `f0_hz`
        (T,) float32, 0 where unvoiced. `genders` are "female", "male" or None of each, for
        `f0_range="gender"`.
        """
        genders = genders if genders is not None else [None] * len(waveforms)
        ranges = [
            F0_RANGES[gender if self.f0_range == "gender" and gender in F0_RANGES else "unified"]
            for gender in genders
        ]
        filtered = [high_pass(w, self.sampling_rate, hop_length=self.hop_length) for w in waveforms]
        contours = f0_contours(
            filtered,
            self.sampling_rate,
            method=self.f0_method,
            f0_range=ranges,
            hop_length=self.hop_length,
        )
        same = ("sampling_rate", "n_fft", "win_length", "hop_length", "num_mel_bins")
        settings = {name: getattr(self, name) for name in same}
        settings |= {"f_min": self.mel_f_min, "f_max": self.mel_f_max}
        return [
            {"mel": log_mel_spectrogram(signal, **settings), "f0_hz": f0_hz}
            for signal, f0_hz in zip(filtered, contours, strict=True)
        ]

    def assemble(
        self, waveform: np.ndarray, mel: np.ndarray, f0_hz: np.ndarray, speaker: str | None = None
    ) -> dict[str, np.ndarray]:
        """Model inputs of one utterance, those of `__call__` without the batch axis, from its mono
        waveform (S,) at the model's rate and its extracted signals `mel` (T, M) and `f0_hz` (T,), 0
        where unvoiced. `speaker` is for `f0_stats="speaker"`.
        """
        log_f0, voiced = normalize_log_f0(f0_hz, self.f0_statistics_of(f0_hz, speaker))
        return {
            "input_values": normalize_waveform(waveform),
            "attention_mask": np.ones(len(waveform), np.int64),
            "mel": np.asarray(mel, np.float32),
            "log_f0": log_f0,
            "voiced": voiced,
            "frame_mask": np.ones(len(mel), np.int64),
        }

    def f0_statistics_of(
        self, f0_hz: np.ndarray, speaker: str | None
    ) -> tuple[float, float] | None:
        """Mean and standard deviation of ln F0 to normalise a contour by; None for its own."""
        if self.f0_stats == "global":
            return tuple(self.fitted("f0_global_stats", "f0_statistics"))
        if self.f0_stats == "utterance-mean":
            deviation = self.fitted("f0_deviation", "f0_deviation_within")
            own = f0_statistics([f0_hz])
            return None if own is None else (own[0], deviation)
        known: Any = self.f0_speaker_stats or {}
        return tuple(known[speaker]) if self.f0_stats == "speaker" and speaker in known else None

    def fitted(self, name: str, function: str) -> Any:
        """A statistic of the training set; raises ValueError where it was never set."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(
                f"f0_stats='{self.f0_stats}' without {name}: set it to what processing.pitch."
                f"{function} returns for the training set."
            )
        return value

    def pad_utterances(
        self, utterances: Sequence[dict[str, np.ndarray]], return_tensors: str | None = None
    ) -> BatchFeature:
        """Stack utterances, zero-padded at the end to the longest."""
        batch = {}
        for name in self.model_input_names:
            arrays = [u[name] for u in utterances]
            longest = max(len(a) for a in arrays)
            batch[name] = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
            for row, array in enumerate(arrays):
                batch[name][row, : len(array)] = array
        return BatchFeature(batch, tensor_type=return_tensors)


def is_pair_of_numbers(pair: Any) -> bool:
    """Whether it is two finite numbers."""
    if not isinstance(pair, list | tuple | np.ndarray) or len(pair) != 2:
        return False
    return all(isinstance(n, int | float | np.floating) and math.isfinite(n) for n in pair)


def split_batch(raw_speech) -> list[np.ndarray]:
    """List the utterances of what a user may pass as speech.

    Raises:
        ValueError: if a 2-D array is rather one recording with its channels last.
    """
    if isinstance(raw_speech, list | tuple) and raw_speech and np.ndim(raw_speech[0]) > 0:
        return [np.asarray(w) for w in raw_speech]
    array = np.asarray(raw_speech)
    if array.ndim <= 1:
        return [array.reshape(-1)]
    if array.ndim == 2 and array.shape[1] <= MOST_CHANNELS < array.shape[0]:
        raise ValueError(
            f"array of shape {array.shape}, expected one waveform (samples,) or a batch "
            "(utterances, samples); this looks like (samples, channels). Pass array.mean(axis=1), "
            "or [array] to have the channels averaged."
        )
    return list(array)


def to_mono_float(waveform: np.ndarray) -> np.ndarray:
    """Average the channels (the shorter axis), scale integers to full scale 1.0: float32 (S,)."""
    if waveform.dtype == object:
        raise ValueError("not an array of numbers, expected samples.")
    if np.issubdtype(waveform.dtype, np.unsignedinteger) or waveform.dtype == bool:
        raise ValueError(f"samples of type {waveform.dtype}, expected floats or signed integers.")
    if np.issubdtype(waveform.dtype, np.integer):
        waveform = waveform / (np.iinfo(waveform.dtype).max + 1.0)
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=int(np.argmin(waveform.shape)))
    return np.ascontiguousarray(waveform, dtype=np.float32)


def normalize_waveform(waveform: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance, as wav2vec2 was trained; silence stays zero. float32 (S,)."""
    return ((waveform - waveform.mean()) / np.sqrt(waveform.var() + 1e-7)).astype(np.float32)


def resample_waveform(waveform: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Resample (S,) float32 by soxr where it is installed, else by torchaudio's windowed sinc."""
    if soxr is not None:
        return soxr.resample(waveform, rate, new_rate, quality="VHQ")
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(waveform), rate, new_rate).numpy()


DecompSerFeatureExtractor.register_for_auto_class()
