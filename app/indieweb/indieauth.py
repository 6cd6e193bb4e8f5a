"""Signing in with one's own website, as decisions (IndieAuth of 2024-07-11).

    authorization_url ──► the person consents ──► callback_code ──► redeem ──► confirmed_me

Nothing that comes back is believed by itself: the code by ``state`` and ``iss``, the identity
by the page it names. Messages never hold a code or a token.
"""

import hmac
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import httpx2

from app import oauth
from app.errors import AddressBlocked, FetchError, SignInError
from app.http import without_keys
from app.indieweb.card import http_url, shown_name
from app.indieweb.discovery import Discovery, Endpoints, discover
from app.indieweb.profile import is_ip, profile_url, web_url
from app.settings import Network

# What RFC 6750 §2.1 lets a bearer token be made of, generously: no space, no control character.
ACCESS_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
REFRESH_TOKEN = re.compile(r"[\x20-\x7e]{1,8192}")
# RFC 6749 §5.2: an error code is printable ASCII without quotes and backslash.
ERROR_CODE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,100}")
# django-indieweb answers with the bare word, typed as a form.
BARE_ERROR = re.compile(rb"\s*([a-z]+(?:_[a-z]+){1,4})\s*")
SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
LONGEST_LIFE = 100 * 365 * 86400
# Each of them lets us create a post; "post" is the old name of "create".
CREATING = frozenset({"create", "post", "draft"})


@dataclass(frozen=True, slots=True)
class Token:
    """What a token endpoint granted. ``expires_in`` is in seconds, None when unknown.

    ``me``, ``name`` and ``photo`` are claims of the server; see `confirmed_me` for the first,
    the others are for display.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(default=None, repr=False)
    expires_in: int | None = None
    scope: tuple[str, ...] = ()
    me: str | None = None
    name: str | None = None
    photo: str | None = None


def authorization_url(  # noqa: PLR0913 - these are the parameters of IndieAuth 5.2
    endpoints: Endpoints,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    verifier: str,
    scope: str,
    me: str,
) -> str:
    """Return where to send the browser for the person's consent (IndieAuth 5.2).

    ``me`` is the profile URL that was entered. django-indieweb wants it; WordPress refuses it
    when it has a port or an IP address, so there it is left out.
    """
    parameters = {
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "scope": scope,
        "me": me,
    }
    if is_wordpress(endpoints) and is_numbered(me):
        del parameters["me"]
    return oauth.authorization_url(endpoints.authorization_endpoint, verifier, parameters)


def is_wordpress(endpoints: Endpoints) -> bool:
    """Tell whether the server looks like the IndieAuth plug-in of WordPress."""
    return any(
        mark in url
        for url in (endpoints.authorization_endpoint, endpoints.issuer or "")
        for mark in ("/wp-json/", "rest_route=")
    )


def is_numbered(me: str) -> bool:
    """Tell whether ``me`` has a port or an IP address."""
    url = httpx2.URL(me)
    return url.port is not None or is_ip(url.host)


def callback_code(
    params: Sequence[tuple[str, str]],
    *,
    state: str,
    issuer: str | None,
    token_endpoint: str | None = None,
) -> str:
    """Return the authorization code from the parameters of our callback (IndieAuth 5.2.1).

    ``state`` is the one this browser was given, empty when there is none or it was used.
    ``issuer`` is the one that discovery found. Without one, an unexpected ``iss`` must at least
    share its origin with ``token_endpoint``: a page that mixes somebody else's authorization
    endpoint with a token endpoint of its own would otherwise be handed the code.

    Raises:
        SignInError: a code of ours, or the error code the server sent.

    """
    given = unique(params)
    check_state(given.get("state", ""), state)
    if "error" in given:
        raise server_error(given["error"], given.get("error_description"), "invalid_response")
    check_issuer(given.get("iss"), issuer, token_endpoint)
    if "code" not in given:
        raise SignInError("invalid_response", "Your site sent neither a code nor an error.")
    return given["code"]


def unique(params: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters that have a value (RFC 6749 §3.1: no value is no parameter)."""
    names = [name for name, _ in params]
    if len(set(names)) < len(names):
        raise SignInError("invalid_response", "A parameter was sent more than once.")
    return {name: value for name, value in params if value}


def check_state(given: str, expected: str) -> None:
    """Stop at an answer to a question that this browser did not ask, or asked before."""
    if not given:
        raise SignInError("missing_state", "The answer does not say to which sign-in it belongs.")
    if not expected or not hmac.compare_digest(octets(given), octets(expected)):
        raise SignInError("invalid_state", "The answer belongs to no sign-in of this browser.")


def octets(text: str) -> bytes:
    """Return ``text`` as bytes, whatever strange characters it holds."""
    return text.encode(errors="surrogatepass")


def check_issuer(given: str | None, expected: str | None, token_endpoint: str | None) -> None:
    """Stop at a mix-up of authorization servers (RFC 9207 §2.4): compared to the letter."""
    if expected is None:
        if given and token_endpoint and origin(given) != origin(token_endpoint):
            problem = f"{given!r} answered, which is not where the code would be redeemed."
            raise SignInError("invalid_iss", problem)
    elif given is None:
        raise SignInError("missing_iss", f"The answer does not say that it is from {expected}.")
    elif not hmac.compare_digest(octets(given), octets(expected)):
        raise SignInError("invalid_iss", f"{given!r} answered instead of {expected!r}.")


def origin(url: str) -> str | None:
    """Return scheme, host and port of ``url``, None when it is no http(s) URL."""
    try:
        scheme, _, host, *_ = web_url(url).split("/")
    except ValueError:
        return None
    return f"{scheme}//{host}"


def server_error(code: object, description: object, otherwise: str) -> SignInError:
    """Return the error that the server reported, its code passed on if it is one."""
    known = isinstance(code, str) and ERROR_CODE.fullmatch(code)
    words = description[:300] if isinstance(description, str) else ""
    text = without_keys(UNPRINTABLE.sub(" ", words))
    return SignInError(str(code) if known else otherwise, text, theirs=bool(known))


async def redeem(  # noqa: PLR0913 - these are the parameters of IndieAuth 5.3.1
    client: httpx2.AsyncClient,
    token_endpoint: str,
    *,
    client_id: str,
    redirect_uri: str,
    code: str,
    verifier: str,
    scope: str,
) -> Token:
    """Exchange ``code`` for a token, once (IndieAuth 5.3.1). ``scope`` is what was asked for.

    Raises:
        SignInError: no token; the code is spent all the same.

    """
    grant = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    known_as = oauth.Registration(client_id)
    try:
        answer = await oauth.token_request(client, token_endpoint, known_as, grant)
    except AddressBlocked as error:
        raise SignInError("blocked_address", f"{error}.") from error
    except FetchError as error:
        raise SignInError("token_endpoint_error", f"{error}.") from error
    return token_answer(answer.status_code, answer.content, scope)


async def refresh(
    client: httpx2.AsyncClient,
    token_endpoint: str,
    *,
    client_id: str,
    refresh_token: str,
    scope: str,
) -> Token:
    """Exchange a refresh token for a new pair, once (IndieAuth 5.5). ``scope`` is what we have.

    The old refresh token may be spent as soon as this is called; when the answer brings none,
    it stays in use. So an answer that was lost is not the same as one that never came about.

    Raises:
        SignInError: the server answered, and not with a token; ``invalid_grant``: it is dead.
        NeverSent, AnswerLost: see there.

    """
    grant = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    known_as = oauth.Registration(client_id)
    answer = await oauth.token_request(client, token_endpoint, known_as, grant)
    return granted(successful(answer.status_code, answer.content), scope)


async def revoke(
    client: httpx2.AsyncClient,
    *,
    revocation_endpoint: str | None,
    token_endpoint: str,
    client_id: str,
    tokens: Iterable[str | None],
) -> bool:
    """Ask the server to forget ``tokens`` (IndieAuth 7); tell whether it said that it did.

    Never raises: a server that is gone must not keep anybody from leaving. Servers without a
    revocation endpoint are asked at the token endpoint, as older ones want it.
    """
    known_as = oauth.Registration(client_id)
    url, action = revocation_endpoint or token_endpoint, {"action": "revoke"}
    try:
        answers = [
            await oauth.revoke_request(
                client, url, known_as, token, **({} if revocation_endpoint else action)
            )
            for token in tokens
            if token
        ]
    except FetchError:
        return False
    return all(answer.is_success for answer in answers)


def token_answer(status: int, body: bytes, requested_scope: str) -> Token:
    """Read the answer of a token endpoint to a code (IndieAuth 5.3.3), whatever its type says.

    Any 2xx will do. A scope that is not mentioned is the requested one (RFC 6749 §5.1).

    Raises:
        SignInError: a code of ours, or the error code the server sent.

    """
    answer = successful(status, body)
    token = granted(answer, requested_scope)
    if token.me is None:
        raise SignInError("invalid_token_response", "The answer does not say who you are (me).")
    return token


def successful(status: int, body: bytes) -> Mapping[str, object]:
    """Return the parameters of an answer that grants something."""
    answer = parameters(body)
    if answer.get("error"):
        raise server_error(answer["error"], answer.get("error_description"), "token_endpoint_error")
    if 200 <= status < 300:
        return answer
    if status >= 400:
        # WordPress' REST interface calls the error "code"; django-indieweb sends nothing else.
        bare = BARE_ERROR.fullmatch(body[:200])
        code = answer.get("code") or (bare[1].decode() if bare else None)
        if code:
            raise server_error(code, answer.get("message"), "token_endpoint_error")
    raise SignInError("token_endpoint_error", f"The token endpoint answered {status}.")


def parameters(body: bytes) -> Mapping[str, object]:
    """Return what ``body`` says as a JSON object or as a form; nothing when it is neither."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return form(body)
    return answer if isinstance(answer, dict) else {}


def form(body: bytes) -> Mapping[str, object]:
    """Return the parameters of a form, none when one of them is repeated (RFC 6749 §3.2)."""
    try:
        pairs = parse_qsl(body.decode(errors="replace").strip(), max_num_fields=100)
    except ValueError:
        return {}
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else {}


def granted(answer: Mapping[str, object], requested_scope: str) -> Token:
    """Return the token in the parameters of a successful answer."""
    kind = answer.get("token_type") or "Bearer"
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise SignInError("unsupported_token_type", f"The token is of the type {kind!r:.50}.")
    token, renewal, me = (answer.get(name) for name in ("access_token", "refresh_token", "me"))
    if not isinstance(token, str) or not ACCESS_TOKEN.fullmatch(token):
        raise SignInError("invalid_token_response", "The answer holds no usable token.")
    if me is not None and not isinstance(me, str):
        raise SignInError("invalid_token_response", "The answer does not say who you are (me).")
    profile, told = answer.get("profile"), answer.get("scope")
    shown = profile if isinstance(profile, dict) else {}
    return Token(
        access_token=token,
        refresh_token=usable_refresh_token(renewal),
        expires_in=seconds(answer.get("expires_in")),
        scope=scopes(requested_scope if told is None else told),
        me=me or None,
        name=shown_name(shown.get("name")),
        photo=http_url(shown.get("photo")),
    )


def usable_refresh_token(value: object) -> str | None:
    """Return a refresh token that we can send, or None."""
    return value if isinstance(value, str) and REFRESH_TOKEN.fullmatch(value) else None


def seconds(value: object) -> int | None:
    """Return a life time in whole seconds; None for zero, less, nonsense and eternity."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        life = int(float(value))
    except (ValueError, OverflowError):
        return None
    return life if 0 < life <= LONGEST_LIFE else None


def scopes(value: object) -> tuple[str, ...]:
    """Return the scopes in a text or a list, each once; what cannot be a scope is left out."""
    listed: Iterable[object] = value.split() if isinstance(value, str) else ()
    if isinstance(value, list):
        listed = value
    well_formed = (scope for scope in listed if isinstance(scope, str) and SCOPE.fullmatch(scope))
    return tuple(dict.fromkeys(well_formed))


def required_creation(scope: Collection[str]) -> None:
    """Stop at a token that cannot create posts.

    Raises:
        SignInError: ``insufficient_scope``. No scope at all is no reason: Indiekit lets such a
            token create, and every other server will say so itself.

    """
    if scope and CREATING.isdisjoint(scope):
        problem = f"You allowed only: {', '.join(scope)}. To post, we need “create”."
        raise SignInError("insufficient_scope", problem)


def missing_scopes(scope: Collection[str], requested: Iterable[str]) -> tuple[str, ...]:
    """Return what was requested and not granted, in the order of the request.

    ``post`` counts as ``create``. ``draft`` does not: posts then appear as drafts only.
    """
    had = {"create" if name == "post" else name for name in scope}
    return tuple(name for name in requested if name not in had)


async def confirmed_me(  # noqa: PLR0913 - all of it decides whom we believe to be there
    client: httpx2.AsyncClient,
    me: object,
    *,
    entered: str,
    seen: Collection[str],
    authorization_endpoint: str,
    token_endpoint: str | None,
    allowed: Sequence[Network] = (),
) -> tuple[str, Discovery | None]:
    """Return who signed in: the canonical ``me`` of the token answer (IndieAuth 5.4).

    It is believed when it is the entered URL or was passed on the way from there. Any other
    page must name the same authorization endpoint; what that page says is returned as well.
    It must also name the same ``token_endpoint`` (None only where nobody knows it): that is
    who made the claim. A page of the attacker's could name a shared authorization endpoint and
    a token endpoint that claims to be anyone whose site uses the former.

    Raises:
        SignInError: ``me_not_confirmed``, ``invalid_profile_url`` or ``invalid_token_response``.

    """
    if not isinstance(me, str):
        raise SignInError("invalid_token_response", "The answer does not say who you are (me).")
    canonical = profile_url(me, allowed)
    if canonical in {profile_url(entered, allowed), *seen}:
        return canonical, None
    try:
        found = await discover(client, canonical)
    except SignInError as error:
        problem = f"Your site says that you are {canonical}, but that cannot be checked: {error}"
        raise SignInError("me_not_confirmed", problem) from error
    theirs = found.endpoints
    if theirs.authorization_endpoint != authorization_endpoint or (
        token_endpoint is not None and theirs.token_endpoint != token_endpoint
    ):
        problem = f"Your site says that you are {canonical}, but that page names another server."
        raise SignInError("me_not_confirmed", problem)
    return canonical, found
