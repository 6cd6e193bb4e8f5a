import re
from pathlib import Path

import pytest

from app import settings
from app.settings import Settings, SettingsError

ROOT = Path(__file__).parents[1]
KEY = "k" * 32


def loaded(**values: object) -> Settings:
    return settings.load(_env_file=None, **{"secret_key": KEY, **values})


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_those_of_the_contract() -> None:
    found = loaded()

    assert (found.port, found.poll_interval, found.trakt_gets_per_5_min) == (8000, 1800, 500)
    assert found.base_url == "http://localhost:8000"
    assert found.trakt_api_url == "https://api.trakt.tv"
    assert found.trakt_auth_url == "https://auth.trakt.tv"
    assert found.database_url == "sqlite+aiosqlite:///./data/ownyourtrakt.db"


def test_the_environment_is_read_by_names_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", f"{KEY},{'o' * 40}")
    monkeypatch.setenv("BASE_URL", "https://Watch.example/")
    monkeypatch.setenv("DATABASE_URL", "postgres://u:p@db/bridge?sslmode=require")
    monkeypatch.setenv("ALLOWED_SITES", "ada.example, https://bob.example/")

    found = settings.load(_env_file=None)

    assert found.secret_key == (KEY, "o" * 40)
    assert found.base_url == "https://watch.example"
    assert found.redirect_uri == "https://watch.example/trakt/callback"
    assert found.database_url == "postgresql+psycopg://u:p@db/bridge?sslmode=require"
    assert found.allowed_sites == ("ada.example", "https://bob.example/")
    assert found.secure


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"secret_key": ""}, "SECRET_KEY"),
        ({"secret_key": "short"}, "SECRET_KEY"),
        ({"secret_key": f"{KEY},short"}, "SECRET_KEY"),
        ({"port": "eighty"}, "PORT"),
        ({"port": "99999"}, "PORT"),
        ({"base_url": "watch.example"}, "BASE_URL"),
        ({"base_url": "https://watch.example/path"}, "BASE_URL"),
        ({"database_url": "mysql://x"}, "DATABASE_URL"),
        ({"poll_interval": "0"}, "POLL_INTERVAL"),
        ({"allow_private_networks": "10.0.0.0/99"}, "ALLOW_PRIVATE_NETWORKS"),
        ({"trakt_gets_per_5_min": "many"}, "TRAKT_GETS_PER_5_MIN"),
        ({"log_format": "xml"}, "LOG_FORMAT"),
        ({"metrics_token": "short"}, "METRICS_TOKEN"),
        ({"metrics_token": "with spaces in between"}, "METRICS_TOKEN"),
        ({"heartbeat_url": "hc.example/key"}, "HEARTBEAT_URL"),
        ({"heartbeat_url": "https://ada:hush@hc.example/"}, "HEARTBEAT_URL"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(values: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(**values)

    assert str(caught.value).startswith(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"poll_interval": "often"}, "POLL_INTERVAL is 'often'; it must be a whole number"),
        ({"port": "99999"}, "PORT is '99999'; it must be 65535 or less"),
        ({"log_format": "xml"}, "LOG_FORMAT is 'xml'; it must be 'text' or 'json'"),
    ],
)
def test_a_wrong_value_is_said_in_words_of_ours(values: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(**values)

    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite://data/bridge.db",
    ],
)
def test_a_sqlite_database_must_be_a_file(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^DATABASE_URL must name a file: sqlite:///\./data/"):
        loaded(database_url=url)


def test_a_missing_secret_key_says_how_to_make_one() -> None:
    with pytest.raises(SettingsError, match=r"SECRET_KEY is missing.*token_urlsafe"):
        settings.load(_env_file=None)


def test_no_secret_is_shown() -> None:
    found = loaded(
        trakt_client_secret="hush",
        database_url="postgres://u:hush@db/x",
        heartbeat_url="https://hc.example/hush",
    )

    assert "hush" not in repr(found)
    assert KEY not in repr(found)


def test_a_wrong_secret_is_not_shown_in_the_complaint() -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(secret_key="hush")

    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://localhost:8000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:8000", True),
        ("https://watch.example", False),
        ("http://192.168.1.5:8000", False),
    ],
)
def test_only_an_address_of_this_machine_counts_as_loopback(url: str, *, loopback: bool) -> None:
    assert loaded(base_url=url).is_loopback is loopback


def test_the_example_file_lists_every_setting_and_nothing_else() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    names = set(re.findall(r"^([A-Z_0-9]+)=", example, re.MULTILINE))

    assert names == {name.upper() for name in Settings.model_fields} - {"DEMO_SITE", "WAITS"}


def test_the_example_file_says_what_the_program_does(tmp_path: Path) -> None:
    copied = (ROOT / ".env.example").read_text(encoding="utf-8")
    own = tmp_path / ".env"
    own.write_text(copied.replace("SECRET_KEY=\n", f"SECRET_KEY={KEY}\n"), encoding="utf-8")

    assert settings.load(_env_file=own) == loaded()


def test_nothing_but_the_settings_reads_the_environment() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "app").rglob("*.py")
        if re.search(r"\benviron\b|getenv", path.read_text(encoding="utf-8"))
    ]

    # The demo looks whether there is a screen to open a browser on, and platforms that throw
    # their disk away show themselves by variables of theirs.
    assert sorted(readers) == ["app/demo/run.py", "app/disk.py"]
