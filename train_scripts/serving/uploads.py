"""Recordings as they come over HTTP: read up to a limit, and measured before they are decoded."""

from collections.abc import AsyncGenerator

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from processing.audio_files import open_audio
from processing.errors import InputError
from train_scripts.answers.input_files import Source
from train_scripts.serving.limits import Limits

TOO_LARGE = 413
UNUSABLE = 422
FORM = "multipart/form-data"
NAMELESS = "recording"
"""The name of a recording in its answer where the client gives none."""

BODY = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            },
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What the OpenAPI description says of a request: a form with a file, or its bytes alone."""


class FormInMemory(MultiPartParser):
    """A form whose file stays in memory: a server may run where nothing can be written."""

    spool_max_size = 2**62


async def read_upload(request: Request, limits: Limits) -> Source:
    """The recording of a request: of a form with one file, or the whole body.

    Raises:
        HTTPException: if it is larger than allowed, empty, or the form cannot be read.
    """
    body = bounded(request, limits)
    if not request.headers.get("content-type", "").startswith(FORM):
        source = Source(NAMELESS, b"".join([chunk async for chunk in body]))
    else:
        parser = FormInMemory(request.headers, body, max_files=1, max_fields=8)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(400, f"the form cannot be read: {error.message}") from error
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if not files:
            raise HTTPException(400, "the form has no file, expected one: -F file=@call.wav")
        source = Source(files[0].filename or NAMELESS, await files[0].read())
        await form.close()
    if not source.content:
        raise HTTPException(UNUSABLE, f"{source.name}: 0 bytes, expected a recording.")
    return source


async def bounded(request: Request, limits: Limits) -> AsyncGenerator[bytes, None]:
    """The body of a request as it comes, up to the limit; HTTPException beyond it."""
    announced = request.headers.get("content-length", "")
    number = int(announced) if announced.isdigit() else 0
    refusal = HTTPException(
        TOO_LARGE, f"the upload is larger than {limits.megabytes:g} MB, the most that is taken."
    )
    if number > limits.num_bytes:
        raise refusal
    number = 0
    async for chunk in request.stream():
        number += len(chunk)
        if number > limits.num_bytes:
            raise refusal
        yield chunk


async def discard_body(request: Request, limits: Limits) -> None:
    """Read what comes and keep nothing: a client that is still sending would miss the answer."""
    async for _ in bounded(request, limits):
        pass


def check_length(source: Source, limits: Limits) -> None:
    """Refuse a recording that is too long, by its header; one whose header does not say is decoded
    up to the limit. No more than a block is held.

    Raises:
        HTTPException: if it is longer than allowed.
        InputError: if it cannot be opened.
    """
    stream = open_audio(source.audio, 16000)
    most = 60 * limits.minutes * stream.sampling_rate
    number = stream.num_samples or 0
    if stream.num_samples is None:
        for block in stream.blocks:
            number += len(block)
            if number > most:
                break
    if number > most:
        minutes = f"{number / stream.sampling_rate / 60:.1f} minutes"
        raise HTTPException(
            TOO_LARGE,
            f"{source.name}: {minutes if stream.num_samples else 'longer'}, expected at most "
            f"{limits.minutes:g} minutes. `decomp-ser predict` takes any length.",
        )


def unusable(error: InputError | ValueError) -> HTTPException:
    """How a recording that cannot be used is refused."""
    return HTTPException(UNUSABLE, str(error))
