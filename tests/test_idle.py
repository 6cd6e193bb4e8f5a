"""What a server that nobody uses does without."""

import subprocess
import sys

# Megabytes of parsers, of the maker of migrations, and of a hundred services to notify by.
SPARED = ("alembic", "apprise", "authlib", "bs4", "html5lib", "mf2py", "psycopg", "requests")


def test_a_server_that_starts_loads_nothing_that_only_some_requests_need() -> None:
    script = (
        "import sys, app.cli; from app.main import create_app; from app import settings; "
        "create_app(settings.load(_env_file=None, secret_key='s' * 32)); "
        f"print(*[name for name in {SPARED} if name in sys.modules])"
    )

    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own words

    assert ended.stdout.strip() == ""
