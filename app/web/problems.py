"""What can go wrong on the way in, in words: what happened, and what to do."""

from dataclasses import dataclass

from app.errors import SignInError


@dataclass(frozen=True, slots=True)
class Problem:
    """One readable page. ``detail`` is what only this case knows; it is shown escaped."""

    status: int
    title: str
    advice: str
    detail: str = ""


AGAIN = "Start again from the first page."
ASK_SITE = "Ask whoever looks after your website’s software, or try again later."
LATER = "Wait a little and try again; nothing was changed."

# code → (status, what happened, what to do)
PROBLEMS: dict[str, tuple[int, str, str]] = {
    "invalid_profile_url": (
        400,
        "That is not the address of a website",
        "Use the address of your own website: it is what signs you in.",
    ),
    "http_error": (
        502,
        "Your website could not be read",
        (
            "Look for a typing error, and open the address in your browser. If it works there, a "
            "firewall or a “checking your browser” page may be stopping programs; let visitors "
            "that call themselves “OwnYourTrakt” in."
        ),
    ),
    "blocked_address": (
        400,
        "That address is not on the public internet",
        (
            "This bridge only contacts public addresses. If the site is in your own network, the "
            "operator can allow it with ALLOW_PRIVATE_NETWORKS."
        ),
    ),
    "too_many_redirects": (502, "Your website sends us in circles", ASK_SITE),
    "invalid_redirect": (502, "Your website sends us to something that is not a website", ASK_SITE),
    "metadata_unavailable": (
        502,
        "Your website names an IndieAuth document that cannot be read",
        "Open the address below in your browser; it should show a JSON document. " + ASK_SITE,
    ),
    "metadata_invalid": (502, "Your website’s IndieAuth document is faulty", ASK_SITE),
    "invalid_issuer": (502, "Your website’s IndieAuth document belongs to another site", ASK_SITE),
    "pkce_s256_unsupported": (
        502,
        "Your website’s IndieAuth server is too old",
        "It does not know PKCE with S256, without which signing in is not safe. Update it.",
    ),
    "missing_authorization_endpoint": (
        400,
        "Your website does not say how to sign in with it",
        (
            'Add IndieAuth to it (a plugin, or a <link rel="indieauth-metadata">). '
            "https://indieweb.org/IndieAuth lists ways for most kinds of sites."
        ),
    ),
    "missing_token_endpoint": (
        400,
        "Your website lets you sign in, but gives no key to post with",
        "It names no token endpoint. " + ASK_SITE,
    ),
    "missing_micropub": (
        400,
        "Your website cannot be posted to yet",
        (
            'Its page names no Micropub endpoint (<link rel="micropub">), the door through which '
            "programs post. Install Micropub for your kind of site: "
            "https://indieweb.org/Micropub/Servers. If your own page has a longer address, such "
            "as example.com/you, type that one."
        ),
    ),
    "invalid_endpoint": (502, "Your website names an endpoint that cannot be used", ASK_SITE),
    "missing_state": (400, "This page is only a step on the way", AGAIN),
    "invalid_state": (
        400,
        "This step was done already, or begun in another browser, or too long ago",
        (
            "If you are signed in, all is well: go to the dashboard. Otherwise start again, "
            "stay in the same browser, and finish within 15 minutes."
        ),
    ),
    "used_state": (
        400,
        "This step has been done already",
        "If you are signed in, go to the dashboard; otherwise start again from the first page.",
    ),
    "missing_iss": (400, "Your website’s answer does not say who it is from", AGAIN),
    "invalid_iss": (
        400,
        "The answer came from another server than the one that was asked",
        "Nobody was signed in. " + AGAIN,
    ),
    "invalid_response": (400, "Your website’s answer makes no sense", AGAIN),
    "access_denied": (
        403,
        "You said no",
        "Nothing was stored. If that was a slip, start again and approve.",
    ),
    "token_endpoint_error": (502, "Your website gave no key", "Try again. " + ASK_SITE),
    "invalid_token_response": (502, "Your website’s key cannot be read", ASK_SITE),
    "unsupported_token_type": (502, "Your website gave a kind of key we do not know", ASK_SITE),
    "invalid_grant": (
        400,
        "Your website would not give a key",
        (
            "Its codes work once and for a few minutes only, and you must allow at least “create”. "
            + AGAIN
        ),
    ),
    "insufficient_scope": (
        403,
        "The bridge may not post to your website",
        "Start again and leave “create” ticked when your website asks what to allow.",
    ),
    "me_not_confirmed": (
        403,
        "It could not be confirmed who you are",
        "The page your server named must lead to the same server. " + ASK_SITE,
    ),
    "not_admitted": (
        403,
        "This bridge is not open to your website",
        (
            "It belongs to someone else. Whoever runs it can let you in with ALLOWED_SITES, or you "
            "can run your own."
        ),
    ),
    "wrong_code": (
        403,
        "The setup code is missing or wrong",
        (
            "The first one to sign in needs the one-time code from the bridge’s log: the newest "
            "line with “code=”."
        ),
    ),
    "stale_form": (
        400,
        "This form is out of date",
        (
            "Go back, reload the page and send it again. If that does not help, allow cookies for "
            "this site."
        ),
    ),
    "wrong_origin": (
        400,
        "This form did not come from this site",
        "Open the bridge at the address in BASE_URL and try again there.",
    ),
    "addresses_too_long": (502, "Your website’s addresses are too long for us", ASK_SITE),
    "trakt_not_set_up": (
        409,
        "This bridge has no Trakt app yet",
        "The operator sets TRAKT_CLIENT_ID; the dashboard says how to get one.",
    ),
    "trakt_closed": (
        502,
        "Trakt refuses this bridge’s app",
        (
            "Since 2026-07-31 creating a Trakt API app needs Trakt VIP, and apps of free users "
            "were deleted. Whoever runs this bridge finds the app at "
            "https://trakt.tv/oauth/applications"
        ),
    ),
    "trakt_code": (
        400,
        "Trakt did not accept its own code any more",
        "Codes work once and for a few minutes only. Connect again from the dashboard.",
    ),
    "trakt_busy": (502, "Trakt is out of order", LATER),
    "trakt_denied": (
        403,
        "You said no to Trakt",
        "Nothing was connected. If that was a slip, connect again from the dashboard and approve.",
    ),
    "not_found": (404, "There is nothing here", "The link may be old. Go back to the first page."),
    "malformed": (
        400,
        "That could not be read",
        "The form was damaged on its way. Go back and send it again.",
    ),
    "too_large": (
        413,
        "That is too much",
        "No form of this bridge is that large. Choose another file, or sign in if you are not.",
    ),
    "too_many": (
        429,
        "That was a lot in a short time",
        "The bridge answers each visitor so often and no more. Wait a moment, then go on.",
    ),
    "method": (405, "This address does not work that way", "Go back to the first page."),
    "too_late": (
        409,
        "That has just changed",
        "The bridge was faster. Look at the watch again and decide anew.",
    ),
    "broken": (
        500,
        "Something broke here",
        "That is our fault; the log says more. Try again, and report it if it stays.",
    ),
}


# Of the codes that an authorization server may choose, those that a page of ours explains.
OF_SERVERS = frozenset({"access_denied", "invalid_grant", "insufficient_scope"})


def problem(error: SignInError) -> Problem:
    """Return the page for ``error``."""
    known = PROBLEMS.get(error.code)
    detail = "" if str(error) == error.code else str(error)
    if known and (not error.theirs or error.code in OF_SERVERS):
        return Problem(*known, detail=detail)
    said = f"{error.code}: {detail}" if detail else error.code
    return Problem(502, "The other side reported an error", AGAIN, detail=f"It said: {said}")
