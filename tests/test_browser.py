"""The whole story in a real browser, against the demo as people start it.

Bridge, Trakt and website stand on origins of their own, with the headers of production.
``SCREENSHOTS=folder`` keeps pictures of the pages on the way.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Page,
    async_playwright,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
if not CHROMIUM and not os.environ.get("CI"):
    pytest.skip("there is no Chromium on this machine", allow_module_level=True)

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PICTURES = os.environ.get("SCREENSHOTS")
PAGES = ("watches", "settings", "settings/rules", "settings/site#abilities")


@dataclass(frozen=True)
class Demo:
    bridge: str
    site: str
    trakt: str


@asynccontextmanager
async def running_demo() -> AsyncIterator[Demo]:
    """``make demo`` on free ports; ended as a person would, with Ctrl+C."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "app", "demo", "--port", "0", "--no-browser",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield await told(process)
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()


async def told(process: asyncio.subprocess.Process) -> Demo:
    """Read from its greeting where everything is; it comes when all of it listens."""
    found: dict[str, str] = {}
    assert process.stdout is not None
    while len(found) < 3:
        line = (await process.stdout.readline()).decode()
        assert line, "the demo ended before it began"
        if match := re.match(r"\s+The (bridge|simulated website|simulated Trakt)\s+(\S+)", line):
            found[match[1]] = match[2]
    return Demo(found["bridge"], found["simulated website"], found["simulated Trakt"])


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


async def shoot(page: Page, name: str) -> None:
    if PICTURES:
        await page.screenshot(path=Path(PICTURES) / f"{name}.png", animations="disabled")


async def opened(context: BrowserContext, complaints: list[str]) -> Page:
    """A page whose console must stay silent: a broken policy would speak there."""
    page = await context.new_page()

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page.on("console", listen)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


async def sign_in_and_connect(page: Page, demo: Demo) -> None:
    await page.goto(demo.bridge)
    assert await page.get_by_role("textbox", name="Your website").input_value() == demo.site
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Approve").click()
    await page.wait_for_url(f"{demo.bridge}/**")
    await page.get_by_role("button", name="Connect Trakt").click()
    await page.get_by_role("button", name="Approve").click()
    await page.wait_for_url(f"{demo.bridge}/**")


async def watch_something(page: Page, demo: Demo) -> None:
    await page.goto(demo.trakt)
    await page.locator("#work").select_option(label="Dune (2021)")
    await page.locator("#watch-this").click()


async def check_now(page: Page, demo: Demo) -> None:
    """Without JavaScript the dashboard reloads itself until the post is out."""
    await page.goto(demo.bridge)
    await page.get_by_role("button", name="Check now").click()
    await page.get_by_role("link", name="on your site").first.wait_for()
    await shoot(page, "dashboard")


async def look_around(page: Page, demo: Demo) -> None:
    await page.get_by_role("link", name="Dune (2021)").first.click()
    await page.get_by_text("The site published the post").wait_for()
    await shoot(page, "watch")
    for path in PAGES:
        await page.goto(f"{demo.bridge}/{path}")
        assert await page.get_by_role("heading", level=1).is_visible()
    await shoot(page, "your-site")


async def try_a_rule(page: Page, demo: Demo) -> None:
    await page.goto(f"{demo.bridge}/settings/rules/edit")
    await page.get_by_label("What", exact=True).select_option(label="episodes")
    await page.get_by_label("Genre").select_option(label="Comedy")
    await page.get_by_text("Send it as a draft.").click()
    await page.get_by_role("button", name="Try it on my last watches").click()
    await page.get_by_text("of your last 500 watches").wait_for()
    await shoot(page, "rule")


@pytest.mark.parametrize("javascript", [True, False], ids=["with script", "without script"])
async def test_a_person_clicks_the_whole_story(chromium: Browser, *, javascript: bool) -> None:
    complaints: list[str] = []
    context = await chromium.new_context(
        java_script_enabled=javascript, viewport={"width": 1100, "height": 1180}
    )
    async with running_demo() as demo:
        page = await opened(context, complaints)
        await sign_in_and_connect(page, demo)
        await watch_something(page, demo)
        await check_now(page, demo)
        await look_around(page, demo)
        await try_a_rule(page, demo)
        await page.goto(demo.site)

        assert await page.get_by_text("Watched Dune (2021)").first.is_visible()
    await context.close()

    assert complaints == []


async def reached(page: Page, selector: str) -> None:
    """Go on with the Tab key until something has the focus, as somebody without a mouse does."""
    for _ in range(80):
        await page.keyboard.press("Tab")
        if await page.evaluate("one => document.activeElement.matches(one)", selector):
            return
    raise AssertionError(f"the keyboard does not lead to {selector}")


async def word_films(page: Page) -> None:
    """Choose HTML and other words for films, and read of a slip beside its field on the way."""
    told = page.locator(".told").first
    await reached(page, 'input[name="content"]')
    await page.keyboard.press("ArrowDown")
    await told.get_by_role("link", name="Dune (2021)").wait_for()
    await reached(page, "#words ~ details > summary")
    await page.keyboard.press("Enter")
    await reached(page, "#film-content")
    await page.keyboard.type("<p>On my sofa: {{ titel }} {{ url }}</p>")
    await page.get_by_text("did you mean “title”?").wait_for()
    assert await page.locator("#film-content").get_attribute("aria-invalid") == "true"
    assert await page.locator("[aria-invalid]").count() == 1
    assert await told.get_by_role("link", name="Dune (2021)").is_visible()
    await page.keyboard.press("Control+A")
    await page.keyboard.type("<p>On my sofa: {{ title }} {{ url }}</p>")
    await told.get_by_text("On my sofa: Dune").wait_for()
    assert await page.get_by_text("did you mean").is_hidden()


async def import_a_file(page: Page, demo: Demo) -> None:
    """Choose a file, which a script puts into the field for its text."""
    await page.goto(f"{demo.bridge}/settings/file")
    chosen = FilePayload(name="a.json", mimeType="application/json", buffer=b'{"ownyourtrakt": 1}')
    await page.get_by_label("Choose the file").set_input_files(chosen)
    await page.get_by_role("button", name="Import").click()
    await page.get_by_text("Imported.").wait_for()


async def test_a_person_words_their_posts_with_the_keyboard_alone(chromium: Browser) -> None:
    complaints: list[str] = []
    context = await chromium.new_context(viewport={"width": 1100, "height": 1180})
    async with running_demo() as demo:
        page = await opened(context, complaints)
        await sign_in_and_connect(page, demo)
        await page.goto(f"{demo.bridge}/settings/posts")
        await word_films(page)
        await shoot(page, "posts")
        await reached(page, 'button[value="save"]')
        await page.keyboard.press("Enter")
        await page.get_by_text("Posts that are sent from now on look like this.").wait_for()
        await import_a_file(page, demo)
        await watch_something(page, demo)
        await check_now(page, demo)

        await page.goto(demo.site)
        assert await page.get_by_text("On my sofa: Dune").first.is_visible()
    await context.close()

    assert complaints == []
