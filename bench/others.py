"""Trakt and the websites in a process of their own: what they cost must not count as ours."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

import uvicorn
from starlette.types import ASGIApp

T = TypeVar("T")
R = TypeVar("R")

# Makes what lives there, with the apps to serve, of the origins that they are to have.
Made = tuple[T, Sequence[ASGIApp]]
Make = Callable[[Sequence[str]], Made[T]]


@dataclass(frozen=True, slots=True)
class Others(Generic[T]):
    """The other process, as we see it: where its apps are, and a line to what lives there."""

    pipe: "Connection[Any, Any]"
    origins: Sequence[str]

    async def do(self, act: Callable[[T], R]) -> R:
        """Return what ``act`` returns there; it travels, so it is a function of a module."""
        done: R = await asyncio.to_thread(self.ask, act)
        return done

    def ask(self, act: Callable[[T], Any]) -> Any:  # noqa: ANN401 - whatever `act` returns
        """Send ``act`` over and wait."""
        self.pipe.send(act)
        return self.pipe.recv()


@contextmanager
def others(make: Make[T], apps: int) -> Iterator[Others[T]]:
    """Let what ``make`` makes live in another process, its apps on loopback, during the block."""
    # A fresh interpreter: a fork would share our memory and our event loop.
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=live, args=(theirs, make, apps), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Others(ours, ours.recv())
    finally:
        ours.close()
        process.join()


def live(pipe: "Connection[Any, Any]", make: Make[Any], apps: int) -> None:
    """Be the other process."""
    asyncio.run(serve(pipe, make, [listening() for _ in range(apps)]))


async def serve(
    pipe: "Connection[Any, Any]", make: Make[Any], listeners: Sequence[socket.socket]
) -> None:
    """Serve the apps and do as we are told over ``pipe``, until it is closed."""
    origins = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
    lives, apps = make(origins)
    servers = [uvicorn.Server(quiet(app)) for app in apps]
    running = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, listener in zip(servers, listeners, strict=True)
    ]
    # The sockets listen already: who connects before the servers run waits a moment.
    pipe.send(origins)
    await obey(pipe, lives)
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*running)


async def obey(pipe: "Connection[Any, Any]", lives: object) -> None:
    """Do what comes over ``pipe``, one act after the other."""
    while True:
        try:
            act = await asyncio.to_thread(pipe.recv)
        except EOFError:
            return
        pipe.send(act(lives))


def quiet(app: ASGIApp) -> uvicorn.Config:
    """Return how an app is served: it dates its answers itself, and nothing is logged."""
    return uvicorn.Config(
        app,
        # Told, because uvicorn does not recognise a method as an app.
        interface="asgi3",
        log_config=None,
        access_log=False,
        date_header=False,
        lifespan="off",
        # As long as Trakt's and most servers keep an idle connection, not uvicorn's 5 seconds.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )


def listening() -> socket.socket:
    """Return a socket on loopback that can hold a thousand callers until they are served."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    return listener
