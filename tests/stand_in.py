"""A stand-in for the program that people use today, so that what drives a binary can be tested.

It is not that program, and no figure of it means anything. It reads the same settings, has the
same addresses, polls everybody when it starts, and asks what it is told to by the environment.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

API = "https://api.trakt.tv/sync/history"
TOKENS = "https://trakt.tv/oauth/token"


def settings() -> dict[str, str]:
    lines = Path("config.yaml").read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def fetched(url: str, body: bytes | None = None, token: str = "") -> bytes:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with urlopen(Request(url, body, headers)) as answer:  # noqa: S310 - the bench's own addresses
        content: bytes = answer.read()
        return content


def granted(url: str, code: str) -> str:
    token: str = json.loads(fetched(url, urlencode({"code": code}).encode()))["access_token"]
    return token


class Program(BaseHTTPRequestHandler):
    database = Path(settings()["database"])
    me = ""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        asked = {name: texts[0] for name, texts in parse_qs(url.query).items()}
        match url.path:
            case "/login":
                Program.me = asked["me"]
                assert b"token_endpoint" in fetched(self.me)
                self.lead_to(f"{self.me}auth?state=site")
            case "/callback":
                granted(f"{self.me}token", asked["code"])
                self.lead_to("/")
            case "/trakt/start":
                self.lead_to("https://trakt.tv/oauth/authorize?state=trakt")
            case "/trakt/callback":
                people = [*everybody(self.database), [self.me, granted(TOKENS, asked["code"])]]
                self.database.write_text(json.dumps(people), encoding="utf-8")
                self.lead_to("/")
            case _:
                self.send_response(200)
                self.end_headers()

    def lead_to(self, url: str) -> None:
        self.send_response(303)
        self.send_header("Location", url)
        self.end_headers()


def everybody(database: Path) -> list[Any]:
    return json.loads(database.read_text(encoding="utf-8")) if database.exists() else []


def poll_everybody(database: Path) -> None:
    for me, token in everybody(database):
        for play in json.loads(fetched(API, token=token)):
            fetched(f"{me}micropub", json.dumps(play).encode(), "key")


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", int(settings()["port"])), Program)
    threading.Thread(target=poll_everybody, args=[Program.database], daemon=True).start()
    server.serve_forever()
