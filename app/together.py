"""Results that arrive within a moment are saved in one transaction: each costs a share of it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

# So many moments pass between two transactions: whoever is alone need not wait for that.
BETWEEN = 5

Work = Callable[[Sequence[T]], Awaitable[Sequence[R]]]


@dataclass(slots=True)
class Together(Generic[T, R]):
    """Hands on what is handed in within ``moment``; everyone waits until theirs is done.

    ``work`` does all or nothing, as a transaction does. Where it fails, each is done by itself:
    one that cannot be done takes no others along. ``under_way`` holds what is being done: a
    caller that is cancelled does not cancel it, and a process that ends waits for it.
    """

    moment: timedelta
    work: Work[T, R]
    waiting: list[tuple[T, asyncio.Future[R]]] = field(default_factory=list)
    under_way: set[asyncio.Task[None]] = field(default_factory=set)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    next_at: float = 0

    async def do(self, one: T) -> R:
        """Return what ``work`` returns for one, when it has been done with others."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.waiting.append((one, done))
        if len(self.waiting) == 1:
            task = asyncio.create_task(self.hand_on())
            self.under_way.add(task)
            task.add_done_callback(self.under_way.discard)
        return await done

    async def hand_on(self) -> None:
        """Wait a moment for others, and until those before have been done for some, then do all."""
        loop, moment = asyncio.get_running_loop(), self.moment.total_seconds()
        await asyncio.sleep(moment)
        # The busier it is, the more go together.
        async with self.turn:
            await asyncio.sleep(self.next_at - loop.time())
            taken, self.waiting = self.waiting, []
            await self.settle(taken)
            self.next_at = loop.time() + BETWEEN * moment

    async def settle(self, taken: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        """Do the work and tell everyone what came of theirs."""
        try:
            results = await self.work([one for one, _ in taken])
        except Exception as error:  # noqa: BLE001 - whoever waits for it is told
            if len(taken) > 1:
                for pair in taken:
                    await self.settle([pair])
            elif not taken[0][1].done():
                taken[0][1].set_exception(error)
            return
        for (_, done), result in zip(taken, results, strict=True):
            if not done.done():
                done.set_result(result)
