"""Patience with those who connect: how long each may take to ask and to listen.

Uvicorn waits without end for the rest of a request, and for somebody to read its answer. A few
hundred connections that say one letter now and then would hold all that a process may have open.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from socket import socket
from typing import ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from app.waits import Waits

# Most systems let a process have 1024 files and connections open, and we need some to ask others.
MOST_CONNECTIONS = 500
# Cookies of sign-ins that were begun and left are sent along for 15 minutes.
LARGEST_HEAD = 64 * 1024


class Patient(H11Protocol):
    """One connection, which ends when its other side is too slow."""

    waits: ClassVar[Waits]
    # What protects an answer that no page of ours made.
    protection: ClassVar[Sequence[tuple[bytes, bytes]]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn itself does
        """Make room where there is none, and wait for a request."""
        self.watched: tuple[object, bool] | None = None
        self.timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self.watch()
        if len(self.connections) > MOST_CONNECTIONS:
            self.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        if self.timer:
            self.timer.cancel()

    def handle_events(self) -> None:
        """Understand what came, and see whether the request is whole."""
        super().handle_events()
        self.watch()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, if it is our turn; an answer that has begun cannot be taken back.

        Uvicorn's own refusal carries nothing that protects it, and would break off in the middle.
        """
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"connection", b"close"),
            *self.protection,
        ]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self.watch()

    @property
    def is_answering(self) -> bool:
        """Whether it is our turn: the request is whole, and its answer is not."""
        # Uvicorn has None here before the first request, whatever it declares.
        is_asked = bool(self.cycle) and not self.cycle.response_complete
        return is_asked and self.conn.their_state is not h11.SEND_BODY

    def watch(self) -> None:
        """Wait anew if the turn has changed; a little more of the same wins no time."""
        turn = (self.cycle, self.is_answering)
        if turn == self.watched or self.transport.is_closing():
            return
        self.watched = turn
        if self.timer:
            self.timer.cancel()
        patience = self.waits.answer if self.is_answering else self.waits.receive
        self.timer = self.loop.call_later(patience.total_seconds(), self.give_up)

    def give_up(self) -> None:
        """End the connection at once: closing it in peace would wait for the other side again."""
        self.transport.abort()

    def make_room(self) -> None:
        """Give up the connection that we have been waiting for longest, perhaps this one."""
        silent = [
            one
            for one in self.connections
            if isinstance(one, Patient) and one.timer and not one.is_answering
        ]
        min(silent, key=lambda one: one.timer.when() if one.timer else 0.0).give_up()


def patient(waits: Waits, protection: Mapping[str, str]) -> type[Patient]:
    """Return the protocol with which a server waits for so long, and refuses what is no HTTP."""
    lines = [(name.lower().encode(), value.encode()) for name, value in protection.items()]
    return type("Patient", (Patient,), {"waits": waits, "protection": lines})


@asynccontextmanager
async def beside(config: uvicorn.Config, listener: socket) -> AsyncIterator[None]:
    """Answer at ``listener`` until the block ends, without what the app does at its own start.

    A signal that ends the process is handed on to whoever else listens to it.
    """
    config.lifespan = "off"
    server = uvicorn.Server(config)
    answering = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await answering
