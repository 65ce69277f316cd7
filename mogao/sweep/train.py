"""Training one run of a sweep, in processes of its own, which Ctrl-C stops with a checkpoint.

In: a `Run`. Out: its folder with all files of a run, and its counters. Every run has fresh
processes, whether one or several: what was compiled or kept for one run cannot touch the next.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mogao import config as configs
from mogao.config import RunConfig
from mogao.errors import ConfigError, MogaoError
from mogao.files import atomic_write
from mogao.sweep.plan import Run
from mogao.training.checkpoint import latest_checkpoint, stored_config, stored_progress
from mogao.training.folder import changed_keys

CONFIG = "run.yaml"
MARK = "sweep.json"
"""What a sweep notes in a folder before it fills it."""


def train_run(run: Run, *, processes: int) -> dict[str, Any]:
    """Train what is left of a run; return the counters of all of it.

    Args:
        run: The run; a finished one is not trained again.
        processes: How many train it together.

    Raises:
        ConfigError: The folder holds another run, or one of another number of processes.
        MogaoError: The training failed.
        KeyboardInterrupt: After Ctrl-C, once the training has written its checkpoint.
    """
    mark, path = run.folder / MARK, run.folder / CONFIG
    _check_processes(mark, processes)
    if not is_finished(run):
        atomic_write(mark, json.dumps({"processes": processes}) + "\n")
        configs.save(run.config, path)
        code = call(command_of(path, run.folder, processes=processes), _environment(processes))
        if code or not is_finished(run):
            raise MogaoError(
                f"the training in {run.folder} ended with exit code {code} before its last step; "
                "what it said stands above; the same sweep again goes on from its checkpoint"
            )
    newest = latest_checkpoint(run.folder / "checkpoints")
    assert newest is not None
    return stored_progress(newest)


def _check_processes(mark: Path, processes: int) -> None:
    """Refuse to mix runs of several numbers of processes; a folder without a mark is taken."""
    before = configs.read_mapping(mark)["processes"] if mark.is_file() else processes
    if before != processes:
        raise ConfigError(
            f"{mark.parent} was trained with processes: {before}, but the sweep says {processes}; "
            "each process adds its packs to a step, so compute would not be equal; go on with "
            f"processes: {before}, or remove the folder to train anew"
        )


def is_finished(run: Run) -> bool:
    """Whether all steps of a run are trained and its model is written.

    Raises:
        ConfigError: The folder holds a run with other settings.
    """
    newest = latest_checkpoint(run.folder / "checkpoints")
    if newest is None:
        return False
    before = configs.parse(RunConfig, stored_config(newest), where=str(newest))
    changes = changed_keys(before.model_dump(mode="json"), run.config.model_dump(mode="json"))
    if changes:
        raise ConfigError(
            f"{run.folder} was trained with another {', '.join(changes)}; choose another --out, or "
            "remove it to train anew"
        )
    is_trained = stored_progress(newest)["step"] >= run.config.max_steps
    return is_trained and (run.folder / "model").is_dir()


def command_of(path: Path, out: Path, *, processes: int) -> list[str]:
    """Return the command that trains a config, as a user would type it."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    module = [*(launcher if processes > 1 else []), "mogao"]
    return [sys.executable, "-m", *module, "train", str(path), "--out", str(out), "--resume"]


def call(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command; hand on Ctrl-C, or a request to end, once and wait for what it does.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: After the command has ended; a second Ctrl-C does not wait.
    """
    # In a session of its own the command does not hear the terminal, so it hears Ctrl-C only once.
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        with _ending_like_interrupting():
            return process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _ending_like_interrupting() -> Iterator[None]:
    """Treat a request to end this process like Ctrl-C, so that no training goes on without it."""
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _environment(processes: int) -> Mapping[str, str]:
    """Several processes share the threads of the machine, unless the user says otherwise."""
    if processes == 1:
        return os.environ
    return {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))} | os.environ
