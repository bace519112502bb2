"""`decomp-ser serve`: the server, from its start to its end."""

import socket
from collections.abc import Callable

import numpy as np

from processing.errors import InputError
from train_scripts.answers.prediction import Listening, load_pipeline
from train_scripts.runs.foreseen_errors import require_package
from train_scripts.serving.limits import Limits


def serve(
    model_name: str,
    *,
    host: str,
    port: int,
    listening: Listening,
    limits: Limits,
    batch_size: int,
    announce: Callable[[str], None],
) -> None:
    """Answer requests until the process is asked to end; what was taken on is answered then.

    Args:
        model_name: folder of a run, or a repository id.
        host: address to listen at.
        port: 0 for any that is free.
        listening: how recordings are heard.
        limits: what is taken on.
        batch_size: pieces at once; does not change the answers.
        announce: is told the address when the server answers there.

    Raises:
        InputError: if the model, an option or the port cannot be used.
    """
    for package in ("fastapi", "uvicorn", "python_multipart", "websockets"):
        require_package(package, "decomp-ser serve")
    import uvicorn

    from train_scripts.serving.application import Service, create_application
    from train_scripts.serving.live_streams import LARGEST_MESSAGE

    listening.checked()
    with open_port(host, port) as listener:
        recognize = load_pipeline(model_name, listening, batch_size)
        rate = recognize.feature_extractor.sampling_rate
        recognize(np.zeros(rate, np.float32))  # what is loaded with the first answer
        application = create_application(Service(recognize, listening, limits, model_name))
        server = uvicorn.Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                ws_max_size=LARGEST_MESSAGE,
                ws_per_message_deflate=False,
                # by then every request that was taken on has its answer
                timeout_graceful_shutdown=round(limits.seconds),
            )
        )
        name = f"[{host}]" if ":" in host else host
        announce(f"http://{name}:{listener.getsockname()[1]}")
        server.run(sockets=[listener])


def open_port(host: str, port: int) -> socket.socket:
    """A socket of this address, which does not listen yet; InputError where there can be none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise InputError(
            f"--host {host} --port {port}: {error.strerror or error}. Give another one."
        ) from error
    return opened
