"""Every way to a sound, over files that are damaged, lie or are no files."""

import re
import signal
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.odd_files import ANSWER, ERROR, KINDS, LONG, PLACES, write_odd_files
from support.tiny_pipeline import as_dict, tiny_pipeline

from processing.audio_files import audio_duration, in_one_line, read_audio
from processing.errors import InputError

EACH_KIND_ONCE = len(KINDS) + len(PLACES)
MOST_SECONDS = 10.0
MOST_BYTES = 1.5e9


def memory(field: str) -> int:
    """Bytes that this process holds (VmRSS), or held at most since `forget_peak` (VmHWM)."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{field}:\s+(\d+) kB", status)[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def within_bounds(name: str, longest: dict):
    """Fail on what hangs, computes for more than MOST_SECONDS or takes more than MOST_BYTES."""

    def give_up(number, frame):
        raise TimeoutError(f"{name} hangs")

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    forget_peak()
    held, began = memory("VmRSS"), time.process_time()
    try:
        yield
    finally:
        signal.alarm(0)
        seconds, taken = time.process_time() - began, memory("VmHWM") - held
        longest["seconds"] = max(longest.get("seconds", (0, "")), (seconds, name))
        longest["bytes"] = max(longest.get("bytes", (0, "")), (taken, name))
    assert seconds < MOST_SECONDS, name
    assert taken < MOST_BYTES, name


def ask(read, path: Path, expected: str, longest: dict) -> str:
    """Read a file in one way; what came of it, with one clear line where it was refused."""
    with within_bounds(path.name, longest):
        try:
            read(path)
        except ValueError as error:
            message = str(error)
            assert isinstance(error, InputError) or read.__name__ != "read_audio", path.name
            assert expected != ANSWER, message
            assert in_one_line(str(path)) in message and "\n" not in message
            assert 10 < len(message.replace(in_one_line(str(path)), "")) < 400
            return ERROR
    assert expected != ERROR, path.name
    return ANSWER


def ask_all(files, recognize) -> None:
    """Read all files in the ways of training, of `prepare` and of the pipeline."""

    def recognise(path):
        answer = recognize(str(path), return_flags=True, return_timeline=True)
        assert sum(as_dict(answer["scores"]).values()) == pytest.approx(1, abs=1e-5)
        if "silent" in path.name:
            assert "too_quiet" in answer["flags"]

    came, longest = Counter(), {}
    for path, expected in files:
        in_memory = ERROR if expected == LONG else expected
        # a number far beyond full scale is none of the matters of a reader
        full_scale = "out_of_scale" not in path.name
        found = ask(read_audio, path, in_memory if full_scale else ANSWER, longest)
        came[f"read_audio: {found}"] += 1
        # a header tells a duration of what turns out to be damaged later
        wanted = expected if expected == ANSWER else "either"
        duration = ask(audio_duration, path, wanted, longest)
        came[f"audio_duration: {duration}"] += 1
        assert not (duration == ERROR and found == ANSWER), path.name
        if expected != LONG and "hole" not in path.name:
            came[f"pipeline: {ask(recognise, path, expected, longest)}"] += 1
    print(dict(came), longest)


def test_141_odd_files_are_answered_or_refused_in_a_line(tmp_path):
    assert EACH_KIND_ONCE == 47
    ask_all(write_odd_files(tmp_path, 3 * EACH_KIND_ONCE), tiny_pipeline())


@pytest.mark.slow
def test_3008_odd_files_are_answered_or_refused_in_a_line(tmp_path):
    ask_all(write_odd_files(tmp_path, 64 * EACH_KIND_ONCE), tiny_pipeline(f0_method="rapt"))
