from collections import deque
from datetime import timedelta
from typing import Never

import pytest

from app.sources.budget import PERIOD, Budget, affordable


class Ticks:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


async def spend(budget: Budget, person: str, number: int) -> None:
    for _ in range(number):
        await budget.take(person, patient=False)


async def test_within_the_budget_nobody_waits(ticks: Ticks) -> None:
    budget = Budget(10, ticks)

    await spend(budget, "ada", 9)

    assert budget.wait("ada", patient=False) == 0


async def test_beyond_the_budget_one_waits_until_the_oldest_request_is_a_period_old(
    ticks: Ticks,
) -> None:
    budget = Budget(10, ticks)
    await spend(budget, "ada", 5)
    ticks.seconds = 100
    await spend(budget, "ada", 5)

    assert budget.wait("ada", patient=False) == PERIOD - 100
    ticks.seconds = PERIOD
    assert budget.wait("ada", patient=False) == 0


async def test_the_process_as_a_whole_keeps_to_the_budget(ticks: Ticks) -> None:
    budget = Budget(10, ticks)
    await spend(budget, "ada", 5)
    await spend(budget, "bob", 5)

    assert budget.wait("eve", patient=False) == PERIOD


async def test_one_person_never_exceeds_trakt_s_own_limit(ticks: Ticks) -> None:
    budget = Budget(5000, ticks)
    await spend(budget, "ada", 500)

    assert budget.wait("ada", patient=False) == PERIOD
    assert budget.wait("bob", patient=False) == 0


class Unwalked(dict[str, deque[float]]):
    """Refuses to be walked through."""

    def values(self) -> Never:
        raise AssertionError("everybody was looked at")

    items = __iter__ = values


async def test_a_request_costs_no_look_at_everybody_else(ticks: Ticks) -> None:
    budget = Budget(5000, ticks)
    budget.by_person = Unwalked()
    await spend(budget, "ada", 500)
    ticks.seconds = PERIOD - 1
    await spend(budget, "bob", 1)

    ticks.seconds = PERIOD

    assert budget.wait("ada", patient=False) == 0
    assert budget.left() == 4999


async def test_who_has_not_asked_for_a_period_is_forgotten(ticks: Ticks) -> None:
    budget = Budget(10, ticks)
    await spend(budget, "ada", 2)
    ticks.seconds = 1
    await spend(budget, "bob", 1)
    await spend(budget, "ada", 1)

    ticks.seconds = PERIOD
    budget.forget()
    assert set(budget.by_person) == {"ada", "bob"}
    assert budget.left() == 8
    ticks.seconds = PERIOD + 1
    budget.forget()

    assert not budget.by_person
    assert budget.left() == 10


async def test_an_archive_leaves_a_part_of_the_budget_to_the_others(ticks: Ticks) -> None:
    budget = Budget(10, ticks)
    await spend(budget, "ada", 8)

    assert budget.wait("ada", patient=True) > 0
    assert budget.wait("ada", patient=False) == 0


async def test_a_clock_that_is_set_back_makes_nobody_wait_for_it(ticks: Ticks) -> None:
    ticks.seconds = 100_000
    budget = Budget(10, ticks)
    await spend(budget, "ada", 10)
    budget.close(timedelta(hours=1))

    ticks.seconds = 10_000

    assert budget.wait("ada", patient=False) == 0
    assert budget.closed_for() is None


def test_a_short_closing_does_not_end_a_long_one(ticks: Ticks) -> None:
    budget = Budget(10, ticks)

    budget.close(timedelta(hours=1))
    budget.close(timedelta(minutes=5))

    assert budget.closed_for() == timedelta(hours=1)


@pytest.mark.parametrize(
    ("connections", "limit", "addresses", "minutes"),
    [
        (0, 500, 1, 30),
        (3_000, 500, 1, 30),
        (3_001, 500, 1, 31),
        (10_000, 500, 1, 100),
        (10_000, 500, 4, 30),
        (10_000, 500, 3, 34),
        (3_000, 1_000, 1, 30),
        (100, 1, 1, 500),
    ],
)
def test_one_address_carries_3_000_connections_in_half_an_hour_and_more_of_them_slower(
    connections: int, limit: int, addresses: int, minutes: int
) -> None:
    half_an_hour = timedelta(minutes=30)

    found = affordable(half_an_hour, connections, limit, addresses)

    assert found == timedelta(minutes=minutes)
    # So many requests are within the budget of all addresses.
    assert connections <= limit * addresses * (found / timedelta(minutes=5))


def test_a_wish_below_a_minute_is_granted_where_all_can_be_asked_so_often() -> None:
    half_a_minute = timedelta(seconds=30)

    assert affordable(half_a_minute, 1, 500, 1) == half_a_minute
    assert affordable(half_a_minute, 50, 500, 1) == half_a_minute
    assert affordable(half_a_minute, 51, 500, 1) == timedelta(minutes=1)
