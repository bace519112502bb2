"""A Python that has imported everything once, and is forked for each command that a test types.

Each command is a process of its own, with its arguments, environment, folder, streams, signals and
exit code; what it does not pay is the seconds of `import torch`. What a library reads while it is
imported is that of the server, so that a command with another value of it is refused.
"""

import contextlib
import gc
import json
import os
import runpy
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm.std import tqdm

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("decomp-ser", "python")
SOCKET = "socket"
NO_SERVER = 70
READ_AT_IMPORT = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_DISABLE_XET",
    "HF_HUB_OFFLINE",
    "MPLBACKEND",
    "OMP_NUM_THREADS",
    "PYTHONPATH",
)
# onnxruntime starts a thread when it is imported, which a forked process would wait for in vain.
NOT_IMPORTED = ("train_scripts.exporting", "train_scripts.publishing.space")
CLIENT = """#!{python} -IS
import json, os, socket, struct, sys
if sys.argv[1][:1] == "-" and sys.argv[0].endswith("python"):  # no script: the true one
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
request = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [struct.pack("!I", len(request))], [0, 1, 2])
server.sendall(request)
code = struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0]
if code < 0:
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


class WarmPython:
    """The server; use as a context manager.

    Attributes:
        folder: a folder of programs, `decomp-ser` and `python`, to be searched first by PATH.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ):
        self.folder = folder
        address = str(folder / SOCKET)
        for name in PROGRAMS:
            (folder / name).write_text(CLIENT.format(python=sys.executable, address=address))
            (folder / name).chmod(0o755)
        self.process = subprocess.Popen(
            [sys.executable, __file__, address], env=environment, stdout=subprocess.PIPE
        )

    def __enter__(self) -> "WarmPython":
        # a line when it listens; none if it could not be started
        assert self.process.stdout is not None and self.process.stdout.readline()
        return self

    def __exit__(self, *error) -> None:
        self.process.terminate()
        self.process.communicate()


def import_everything() -> None:
    """Import what any verb may need."""
    import importlib
    import pkgutil

    import datasets
    import torch
    import transformers.pipelines

    import modeling_decomp_ser
    import processing
    import train_scripts

    assert torch and datasets and transformers
    for package in (modeling_decomp_ser, processing, train_scripts):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.startswith(NOT_IMPORTED):
                importlib.import_module(module.name)


def draw_own_bars() -> None:
    """Give this process a lock of its own for progress bars. That of tqdm is shared by all forks of
    a process and stays locked if one of them is killed while it draws: the others wait for ever.
    """
    kinds = [tqdm]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds:
        kind.set_lock(threading.RLock())


def serve(address: str) -> Callable[[], object]:
    """Fork for each request; returns, in the forked process only, what it is to call."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([listener, *running], [], [])[0]:
            if ready is not listener:
                os.close(ready)
                report_end(*running.pop(ready))
                continue
            client, _ = listener.accept()
            request, streams = receive(client)
            pid = os.fork()
            if pid == 0:
                for opened in (listener, client, *(c for _, c in running.values())):
                    opened.close()
                draw_own_bars()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
                    os.close(stream)
                return command(*request)
            for stream in streams:
                os.close(stream)
            running[os.pidfd_open(pid)] = (pid, client)


def receive(client: socket.socket) -> tuple[list, list[int]]:
    """Words, folder and environment of a command, and its three streams."""
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    return json.loads(client.recv(struct.unpack("!I", size)[0], socket.MSG_WAITALL)), streams


def report_end(pid: int, client: socket.socket) -> None:
    """Tell a client how its process ended, unless it has gone itself."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with client, contextlib.suppress(BrokenPipeError):
        client.sendall(struct.pack("!i", code))


def command(words: list[str], folder: str, environment: dict[str, str]) -> Callable[[], object]:
    """Take the place of a command that was typed; returns what it calls."""
    others = [name for name in READ_AT_IMPORT if os.environ.get(name) != environment.get(name)]
    if others:
        print(f"warm Python: other values of {', '.join(others)}", file=sys.stderr)
        sys.exit(NO_SERVER)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    program, *arguments = words
    if program == "decomp-ser":
        from train_scripts.cli import main

        sys.argv = words
        return main
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).parent.resolve())
    return lambda: runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    sys.path.insert(1, str(REPOSITORY))
    import_everything()
    # a forked process would copy all of this memory to look for garbage in it when it ends
    gc.freeze()
    serve(sys.argv[1])()
