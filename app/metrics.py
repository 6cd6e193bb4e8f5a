"""What the bridge counts about itself, in Prometheus' form (docs/metrics.md tells each meaning).

Each app counts for itself: two in one process share nothing. Labels take a few fixed words; none
names a person, a site, an address or a page, so whoever reads the figures learns of nobody.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from traceback import extract_tb

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from app import __version__
from app.errors import (
    AddressBlocked,
    FetchError,
    GrantBusy,
    GrantLost,
    NeverSent,
    SiteBusy,
    SiteLocked,
    SiteMoved,
    SiteRefused,
    SiteSilent,
    SourceBusy,
    SourceClosed,
    SourceGarbled,
    SourceLocked,
    TokenRefused,
)

# Each counter would come with the moment of its birth, which tells nobody anything.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves it untyped

# So many bugs are remembered, to be shown to the operator.
MOST_BUGS = 20
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 600.0)
DONE = "done"
# Leaves of the error tree, by what they mean to who watches; the first that fits counts.
OUTCOMES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    ((SourceBusy, SiteBusy, GrantBusy), "busy"),
    ((SourceLocked, SiteLocked, GrantLost, TokenRefused), "locked"),
    (SourceClosed, "closed"),
    (SourceGarbled, "garbled"),
    (SiteMoved, "moved"),
    (SiteRefused, "refused"),
    (SiteSilent, "silent"),
    (AddressBlocked, "blocked"),
    (NeverSent, "never_sent"),
    (FetchError, "answer_lost"),
    (TimeoutError, "timeout"),
)


def outcome(error: Exception | None) -> str:
    """Return the word for how something ended."""
    if error is None:
        return DONE
    return next((word for kinds, word in OUTCOMES if isinstance(error, kinds)), "bug")


def status_class(ended: int | Exception) -> str:
    """Return the word for an answer: ``2xx`` and the like, or why there was none."""
    return f"{ended // 100}xx" if isinstance(ended, int) else outcome(ended)


@dataclass(frozen=True, slots=True)
class Bug:
    """A fault of our own: when, in what, and where in the code; never what it said, or of whom."""

    at: datetime
    job: str
    kind: str
    place: str


class Metrics:
    """The counters of one app, and the last bugs in it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.bugs: deque[Bug] = deque(maxlen=MOST_BUGS)
        # When the gauges that ask the database were last set.
        self.measured_at: datetime | None = None
        ProcessCollector(registry=registry)
        self.jobs = Counter(
            "ownyourtrakt_jobs",
            "Pieces of work that ended, by kind and outcome.",
            ["job", "outcome"],
            registry=registry,
        )
        self.job_seconds = Histogram(
            "ownyourtrakt_job_duration_seconds",
            "How long pieces of work took, by kind.",
            ["job"],
            buckets=SECONDS,
            registry=registry,
        )
        self.bug_count = Counter(
            "ownyourtrakt_bugs",
            "Faults of the bridge itself, by where they showed.",
            ["job"],
            registry=registry,
        )
        self.requests = Counter(
            "ownyourtrakt_requests",
            "Requests that the bridge sent, by neighbour and class of answer.",
            ["neighbour", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "ownyourtrakt_request_duration_seconds",
            "How long requests to a neighbour took, until the whole answer was read.",
            ["neighbour"],
            buckets=SECONDS,
            registry=registry,
        )
        self.refreshes = Counter(
            "ownyourtrakt_refreshes",
            "Renewals of tokens, by whose they are and outcome.",
            ["neighbour", "outcome"],
            registry=registry,
        )
        self.messages = Counter(
            "ownyourtrakt_messages",
            "Notifications handed to a service, by whether it took them.",
            ["outcome"],
            registry=registry,
        )
        self.page_seconds = Histogram(
            "ownyourtrakt_page_duration_seconds",
            "How long answers to browsers and others took, by class of answer.",
            ["status"],
            buckets=SECONDS,
            registry=registry,
        )
        self.gauges = Gauges(registry)

    @contextmanager
    def timed(self, job: str) -> Iterator[None]:
        """Measure how long a piece of work takes, however it ends."""
        began = perf_counter()
        try:
            yield
        finally:
            self.job_seconds.labels(job).observe(perf_counter() - began)

    def ended(self, job: str, error: Exception | None = None) -> None:
        """Count a piece of work that ended."""
        self.jobs.labels(job, outcome(error)).inc()

    def bug(self, job: str, error: BaseException, now: datetime) -> None:
        """Count a fault of our own, and remember where it was."""
        self.bug_count.labels(job).inc()
        frames = [frame for frame in extract_tb(error.__traceback__) if is_ours(frame.filename)]
        place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        self.bugs.append(Bug(now, job, type(error).__name__, place))

    def asked(self, neighbour: str, ended: int | FetchError, seconds: float) -> None:
        """Count a request that the bridge sent, by the status of its answer or why none came."""
        self.requests.labels(neighbour, status_class(ended)).inc()
        self.request_seconds.labels(neighbour).observe(seconds)


class Gauges:
    """What is asked for when somebody wants to know, see `app.web.health`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, meaning: str, *labels: str) -> Gauge:
            return Gauge(f"ownyourtrakt_{name}", meaning, labels, registry=registry)

        gauge("build_info", "Always 1; the version is in its label.", "version").labels(
            __version__
        ).set(1)
        self.accounts = gauge("accounts", "Accounts.")
        self.posts = gauge("posts", "Posts, by state.", "state")
        self.connections = gauge("connections", "Connections to Trakt, by how they are.", "health")
        self.sites = gauge("sites", "Websites, by how they are.", "health")
        self.notices = gauge("open_notices", "What people are told or asked now.", "kind")
        self.overdue = gauge("overdue_polls", "Polls that are due and not under way.")
        self.overdue_seconds = gauge(
            "oldest_overdue_poll_seconds", "For how long the oldest of them has been due."
        )
        self.queue_seconds = gauge(
            "oldest_due_post_seconds",
            "For how long the oldest post that may leave has been due.",
        )
        self.beat_seconds = gauge(
            "scheduler_beat_age_seconds", "How long ago any process's scheduler last showed life."
        )
        self.budget_left = gauge(
            "trakt_budget_left", "Requests that this process may still send to Trakt now."
        )
        self.budget = gauge("trakt_budget_limit", "Requests to Trakt in five minutes, at most.")


def is_ours(filename: str) -> bool:
    """Tell whether a file is part of this program."""
    return Path(filename).is_relative_to(Path(__file__).parent)
