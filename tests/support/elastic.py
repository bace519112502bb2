"""Several processes that share each step of a training, started, watched and restarted by the agent
of torchrun, but as forks, which do not pay the seconds of `import torch`.

As a script: torchrun ... elastic.py STEP PRESET ... is `decomp-ser finetune PRESET ...` whose last
process is killed at that step, the first time that it gets there.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from support.warm_python import draw_own_bars
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
"""With it each start has a store of its own. torch 2.14 otherwise keeps one for all, and what
is started again may connect to the addresses of those that died: it hangs, or is refused."""


SERVER = multiprocessing.get_context("forkserver")
"""Forks come from a process that imports once and computes nothing: torch refuses a gradient in one
whose parent has taken gradients, as another test may have."""
SERVER.set_forkserver_preload(["train_scripts.training.finetuning"])


def launch(call: Callable[[], Any], *, processes: int = 2, restarts: int = 0) -> int:
    """Run a call in processes that torchrun's agent starts, and starts again where one dies.

    Args:
        call: what each of them does; it is pickled.
        processes: how many.
        restarts: how often all are started again.

    Returns:
        The exit code of the agent.
    """
    process = SERVER.Process(target=_watch, args=(call, processes, restarts))
    process.start()
    process.join()
    return process.exitcode


def _watch(call: Callable[[], Any], processes: int, restarts: int) -> None:
    """What the agent does."""
    torch.set_num_threads(1)
    os.environ[NEW_STORE] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(os.getpid()),
        max_restarts=restarts,
        monitor_interval=0.1,
        start_method="fork",
    )
    elastic_launch(config, _work)(call)


def _work(call: Callable[[], Any]) -> None:
    """What each process does."""
    draw_own_bars()
    call()


def die_once(step: int) -> None:
    """Kill the last process at a step, unless all were started again already."""
    from train_scripts.training.trainer import DecompSerTrainer

    compute_loss = DecompSerTrainer.compute_loss

    def planted(self, *args, **kwargs):
        last = self.args.process_index == self.args.world_size - 1
        first_time = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
        if last and first_time and self.state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute_loss(self, *args, **kwargs)

    DecompSerTrainer.compute_loss = planted


if __name__ == "__main__":
    from train_scripts.finetune import app

    if "FSDP_ON_CPU" in os.environ:
        import support.fsdp_on_cpu  # noqa: F401
    die_once(int(sys.argv.pop(1)))
    app()
