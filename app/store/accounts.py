"""Accounts with their sites, and who may come in."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.abilities import Server, met, to_json
from app.grants import Pair
from app.notices import Kind
from app.outbox import State, Unsure
from app.store import abilities, connections, grants, notices, opinions, posts
from app.tables import AccountRow, ClaimRow, ConnectionRow, PostRow, SessionRow, SiteRow, SpentRow
from app.vault import Vault


@dataclass(frozen=True, slots=True)
class Site:
    """A confirmed identity with the endpoints and the token that came with it.

    ``server`` is the kind of server that its page gave away.
    """

    me: str
    name: str | None
    photo: str | None
    micropub: str
    authorization_endpoint: str
    token_endpoint: str
    revocation_endpoint: str | None
    issuer: str | None
    scope: str
    pair: Pair
    server: Server = Server.UNKNOWN


@dataclass(frozen=True, slots=True)
class Replaced:
    """A token that is no longer wanted, and where to say so."""

    pair: Pair
    token_endpoint: str
    revocation_endpoint: str | None


async def sign_in(
    session: AsyncSession, site: Site, vault: Vault, now: datetime
) -> tuple[int, Replaced | None]:
    """Store a confirmed site; return its account's id and the token that it replaces.

    Posts that waited for the person are released.
    """
    account = await account_of(session, site.me, now)
    key = account.id or 0
    row = await session.get(SiteRow, key, with_for_update=True)
    account.name, account.photo = site.name or account.name, site.photo or account.photo
    replaced = held_by(row, vault)
    if row is None:
        row = SiteRow(account_id=key, micropub="", authorization_endpoint="", token_endpoint="")
        # What it holds already is read at once, in the background.
        row.look_due_at = now
        session.add(row)
    row.micropub, row.issuer, row.scope = site.micropub, site.issuer, site.scope
    row.authorization_endpoint = site.authorization_endpoint
    row.token_endpoint = site.token_endpoint
    row.revocation_endpoint = site.revocation_endpoint
    row.resume_at = None
    row.abilities = to_json(met(abilities.of(row), site.micropub, site.server, now))
    await notices.close(session, key, Kind.SITE, now)
    grants.put(row, site.pair, vault)
    await session.execute(
        update(PostRow)
        .where(col(PostRow.account_id) == key, col(PostRow.state) == State.QUEUED)
        .values(due_at=now, trouble=None, rediscovered=False)
    )
    return key, replaced


async def site_of(session: AsyncSession, key: int) -> SiteRow | None:
    """Return the site of an account."""
    return await session.get(SiteRow, key)


async def account_of(session: AsyncSession, me: str, now: datetime) -> AccountRow:
    """Return the account of ``me``, a new one if it is the first time."""
    known = select(AccountRow).where(col(AccountRow.me) == me)
    if found := await session.scalar(known):
        return found
    try:
        async with session.begin_nested():
            made = AccountRow(me=me, created_at=now)
            session.add(made)
    except IntegrityError:
        # They signed in twice at once; the other one was first.
        return (await session.scalars(known)).one()
    return made


async def several(session: AsyncSession, keys: Collection[int]) -> dict[int, AccountRow]:
    """Return these accounts by their ids."""
    found = await session.scalars(select(AccountRow).where(col(AccountRow.id).in_(keys)))
    return {account.id or 0: account for account in found}


async def account(session: AsyncSession, key: int) -> tuple[AccountRow, SiteRow] | None:
    """Return an account with its site."""
    found = await session.execute(
        select(AccountRow, SiteRow)
        .join(SiteRow, col(SiteRow.account_id) == col(AccountRow.id))
        .where(col(AccountRow.id) == key)
    )
    row = found.one_or_none()
    return (row[0], row[1]) if row else None


# What is said of an account that the operator has paused.
BY_OPERATOR = "Whoever runs this bridge has paused it"


@dataclass(frozen=True, slots=True)
class Person:
    """All rows that tell how it goes for one account."""

    account: AccountRow
    site: SiteRow
    trakt: ConnectionRow | None

    @property
    def is_paused(self) -> bool:
        """Whether the operator has paused it."""
        return self.site.locked == BY_OPERATOR or (
            self.trakt is not None and self.trakt.locked == BY_OPERATOR
        )


async def everyone(session: AsyncSession) -> list[Person]:
    """Return all accounts, the oldest first, each with its linked connection if there is one."""
    found = await session.execute(
        select(AccountRow, SiteRow)
        .join(SiteRow, col(SiteRow.account_id) == col(AccountRow.id))
        .order_by(col(AccountRow.id))
    )
    people = []
    for account, site in found.all():
        linked = await connections.of_account(session, account.id or 0)
        people.append(Person(account, site, linked[0] if linked else None))
    return people


async def pause(session: AsyncSession, key: int) -> None:
    """Ask nothing of an account's neighbours; what was locked for another reason stays so."""
    for row in await granted(session, key):
        row.locked = row.locked or BY_OPERATOR


async def resume(session: AsyncSession, key: int, now: datetime) -> None:
    """Go on with an account that `pause` has stopped."""
    for row in await granted(session, key):
        if row.locked != BY_OPERATOR:
            continue
        row.locked = None
        if isinstance(row, ConnectionRow) and row.sealed_tokens is not None:
            connections.resume(row, now)


async def granted(session: AsyncSession, key: int) -> list[ConnectionRow | SiteRow]:
    """Return what an account was granted, locked in the order in which all others lock."""
    rows: list[ConnectionRow | SiteRow] = [*await connections.of_account(session, key, lock=True)]
    site = await session.get(SiteRow, key, with_for_update=True, populate_existing=True)
    return [*rows, site] if site else rows


async def set_timezone(session: AsyncSession, key: int, zone: str) -> None:
    """Store the time zone in which an account's posts are dated."""
    await session.execute(update(AccountRow).where(col(AccountRow.id) == key).values(timezone=zone))


async def set_style(session: AsyncSession, key: int, style: dict[str, Any]) -> None:
    """Store how an account's posts look, see `app.style`.

    What these tell beside the watch is read anew, and what they do not tell is forgotten.
    """
    # Before the account, as polls do that open a notice.
    await connections.of_account(session, key, lock=True)
    before = await opinions.wanted(session, key)
    await session.execute(update(AccountRow).where(col(AccountRow.id) == key).values(style=style))
    wanted = opinions.wanted_by(style)
    if wanted - before:
        await opinions.read_anew(session, key)
    if before - wanted:
        await opinions.forget(session, key, before - wanted)


async def set_unsure_choice(
    session: AsyncSession, key: int, choice: Unsure, hours: int, now: datetime
) -> None:
    """Store what becomes of posts of which nobody can tell whether they arrived.

    The site is looked at now, so that those which wait already follow the new choice.
    """
    site = await session.get(SiteRow, key, with_for_update=True)
    if site is not None:
        site.unsure_choice, site.unsure_hours = choice, hours
        site.look_due_at = min(site.look_due_at or now, now)


async def go_on(session: AsyncSession, key: int, now: datetime) -> bool:
    """Let a paused site be sent to again, as the person wishes; return False when it was not."""
    site = await session.get(SiteRow, key, with_for_update=True)
    if site is None or site.paused is None:
        return False
    site.paused, site.failures, site.next_send_at, site.resume_at = None, 0, None, None
    await posts.hasten(session, key, now)
    await notices.close(session, key, Kind.PAUSED, now)
    return True


@dataclass(frozen=True, slots=True)
class Left:
    """The keys of an account that is no more: Trakt's, and the site's."""

    trakt: list[Pair]
    site: Replaced | None


async def remove(session: AsyncSession, key: int, vault: Vault) -> Left:
    """Delete an account and all that belongs to it; return its keys, to be given back.

    An owner's claim does not survive it. What is under way for the account finds its row gone.
    """
    # In the order in which all others lock, so that none waits for us while we wait for it.
    linked = await connections.of_account(session, key, lock=True)
    site = await session.get(SiteRow, key, with_for_update=True, populate_existing=True)
    found = await session.get(AccountRow, key)
    if found is None:
        return Left([], None)
    # The row stays, without a name: the next claim must present a code, also on loopback.
    await session.execute(
        update(ClaimRow).where(col(ClaimRow.me) == found.me).values(me=None, code_digest="")
    )
    await session.execute(delete(AccountRow).where(col(AccountRow.id) == key))
    return Left(
        [pair for row in linked if (pair := grants.pair_of(row, vault))], held_by(site, vault)
    )


def held_by(site: SiteRow | None, vault: Vault) -> Replaced | None:
    """Return the keys of a site, with where to say that they are no longer wanted."""
    pair = grants.pair_of(site, vault) if site else None
    return Replaced(pair, site.token_endpoint, site.revocation_endpoint) if pair and site else None


async def sweep(session: AsyncSession, now: datetime) -> None:
    """Forget browsers and states whose time is over."""
    for row in (SessionRow, SpentRow):
        await session.execute(delete(row).where(col(row.expires_at) <= now))


async def spend(session: AsyncSession, digest: str, until: datetime) -> bool:
    """Use up the state of a flow; return False when it had been used before."""
    try:
        async with session.begin_nested():
            session.add(SpentRow(digest=digest, expires_at=until))
    except IntegrityError:
        return False
    return True


async def claim(session: AsyncSession) -> ClaimRow | None:
    """Return whose instance this is, None when nobody has ever claimed it."""
    return await session.get(ClaimRow, 1)


async def set_claim_code(session: AsyncSession, code_digest: str | None) -> bool:
    """Let an unclaimed instance be claimed with this code; None: without one.

    Return False when another process has just done so with a code of its own.
    """
    found = await session.get(ClaimRow, 1)
    if found is None:
        try:
            async with session.begin_nested():
                session.add(ClaimRow(code_digest=code_digest))
        except IntegrityError:
            # Another process started at the same moment; the code it printed is as good.
            return False
    elif found.me is None:
        found.code_digest = code_digest
    return True


async def take(session: AsyncSession, me: str, code_digest: str | None) -> bool:
    """Claim the instance for ``me``; return whether it is theirs now.

    One statement decides, so of two claims at once one wins. An instance with a code is taken
    only with that code, and the code works once.
    """
    taken = await session.execute(
        update(ClaimRow)
        .where(
            col(ClaimRow.id) == 1,
            col(ClaimRow.me).is_(None),
            col(ClaimRow.code_digest).is_(None) | (col(ClaimRow.code_digest) == code_digest),
        )
        .values(me=me, code_digest=None)
        .returning(col(ClaimRow.id))
    )
    if taken.first() is not None:
        return True
    found = await session.get(ClaimRow, 1, populate_existing=True)
    return found is not None and found.me == me
