"""The HTTP interface: recordings in, answers out."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from modeling_decomp_ser.pipeline_decomp_ser import DecompSerPipeline
from train_scripts.answers.input_files import Source
from train_scripts.answers.prediction import Listening, Recording, answer_recordings
from train_scripts.serving.limits import Limits
from train_scripts.serving.live_streams import LiveStreams
from train_scripts.serving.metrics import CONTENT_TYPE, Metrics
from train_scripts.serving.model_queue import RECORDING, ModelQueue, NoPlaceError, OverdueError
from train_scripts.serving.uploads import (
    BODY,
    check_length,
    discard_body,
    read_upload,
    unusable,
)

LOOKED_AFTER_SECONDS = 0.5
"""How often the server looks whether a client still waits."""

DESCRIPTION = """\
POST a recording to `/predict`; live signals go to the WebSocket `/stream`.

In the European Union it is prohibited to infer the emotions of people at their workplace or in
education, except for medical or safety reasons (AI Act, Article 5(1)(f)).
"""
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The form cannot be read."},
    413: {"description": "Larger or longer than is taken."},
    422: {"description": "No recording that can be used; says why."},
    503: {"description": "Every place is taken; Retry-After says for how many seconds."},
    504: {"description": "Not answered in the time that a request has."},
}

Channels = Annotated[
    str,
    Query(pattern="^(auto|mix|split|[1-9][0-9]?)$", description="As of `decomp-ser predict`."),
]
Segments = Annotated[
    Literal["auto", "speech", "windows"], Query(description="As of `decomp-ser predict`.")
]


class Service:
    """What the routes of the application do.

    Args:
        recognize: of `load_pipeline`.
        listening: how recordings are heard where a request does not say.
        limits: what is taken on.
        model_name: which `/health` names.
    """

    def __init__(
        self, recognize: DecompSerPipeline, listening: Listening, limits: Limits, model_name: str
    ):
        self.recognize, self.listening = recognize, listening
        self.limits, self.model_name = limits, model_name
        self.metrics = Metrics()
        self.queue = ModelQueue(recognize.model, limits.places)
        self.live = LiveStreams(recognize, self.queue, self.metrics, limits)

    async def predict(
        self, request: Request, channels: Channels = "auto", segments: Segments = "auto"
    ) -> Response:
        """Answer a recording, as a form with a file or as the body itself."""
        begin, status = time.monotonic(), 500
        try:
            response = await self.respond(request, channels, segments, begin)
            status = response.status_code
            return response
        finally:
            self.metrics.count(status, time.monotonic() - begin)

    async def respond(
        self, request: Request, channels: str, segments: str, begin: float
    ) -> Response:
        """The answer to a request that began then, or why there is none."""
        try:
            with self.queue.place():
                answer = await self.answer(request, channels, segments, begin)
        except NoPlaceError:
            return await self.refuse(request)
        except (OverdueError, TimeoutError):
            return JSONResponse({"detail": f"not answered in {self.limits.seconds:g} s."}, 504)
        except HTTPException as error:
            return JSONResponse({"detail": error.detail}, error.status_code)
        self.metrics.audio_seconds += answer["seconds"]
        return JSONResponse(answer)

    async def answer(self, request: Request, channels: str, segments: str, begin: float) -> dict:
        """The answer for the recording of a request that began then."""
        deadline = begin + self.limits.seconds
        async with asyncio.timeout(self.limits.seconds):
            source = await read_upload(request, self.limits)
        listening = replace(self.listening, channels=channels, segments=segments)
        computing = asyncio.ensure_future(
            self.queue.compute(
                lambda: self.recognise(source, listening), deadline=deadline, priority=RECORDING
            )
        )
        watching = asyncio.ensure_future(until_gone(request))
        try:
            await asyncio.wait({computing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not computing.done():
                raise OverdueError
            return computing.result()
        finally:
            computing.cancel()
            watching.cancel()

    def recognise(self, source: Source, listening: Listening) -> dict:
        """The answer for a recording, in the thread of the model; HTTPException without one."""
        try:
            check_length(source, self.limits)
            [found] = answer_recordings(self.recognize, [Recording(source)], listening.checked())
        except ValueError as error:
            raise unusable(error) from error
        if isinstance(found, ValueError):
            raise unusable(found)
        return found

    async def refuse(self, request: Request) -> Response:
        """Say that every place is taken, and when to try again."""
        if "expect" not in request.headers:  # else the client waits for leave to send
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await discard_body(request, self.limits)
            except (HTTPException, TimeoutError):
                pass  # it is too large, or slow, as well
        said = f"{self.limits.places} recordings are answered or wait, as many as are taken."
        headers = {"Retry-After": str(self.queue.retry_after)}
        return JSONResponse({"detail": said}, 503, headers)

    async def health(self) -> Response:
        """Whether the server can answer: 200 or 503."""
        states = {"stopping": self.queue.stopping, "stuck": self.queue.is_stuck}
        wrong = [name for name, is_so in states.items() if is_so]
        said = {"status": wrong[0] if wrong else "ok", "model": self.model_name}
        return JSONResponse(said, 503 if wrong else 200)

    async def numbers(self) -> Response:
        """What is counted, in the text form of Prometheus."""
        gauges = {"places_taken": self.queue.taken, "live_streams": self.live.number}
        return PlainTextResponse(self.metrics.text(gauges), media_type=CONTENT_TYPE)


async def until_gone(request: Request) -> None:
    """Return when the client has closed its connection."""
    while not await request.is_disconnected():
        await asyncio.sleep(LOOKED_AFTER_SECONDS)


def create_application(service: Service) -> FastAPI:
    """The application of a service, with the OpenAPI description under `/docs`."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.queue.stop()

    application = FastAPI(
        title="decomp-ser", description=DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    application.add_api_route(
        "/predict",
        service.predict,
        methods=["POST"],
        description=answer_recordings.__doc__,
        responses=REFUSALS,
        openapi_extra=BODY,
    )
    application.add_api_route("/health", service.health)
    application.add_api_route("/metrics", service.numbers, response_class=PlainTextResponse)
    application.add_api_websocket_route("/stream", service.live.stream)
    return application
