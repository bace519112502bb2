"""Sounds in M4A and video, written by PyAV."""

import io

import numpy as np


def contain(samples, rate=16000, form="mp4", codec="aac", *, picture=False, sound=True) -> bytes:
    """Samples (S, C) as a file of another kind, with a black film if asked for."""
    import av

    file = io.BytesIO()
    layout = "stereo" if samples.shape[1] == 2 else "mono"
    with av.open(file, "w", format=form) as container:
        streams = []
        if picture:
            film = container.add_stream("mpeg4", rate=10)
            film.width = film.height = 32
            frames = [av.VideoFrame(32, 32, "yuv420p") for _ in range(5)]
            streams.append((film, frames))
        if sound:
            track = container.add_stream(codec, rate=rate, layout=layout)
            planes = np.ascontiguousarray(samples.T, np.float32)
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
            frame.sample_rate = rate
            streams.append((track, [frame]))
        for stream, frames in streams:
            for frame in [*frames, None]:
                container.mux(stream.encode(frame))
    return file.getvalue()
