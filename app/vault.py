"""Keys, and what they protect: tokens at rest, cookies, form tokens.

All keys are derived from ``SECRET_KEY``, one per purpose, so that nothing made for one purpose
is worth anything for another. The newest key writes; older ones still read, until all is sealed
anew (`app.rotate`).
"""

import base64
import hashlib
import hmac
import json
import secrets
import zlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Vault:
    """Seals and opens with keys derived from ``secret_keys``, newest first."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        tokens = [Fernet(derived(key, "tokens")) for key in secret_keys]
        self.newest, self.tokens = tokens[0], MultiFernet(tokens)
        self.cookies = MultiFernet([Fernet(derived(key, "cookies")) for key in secret_keys])
        self.forms = [derived(key, "forms") for key in secret_keys]
        # By it one process knows whether another one seals with the same key.
        self.key_name = digest(derived(secret_keys[0], "name").decode())[:16]

    def seal(self, tokens: dict[str, str | None]) -> str:
        """Return ``tokens`` as a text that is safe to keep in the database."""
        return self.tokens.encrypt(json.dumps(tokens).encode()).decode()

    def open(self, sealed: str | None) -> dict[str, str | None] | None:
        """Return the tokens in ``sealed``, or None when there are none or no key opens it.

        A lost key is not an error: whoever asks lets the person connect or sign in again.
        """
        try:
            tokens = json.loads(self.tokens.decrypt(sealed or ""))
        except (InvalidToken, ValueError):
            return None
        return tokens if isinstance(tokens, dict) else None

    def sealed_anew(self, sealed: str) -> str | None:
        """Return ``sealed`` by the newest key, itself if it is, None when no key opens it."""
        try:
            self.newest.decrypt(sealed)
        except InvalidToken:
            try:
                return self.tokens.rotate(sealed).decode()
            except InvalidToken:
                return None
        return sealed

    def cookie(self, content: dict[str, Any], until: datetime) -> str:
        """Return ``content`` for a cookie that only we can read, and only ``until`` then."""
        text = json.dumps({**content, "until": until.timestamp()}, separators=(",", ":"))
        return self.cookies.encrypt(zlib.compress(text.encode(), 9)).decode()

    def read_cookie(self, cookie: str, now: datetime) -> dict[str, Any] | None:
        """Return what `cookie` put there, or None when it is not ours or out of date."""
        try:
            content = json.loads(zlib.decompress(self.cookies.decrypt(cookie)))
        except (InvalidToken, ValueError, zlib.error):
            return None
        return content if content.pop("until") > now.timestamp() else None

    def form_token(self, session: str) -> str:
        """Return the token that each form of this browser session carries."""
        return form_token(self.forms[0], session)

    def is_form_token(self, token: str, session: str) -> bool:
        """Tell whether ``token`` came from a form of this browser session."""
        return any(
            hmac.compare_digest(form_token(key, session).encode(), token.encode())
            for key in self.forms
        )


def derived(secret: str, purpose: str) -> bytes:
    """Return the key for ``purpose`` in Fernet's form (HKDF, RFC 5869)."""
    hkdf = HKDF(SHA256(), 32, salt=None, info=f"ownyourtrakt {purpose}".encode())
    return base64.urlsafe_b64encode(hkdf.derive(secret.encode()))


def form_token(key: bytes, session: str) -> str:
    """Return the keyed digest of a browser session."""
    return hmac.new(key, session.encode(), hashlib.sha256).hexdigest()


def digest(secret: str) -> str:
    """Return what the database keeps of a random secret that only a browser should hold."""
    return hashlib.sha256(secret.encode()).hexdigest()


def random_text() -> str:
    """Return 256 random bits in URL-safe characters; also a valid PKCE verifier (RFC 7636 §4.1)."""
    return secrets.token_urlsafe(32)
