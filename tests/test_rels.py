"""Links, cards and addresses of strangers: whatever they send, reading it ends, and quietly."""

import asyncio
import json
import string
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_network

import httpx2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import SignInError, SiteError
from app.indieweb import discovery, indieauth
from app.indieweb.card import Card
from app.indieweb.discovery import Endpoints
from app.indieweb.feed import read_feed
from app.indieweb.hcard import representative
from app.indieweb.micropub import location
from app.indieweb.page import html_document, page_links
from app.indieweb.profile import has_scheme, profile_url, web_url
from app.indieweb.rels import apart, header_links
from app.indieweb.source import listed
from app.settings import Network

URL = "https://example.com/"
HTML = "text/html; charset=utf-8"
MARKUP = st.text(alphabet=st.sampled_from("<>/=\"' \n,;\\abcdehiklmnoprtu-&#!\0é"), max_size=200)
TAGS = st.lists(
    st.sampled_from(
        [
            "<link rel=micropub href=/a>",
            "<base href='//[x'>",
            "<template>",
            "</template>",
            "<svg>",
            "<table>",
            "<div class='h-card p-a e-b'>",
            "<a rel=me class='u-url u-uid' href='//['>",
            "</a>",
            "</div>",
            "<?xml version='1.0'?>",
            "<!--",
            "-->",
            "\0",
            "text",
        ]
    ),
    max_size=30,
).map("".join)


def again(url: str, allowed: Sequence[Network]) -> str | None:
    try:
        return profile_url(url, allowed)
    except SignInError:
        return None


def links(page: str, *headers: str, content_type: str = HTML) -> dict[str, str]:
    return page_links(html_document(page.encode(), content_type), URL, headers)


def card(page: str) -> Card:
    document = html_document(page.encode(), HTML)
    assert document is not None
    return representative(document, URL)


@given(st.text(alphabet=st.sampled_from("<>;,=\"\\ \trelabmicropub*'#:/"), max_size=100))
@example('<a>; rel="' + "\\" * 7)
def test_any_link_header_is_read_without_a_crash(header: str) -> None:
    assert all(rel == rel.lower() for rel, _ in header_links([header], URL))


@given(st.one_of(MARKUP, TAGS), st.text(max_size=30))
def test_any_page_is_read_without_a_crash(page: str, content_type: str) -> None:
    for kind in (content_type, HTML, "text/html"):
        document = html_document(page.encode(), kind)
        page_links(document, URL, [])
        if document:
            representative(document, URL)


@given(st.binary(max_size=200), st.sampled_from(["utf-8", "utf-16", "punycode", "hex", "x", "é"]))
def test_any_bytes_are_read_whatever_their_charset_claims(body: bytes, charset: str) -> None:
    html_document(b"<p>" + body, f"text/html; charset={charset}")


@given(st.integers(100, 599), st.one_of(st.binary(max_size=200), MARKUP.map(str.encode)))
@example(200, b"[" * 100_000)
@example(200, b'{"access_token": "a", "me": "\\ud800", "expires_in": 1e999}')
@example(200, b'{"access_token": "a", "me": "x", "expires_in": ' + b"9" * 400 + b"}")
@example(400, b'{"error": "\\ud800"}')
def test_any_token_answer_is_a_token_or_a_sign_in_error(status: int, body: bytes) -> None:
    try:
        shown = indieauth.token_answer(status, body, "create").access_token
    except SignInError as error:
        shown = error.code

    assert shown.isascii()
    assert shown.isprintable()


@given(st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=5))
def test_any_metadata_value_is_an_endpoint_or_a_sign_in_error(value: object) -> None:
    try:
        found = discovery.metadata_endpoint(value, "token_endpoint", https_only=True)
    except SignInError as error:
        found = error.code

    assert found in {None, "metadata_invalid"}


# JSON and headers may hold what UTF-8 cannot: half surrogates, and any byte.
WILD = st.text(alphabet=st.characters(), max_size=40)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WILD,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WILD, inner, max_size=4),
    max_leaves=10,
)


@given(
    document=st.dictionaries(
        st.sampled_from([*Endpoints.__slots__, "code_challenge_methods_supported"]),
        ANYTHING | st.sampled_from([URL, f"{URL}token", "http://example.com/", ["S256"]]),
    ),
    private=st.booleans(),
)
@example(
    document={"issuer": URL, "authorization_endpoint": URL, "token_endpoint": URL}, private=False
)
def test_any_metadata_document_is_endpoints_or_a_sign_in_error(
    document: dict[str, object], *, private: bool
) -> None:
    with suppress(SignInError):
        body = json.dumps(document).encode()
        found = discovery.metadata_endpoints(f"{URL}metadata", body, private=private)
        assert found.issuer == document["issuer"]
        assert found.token_endpoint.startswith(("https:", "http:") if private else "https:")


@given(
    st.binary(max_size=60)
    | st.text(alphabet=st.sampled_from("htps:/[]@%2.e\\?#x0①é "), max_size=40).map(str.encode)
)
@example(b"http://[")
@example(b"//[::1%25lo]/")
def test_any_location_is_a_web_address_or_a_known_error(value: bytes) -> None:
    asked = httpx2.Request("GET", URL)
    answer = httpx2.Response(302, headers=[(b"Location", value)], request=asked)

    assert (location(answer) or URL).startswith(("http://", "https://"))
    with suppress(SignInError):
        target = discovery.redirect_target(answer, URL)
        assert target is not None
        assert target == web_url(target)


@given(
    st.lists(
        st.sampled_from(
            [
                "<div class=h-entry>",
                "<a class='u-url u-syndication' href='https://trakt.tv/movies/x#watch-1'>",
                "<a class='u-watch-of h-cite' href='//['>",
                "<time class=dt-published datetime='9999-99-99'>",
                "<p class='e-content p-name'>",
                "<a rel=next href='http://['>",
                "<link rel=next href=?page=2>",
                "</div>",
                "</a>",
                "</p>",
            ]
        )
        | MARKUP,
        max_size=20,
    )
)
def test_any_feed_is_read_without_a_crash(parts: list[str]) -> None:
    answer = httpx2.Response(200, headers={"Content-Type": HTML}, content="".join(parts).encode())
    page = read_feed(URL, answer)

    assert page.follows is None or page.follows.startswith(URL)
    assert all(entry.place for entry in page.entries)


class Listing(httpx2.AsyncBaseTransport):
    """A Micropub endpoint that answers ``document`` to everything."""

    def __init__(self, status: int, document: object) -> None:
        self.answer = httpx2.Response(status, content=json.dumps(document).encode())

    async def handle_async_request(self, _: httpx2.Request) -> httpx2.Response:
        return self.answer


@given(
    st.integers(200, 599),
    ANYTHING
    | st.fixed_dictionaries(
        {"items": st.lists(st.fixed_dictionaries({"properties": ANYTHING})), "paging": ANYTHING}
    ),
)
@example(200, {"items": [{"properties": {"content": ["\ud800"]}}], "paging": {"after": "\ud800"}})
async def test_any_list_of_posts_is_read_or_a_known_error(status: int, document: object) -> None:
    async with httpx2.AsyncClient(transport=Listing(status, document)) as client:
        with suppress(SiteError):
            one = await listed(client, URL, "token", None, timedelta(seconds=1))
            assert all(entry.place for entry in one.entries)
            # The next page is asked for by what this one says.
            await listed(client, URL, "token", one.follows, timedelta(seconds=1))


@given(st.text(max_size=60) | st.text(alphabet=string.printable + "①。ß\u200d", max_size=60))
@example("http://[::1")
@example("https://example.com/\ud800")
@example("xn--a")
def test_any_typed_text_is_a_stable_address_or_a_sign_in_error(text: str) -> None:
    for allowed in ((), (ip_network("127.0.0.0/8"),)):
        with suppress(SignInError):
            url = profile_url(text, allowed)

            assert again(url, allowed) == url == web_url(url) == str(httpx2.URL(url))


@pytest.mark.parametrize(
    ("page", "headers"),
    [
        ("", ["</other>; rel=x,,, <broken; rel=micropub>, </mp>; REL = micropub"]),
        ("", ["</evil>; rel=micropub; anchor='/x'", '</mp>; rel="a\tMICROPUB"']),
        ("", ['</evil>; title="\\"; rel=micropub, </evil>; rel=micropub"', "</mp>;rel=micropub"]),
        ("<template><link rel=micropub href=/evil></template><link rel=micropub href=/mp>", []),
        ("<svg><link rel=micropub href=/evil></svg><link rel=micropub href=/mp>", []),
        ("<textarea><link rel=micropub href=/evil></textarea><link rel=micropub href=/mp>", []),
        ("<link rel=micropub><link rel=micropub href=/mp>", []),
        ("<base href='javascript:x'><link rel=micropub href=mp>", []),
        ("<?xml version='1.0'?><p><link rel=micropub href=mp>", []),
    ],
    ids=[
        "damaged links are passed over",
        "a link about another page",
        "quotes inside quotes",
        "template",
        "svg",
        "text field",
        "no href is no link",
        "a base that is no page",
        "looks like XML",
    ],
)
def test_the_first_true_link_is_found(page: str, headers: Sequence[str]) -> None:
    assert links(page, *headers)["micropub"] == "https://example.com/mp"


@pytest.mark.parametrize(
    "page",
    [
        "<div>" * 200_000,
        "<b>" * 200_000,
        '<div class="h-card p-a p-b u-c e-d">' * 400,
        ('<div class="h-card">' + '<div class="p-a e-b">' * 90) * 100,
        '<i rel="' + "a " * 100_000 + '">',
        "<p " + " ".join(f"a{number}" for number in range(120_000)) + ">",
        "<b><p>" * 170_000,
        "<a><p></a>" * 100_000,
        "<a rel=me href='https://x.example/y'>" * 28_000,
    ],
    ids=[
        "deep",
        "deep formatting",
        "cards in cards",
        "properties in properties",
        "many words",
        "many attributes",
        "formatting across paragraphs",
        "links across paragraphs",
        "many of me",
    ],
)
def test_a_hostile_page_costs_little_and_keeps_its_links(page: str) -> None:
    began = time.thread_time()

    document = html_document(f"<link rel=micropub href=/mp>{page}".encode(), HTML)
    assert document is not None
    representative(document, URL)

    assert page_links(document, URL, [])["micropub"] == "https://example.com/mp"
    assert time.thread_time() - began < 5


async def test_pages_are_read_two_at_a_time_and_by_threads_of_their_own() -> None:
    loop = asyncio.get_running_loop()
    done, begun = threading.Event(), asyncio.Queue[str]()

    def slow(url: str, _: httpx2.Response) -> str:
        loop.call_soon_threadsafe(begun.put_nowait, url)
        done.wait()
        return url

    reading = [asyncio.create_task(apart(slow, URL, httpx2.Response(200))) for _ in range(20)]
    try:
        async with asyncio.timeout(5):
            await begun.get()
            await begun.get()
            await asyncio.to_thread(lambda: None)
        assert begun.empty()
    finally:
        done.set()

    assert await asyncio.gather(*reading) == [URL] * 20


@pytest.mark.parametrize(
    "header", ["<x>" + "," * 99_000, "<," * 49_000, '<x>;a="' + '\\"' * 49_000]
)
def test_a_hostile_header_costs_little(header: str) -> None:
    began = time.thread_time()

    list(header_links([header], URL))

    assert time.thread_time() - began < 1


UID = "<div class=h-card><a class='p-name u-url u-uid' href=/>Ann</a>"
OTHER = "<div class=h-card><a class='p-name u-url' href=/>Not me</a></div>"
ME = "<link rel=me href=https://social.example/ann>"
SOCIAL = "<div class=h-card><a class='p-name u-url' href=https://SOCIAL.example/ann>Ann</a>"
AUTHOR = "<div class=h-entry><p class='p-author h-card'><a class='p-name u-url' href=/>Ann</a>"
PHOTO = "<img class=u-photo alt=Face src=/a></p></div>"


@pytest.mark.parametrize(
    "page",
    [UID + PHOTO + OTHER, OTHER + ME + SOCIAL + PHOTO, AUTHOR + PHOTO],
    ids=["uid and url", "rel=me", "the only card"],
)
def test_the_card_that_represents_the_page_gives_name_and_photo(page: str) -> None:
    assert card(page) == Card("Ann", "https://example.com/a")


@pytest.mark.parametrize(
    "page",
    [
        "<div class=h-card><a class='p-name u-url' href=https://else.example/>Bob</a></div>",
        "<a class=h-card href=/>Ann</a>" * 2,
        "<p>No card</p>",
    ],
    ids=["somebody else", "two cards", "none"],
)
def test_a_card_that_does_not_represent_the_page_is_left_alone(page: str) -> None:
    assert card(page) == Card()


def test_a_photo_is_a_web_address_and_a_name_one_printable_line() -> None:
    page = (
        "<div class=h-card><a class=u-url href=/></a><b class=p-name>A\u202en\nn</b>"
        "<img class=u-photo src=javascript:alert(1)></div>"
    )

    assert card(page) == Card("A n n", None)


@pytest.mark.parametrize(
    "text",
    [
        "http://0177.0.0.1/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://①②⑦.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://localhost/",
        "http://a.localhost/",
        "https://example.com/%2e%2E/x",
        "https://example.com\\@evil.example/",
        "https://example.com/\t",
        "https://example.com/#",
        "https:example.com",
        "me@example.com",
        "https://ex%61mple.com/",
        "https://example.com./",
        "https://exa\u00admple.com/",
        "//example.com",
    ],
)
def test_what_is_no_profile_url_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(SignInError, match=r"Type it like this: https://") as refused:
        profile_url(text if text.strip() == text else text + "x")

    assert refused.value.code == "invalid_profile_url"


def test_allowed_networks_relax_host_and_port_and_nothing_else() -> None:
    allowed = (ip_network("127.0.0.0/8"), ip_network("fd00::/8"))

    assert profile_url("http://127.0.0.1:8000", allowed) == "http://127.0.0.1:8000/"
    assert profile_url("localhost:8000/ann", allowed) == "https://localhost:8000/ann"
    assert profile_url("http://[FD00::1]:80/", allowed) == "http://[fd00::1]/"
    for refused in (
        "http://10.0.0.1/",
        "http://127.1:8000/",
        "http://127.0.0.1/../",
        "http://[::1]/",
    ):
        with pytest.raises(SignInError):
            profile_url(refused, allowed)


def test_only_a_typed_scheme_counts_as_chosen() -> None:
    assert [has_scheme(text) for text in ("HTTP://x.example", "x.example", "x.example:80/")] == [
        True,
        False,
        False,
    ]
