"""The server under load, on loopback.

    python tests/benchmarks/serving.py [--clients N] [--seconds N] [--size SIZE] [--output JSON]

serves random weights of a size (*Ours*, all parts) by `decomp-ser serve` in a process of its own,
and lets clients post a clip of 4.5 s, each the next as soon as it has the last answer. A client
that is refused (503) waits as long as Retry-After says and sends the same again. The load is given
twice: with a queue that has a place for every client, and with one that has places for a quarter of
them. Last, the server is asked to end (SIGTERM) under load.

Lost is a request without an answer, or with another answer than the first. Times are from the first
sending of a request to its answer, refusals included. Memory is what the server says of itself in
/metrics, the median of the second tenth of the seconds against that of the last tenth. Times hang
on the processors, which server, clients and whatever else runs share; the load average says how
many wanted one.
"""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

REPOSITORY = Path(__file__).parents[2]
CLIP_SECONDS = 4.5
WARM_UP_SECONDS = 3.0


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: from sending to answer, of each request that was answered.
        num_lost: requests without an answer, or with another one.
        num_refused: answers 503, after which the request was sent again.
        num_without_wait: of these, those without Retry-After.
        memory: MB of the server, second by second.
    """

    seconds: list[float] = field(default_factory=list)
    num_lost: int = 0
    num_refused: int = 0
    num_without_wait: int = 0
    memory: list[float] = field(default_factory=list)

    def summary(self, duration: float) -> dict[str, Any]:
        """The numbers of a results file."""
        p50, p95, p99 = np.percentile(self.seconds, [50, 95, 99])
        tenth = max(1, len(self.memory) // 10)
        return {
            "seconds": duration,
            "answered": len(self.seconds),
            "lost": self.num_lost,
            "refused": self.num_refused,
            "refused_without_retry_after": self.num_without_wait,
            "answers_a_second": len(self.seconds) / duration,
            "p50": p50,
            "p95": p95,
            "p99": p99,
            "memory_begin_mb": float(np.median(self.memory[tenth : 2 * tenth] or self.memory)),
            "memory_end_mb": float(np.median(self.memory[-tenth:])),
        }


def start_server(model: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """A server on a free port, and its address."""
    command = [sys.executable, "-m", "train_scripts.cli", "serve", str(model), "--port", "0"]
    server = subprocess.Popen(
        [*command, *options],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert server.stdout is not None
    return server, server.stdout.readline().split()[0]


async def give_load(address: str, clip: bytes, clients: int, duration: float) -> Load:
    """Let clients post a clip for some seconds, and look at the memory of the server."""
    load, limits = Load(), httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as client:
        await wait_for(client)
        expected = (await client.post("/predict", content=clip)).json()
        end = time.monotonic() + duration
        await asyncio.gather(
            watch_memory(client, load, end),
            *(post_on(client, clip, expected, load, end) for _ in range(clients)),
        )
    return load


async def wait_for(client: httpx.AsyncClient) -> None:
    """Return when the server answers."""
    for _ in range(600):
        try:
            if (await client.get("/health")).status_code == 200:
                return
        except httpx.ConnectError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the server does not answer")


async def post_on(
    client: httpx.AsyncClient, clip: bytes, expected: dict, load: Load, end: float
) -> None:
    """One client: post, wait for the answer, post again."""
    while time.monotonic() < end:
        begin = time.monotonic()
        try:
            answer = await post_until_taken(client, clip, load)
        except httpx.HTTPError:
            load.num_lost += 1
            continue
        if answer.status_code == 200 and is_same(answer.json(), expected):
            load.seconds.append(time.monotonic() - begin)
        else:
            load.num_lost += 1


async def post_until_taken(client: httpx.AsyncClient, clip: bytes, load: Load) -> httpx.Response:
    """Post as often as the server is full."""
    while (answer := await client.post("/predict", content=clip)).status_code == 503:
        load.num_refused += 1
        load.num_without_wait += "retry-after" not in answer.headers
        await asyncio.sleep(float(answer.headers.get("retry-after", 1)))
    return answer


def is_same(answer: dict, expected: dict) -> bool:
    """Whether two answers are of the same clip."""
    pairs = ((answer["probabilities"][k], p) for k, p in expected["probabilities"].items())
    return answer["emotion"] == expected["emotion"] and all(abs(a - b) < 1e-4 for a, b in pairs)


async def watch_memory(client: httpx.AsyncClient, load: Load, end: float) -> None:
    """Ask for the memory of the server every second, but for the first ones."""
    await asyncio.sleep(min(WARM_UP_SECONDS, (end - time.monotonic()) / 3))
    while time.monotonic() < end:
        text = (await client.get("/metrics")).text
        found = re.search(r"^process_resident_memory_bytes (\S+)", text, re.MULTILINE)
        assert found is not None
        load.memory.append(float(found[1]) / 1e6)
        await asyncio.sleep(1)


async def end_under_load(server: subprocess.Popen, address: str, clip: bytes, clients: int) -> dict:
    """Ask the server to end when it has taken on a recording of each client, and say what became of
    them.
    """
    async with httpx.AsyncClient(base_url=address, timeout=300) as client:
        await wait_for(client)
        posts = [
            asyncio.ensure_future(client.post("/predict", content=clip)) for _ in range(clients)
        ]
        taken = 0
        while taken + sum(post.done() for post in posts) < clients:
            await asyncio.sleep(0.02)
            found = re.search(r"places_taken (\d+)", (await client.get("/metrics")).text)
            taken = int(found[1]) if found else 0
        server.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*posts, return_exceptions=True)
    statuses = [getattr(answer, "status_code", "lost") for answer in answers]
    code = await asyncio.to_thread(server.wait, 300)
    return {"answered": statuses.count(200), "of": clients, "waiting": taken, "exit_code": code}


def make_clip() -> bytes:
    """A clip in which a voice-like sound comes and goes, FLAC."""
    from processing.audio_files import encode_flac

    seconds = np.arange(round(CLIP_SECONDS * 16000)) / 16000
    phase = 2 * np.pi * np.cumsum(150 * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * seconds))) / 16000
    voiced = sum(np.sin(k * phase) / k for k in range(1, 9))
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(seconds))
    return encode_flac(0.15 * np.clip(np.sin(2 * np.pi * 2.3 * seconds), 0, None) * voiced + noise)


def measure(model: Path, clients: int, duration: float) -> dict[str, Any]:
    """Both loads, and the end."""
    clip, result = make_clip(), {}
    for name, places in (("place_for_all", clients), ("place_for_a_quarter", clients // 4)):
        server, address = start_server(model, "--queue", str(max(1, places)), "--max-minutes", "5")
        try:
            load = asyncio.run(give_load(address, clip, clients, duration))
            result[name] = {"queue": places, **load.summary(duration)}
            if places == clients:
                result["ended"] = asyncio.run(end_under_load(server, address, clip, clients))
        finally:
            server.terminate()
            server.wait()
    return result


def main() -> None:
    """Measure, write and state."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--size", choices=("tiny", "small", "paper"), default="small")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    from startup import save_models

    from train_scripts.reports.pages import render
    from train_scripts.runs.record import git_commit, write_json

    with tempfile.TemporaryDirectory() as temporary:
        save_models(Path(temporary), arguments.size)
        result = measure(Path(temporary) / "Ours", arguments.clients, arguments.seconds)
    result = {
        "size": arguments.size,
        "clients": arguments.clients,
        "clip_seconds": CLIP_SECONDS,
        "processors": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[1],
        "commit": git_commit(),
        **result,
    }
    if arguments.output is not None:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.output, result, indent=1)
    print(render("serving", result=result).rstrip())


if __name__ == "__main__":
    main()
