"""``python -m tests.django_site.server --data FOLDER``: serve the website of ada.

Prints ``ready`` and its origin on standard output as soon as it listens.
"""

import argparse
import os
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application


class Server(ThreadingMixIn, WSGIServer):
    """One thread per connection: browsers open some that they leave idle."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Answers requests without a line for each on standard error."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Set up a website in the given folder, unless it is there already, and serve it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    with Server(("127.0.0.1", arguments.port), Quiet) as server:
        origin = f"http://127.0.0.1:{server.server_port}"
        set_up(origin, arguments.data)
        server.set_app(get_wsgi_application())
        sys.stdout.write(f"ready {origin}\n")
        sys.stdout.flush()
        server.serve_forever()


def set_up(origin: str, data: Path) -> None:
    """Make Django, its database, and the person ready; ``data`` may hold an earlier website."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django_site.settings"
    os.environ["DJANGO_SITE_ORIGIN"] = origin
    os.environ["DJANGO_SITE_DATA"] = str(data)
    django.setup()
    call_command("migrate", verbosity=0)
    users = get_user_model().objects
    ada = users.filter(username="ada").first() or users.create_superuser("ada", password="password")
    profiles = apps.get_model("indieweb", "Profile").objects
    profiles.update_or_create(user=ada, defaults={"name": "Ada", "url": f"{origin}/"})


if __name__ == "__main__":
    main()
