"""What ends in the same moment is saved together, and what cannot be saved harms no other."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from app.together import Together

AT_ONCE = timedelta(0)


class Book:
    """Keeps what it was given, and refuses odd numbers."""

    def __init__(self) -> None:
        self.transactions: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def write(self, numbers: Sequence[int]) -> Sequence[str]:
        await self.gate.wait()
        if odd := [number for number in numbers if number % 2]:
            raise ValueError(f"{odd[0]} is odd")
        self.transactions.append(list(numbers))
        return [str(number) for number in numbers]


async def test_what_arrives_in_one_moment_is_one_transaction() -> None:
    book = Book()
    together = Together(AT_ONCE, book.write)

    assert await asyncio.gather(*(together.do(n) for n in (2, 4, 6))) == ["2", "4", "6"]
    assert await together.do(8) == "8"

    assert book.transactions == [[2, 4, 6], [8]]


async def test_one_that_cannot_be_saved_takes_no_others_along() -> None:
    book = Book()
    together = Together(AT_ONCE, book.write)

    done = await asyncio.gather(*(together.do(n) for n in (2, 3, 4)), return_exceptions=True)

    assert [done[0], done[2]] == ["2", "4"]
    assert isinstance(done[1], ValueError)
    assert book.transactions == [[2], [4]]


async def test_a_caller_that_is_cancelled_does_not_undo_what_is_being_saved() -> None:
    book = Book()
    book.gate.clear()
    together = Together(AT_ONCE, book.write)
    first, second = (asyncio.create_task(together.do(n)) for n in (2, 4))
    await asyncio.sleep(0)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    book.gate.set()

    assert await second == "4"
    assert book.transactions == [[2, 4]]
    assert not together.under_way


async def test_what_arrives_while_others_are_saved_is_one_transaction_after_them() -> None:
    book = Book()
    book.gate.clear()
    together = Together(AT_ONCE, book.write)

    saved = [asyncio.create_task(together.do(2))]
    for number in (4, 6):
        # The moment for which each waits for others is over.
        for _ in range(5):
            await asyncio.sleep(0)
        saved.append(asyncio.create_task(together.do(number)))
    book.gate.set()
    await asyncio.gather(*saved)

    assert book.transactions == [[2], [4, 6]]
