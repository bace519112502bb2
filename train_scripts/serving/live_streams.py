"""A live signal over WebSocket, answered window by window."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Literal

import numpy as np
from fastapi import Query, WebSocket, WebSocketDisconnect
from starlette.responses import JSONResponse

from modeling_decomp_ser.emotion_stream import EmotionStream
from train_scripts.answers.prediction import describe
from train_scripts.serving.limits import Limits
from train_scripts.serving.metrics import Metrics
from train_scripts.serving.model_queue import LIVE, ModelQueue, OverdueError

ENCODINGS = {"pcm16": "<i2", "float32": "<f4"}
LARGEST_MESSAGE = 1_000_000
"""Bytes. About half a minute of speech at 16 kHz."""
END = "end"
NORMAL, GOING_AWAY, WRONG, TRY_LATER = 1000, 1001, 1008, 1013
"""Codes that a stream is closed with (RFC 6455)."""

Rate = Annotated[int, Query(ge=1000, le=768000, description="Hz, of the samples to come.")]
Window = Annotated[float, Query(ge=0.5, le=30.0, description="Seconds of a window.")]
Hop = Annotated[float | None, Query(ge=0.1, description="Seconds; default half a window.")]
Encoding = Annotated[Literal["pcm16", "float32"], Query(description="Little-endian, mono.")]


class LiveStreams:
    """Answers live streams; each message is a piece of one.

    The client sends samples as binary messages of any size, and "end" as text. For each window that
    is complete it gets {"start", "end", "emotion", "probabilities", "flags"}, as in the timeline of
    a recording; after "end" what is left, and the server closes.
    """

    def __init__(self, recognize, queue: ModelQueue, metrics: Metrics, limits: Limits):
        self.recognize, self.queue = recognize, queue
        self.metrics, self.limits = metrics, limits
        self.number = 0

    async def stream(
        self,
        websocket: WebSocket,
        sampling_rate: Rate = 16000,
        window_seconds: Window = 3.0,
        hop_seconds: Hop = None,
        encoding: Encoding = "pcm16",
    ) -> None:
        """Answer one stream to its end."""
        if self.queue.stopping or self.number >= self.limits.streams:
            headers = {"Retry-After": str(self.queue.retry_after)}
            said = {"detail": f"{self.number} live streams are open, as many as are taken."}
            await websocket.send_denial_response(JSONResponse(said, 503, headers))
            return
        try:
            stream = EmotionStream(self.recognize, sampling_rate, window_seconds, hop_seconds)
        except ValueError as error:
            await websocket.send_denial_response(JSONResponse({"detail": str(error)}, 422))
            return
        await websocket.accept()
        self.number += 1
        try:
            async for samples in self.pieces(websocket, stream.windows.hop, encoding):
                await self.answer(websocket, stream, samples)
            await self.answer(websocket, stream, None)
            await websocket.close(NORMAL)
        except ValueError as error:
            await websocket.close(WRONG, str(error)[:120])
        except (TimeoutError, OverdueError):
            await websocket.close(TRY_LATER, "nothing came or went for too long")
        except WebSocketDisconnect:
            pass
        finally:
            self.number -= 1

    async def pieces(self, websocket, hop: int, encoding: str) -> AsyncIterator[np.ndarray]:
        """Samples (S,) at most a hop long, so that one client does not keep the model for long."""
        kind = np.dtype(ENCODINGS[encoding])
        while True:
            async with asyncio.timeout(self.limits.seconds):
                message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", GOING_AWAY))
            if message.get("text") is not None:
                if message["text"].strip() == END:
                    return
                raise ValueError(f"a message of text, expected samples, or {END!r} at the end.")
            content = message["bytes"]
            if len(content) % kind.itemsize:
                raise ValueError(
                    f"a message of {len(content)} bytes, expected whole samples of {kind.itemsize}."
                )
            samples = np.frombuffer(content, kind)
            for begin in range(0, len(samples), hop):
                yield samples[begin : begin + hop]

    async def answer(
        self, websocket: WebSocket, stream: EmotionStream, samples: np.ndarray | None
    ) -> None:
        """Send what the windows that are now complete say; None is the end of the stream."""
        found = await self.queue.compute(
            stream.finish if samples is None else lambda: stream.push(samples),
            deadline=time.monotonic() + self.limits.seconds,
            priority=LIVE,
        )
        for window in found:
            span = {"start": window["start"], "end": window["end"]}
            await websocket.send_json({**span, **describe(window)})
            self.metrics.live_windows += 1
