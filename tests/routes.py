"""All routes of the app, from the app itself, so that no test can forget a new one."""

from collections.abc import Iterator, Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Mount, Route

Way = tuple[str, str]  # a method and a path, e.g. ``("POST", "/watches/{key}/look")``


def ways(app: FastAPI) -> list[Way]:
    """Return every method and path that the app answers; static files apart."""
    return sorted(
        (method, route.path) for route in leaves(app.routes) for method in route.methods or ()
    )


def leaves(routes: Sequence[object]) -> Iterator[Route | APIRoute]:
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from leaves(inner.routes)
        elif isinstance(route, Route | APIRoute):
            yield route
        else:
            # Whatever else answers requests is a case of its own.
            assert isinstance(route, Mount), route
            assert route.path == "/static"
