"""The key of a site: its access token, renewed when that is needed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import httpx2

from app.errors import GrantBusy, GrantLost, SignInError, SiteBusy, SiteLocked
from app.grants import Pair, expiry
from app.indieweb import indieauth
from app.refresh import Neighbour, Refresher
from app.tables import SiteRow

# With these a token endpoint says that a refresh token is worth nothing.
DEAD = {
    "invalid_grant",
    "invalid_token",
    "invalid_client",
    "unauthorized",
    "unauthorized_client",
    "unsupported_grant_type",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """Gives out the access tokens of sites."""

    http: httpx2.AsyncClient
    refresher: Refresher
    now: Callable[[], datetime]
    client_id: str

    async def token(self, site: SiteRow, refused: str | None = None) -> str:
        """Return an access token for ``site``; ``refused`` was just not accepted.

        Raises:
            SiteLocked: only the person can give a new one.
            SiteBusy: there is none for the moment.

        """
        its = Neighbour(partial(self.renewed, site), partial(self.forget, site))
        try:
            return await self.refresher.access_token(
                SiteRow, site.account_id, its, refused, read=site
            )
        except GrantLost as error:
            raise SiteLocked(f"{error}; sign in again to give the bridge a new key.") from error
        except GrantBusy as error:
            trouble = f"The key for the site could not be renewed: {str(error).rstrip('.')}."
            raise SiteBusy(trouble, error.retry_after) from error

    async def renewed(self, site: SiteRow, refresh_token: str) -> Pair:
        """Ask a site for a new pair (IndieAuth §5.5), in the words that `Refresher` understands."""
        now = self.now()
        try:
            token = await indieauth.refresh(
                self.http,
                site.token_endpoint,
                client_id=self.client_id,
                refresh_token=refresh_token,
                scope=site.scope,
            )
        except SignInError as error:
            # A refusal settles it; anything else may pass.
            if error.code in DEAD:
                raise GrantLost("The site no longer accepts our key") from error
            raise GrantBusy(str(error)) from error
        return Pair(
            access=token.access_token,
            # A server that names no new refresh token lets us keep the old one (RFC 6749 §6).
            refresh=token.refresh_token or refresh_token,
            issued_at=now,
            expires_at=expiry(token.expires_in, now),
        )

    async def forget(self, site: SiteRow, pair: Pair) -> None:
        """Tell a site that a pair of keys is no longer wanted."""
        await indieauth.revoke(
            self.http,
            revocation_endpoint=site.revocation_endpoint,
            token_endpoint=site.token_endpoint,
            client_id=self.client_id,
            tokens=(pair.refresh, pair.access),
        )
