"""Every page in every state, to axe-core in a real browser, in light and in dark."""

from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from mimetypes import guess_type
from typing import Any, Literal, cast

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page, Request, Route

from app.web.views import HERE
from tests.routes import ways
from tests.test_browser import chromium
from tests.test_every_route import nobody, of_ada
from tests.test_questions import a_bunch
from tests.test_templates import PAGES, drawn
from tests.world import BRIDGE, World

__all__ = ["chromium"]

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
# All pages have one head; what sets them apart is put in its place, and axe need not come anew.
TURN = """html => {
  const next = new DOMParser().parseFromString(html, "text/html");
  document.title = next.title;
  document.documentElement.lang = next.documentElement.lang;
  document.body.replaceWith(document.adoptNode(next.body));
}"""
RUN = "rules => axe.run(document, {resultTypes: ['violations'], ...rules})"
# All rules in light; in dark nothing but the colours differs.
SCHEMES: dict[Literal["light", "dark"], dict[str, Any]] = {
    "light": {},
    "dark": {"runOnly": ["color-contrast"]},
}


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """A browser that shows one page of ours, with its looks and without its script."""
    context = await chromium.new_context(viewport={"width": 1100, "height": 900})
    await context.route("**/*", answer)
    page = await context.new_page()
    await page.goto(f"{BRIDGE}/")
    await page.evaluate(AXE)
    yield page
    await context.close()


async def answer(route: Route, request: Request) -> None:
    path = request.url.removeprefix(BRIDGE)
    if path.startswith("/static/"):
        body, kind = (HERE / path.lstrip("/")).read_bytes(), guess_type(path)[0]
        await route.fulfill(body="" if path.endswith(".js") else body, content_type=kind)
    else:
        await route.fulfill(body=drawn("calm"), content_type="text/html; charset=utf-8")


async def complaints(page: Page, pages: Mapping[str, str]) -> list[str]:
    """What axe says of pages, in light and in dark."""
    said = []
    for scheme, rules in SCHEMES.items():
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for name, html in pages.items():
            await page.evaluate(TURN, html)
            for one in (await page.evaluate(RUN, rules))["violations"]:
                said += [f"{name}, {scheme}, {one['id']}: {node['html']}" for node in one["nodes"]]
    return said


async def every_page(world: World) -> dict[str, str]:
    """The pages that the routes show to somebody with posts, and to a stranger."""
    await a_bunch(world)
    pages = {}
    for who, client in (("Ada", world.browser.client), ("nobody", nobody(world))):
        for method, path in ways(cast("FastAPI", world.app)):
            if method == "GET":
                world.bridge.limits.buckets.clear()
                answer = await client.get(BRIDGE + of_ada(path))
                if "text/html" in answer.headers.get("Content-Type", ""):
                    pages[f"{path} for {who}"] = answer.text
    return pages


async def test_no_page_of_the_bridge_is_hard_to_use(world: World, page: Page) -> None:
    pages = await every_page(world)

    assert {"/ for Ada", "/ for nobody", "/settings/delete for Ada"} <= pages.keys()
    assert await complaints(page, pages) == []


async def test_no_state_of_a_page_is_hard_to_use(page: Page) -> None:
    assert await complaints(page, {name: drawn(name) for name in PAGES}) == []


async def test_what_is_hard_to_use_is_found(page: Page) -> None:
    wrong = '<p style="color: #777; background: #888">Who can read this?</p><input><h3>Deep</h3>'

    said = " ".join(await complaints(page, {"a page": drawn("calm").replace("<h1", f"{wrong}<h1")}))

    assert "light, color-contrast" in said
    assert "dark, color-contrast" in said
    assert "light, label" in said
