"""Reasons not to trust an answer that the signal itself gives, by rules anyone can follow.

The limits lie in gaps of what was measured with RAPT on speech and on noise, tones and hum: speech
is voiced in 40 to 80 % of its frames (28 % and more under noise 10 dB below it), noise and clicks
in none; half of its loud frames fill 11 % of the mel bands or more, those of tones and sweeps 5 %
at most; its melody glides, where that of an instrument stands still and jumps. Noise as loud as
the speech hides the voicing and is flagged in part, and so are whispering and a held vowel. Several
voices at once are not told from one. `tests/benchmarks/flag_rates.py` measures the rates.

Axes: S samples, T frames, M mel bands.
"""

import numpy as np

TOO_SHORT = "too_short"
TOO_QUIET = "too_quiet"
NOT_SPEECH_LIKE = "not_speech_like"
UNSURE = "unsure"
"""The only flag that depends on the model: its best probability is below `abstain_below`."""

SHORTEST_SECONDS = 0.5
"""No turn of IEMOCAP is shorter than 0.58 s."""
QUIETEST_DB = -60.0
"""Level below full scale: 16-bit samples of about 33, the noise of a recording without speech."""
LEAST_VOICED = 0.1
"""Share of the frames."""
MOST_VOICED = 0.98
"""Share of the frames of what lasts `MOST_VOICED_SECONDS`: nobody speaks as long without a pause or
a voiceless consonant."""
MOST_VOICED_SECONDS = 1.0
NARROWEST = 0.08
"""Share of the mel bands within `BAND_RANGE_DB` of a frame's highest band."""
LEAST_GLIDE = 0.15
"""Median over mean of the steps of log-F0 from frame to frame; 0 for notes that are held."""
FEWEST_STEPS = 10
BAND_RANGE_DB = 30.0
MEL_RANGE_DB = 100.0  # of a mel spectrogram in [0, 1]


def signal_flags(
    waveform: np.ndarray, mel: np.ndarray, log_f0: np.ndarray, voiced: np.ndarray, *, seconds: float
) -> tuple[str, ...]:
    """Flags of a sound or of a window of it.

    * "too_short": less than 0.5 s.
    * "too_quiet": its level is below -60 dB of full scale.
    * "not_speech_like": unless it is too quiet to say, less than 10 % of the frames are voiced
      (noise, clicks, whispering); or over 98 %, of a second or more (a steady sound); or half of
      the loud frames fill less than 8 % of the mel bands (tones); or the median step of log-F0 is
      less than 15 % of the mean step (notes).

    Args:
        waveform: at full scale 1.0, (S,).
        mel: log-mel spectrogram in [0, 1], 100 dB in all, (T, M).
        log_f0: log-F0 in any linear scale, (T,).
        voiced: (T,) bool.
        seconds: duration.
    """
    flags = [TOO_SHORT] if seconds < SHORTEST_SECONDS else []
    level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    if level < 10 ** (QUIETEST_DB / 20):
        flags.append(TOO_QUIET)
    elif (
        voiced.mean() < LEAST_VOICED
        or is_steady(voiced, seconds)
        or is_narrow(mel)
        or is_in_notes(log_f0, voiced)
    ):
        flags.append(NOT_SPEECH_LIKE)
    return tuple(flags)


def is_steady(voiced: np.ndarray, seconds: float) -> bool:
    """Whether a voice never stops in (T,) frames."""
    return seconds >= MOST_VOICED_SECONDS and bool(voiced.mean() > MOST_VOICED)


def is_narrow(mel: np.ndarray) -> bool:
    """Whether half of the loud frames of (T, M) have their energy in a few bands."""
    peaks = mel.max(axis=1)  # (T,)
    loud = mel[peaks >= np.median(peaks)]
    near_peak = loud >= loud.max(axis=1, keepdims=True) - BAND_RANGE_DB / MEL_RANGE_DB
    return bool(np.median(near_peak.mean(axis=1)) < NARROWEST)


def is_in_notes(log_f0: np.ndarray, voiced: np.ndarray) -> bool:
    """Whether the melody (T,) stands still and jumps rather than glides."""
    voiced = voiced.astype(bool)
    steps = np.abs(np.diff(log_f0))[voiced[1:] & voiced[:-1]]
    return len(steps) >= FEWEST_STEPS and bool(np.median(steps) < LEAST_GLIDE * steps.mean())
