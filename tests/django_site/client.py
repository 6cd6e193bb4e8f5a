"""How a test starts the website in a process of its own and signs in there as a person would."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin

import httpx2
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]


@contextmanager
def running(data: Path, port: int = 0) -> Iterator[str]:
    """Run the website with its files in ``data`` and yield its origin, which ends in its port.

    The same ``port`` (0: any free one) and ``data`` bring back a website that was stopped.
    """
    command = [sys.executable, "-m", "tests.django_site.server"]
    command += ["--data", str(data), "--port", str(port)]
    with subprocess.Popen(  # noqa: S603 - our own module, no input of anyone else
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield origin_of(process)
        finally:
            process.terminate()


def origin_of(process: "subprocess.Popen[str]") -> str:
    """Wait until the website listens, and return where."""
    line = process.stdout.readline() if process.stdout else ""
    ready, _, origin = line.strip().partition(" ")
    if ready != "ready":
        raise RuntimeError(f"the Django site did not start, it said {line!r}")
    return origin


async def consent(
    browser: httpx2.AsyncClient, authorization_url: str, decision: str = "approve"
) -> str:
    """Sign in as ada, decide (``approve`` or ``deny``), and return the URL one is sent back to.

    ``browser`` must keep cookies and follow no redirects. Signing in comes first, because
    django-indieweb loses the authorization request on its way through the sign-in page.
    """
    await sign_in(browser, urljoin(authorization_url, "/admin/login/"))
    page = await browser.get(authorization_url)
    if page.status_code != 200:
        raise RuntimeError(f"no consent page, but {page.status_code}: {page.text[:200]}")
    form, fields = filled_form(page, "client_id")
    answer = await browser.post(
        urljoin(authorization_url, form), data=fields | {"action": decision}
    )
    return answer.headers["Location"]


async def sign_in(browser: httpx2.AsyncClient, url: str) -> None:
    """Sign in at the admin's page at ``url``; once signed in, do nothing."""
    page = await browser.get(url)
    if page.is_redirect:
        return
    _, fields = filled_form(page, "username")
    credentials = {"username": "ada", "password": "password"}
    answer = await browser.post(url, data=fields | credentials, headers={"Referer": url})
    if not answer.is_redirect:
        raise RuntimeError("ada could not sign in")


def filled_form(page: httpx2.Response, name: str) -> tuple[str, dict[str, str]]:
    """Return action and fields of the form that holds a field ``name``."""
    field = BeautifulSoup(page.text, "html.parser").select_one(f"form input[name={name}]")
    form = field.find_parent("form") if field else None
    if form is None:
        raise RuntimeError(f"{page.url} has no form with {name}")
    fields = {str(box["name"]): str(box.get("value", "")) for box in form.select("input[name]")}
    return str(form.get("action", "")), fields
