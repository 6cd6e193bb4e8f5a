from datetime import timedelta

import pytest

from app.grants import Pair, Step, expiry, step
from tests.conftest import NOON

WEEK = timedelta(days=7)
PAIR = Pair("access", "refresh", issued_at=NOON, expires_at=NOON + WEEK)
AGEING = NOON + WEEK * 0.75
MINUTE = timedelta(minutes=1)


def test_a_young_token_is_used() -> None:
    assert step(PAIR, None, AGEING - MINUTE, None) is Step.USE


def test_a_token_is_renewed_when_a_quarter_of_its_life_is_left() -> None:
    assert step(PAIR, None, AGEING, None) is Step.REFRESH


def test_a_refused_token_is_renewed_at_once() -> None:
    assert step(PAIR, None, NOON, "access") is Step.REFRESH


def test_a_token_that_was_renewed_meanwhile_is_used() -> None:
    assert step(PAIR, None, NOON, "the one before") is Step.USE


def test_while_another_refreshes_the_old_token_serves_as_long_as_it_lives() -> None:
    assert step(PAIR, AGEING + MINUTE, AGEING, None) is Step.USE
    assert step(PAIR, NOON + MINUTE, NOON, "access") is Step.WAIT
    assert step(PAIR, NOON + WEEK + MINUTE, NOON + WEEK, None) is Step.WAIT


def test_a_lease_that_a_wrong_clock_wrote_keeps_nobody_waiting() -> None:
    assert step(PAIR, NOON + 2 * WEEK, NOON, "access") is Step.REFRESH


def test_after_a_lost_answer_the_same_refresh_token_is_tried_again() -> None:
    assert step(PAIR, AGEING - MINUTE, AGEING, None) is Step.REFRESH


def test_a_token_without_a_refresh_token_is_never_dropped_by_the_clock() -> None:
    lying = Pair("access", None, issued_at=NOON, expires_at=NOON + timedelta(seconds=10))

    assert step(lying, None, NOON + WEEK, None) is Step.USE
    assert step(lying, None, NOON + WEEK, "access") is Step.LOST


def test_a_token_of_unknown_life_is_used_until_it_is_refused() -> None:
    endless = Pair("access", "refresh", issued_at=NOON, expires_at=None)

    assert step(endless, None, NOON + 1000 * WEEK, None) is Step.USE
    assert step(endless, None, NOON, "access") is Step.REFRESH


def test_no_token_at_all_is_lost() -> None:
    assert step(None, None, NOON, None) is Step.LOST


@pytest.mark.parametrize("nonsense", [0, -1, None, "3600", True, 1.5, [], {}])
def test_a_life_that_is_nonsense_is_unknown(nonsense: object) -> None:
    assert expiry(nonsense, NOON) is None


def test_a_life_beyond_all_measure_does_not_overflow() -> None:
    assert expiry(10**30, NOON) is not None


def test_a_pair_does_not_show_its_tokens() -> None:
    assert "access" not in repr(PAIR).replace("access=", "")
    assert "refresh'" not in repr(PAIR)
