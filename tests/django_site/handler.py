"""Where django-indieweb puts the posts it is sent: a JSON file in the data folder."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from indieweb.handlers import InMemoryMicropubHandler, MicropubEntry, MicropubEntryList

# The server has several threads, and every request brings a handler of its own.
ONE_AT_A_TIME = threading.Lock()


class Handler(InMemoryMicropubHandler):  # type: ignore[misc]  # it ships no types
    """The in-memory handler with a file for a memory, because it lives for one request only."""

    def create_entry(self, properties: dict[str, list[Any]], user: object) -> MicropubEntry:
        """Keep ``properties`` as they came, at a new URL."""
        del user
        with self.remembering():
            number = len(self.entries) + len(self.deleted_entries) + 1
            entry = MicropubEntry(f"{settings.ORIGIN}/posts/{number}", properties)
            self.entries[entry.url] = entry
            return entry

    def update_entry(self, url: str, updates: dict[str, Any], user: object) -> MicropubEntry:
        with self.remembering():
            return super().update_entry(url, updates, user)

    def delete_entry(self, url: str, user: object) -> None:
        with self.remembering():
            super().delete_entry(url, user)

    def undelete_entry(self, url: str, user: object) -> MicropubEntry:
        with self.remembering():
            return super().undelete_entry(url, user)

    def get_entry(self, url: str, user: object) -> MicropubEntry | None:
        with self.remembering():
            return super().get_entry(url, user)

    def list_entries(
        self, user: object, *, limit: int | None = None, offset: int = 0, **others: object
    ) -> MicropubEntryList:
        """Return the posts with the newest date first."""
        del user, others
        with self.remembering():
            entries = sorted(self.entries.values(), key=published, reverse=True)
            page = entries[offset:][:limit]
            return MicropubEntryList(page, len(entries))

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Read the file before, and write it after, what is done to the posts."""
        with ONE_AT_A_TIME:
            file = settings.DATA / "posts.json"
            posts = json.loads(file.read_text()) if file.exists() else []
            for post in posts:
                entries = self.deleted_entries if post["deleted"] else self.entries
                entries[post["url"]] = MicropubEntry(post["url"], post["properties"])
            yield
            file.write_text(json.dumps(self.posts()))

    def posts(self) -> list[dict[str, Any]]:
        """Return all posts as JSON, the deleted ones last."""
        return [
            {"url": entry.url, "properties": entry.properties, "deleted": deleted}
            for entries, deleted in ((self.entries, False), (self.deleted_entries, True))
            for entry in entries.values()
        ]


def published(entry: MicropubEntry) -> datetime:
    """Return the date a post gives as its own; without one it counts as the oldest."""
    text = entry.get_property("published", "0001-01-01")
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
