"""Reasons not to trust an answer that the signal itself gives, by rules anyone can follow.

The limits lie in gaps of what was measured with RAPT on speech and on noise, tones and hum: speech
is voiced in 40 to 80 % of its frames (28 % and more under noise 10 dB below it), noise and clicks
in none; half of its loud frames fill 11 % of the mel bands or more, those of tones and sweeps 5 %
at most; its melody glides, where that of an instrument stands still and jumps. Noise as loud as
the speech hides the voicing and is flagged in part, and so are whispering and a held vowel.

Where a detector of speech is at hand (`speech_activity`), it decides instead of these rules, and
several voices at once are told from one: they leave no pauses, so that the level of the whole
varies little (variation 0.31 to 0.62 for eight voices; one voice has 0.61 and more, and 0.53 under
noise 10 dB below it) while that of each band still does, which it does not under noise.
`tests/benchmarks/flag_rates.py` measures the rates.

Axes: S samples, T frames, M mel bands, V detector frames, W windows of 32 ms, B bands.
"""

import numpy as np

TOO_SHORT = "too_short"
TOO_QUIET = "too_quiet"
NOT_SPEECH_LIKE = "not_speech_like"
SEVERAL_VOICES = "several_voices"
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
LEAST_SPEECH_FRAMES = 8
"""Detector frames, a quarter of a second: fewer are no speech."""
MOST_EVEN, LEAST_BAND_VARIATION_DB = 0.55, 6.0
"""Variation of the level of 20 ms (deviation over mean), and deviation of the level of bands, dB,
between which several voices lie."""


def signal_flags(
    waveform: np.ndarray,
    mel: np.ndarray,
    log_f0: np.ndarray,
    voiced: np.ndarray,
    *,
    seconds: float,
    speech: np.ndarray | None = None,
) -> tuple[str, ...]:
    """Flags of a sound or of a window of it.

    * "too_short": less than 0.5 s.
    * "too_quiet": its level is below -60 dB of full scale.
    * "not_speech_like", unless it is too quiet to say: the detector hears no quarter of a second of
      speech. Without a detector: less than 10 % of the frames are voiced (noise, clicks,
      whispering); or over 98 %, of a second or more (a steady sound); or half of the loud frames
      fill less than 8 % of the mel bands (tones); or the median step of log-F0 is less than 15 %
      of the mean step (notes).
    * "several_voices", with a detector only: speech without the pauses that one voice makes.

    Args:
        waveform: at full scale 1.0 and 16 kHz, (S,).
        mel: log-mel spectrogram in [0, 1], 100 dB in all, (T, M).
        log_f0: log-F0 in any linear scale, (T,).
        voiced: (T,) bool.
        seconds: duration.
        speech: probability of speech, (V,), of `speech_probabilities`; None without a detector.
    """
    flags = [TOO_SHORT] if seconds < SHORTEST_SECONDS else []
    level = np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))
    if level < 10 ** (QUIETEST_DB / 20):
        flags.append(TOO_QUIET)
    elif speech is not None:
        spoken = speech >= 0.5
        if spoken.sum() < LEAST_SPEECH_FRAMES and not spoken.all():
            flags.append(NOT_SPEECH_LIKE)
        elif spoken.mean() > 0.5 and are_several(waveform):
            flags.append(SEVERAL_VOICES)
    elif (
        voiced.mean() < LEAST_VOICED
        or is_steady(voiced, seconds)
        or is_narrow(mel)
        or is_in_notes(log_f0, voiced)
    ):
        flags.append(NOT_SPEECH_LIKE)
    return tuple(flags)


def are_several(waveform: np.ndarray) -> bool:
    """Whether speech (S,) at 16 kHz is of many at once: even as a whole, but not in its bands."""
    if len(waveform) < 16000:  # a word has no pauses
        return False
    frames = waveform[: len(waveform) // 320 * 320].reshape(-1, 320)
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    if levels.std() >= MOST_EVEN * levels.mean():
        return False
    windows = np.lib.stride_tricks.sliding_window_view(waveform, 512)[::320] * np.hanning(512)
    powers = np.square(np.abs(np.fft.rfft(windows, axis=1)[:, 4:124]))  # 125 to 3875 Hz
    bands = 10 * np.log10(powers.reshape(len(powers), 15, 8).sum(2) + 1e-10)  # (W, B)
    return bool(bands.std(axis=0).mean() > LEAST_BAND_VARIATION_DB)


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
