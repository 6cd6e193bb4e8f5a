"""The rules of an account: kept with it, and tried on what it has watched."""

from collections.abc import Iterable
from datetime import UTC, tzinfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.abilities import Ability
from app.hentry import zone
from app.outbox import Why
from app.rules import Decision, Facts, Rules, RulesError, Then, decide, kept, to_json
from app.store import abilities, watches
from app.tables import AccountRow, PostRow, SiteRow, WatchRow
from app.watch import Watch

# A rule is tried on so many of the last watches.
TRIED_ON = 500
# What a site must be able to do, so that nothing is shown to more people than a rule says.
NEEDS = {
    Then.DRAFT: Ability.DRAFTS,
    Then.PRIVATE: Ability.VISIBILITY,
    Then.UNLISTED: Ability.VISIBILITY,
}


def of(account: AccountRow) -> Rules:
    """Return an account's rules. Raises RulesError where nobody can tell what they are."""
    return kept(account.rules)


async def hold(session: AsyncSession, account_id: int) -> AccountRow | None:
    """Return an account, locked until the transaction ends: its rules are about to change.

    None: it was deleted meanwhile.
    """
    rows = await session.scalars(
        select(AccountRow).where(col(AccountRow.id) == account_id).with_for_update()
    )
    return rows.one_or_none()


def put(account: AccountRow, rules: Rules) -> None:
    """Let an account have these rules."""
    account.rules = None if rules == Rules() else to_json(rules)


def decided(
    account: AccountRow, row: WatchRow, *, again: bool, post: PostRow | None = None
) -> Decision:
    """Return what an account's rules decide over a watch.

    ``post`` tells whether the person asked for it. Raises ValueError where a row is damaged.
    """
    watch = watches.watch_of(row)
    if watch is None:
        raise ValueError("its watch could not be read")
    wanted = post is not None and post.why == Why.WANTED
    return decide(of(account), watch, facts_of(account, row, again=again), wanted=wanted)


def impossible(site: SiteRow) -> set[Then]:
    """Return what a site is known not to do, so that no rule may ask it."""
    known = abilities.of(site)
    return {then for then, ability in NEEDS.items() if known.can(ability) is False}


def skips(account: AccountRow, watch: Watch) -> bool:
    """Tell whether an account's rules skip a watch that has just become known.

    Whether it is a rewatch is not known before its turn comes.
    """
    if account.rules is None:
        return False
    try:
        return decide(of(account), watch, Facts(zone_of(account))).then is Then.SKIP
    except RulesError:
        return False


def zone_of(account: AccountRow) -> tzinfo:
    """Return the time zone of a person, UTC where nobody knows its name."""
    return zone(account.timezone) or UTC


def facts_of(account: AccountRow, row: WatchRow, *, again: bool) -> Facts:
    """Return what else a rule may ask for; without a date nobody knows what came before."""
    return Facts(zone_of(account), None if row.watched_at is None else again)


async def last(session: AsyncSession, account: AccountRow) -> list[tuple[WatchRow, Facts]]:
    """Return the last watches, newest first, with what else a rule may ask for."""
    rows = await session.scalars(
        select(WatchRow)
        .where(
            col(WatchRow.account_id) == account.id,
            col(WatchRow.watched_at).is_not(None),
            col(WatchRow.work).is_not(None),
            col(WatchRow.removed_at).is_(None),
        )
        .order_by(col(WatchRow.watched_at).desc(), col(WatchRow.id).desc())
        .limit(TRIED_ON)
    )
    seen = rows.all()
    again = await watches.earlier(session, seen)
    return [(row, facts_of(account, row, again=row.id in again)) for row in seen]


def tried(rules: Rules, seen: Iterable[tuple[WatchRow, Facts]]) -> list[tuple[WatchRow, Decision]]:
    """Return what such rules would have decided over watches; one that is damaged is left out."""
    return [
        (row, decide(rules, watch, facts))
        for row, facts in seen
        if (watch := watches.watch_of(row))
    ]
