"""Light trimming of the ends of a clip."""

import numpy as np

FRAME_SECONDS = 0.02
DROP_DB = 42.0
KEPT_SECONDS = 0.2


def trim_ends(waveform: np.ndarray, *, sampling_rate: int = 16000) -> np.ndarray:
    """Cut the ends of (S,) samples that stay far below the clip's own level, which is not changed.

    The level is that of 20 ms frames. The first and the last frame that come within 42 dB of the
    clip's 95th percentile bound what is kept, with 0.2 s on either side. The result is a view; all
    of the waveform if it is silent or shorter than a frame.
    """
    frame = round(FRAME_SECONDS * sampling_rate)
    margin = round(KEPT_SECONDS * sampling_rate)
    num_frames = len(waveform) // frame
    if num_frames == 0 or not waveform.any():
        return waveform
    frames = waveform[: num_frames * frame].reshape(num_frames, frame).astype(np.float64)
    level = 10 * np.log10((frames**2).mean(axis=1) + 1e-12)  # (frames,) dB
    active = np.flatnonzero(level > np.percentile(level, 95) - DROP_DB)
    start = max(0, int(active[0]) * frame - margin)
    end = min(len(waveform), (int(active[-1]) + 1) * frame + margin)
    return waveform[start:end]
