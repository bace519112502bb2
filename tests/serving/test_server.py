"""The HTTP interface, in this process."""

import asyncio
import json
import struct
import threading
import time

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from support.tiny_pipeline import encode, tiny_pipeline, voice

from processing.errors import InputError
from train_scripts.answers.answer_formats import format_answers
from train_scripts.answers.input_files import Source
from train_scripts.answers.prediction import Listening, Recording, answer_recordings
from train_scripts.serving import application as module
from train_scripts.serving.application import Service, create_application
from train_scripts.serving.limits import Limits
from train_scripts.serving.server import open_port

LISTENING = Listening(segments="windows")
OPTIONS = {"top_k": None, "return_timeline": True, "return_flags": True}


@pytest.fixture(scope="module")
def recognize():
    return tiny_pipeline(options=OPTIONS)


@pytest.fixture(scope="module")
def clip():
    return encode(voice(2.0))


def client_of(recognize, **limits) -> TestClient:
    service = Service(recognize, LISTENING, Limits(**limits), "the model")
    return TestClient(create_application(service))


@pytest.fixture
def client(recognize):
    with client_of(recognize) as opened:
        yield opened


def windows(**query):
    return {"segments": "windows", **query}


@pytest.mark.parametrize("sent", ["form", "body"])
def test_an_answer_is_that_of_predict(client, recognize, clip, sent):
    if sent == "form":
        name, how = "call.wav", {"files": {"file": ("call.wav", clip)}}
    else:
        name, how = "recording", {"content": clip, "headers": {"content-type": "audio/wav"}}
    answer = client.post("/predict", params=windows(), **how)
    assert answer.status_code == 200
    [expected] = answer_recordings(recognize, [Recording(Source(name, clip))], LISTENING)
    assert answer.json() == json.loads(format_answers([expected], "jsonl"))


def test_channels_are_chosen_by_the_request(client):
    two = np.stack([voice(2.0), voice(2.0, seed=1, f0_hz=250)], axis=1)
    answer = client.post("/predict", params=windows(channels="split"), content=encode(two))
    assert set(answer.json()["channels"]) == {"1", "2"}
    assert client.post("/predict", params={"channels": "left"}, content=b"x").status_code == 422
    refused = client.post("/predict", params=windows(channels="3"), content=encode(two))
    assert refused.status_code == 422 and "it has 2" in refused.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_an_upload_that_is_too_large_is_refused(recognize, clip, announced):
    content = clip if announced else iter([clip[:1000], clip[1000:]])
    with client_of(recognize, megabytes=0.01) as client:
        answer = client.post("/predict", content=content)
    assert answer.status_code == 413 and "0.01 MB" in answer.json()["detail"]


def without_length(content: bytes) -> bytes:
    """A WAV file as a streaming writer leaves it."""
    place = content.index(b"data") + 4
    return content[:place] + struct.pack("<I", 0xFFFFFFFF) + content[place + 4 :]


@pytest.mark.parametrize("form", ["FLAC", "WAV", "WAV without a length", "MP3"])
def test_a_recording_that_is_too_long_is_refused_before_it_is_answered(
    recognize, form, monkeypatch
):
    def never(*_):
        raise AssertionError("it was answered")

    monkeypatch.setattr(module, "answer_recordings", never)
    content = encode(np.zeros(16000 * 7, np.float32), 16000, form.split()[0])
    if "without" in form:
        content = without_length(content)
    with client_of(recognize, minutes=0.1) as client:
        answer = client.post("/predict", content=content)
    assert answer.status_code == 413 and "at most 0.1 minutes" in answer.json()["detail"]


def test_what_is_no_recording_is_refused_by_name(client):
    answer = client.post("/predict", files={"file": ("notes.wav", b"RIFF is all")})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("notes.wav: cannot be decoded")
    assert client.post("/predict", content=b"").status_code == 422
    assert client.post("/predict", data={"file": "path"}, files={}).status_code == 422
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/predict", content=b"--y", headers=form).status_code == 400
    no_file = b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'
    answer = client.post("/predict", content=no_file, headers=form)
    assert answer.status_code == 400 and "no file" in answer.json()["detail"]


def test_a_path_or_an_address_is_never_opened(client, tmp_path):
    (tmp_path / "secret.wav").write_bytes(encode(voice(1.0)))
    answer = client.post("/predict", content=str(tmp_path / "secret.wav").encode())
    assert answer.status_code == 422


async def post_together(application, number, content, **query):
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        posts = [client.post("/predict", params=query, content=content) for _ in range(number)]
        return await asyncio.gather(*posts)


def test_a_full_queue_answers_503_and_loses_nobody_it_took_on(recognize, clip):
    service = Service(recognize, LISTENING, Limits(places=3), "the model")
    application = create_application(service)
    answers = asyncio.run(post_together(application, 8, clip, segments="windows"))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 3 + [503] * 5
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["retry-after"]) >= 1
    assert service.queue.taken == 0
    again = asyncio.run(post_together(application, 1, clip, segments="windows"))
    assert again[0].status_code == 200
    service.queue.stop()


def count_calls(recognize):
    """The calls of the model, each of which now takes a while longer."""
    calls = []

    def wait(*_):
        calls.append(1)
        time.sleep(0.2)

    return calls, recognize.model.register_forward_pre_hook(wait)


def wait_until_idle(service):
    patience = time.monotonic() + 60
    while service.queue.current is not None and time.monotonic() < patience:
        time.sleep(0.05)
    assert service.queue.current is None


def test_what_takes_too_long_is_given_up_before_the_next_window(recognize):
    calls, hook = count_calls(recognize)
    long = encode(np.tile(voice(10.0), 12))  # 23 windows
    try:
        service = Service(recognize, LISTENING, Limits(seconds=2.0), "the model")
        with TestClient(create_application(service)) as client:
            answer = client.post("/predict", params=windows(), content=long)
            assert answer.status_code == 504 and "2 s" in answer.json()["detail"]
            wait_until_idle(service)
            assert len(calls) < 23
            assert client.get("/health").status_code == 200
    finally:
        hook.remove()


def test_nothing_is_computed_for_a_client_that_has_gone(recognize):
    service = Service(recognize, LISTENING, Limits(), "the model")
    calls, hook = count_calls(recognize)
    long = encode(np.tile(voice(10.0), 12))
    arrived, leaves = [], time.monotonic() + 2.0

    async def receive():
        if not arrived:
            arrived.append(long)
            return {"type": "http.request", "body": long}
        if time.monotonic() < leaves:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message):
        """Nobody reads it."""

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "query_string": b"segments=windows",
        "headers": [],
    }
    try:
        asyncio.run(create_application(service)(scope, receive, send))
        wait_until_idle(service)
        assert len(calls) < 23
        assert service.queue.taken == 0 and service.metrics.statuses[200] == 0
    finally:
        hook.remove()
        service.queue.stop()


def test_health_says_what_is_wrong(recognize):
    client = client_of(recognize)
    with client:
        assert client.get("/health").json() == {"status": "ok", "model": "the model"}
    answer = client.get("/health")
    assert answer.status_code == 503 and answer.json()["status"] == "stopping"
    assert client.post("/predict", content=b"x").status_code == 503


def test_metrics_count_answers_by_their_status(client, clip):
    for content in (clip, clip, b"nothing"):
        client.post("/predict", params=windows(), content=content)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    numbers = dict(
        line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#")
    )
    assert numbers['decomp_ser_requests_total{status="200"}'] == "2"
    assert numbers['decomp_ser_requests_total{status="422"}'] == "1"
    assert numbers['decomp_ser_request_seconds_bucket{le="+Inf"}'] == "2"
    assert float(numbers["decomp_ser_audio_seconds_total"]) == pytest.approx(4.0)
    assert numbers["decomp_ser_places_taken"] == "0"
    assert float(numbers["process_resident_memory_bytes"]) > 1e8


def test_a_fault_of_the_program_is_500_is_counted_and_blocks_nothing(recognize, clip, monkeypatch):
    def fail(*_):
        raise RuntimeError("boom")

    service = Service(recognize, LISTENING, Limits(places=1), "the model")
    with TestClient(create_application(service), raise_server_exceptions=False) as client:
        with monkeypatch.context() as patched:
            patched.setattr(module, "answer_recordings", fail)
            answer = client.post("/predict", content=clip)
        assert answer.status_code == 500 and "boom" not in answer.text
        assert service.metrics.statuses == {500: 1}
        assert client.post("/predict", params=windows(), content=clip).status_code == 200


def test_the_interface_is_described(client):
    described = client.get("/openapi.json").json()
    post = described["paths"]["/predict"]["post"]
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "audio/*"}
    assert {"200", "400", "413", "422", "503", "504"} <= set(post["responses"])
    assert "Article 5(1)(f)" in described["info"]["description"]
    assert '"timeline"' in post["description"]
    assert "swagger" in client.get("/docs").text


LIVE = "/stream?sampling_rate=16000&window_seconds=1&hop_seconds=0.5&encoding=float32"


def test_a_live_stream_has_the_answers_of_the_rolling_window(client, recognize):
    samples = voice(3.2)
    stream = recognize.stream(16000, window_seconds=1.0, hop_seconds=0.5)
    expected = [*stream.push(samples), *stream.finish()]
    found = []
    with client.websocket_connect(LIVE) as socket:
        for begin in range(0, len(samples), 5000):
            socket.send_bytes(samples[begin : begin + 5000].tobytes())
        socket.send_text("end")
        with pytest.raises(WebSocketDisconnect) as closed:
            while True:
                found.append(socket.receive_json())
    assert closed.value.code == 1000
    assert len(found) == len(expected) == 6
    for own, other in zip(found, expected, strict=True):
        assert (own["start"], own["end"], own["flags"]) == tuple(
            other[name] for name in ("start", "end", "flags")
        )
        scores = {entry["label"]: entry["score"] for entry in other["scores"]}
        assert own["probabilities"] == pytest.approx(scores, abs=1e-6)
        assert own["emotion"] == other["scores"][0]["label"]


def test_sixteen_bit_samples_are_taken(client):
    samples = (32767 * voice(1.0)).astype("<i2")
    address = LIVE.replace("float32", "pcm16")
    with client.websocket_connect(address) as socket:
        socket.send_bytes(samples.tobytes())
        assert socket.receive_json()["end"] == 1.0


def test_streams_beyond_the_limit_are_told_to_come_again(recognize):
    with client_of(recognize, streams=1) as client, client.websocket_connect(LIVE):
        with pytest.raises(WebSocketDenialResponse) as denied, client.websocket_connect(LIVE):
            pass
        assert denied.value.status_code == 503
        assert int(denied.value.headers["retry-after"]) >= 1


@pytest.mark.parametrize("query", ["window_seconds=0.1", "hop_seconds=9", "sampling_rate=1"])
def test_a_stream_with_wrong_settings_is_refused(client, query):
    with (
        pytest.raises((WebSocketDenialResponse, WebSocketDisconnect)),
        client.websocket_connect(f"/stream?{query}"),
    ):
        pass


@pytest.mark.parametrize("message", ["hello", b"123"])
def test_a_message_that_is_no_samples_closes_the_stream(client, message):
    with client.websocket_connect(LIVE) as socket:
        send = socket.send_text if isinstance(message, str) else socket.send_bytes
        send(message)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1008


def test_a_live_window_goes_before_recordings_that_wait(recognize):
    service = Service(recognize, LISTENING, Limits(), "the model")
    started, go, order = threading.Event(), threading.Event(), []

    def block():
        started.set()
        go.wait(5)

    async def run():
        deadline = time.monotonic() + 5
        compute = service.queue.compute
        first = asyncio.ensure_future(compute(block, deadline=deadline, priority=1))
        await asyncio.to_thread(started.wait, 5)
        waiting = [
            asyncio.ensure_future(
                compute(lambda n=name: order.append(n), deadline=deadline, priority=priority)
            )
            for name, priority in (("recording", 1), ("live", 0))
        ]
        await asyncio.sleep(0.05)
        go.set()
        await asyncio.gather(first, *waiting)

    asyncio.run(run())
    service.queue.stop()
    assert order == ["live", "recording"]


def test_a_port_in_use_is_refused_in_a_line():
    with open_port("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(InputError, match="--port .*Address already in use"):
            open_port("127.0.0.1", first.getsockname()[1])
