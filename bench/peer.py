"""What the other program gets wrong, and what it needs, put to ours: ``make peer``.

Its column is quoted (see `bench.theirs`); ours is what this run did. The exit code is 1 when ours
fails at a fault.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from app.process import run
from bench import process, targets, theirs
from bench.faults import Ours, Row, rows
from bench.figures import Figure, logged, table
from bench.rounds import import_figures, round_figures
from bench.server import is_measurable

WIDTHS = (50, 46)
LATENCY = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class Safeguard:
    """Something that the other program leaves open, and the tests that show ours closed."""

    theirs: str
    ours: str
    shown_by: tuple[str, ...]


SAFEGUARDS = (
    Safeguard(
        "both access tokens printed in the page",
        "no page and no log shows one",
        ("tests/test_publish.py::test_the_page_of_a_watch_shows_request_and_answer_and_no_token",),
    ),
    Safeguard(
        "session cookie open to scripts and plain http",
        "HttpOnly, Secure, SameSite, bound to the host",
        ("tests/test_serve.py::test_by_https_the_cookie_is_secure_and_bound_to_the_host",),
    ),
    Safeguard(
        "session still valid after sign-out",
        "signing out ends it",
        ("tests/test_signin.py::test_signing_out_ends_the_session_and_nothing_else",),
    ),
    Safeguard(
        "GET requests that post to the site",
        "nothing is done by looking",
        ("tests/test_pages.py::test_nothing_is_done_by_looking",),
    ),
    Safeguard(
        "no CSRF check",
        "every form carries a token",
        ("tests/test_signin.py::test_a_form_of_another_site_changes_nothing",),
    ),
    Safeguard(
        "an anonymous GET creates a database record",
        "nothing is stored before identity is proven",
        ("tests/test_signin.py::test_nothing_is_stored_before_the_identity_is_proven",),
    ),
    Safeguard(
        "profile URLs that resolve to loopback are fetched",
        "every address is checked where it is connected",
        ("tests/test_outgoing.py::test_no_kind_of_fetch_contacts_an_address_inside",),
    ),
    Safeguard(
        "no client timeouts or body caps",
        "a deadline and a cap on every answer",
        (
            "tests/test_http.py::test_a_server_that_never_ends_its_answer_is_left_at_the_deadline",
            "tests/test_http.py::test_an_answer_larger_than_its_cap_is_dropped",
        ),
    ),
    Safeguard(
        "database readable by all, tokens in clear text",
        "readable by its owner, tokens sealed",
        (
            "tests/test_database.py::test_only_the_owner_can_read_a_sqlite_database",
            "tests/test_peer.py::test_no_token_can_be_read_in_the_database_file",
        ),
    ),
    Safeguard(
        "the me of the token response is never compared",
        "you are who the server says, if your page agrees",
        (
            (
                "tests/test_indieauth.py::"
                "test_on_a_shared_host_the_person_is_who_the_server_says_not_who_was_typed"
            ),
            "tests/test_indieauth.py::test_a_person_whose_page_does_not_agree_is_not_signed_in",
        ),
    ),
)

cli = typer.Typer(pretty_exceptions_enable=False, add_completion=False)


@cli.command()
def main(
    posts: Annotated[int, typer.Option(help="In the fault that needs many.")] = 1000,
    accounts: Annotated[int, typer.Option(help="In a round; quoted are those of 1,000.")] = 1000,
) -> None:
    """Put every fault and every load to ours, and print it beside what the other one did."""
    typer.echo(
        f"{theirs.NAME} at {theirs.COMMIT} ({theirs.YEAR}): quoted, "
        "measured earlier on another machine; not run here\n"
    )
    with logged():
        all_hold = asyncio.run(faults_shown(rows(posts, plays=250)))
        found = run(load_figures(accounts))
    typer.echo(f"{table(targets.BESIDE, targets.compared(found, targets.PUBLISHED))}\n")
    line(f"SECURITY, {theirs.NAME}", "ours", "shown by")
    for safeguard in SAFEGUARDS:
        first, *others = safeguard.shown_by
        line(safeguard.theirs, safeguard.ours, first)
        for test in others:
            line("", "", test)
    if not all_hold:
        raise typer.Exit(1)


async def faults_shown(faults: Sequence[Row]) -> bool:
    """Put every fault to ours and print its line; return whether ours did right each time."""
    line("FAULT", theirs.NAME, "ours")
    found = []
    for row in faults:
        with TemporaryDirectory(prefix="ownyourtrakt-peer-") as folder:
            ours = await ended(row, Path(folder))
        line(row.fault, row.theirs, marked(ours))
        found.append(ours.holds)
    typer.echo(f"\nOurs does right in {sum(found)} of {len(found)}.\n")
    return all(found)


async def load_figures(accounts: int) -> list[Figure]:
    """Return what ours needs for the loads that the other program was measured with."""
    parts: list[Callable[[Path], Awaitable[list[Figure]]]] = [
        partial(round_figures, accounts=accounts, latency=LATENCY),
        partial(import_figures, plays=accounts, latency=LATENCY),
    ]
    if is_measurable():
        parts += [process.idle_figures, partial(process.memory_figures, accounts=accounts)]
    found = []
    for part in parts:
        with TemporaryDirectory(prefix="ownyourtrakt-peer-") as folder:
            found += await part(Path(folder))
    return found


async def ended(row: Row, folder: Path) -> Ours:
    """Return what ours did; a wait without an end is an answer, too."""
    try:
        return await row.ours(folder)
    except TimeoutError:
        return Ours("it waits without an end", holds=False)


def marked(ours: Ours) -> str:
    """Return what ours did, with a word that nobody overlooks where it is wrong."""
    return ours.said if ours.holds else f"FAILED: {ours.said}"


def line(what: str, other: str, ours: str) -> None:
    """Print a line of three columns."""
    first, second = WIDTHS
    typer.echo(f"{what:<{first}} {other:<{second}} {ours}")


if __name__ == "__main__":
    cli()
