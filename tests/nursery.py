"""Runs ``python -m app`` as often as it is told to, and imports all that takes time only once.

Each run is a process of its own, forked here, with the words, folder and environment it is given.
It ends with the one who started it.
"""

import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

# What every run would import.
import app.cli  # noqa: F401 - so that the forks have it


def main(path: Path) -> None:
    """Answer whoever comes by ``path``; what a run is to do, it does as its own process would."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        print("ready", flush=True)  # noqa: T201 - to the one who waits for it
        while (visitor := next_one(listener)) and os.fork():
            visitor.close()
    if visitor:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        attend(visitor)


def next_one(listener: socket.socket) -> socket.socket | None:
    """Return who comes next; None when the one who started this process has gone."""
    came, _, _ = select.select([listener, sys.stdin], [], [])
    return None if sys.stdin in came else listener.accept()[0]


def attend(visitor: socket.socket) -> None:
    """Do a run and tell what came of it, from two processes: the run's own, and this one."""
    order = json.loads(visitor.makefile().readline())
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaint:
        if run := os.fork():
            code = os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])
            for file in (said, complaint):
                file.seek(0)
            visitor.sendall(
                json.dumps([code, said.read().decode(), complaint.read().decode()]).encode()
            )
            return
        visitor.close()
        with Path(os.devnull).open("rb") as nothing:
            for number, stream in enumerate((nothing, said, complaint)):
                os.dup2(stream.fileno(), number)
    become(order)


def become(order: dict[str, Any]) -> None:
    """Go on as ``python -m app`` does."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[1:] = order["words"]
    runpy.run_module("app", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
