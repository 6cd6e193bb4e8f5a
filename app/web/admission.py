"""Who may come in: the sites that a setting names, or the first one that claims the instance."""

import secrets

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from app.database import Database
from app.errors import SignInError
from app.indieweb.profile import profile_url
from app.settings import Settings, SettingsError
from app.store import accounts
from app.vault import digest

log = structlog.get_logger()


async def prepare(database: Database, settings: Settings) -> None:
    """Make an unclaimed instance ready to be claimed, and print the code that this needs.

    On loopback the first one needs none; once an owner has left, everyone does.
    """
    if settings.allowed_sites:
        return
    async with database.writing() as session:
        claim = await accounts.claim(session)
        if claim is not None and claim.me is not None:
            return
        is_guarded = not settings.is_loopback or (claim and claim.code_digest is not None)
        code = new_code() if is_guarded else None
        is_ours = await accounts.set_claim_code(session, digest(code) if code else None)
    if code and is_ours:
        log.warning("this bridge belongs to nobody yet; whoever signs in first needs", code=code)


def new_code() -> str:
    """Return a code of 80 random bits that is easily typed, e.g. ``k3fa-…``."""
    alphabet = "abcdefghijkmnpqrstuvwxyz23456789"
    text = "".join(secrets.choice(alphabet) for _ in range(16))
    return "-".join(text[i : i + 4] for i in range(0, 16, 4))


async def needs_code(session: AsyncSession, settings: Settings) -> bool:
    """Tell whether the next one to sign in must present the setup code."""
    claim = None if settings.allowed_sites else await accounts.claim(session)
    return claim is not None and claim.me is None and claim.code_digest is not None


async def check_code(session: AsyncSession, settings: Settings, code: str) -> None:
    """Stop early at a wrong setup code; the claim itself decides later, in one statement."""
    claim = await accounts.claim(session)
    if await needs_code(session, settings) and claim and claim.code_digest != digest(tidy(code)):
        raise SignInError("wrong_code")


async def admit(session: AsyncSession, settings: Settings, me: str, code: str) -> None:
    """Let ``me`` in, claiming an instance that nobody owns.

    Raises:
        SignInError: ``not_admitted``, or ``wrong_code`` where the instance is still free.

    """
    if not is_welcome(settings, me):
        raise SignInError("not_admitted", f"You signed in as {me}.")
    if settings.allowed_sites:
        return
    if await accounts.take(session, me, digest(tidy(code)) if code else None):
        return
    if await needs_code(session, settings):
        raise SignInError("wrong_code")
    raise SignInError("not_admitted", f"You signed in as {me}.")


def is_welcome(settings: Settings, me: str) -> bool:
    """Tell whether ALLOWED_SITES has room for ``me``; an empty one leaves that to the claim."""
    allowed = settings.allowed_sites
    return not allowed or "*" in allowed or me in {canonical(site, settings) for site in allowed}


async def is_owner(session: AsyncSession, settings: Settings, me: str) -> bool:
    """Tell whether ``me`` runs this instance: it claimed it, or is the first that a setting names.

    With nothing but ``*`` nobody does: a stranger must not become the owner by being first.
    """
    if settings.allowed_sites:
        named = [site for site in settings.allowed_sites if site != "*"]
        return bool(named) and canonical(named[0], settings) == me
    claim = await accounts.claim(session)
    return claim is not None and claim.me == me


def canonical(site: str, settings: Settings) -> str:
    """Return a site of ALLOWED_SITES as `me` URLs are written."""
    return profile_url(site, settings.allow_private_networks)


def check_allowed_sites(settings: Settings) -> None:
    """Stop the start at a site that nobody could ever sign in with. Raises SettingsError."""
    for site in settings.allowed_sites:
        try:
            if site != "*":
                canonical(site, settings)
        except SignInError as error:
            raise SettingsError(f"ALLOWED_SITES holds {site!r}: {error}") from None


def tidy(code: str) -> str:
    """Return a code as it was printed, however it was typed."""
    return code.strip().lower()
