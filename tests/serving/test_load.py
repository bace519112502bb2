"""The server in a process of its own, under a short load and at its end."""

import asyncio
import importlib.util
import signal
from pathlib import Path

import pytest
from support.tiny_pipeline import save_tiny_model

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "serving.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("serving_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_under_load_nothing_is_lost_and_at_the_end_what_was_taken_on_is_answered(
    benchmark, tmp_path
):
    save_tiny_model(tmp_path)
    clip = benchmark.make_clip()
    server, address = benchmark.start_server(tmp_path, "--queue", "2")
    try:
        load = asyncio.run(benchmark.give_load(address, clip, clients=8, duration=4.0))
        ended = asyncio.run(benchmark.end_under_load(server, address, clip, clients=2))
    finally:
        server.kill()
        server.wait()
    assert load.num_lost == 0 and len(load.seconds) >= 8
    assert load.num_refused >= 6 and load.num_without_wait == 0
    numbers = load.summary(4.0)
    assert 0 < numbers["p50"] <= numbers["p95"] <= numbers["p99"]
    assert (ended["answered"], ended["of"]) == (2, 2)
    assert ended["exit_code"] == 128 + signal.SIGTERM


def test_the_statement_of_a_measurement_names_every_number(benchmark):
    from train_scripts.reports.pages import render

    load = benchmark.Load(seconds=[0.5, 1.0, 2.0], num_refused=7, memory=[400.0, 401.0])
    summary = load.summary(3.0)
    result = {
        "size": "small",
        "clients": 32,
        "clip_seconds": 4.5,
        "processors": 1,
        "load_average": 2.5,
        "commit": "0123456789abcdef",
        "place_for_all": {"queue": 32, **summary},
        "place_for_a_quarter": {"queue": 8, **summary},
        "ended": {"answered": 32, "of": 32, "waiting": 30, "exit_code": 143},
    }
    lines = render("serving", result=result).splitlines()
    assert lines[3].startswith(
        "| 8, a place for every fourth | 3 | 3 | 0 | 7 | 1 s | 1.9 s | 1.98 s"
    )
    assert "32 clients" in lines[5] and "32 of the 32" in lines[5] and "143" in lines[5]
