"""The files for platforms: what can be checked without the platforms.

How the Procfile, the image and Litestream's script run is in tests/test_serve.py.
"""

import configparser
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import cli
from app.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])
PAGES = sorted(DEPLOY.glob("*.md"))
NAMES = {name.upper() for name in Settings.model_fields} - {"DEMO_SITE", "WAITS"}
# What is not ours to read: a platform's, Litestream's, Caddy's or Python's.
THEIRS = {
    "LITESTREAM_ACCESS_KEY_ID", "LITESTREAM_SECRET_ACCESS_KEY", "RAILWAY_RUN_UID",
    "PATH", "PYTHONPATH", "PYTHONUNBUFFERED",
}  # fmt: skip


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def loaded(name: str) -> dict[str, Any]:
    """A file of a platform, as the platform reads it."""
    if name.endswith(".json"):
        return dict(json.loads(text(name)))
    if name.endswith(".toml"):
        return tomllib.loads(text(name))
    return dict(yaml.safe_load(text(name)))


def unit(path: Path) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    # Its names tell capitals apart.
    parser.optionxform = str  # type: ignore[assignment,method-assign] # as its documentation says
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def dockerfile() -> list[tuple[str, str]]:
    """Its instructions: the word and the rest of the line."""
    lines = [line for line in text("Dockerfile").splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def environment_of_the_image() -> dict[str, str]:
    rows = [rest for word, rest in dockerfile() if word == "ENV"]
    return dict(pair.split("=", 1) for row in rows for pair in shlex.split(row))


def services() -> dict[str, Any]:
    return dict(loaded("compose.yaml")["services"])


def render() -> dict[str, Any]:
    (service,) = loaded("render.yaml")["services"]
    return dict(service)


def commands() -> dict[str, list[str]]:
    """Each command that a platform is told to run, by where it stands."""
    found = {
        "Dockerfile": json.loads(dict(dockerfile())["CMD"]),
        "render.yaml": shlex.split(render()["startCommand"]),
    }
    for line in text("Procfile").splitlines():
        found[f"Procfile {line.partition(':')[0]}"] = shlex.split(line.partition(":")[2])
    for path in DEPLOY.glob("*.service"):
        found[path.name] = shlex.split(unit(path)["Service"]["ExecStart"])
    for path in [ROOT / "README.md", *PAGES, DEPLOY / "litestream.sh"]:
        whole = path.read_text(encoding="utf-8")
        for number, command in enumerate(re.findall(r"python -m app ([a-z][a-z -]*[a-z])", whole)):
            found[f"{path.name} {number}"] = ["python", "-m", "app", *command.split()]
    return found


def values() -> dict[str, set[str]]:
    """The settings that each file names."""
    return {
        "app.json": set(loaded("app.json")["env"]),
        "fly.toml": set(loaded("fly.toml")["env"]),
        "render.yaml": {one["key"] for one in render()["envVars"]},
        "compose.yaml": set(services()["bridge"]["environment"]),
        "Dockerfile": set(environment_of_the_image()),
        **{path.name: set(re.findall(r"^Environment=(\w+)=", path.read_text(), re.MULTILINE))
           for path in DEPLOY.glob("*.service")},
        **{path.name: set(re.findall(r"\b([A-Z]+_[A-Z_]+)=", path.read_text("utf-8")))
           for path in PAGES},
    }  # fmt: skip


@pytest.mark.parametrize(("place", "names"), values().items(), ids=list(values()))
def test_each_setting_that_a_file_names_is_one_of_ours(place: str, names: set[str]) -> None:
    assert names <= NAMES | THEIRS


@pytest.mark.parametrize("place", ["app.json", "fly.toml", "render.yaml"])
def test_each_platform_is_told_that_a_proxy_stands_in_front(place: str) -> None:
    assert "TRUSTED_PROXIES" in values()[place]


@pytest.mark.parametrize(("place", "command"), commands().items(), ids=list(commands()))
def test_each_command_that_a_file_runs_exists(place: str, command: list[str]) -> None:
    python, dash_m, package, *words = command
    assert (Path(python).name, dash_m, package) == ("python", "-m", "app")

    told = CliRunner().invoke(cli, [words[0], "--help"])

    assert told.exit_code == 0
    options = [word for word in words[1:] if word.startswith("-")]
    assert all(option in told.output for option in options)


def test_a_platform_asks_for_our_health() -> None:
    (check,) = loaded("fly.toml")["http_service"]["checks"]
    paths = {
        check["path"],
        render()["healthCheckPath"],
        loaded("railway.json")["deploy"]["healthcheckPath"],
        re.findall(r"'GET', '([^']+)'", dict(dockerfile())["HEALTHCHECK"])[0],
    }

    assert paths == {"/healthz"}


def test_the_files_choose_what_stays_awake() -> None:
    fly, railway = loaded("fly.toml"), loaded("railway.json")["deploy"]
    assert fly["http_service"]["auto_stop_machines"] == "off"
    assert fly["http_service"]["min_machines_running"] == 1
    assert railway["sleepApplication"] is False
    assert render()["plan"] != "free"
    assert loaded("app.json")["formation"]["web"]["size"] != "eco"


def test_where_a_file_chooses_sqlite_it_is_on_a_disk_that_stays() -> None:
    (disk,) = loaded("fly.toml")["mounts"]
    (own,) = [one["value"] for one in render()["envVars"] if one["key"] == "DATABASE_URL"]
    bridge = services()["bridge"]
    for url, place in (
        (loaded("fly.toml")["env"]["DATABASE_URL"], disk["destination"]),
        (own, render()["disk"]["mountPath"]),
        (bridge["environment"]["DATABASE_URL"], bridge["volumes"][0].partition(":")[2]),
        (environment_of_the_image()["DATABASE_URL"], "/data"),
    ):
        assert url.startswith(f"sqlite:///{place}/")
    # A dyno has none.
    assert any("postgresql" in addon for addon in loaded("app.json")["addons"])


def test_nobody_s_key_is_in_a_file() -> None:
    key = loaded("app.json")["env"]["SECRET_KEY"]
    (made,) = [one for one in render()["envVars"] if one["key"] == "SECRET_KEY"]

    assert key["generator"] == "secret"
    assert "value" not in key
    assert made == {"key": "SECRET_KEY", "generateValue": True}
    assert "SECRET_KEY" not in text("fly.toml") + text("Dockerfile")


def test_the_ports_agree() -> None:
    fly, port = loaded("fly.toml"), environment_of_the_image()["PORT"]

    assert dict(dockerfile())["EXPOSE"] == port
    assert fly["env"]["PORT"] == str(fly["http_service"]["internal_port"]) == port
    assert services()["bridge"]["environment"]["PORT"] == port
    assert services()["bridge"]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert services()["caddy"]["command"].endswith(f"bridge:{port}")


def test_the_image_is_slim_of_one_python_and_not_run_by_root() -> None:
    bases = {rest.partition(" ")[0] for word, rest in dockerfile() if word == "FROM"}
    (base,) = bases

    assert re.fullmatch(r"python:3\.(1[1-9]|[2-9]\d)-slim", base)
    # A name would be unknown to whoever checks that it is not root.
    assert dict(dockerfile())["USER"] == "1000:1000"
    # Railway refuses this line.
    assert "VOLUME" not in dict(dockerfile())


def test_all_that_an_image_copies_is_sent_to_its_builder() -> None:
    sent = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    every = "\n".join([text("Dockerfile"), *(path.read_text(encoding="utf-8") for path in PAGES)])

    assert set(re.findall(r"^COPY (?!--from)(\S+)", every, re.MULTILINE)) == sent


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_has_each_section_that_it_needs(path: Path) -> None:
    found = unit(path)

    kind = "Timer" if path.suffix == ".timer" else "Service"
    assert {"Unit", kind} <= set(found.sections())
    if kind == "Service":
        service = found["Service"]
        state = f"/var/lib/{service['StateDirectory']}"
        assert service["WorkingDirectory"] == state
        assert service["ProtectSystem"] == "strict"
        assert service["User"] != "root"
    else:
        assert path.with_suffix(".service").exists()


def test_the_services_differ_in_what_they_run_and_in_nothing_that_protects() -> None:
    stays, comes = (
        dict(unit(DEPLOY / name)["Service"])
        for name in ("ownyourtrakt.service", "ownyourtrakt-poll.service")
    )

    assert comes.keys() <= stays.keys()
    assert {key for key in comes if comes[key] != stays[key]} == {"Type", "ExecStart"}


def test_each_unit_is_put_where_systemd_looks_by_a_line_of_its_page() -> None:
    page = (DEPLOY / "systemd.md").read_text(encoding="utf-8")
    copied = re.findall(r"cp (docs/deploy/\S+) /etc/systemd/system/\s+(?:&& )?(.*)", page)

    assert sorted(path for names, _ in copied for path in ROOT.glob(names)) == UNITS
    assert all(then.startswith("systemctl daemon-reload") for _, then in copied)


def test_the_page_on_sleep_says_what_to_do_wherever_it_says_that_they_sleep() -> None:
    page = (DEPLOY / "sleep.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", page, re.MULTILINE))

    assert {"Heroku", "Render", "Fly"} <= rows.keys()
    # There the settings lie elsewhere, as systemd.md says, and cron would find none.
    assert "/opt/ownyourtrakt" not in rows["cron"]


@pytest.mark.parametrize(
    "path", [path for path in PAGES if path.name != "sleep.md"], ids=lambda path: path.name
)
def test_each_page_says_what_it_costs_and_what_was_not_tried(path: Path) -> None:
    page = path.read_text(encoding="utf-8")

    assert "**Cost**" in page
    assert re.search(r"[Nn]ot tried|nobody has built", page)
