"""What is known of sites' endpoints, in their rows."""

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession

from app.abilities import Abilities, Ability, How, from_json, learned, of_endpoint, to_json
from app.lookup import Way
from app.tables import SiteRow

Change = Callable[[Abilities], Abilities]


async def change(session: AsyncSession, account_id: int, endpoint: str, to: Change) -> None:
    """Change what is known of a site, unless it has another endpoint by now."""
    site = await session.get(SiteRow, account_id, with_for_update=True, populate_existing=True)
    if site is not None and site.micropub == endpoint:
        site.abilities = to_json(to(of(site)))


def of(site: SiteRow) -> Abilities:
    """Return what is known of the endpoint that a site has now, from its looks as well."""
    known = of_endpoint(from_json(site.abilities), site.micropub)
    if site.shows is None or site.looked_at is None:
        return known
    return learned(known, {Ability.LIST: site.shows == Way.LIST}, How.POST, site.looked_at)
