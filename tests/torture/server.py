"""The bridge's lives: a process that has imported everything forks a child for each of them.

A child runs what ``ownyourtrakt serve`` runs, with the clock of the torture, and dies where its
life's plan says so. The words of the harness come by stdin, one JSON object a line, the answers
go to stdout.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import uvicorn
from sqlalchemy import Engine, Pool, event

from app import logs, process
from app import settings as config
from app.cli.schema import migrated
from app.main import create_app, served, work
from tests.torture.clock import SharedClock
from tests.torture.plans import Death, Part, Point
from tests.torture.spared import is_second_try_under_way


@dataclass(slots=True)
class Reaper:
    """Counts the points at which a process may die, and kills it at the one of its plan.

    It spares a process that sends a post for the second time: if that were lost too, a person
    would rightly be asked, on a site that can be read as well.
    """

    death: Death
    database: str
    seen: int = 0
    is_armed: bool = False

    def watch(self) -> None:
        """Listen to every engine of this process."""
        match self.death.point:
            case Point.STATEMENT:
                event.listen(Engine, "before_cursor_execute", self.at_statement)
            case Point.BEFORE_COMMIT:
                event.listen(Engine, "commit", self.before_commit)
            case Point.AFTER_COMMIT:
                event.listen(Engine, "commit", self.arm)
                event.listen(Pool, "checkin", self.after_commit)

    def is_due(self) -> bool:
        """Count one more; tell whether it is the one, or comes after it."""
        self.seen += 1
        return self.seen >= self.death.nth

    def at_statement(self, *_: object) -> None:
        if self.is_due():
            self.die()

    def before_commit(self, _: object) -> None:
        if self.is_due():
            self.die()

    def arm(self, _: object) -> None:
        self.is_armed = self.is_due()

    def after_commit(self, *_: object) -> None:
        if self.is_armed:
            self.die()

    def die(self) -> None:
        """End as a power cut does, unless the database says that this must not be now."""
        if not is_second_try_under_way(self.database):
            os.kill(os.getpid(), signal.SIGKILL)


def live(listener: socket.socket, clock: SharedClock, part: Part, death: Death | None) -> None:
    """Run the bridge, or a part of it, until it is asked to end, or dies."""
    if death:
        Reaper(death, os.environ["DATABASE_URL"]).watch()
    settings = config.load()
    logs.configure(settings.log_format)
    if part in {Part.WORK, Part.JOBS}:
        migrated(settings, print)
        process.run(work(settings, clock.bridge, with_jobs=part is Part.JOBS))
        return
    app = create_app(settings, clock.bridge, with_scheduler=part is Part.ALL)
    migrated(settings, print)
    server = uvicorn.Server(served(app, settings))
    process.settle()
    server.run(sockets=[listener])


def wait_as_usual() -> None:
    """Give this process the deadlines that everybody has."""
    for name in [name for name in os.environ if name.endswith("_DEADLINE")]:
        del os.environ[name]


def end_with(lifeline: int) -> None:
    """End this process when the harness has gone, however it went."""

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def forked(work: Callable[[], None]) -> int:
    """Do ``work`` in a child and return the child's id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(listener_number: int, lifeline: int, folder: Path, part: Part) -> None:
    """Fork a life for each line that is read."""
    listener = socket.socket(fileno=listener_number)
    clock = SharedClock(folder / "clock")
    # What is imported late would be imported by every child.
    for late in ("alembic.command", "app.indieweb.hfeed", "app.oauth.client", "apprise"):
        import_module(late)
    for line in sys.stdin:
        plan = json.loads(line)
        end = plan["death"]
        death = Death(Point(end["point"]), end["nth"]) if end else None

        def begin(death: Death | None = death, *, is_patient: bool = plan["is_patient"]) -> None:
            end_with(lifeline)
            if is_patient:
                wait_as_usual()
            live(listener, clock, part, death)

        child = forked(begin)
        say(f"began {child}")
        say(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")


def say(line: str) -> None:
    """Tell the harness."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Part(sys.argv[4]))
