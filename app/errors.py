"""Everything that can go wrong outside our process, in one tree.

BridgeError
├── FetchError              one request of ours did not end in a usable answer
│   ├── NeverSent           nothing left us: safe to repeat
│   │   ├── AddressBlocked  the guard refused the address: repeating will not help
│   │   └── NotTrusted      its certificate is not valid: nor will a way around it
│   └── AnswerLost          it left us, and what came back tells nothing
│       ├── AnswerBroken    the connection ended before the answer did: what only reads may repeat
│       └── AnswerTooLarge  more than we are willing to read
├── SourceError             reading from Trakt and its kin
│   ├── SourceBusy          no answer, 429 or 5xx: ask again later
│   ├── TokenRefused        the access token is not accepted: refresh it once
│   ├── SourceLocked        a dead token: only the person can mend it, by reconnecting
│   ├── SourceClosed        the app itself is refused: only the operator can mend it
│   └── SourceGarbled       an answer in a shape we do not know: change nothing, ask again later
├── SiteError               writing to the person's own website
│   ├── SiteBusy            nothing was written: safe to send again
│   ├── SiteLocked          nothing was written until the person signs in again
│   ├── SiteMoved           nothing was written here: look for the endpoint once more
│   ├── SiteRefused         the site said no: sending again will not help
│   ├── SiteUnlisted        it does not list its posts: read its pages instead
│   └── SiteSilent          sent, answer lost: the post may or may not exist
├── PictureError            a poster cannot be had: its post does without
├── GrantError              keeping a token alive
│   ├── GrantBusy           it cannot be renewed now: try again later
│   └── GrantLost           it is gone: only the person can grant a new one
└── SignInError             signing in or connecting stopped: show the page that says why

Catch a leaf to recover, a branch to give up on one account, and nothing at all for our own
bugs. Each message is a sentence a person can read; none holds a token.
"""

from collections.abc import Mapping
from datetime import timedelta


class BridgeError(Exception):
    """A neighbour let us down; the message says who and how, in words for a person."""


class FetchError(BridgeError):
    """One request did not end in a usable answer."""


class NeverSent(FetchError):
    """Nothing left us: the name did not resolve, the connection was refused or timed out."""


class AddressBlocked(NeverSent):
    """The address is one that the guard never contacts."""


class NotTrusted(NeverSent):
    """The other side could not prove by a certificate that it is who it should be."""


class AnswerLost(FetchError):
    """The request left us, and no whole answer came back."""


class AnswerBroken(AnswerLost):
    """The connection ended before a whole answer had come, as a kept one does that was closed."""


class AnswerTooLarge(AnswerLost):
    """The answer was larger than we are willing to read."""


class SourceError(BridgeError):
    """A source of watches could not be read."""


class SourceBusy(SourceError):
    """Ask again, not before ``retry_after`` when the source named a time."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TokenRefused(SourceError):
    """The access token is not accepted; a fresh one may be."""


class SourceLocked(SourceError):
    """The token is dead; the person must connect again."""


class SourceClosed(SourceError):
    """The source refuses this app, whoever asks; the operator must act."""


class SourceGarbled(SourceError):
    """The answer has a shape we do not know."""


class SiteError(BridgeError):
    """The website did not take the post."""


class SiteBusy(SiteError):
    """Nothing was written; send again, not before ``retry_after`` when the site named a time."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SiteLocked(SiteError):
    """The token is not good enough; nothing was written."""


class SiteMoved(SiteError):
    """The endpoint is no longer there; nothing was written."""


class SiteRefused(SiteError):
    """The site said no to this post."""


class SiteUnlisted(SiteError):
    """The site does not tell what it holds in this way."""


class SiteSilent(SiteError):
    """The post was sent and the answer does not say what became of it."""


class PictureError(BridgeError):
    """A poster cannot be had, or not be left at the site."""


class GrantError(BridgeError):
    """A token could not be kept alive."""


class GrantBusy(GrantError):
    """It cannot be renewed now; try again, not before ``retry_after`` if a time was named."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GrantLost(GrantError):
    """There is no way to a token but to ask the person."""


class SignInError(BridgeError):
    """Signing in or connecting stopped; ``code`` chooses the page that explains it.

    The message adds what only this case knows. ``theirs``: an authorization server chose the
    code, so it means what OAuth says, never one of the codes of our own.
    """

    def __init__(self, code: str, message: str = "", *, theirs: bool = False) -> None:
        super().__init__(message or code)
        self.code = code
        self.theirs = theirs


class ChoiceRefused(ValueError):
    """What a person chose cannot be used; it says of each field what is wrong with it.

    It is no neighbour's doing, so it stands beside the tree. The field "" is the whole.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{name}: {said}" for name, said in problems.items()))
        self.problems = dict(problems)
