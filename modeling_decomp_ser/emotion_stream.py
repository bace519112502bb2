"""Emotion of a live signal, over a rolling window."""

from typing import Any

import numpy as np

from .audio_windows import RollingWindows, window_samples


class EmotionStream:
    """Answers every hop for the window that ends there; the same as the timeline of the file.

    Latency, of the algorithm: an answer comes with the last sample of its window. The first one
    comes after `window_seconds`; from then on a sound is part of an answer at most `hop_seconds`
    after it was heard, and a change of emotion fills a window at most `window_seconds +
    hop_seconds` after it began. To this comes the computing of one window, which has to be less
    than a hop: `tests/benchmarks/inference.py` measures it. For a microphone, windows of 3 s every
    1 s are a fair choice; shorter ones hear less than a turn, which models are trained on.

    Memory is that of two windows, however long the stream.

    Args:
        pipeline: a `DecompSerPipeline`.
        sampling_rate: of the samples to come, in Hz.
        window_seconds: length of a window.
        hop_seconds: from window to window; default half a window.

    Raises:
        ValueError: if a number is out of range.

    Examples:
        ```python
        stream = recognize.stream(sampling_rate=48000, window_seconds=3.0, hop_seconds=1.0)
        for samples in microphone:
            for answer in stream.push(samples):
                print(answer["end"], answer["scores"][0]["label"], answer["flags"])
        ```
    """

    def __init__(
        self,
        pipeline: Any,
        sampling_rate: int,
        window_seconds: float,
        hop_seconds: float | None = None,
    ):
        self.pipeline = pipeline
        self.sampling_rate = pipeline.feature_extractor.check_rate(sampling_rate, "stream")
        self.windows = RollingWindows(
            *window_samples(window_seconds, hop_seconds, self.sampling_rate)
        )

    def push(self, samples: np.ndarray) -> list[dict[str, Any]]:
        """Take in what was recorded since the last call.

        Args:
            samples: (S,) or (S, C), any number of them, floats at full scale 1.0 or signed
                integers.

        Returns:
            For each window that is now complete {"start", "end", "scores", "flags"}, with seconds
            from the beginning of the stream.

        Raises:
            ValueError: if samples are not finite.
        """
        return [self.answer(*window) for window in self.windows.push(np.array(samples))]

    def finish(self) -> list[dict[str, Any]]:
        """Answer for what is left at the end, at most one window, in the form of `push`."""
        return [self.answer(*window) for window in self.windows.finish()]

    def answer(self, start: int, samples: np.ndarray) -> dict[str, Any]:
        """Recognise one window."""
        pipeline = self.pipeline
        inputs = pipeline.window_inputs(samples, start, self.sampling_rate, "stream")
        output = pipeline.forward(inputs)
        scores = pipeline.scores(output["logits"])[0]  # (L,)
        return pipeline.describe_segment(output["segment"], scores, None, return_flags=True)
