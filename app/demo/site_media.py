"""The media endpoint of the simulated website (Micropub §3.6), and the files that it took."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from app.demo.site_indieauth import Refused, Token


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was sent."""

    url: str
    name: str
    media_type: str
    data: bytes


class Media:
    """Keeps files of one person, for those who bear one of the person's tokens."""

    def __init__(self, origin: str, *, token: Callable[[str], Token | None]) -> None:
        self.origin = origin
        self.token = token
        self.files: dict[str, File] = {}
        self.numbers = count(1)

    def routes(self) -> APIRouter:
        """Return the endpoint and where its files are to be seen."""
        router = APIRouter()
        router.add_api_route("/media", self.take, methods=["POST"])
        router.add_api_route("/media/{name}", self.show)
        return router

    async def take(self, request: Request) -> Response:
        """Keep the part called ``file``.

        Raises:
            Refused: nothing was kept.

        """
        self.check(request.headers)
        async with request.form() as form:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise Refused("invalid_request", "Send the file as a part called file.")
            ending = (part.filename or "").rpartition(".")[2]
            name = f"{next(self.numbers)}.{ending}"
            url = f"{self.origin}/media/{name}"
            self.files[name] = File(
                url, part.filename or "", part.content_type or "", await part.read()
            )
        return Response(status_code=201, headers={"Location": url})

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise `Refused` unless the bearer may leave files here."""
        scheme, _, text = headers.get("Authorization", "").partition(" ")
        token = self.token(text.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            raise Refused("invalid_token", "This token is unknown, revoked or too old.", 401)
        if not {"media", "create", "draft"} & set(token.scope):
            raise Refused("insufficient_scope", "This takes 'media'.", 403, "media")

    async def show(self, name: str) -> Response:
        """Show a file to everyone."""
        if file := self.files.get(name):
            return Response(file.data, media_type=file.media_type)
        return Response(status_code=404)
