from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vault import Vault, digest, random_text
from tests.conftest import NOON

OLD, NEW = "an old key of more than 32 characters", "a new key of more than 32 characters"
TOKENS: dict[str, str | None] = {"access": "a-token", "refresh": None}


def test_tokens_come_out_as_they_went_in() -> None:
    vault = Vault([NEW])

    assert vault.open(vault.seal(TOKENS)) == TOKENS
    assert "a-token" not in vault.seal(TOKENS)


def test_a_new_key_still_opens_what_an_old_one_sealed() -> None:
    assert Vault([NEW, OLD]).open(Vault([OLD]).seal(TOKENS)) == TOKENS


def test_a_lost_key_is_no_error() -> None:
    assert Vault([NEW]).open(Vault([OLD]).seal(TOKENS)) is None


@given(st.text())
def test_nonsense_opens_to_nothing(text: str) -> None:
    vault = Vault([NEW])

    assert vault.open(text) is None
    assert vault.read_cookie(text, NOON) is None


def test_a_cookie_is_read_until_its_time_is_over() -> None:
    vault = Vault([NEW])
    cookie = vault.cookie({"state": "x"}, NOON + timedelta(minutes=15))

    assert vault.read_cookie(cookie, NOON) == {"state": "x"}
    assert vault.read_cookie(cookie, NOON + timedelta(minutes=15)) is None


def test_what_was_made_for_one_purpose_is_worth_nothing_for_another() -> None:
    vault = Vault([NEW])

    assert vault.open(vault.cookie({"access": "a-token"}, NOON)) is None
    assert vault.read_cookie(vault.seal(TOKENS), NOON) is None


def test_a_form_token_fits_its_own_browser_only() -> None:
    vault = Vault([NEW])
    token = vault.form_token("one browser")

    assert vault.is_form_token(token, "one browser")
    assert not vault.is_form_token(token, "another browser")
    assert not vault.is_form_token("", "one browser")
    assert Vault([OLD, NEW]).is_form_token(token, "one browser")


@pytest.mark.parametrize("make", [random_text, lambda: digest(random_text())])
def test_a_random_text_never_comes_twice(make: object) -> None:
    assert len({make() for _ in range(1000)}) == 1000  # type: ignore[operator] # a function
