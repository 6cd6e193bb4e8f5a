import json
from collections.abc import Mapping
from datetime import timedelta

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import SiteBusy, SiteError, SiteLocked, SiteMoved, SiteRefused, SiteSilent
from app.indieweb.micropub import created

ENDPOINT = httpx2.Request("POST", "https://ada.example/micropub")
HTML = {"Content-Type": "text/html"}


def answer(
    status: int, body: str = "", headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    return httpx2.Response(status, text=body, headers=dict(headers or {}), request=ENDPOINT)


def at(url: str) -> dict[str, str]:
    return {"Location": url}


@pytest.mark.parametrize(
    ("status", "location", "url"),
    [
        (201, "https://ada.example/1", "https://ada.example/1"),
        (202, "https://ada.example/1", "https://ada.example/1"),
        (201, "/posts/1", "https://ada.example/posts/1"),
        (201, "http://blog.ada.example/1", "http://blog.ada.example/1"),
    ],
    ids=["created", "accepted", "relative", "another host"],
)
def test_a_success_with_a_location_is_a_post(status: int, location: str, url: str) -> None:
    assert created(answer(status, headers=at(location))) == url


@pytest.mark.parametrize(
    "response",
    [
        answer(204),
        answer(200),
        answer(201),
        answer(202),
        answer(200, '{"success": "created"}'),
        answer(201, "{}"),
        answer(201, headers=at("javascript:alert(1)")),
        answer(201, headers=at("ftp://ada.example/1")),
        answer(201, headers=at("http://")),
    ],
    ids=lambda response: (
        f"{response.status_code} {response.text} {response.headers.get('Location')}"
    ),
)
def test_a_success_that_names_no_address_is_a_post_all_the_same(response: httpx2.Response) -> None:
    assert created(response) is None


@pytest.mark.parametrize(
    ("response", "leaf"),
    [
        (answer(200, "<p>Please log in</p>", HTML), SiteSilent),
        (answer(201, "<p>Checking your browser</p>", HTML), SiteSilent),
        (answer(500), SiteSilent),
        (answer(502, "<h1>Bad gateway</h1>", HTML), SiteSilent),
        (answer(503), SiteSilent),
        (answer(504), SiteSilent),
        (answer(408), SiteSilent),
        (answer(503, headers={"Retry-After": "60"}), SiteBusy),
        (answer(429), SiteBusy),
        (answer(401, '{"error": "invalid_token"}'), SiteLocked),
        (answer(401, "authentication error", HTML), SiteLocked),
        (answer(401, '{"error": "insufficient_scope"}'), SiteLocked),
        (answer(403, '{"code": "insufficient_scope"}'), SiteLocked),
        (answer(403, '{"code": "forbidden"}'), SiteLocked),
        (answer(401, '""'), SiteLocked),
        (answer(400, '{"error": "invalid_request"}'), SiteRefused),
        (answer(413), SiteRefused),
        (answer(422), SiteRefused),
        (answer(404), SiteMoved),
        (answer(405), SiteMoved),
        (answer(410), SiteMoved),
        (answer(301, headers=at("https://www.ada.example/micropub")), SiteMoved),
        (answer(307, headers=at("https://www.ada.example/micropub")), SiteMoved),
        (answer(200, '{"data": {"error": "invalid_request"}, "status": 400}'), SiteRefused),
        (answer(200, '{"error": "forbidden"}'), SiteLocked),
        (answer(200, '{"error": "invalid_request"}'), SiteRefused),
        (answer(200, '{"error": "server", "status": 500}'), SiteSilent),
    ],
    ids=lambda value: (
        f"{value.status_code} {value.text[:60]}" if isinstance(value, httpx2.Response) else None
    ),
)
def test_each_answer_means_what_the_table_says(
    response: httpx2.Response, leaf: type[SiteError]
) -> None:
    with pytest.raises(leaf):
        created(response)


def test_the_site_names_when_to_come_back() -> None:
    with pytest.raises(SiteBusy) as caught:
        created(answer(429, headers={"Retry-After": "120"}))

    assert caught.value.retry_after == timedelta(minutes=2)


def test_a_date_to_come_back_is_meant_by_the_site_s_own_clock() -> None:
    dates = {
        "Date": "Fri, 20 Nov 2026 12:00:00 GMT",
        "Retry-After": "Fri, 20 Nov 2026 13:00:00 GMT",
    }

    with pytest.raises(SiteBusy) as caught:
        created(answer(503, headers=dates))

    assert caught.value.retry_after == timedelta(hours=1)


@given(
    st.integers(200, 599),
    st.text()
    | st.recursive(
        st.none() | st.text() | st.integers() | st.booleans(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["error", "data", "status", "code"]), inner)
        ),
    ).map(json.dumps),
    st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126)),
)
def test_any_answer_is_a_post_or_one_of_the_leaves(status: int, body: str, location: str) -> None:
    try:
        url = created(answer(status, body, headers=at(location)))
    except SiteError as error:
        assert type(error) is not SiteError  # noqa: PT017 - a leaf, whichever
    else:
        assert status < 300
        assert url is None or url.startswith(("http://", "https://"))
