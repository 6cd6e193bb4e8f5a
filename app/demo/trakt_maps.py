"""The maps of the simulated Trakt: ``/sync/watched`` with ``extended=min``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from app.demo.catalogue import EpisodeOf
from app.demo.trakt_history import KINDS, BadDays, History, Play, stamp


@dataclass(frozen=True, slots=True)
class Form:
    """Which map a request asks for: of what, with the specials, with the seasons' numbers."""

    kind: str
    specials: bool
    with_numbers: bool


class Maps:
    """What was watched when, by id.

    A map is kept until something changes: one of 100,000 plays takes a while to make and may be
    read in hundreds of pages.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.made_of: tuple[int, BadDays] | None = None
        self.made: dict[Form, Mapping[str, object]] = {}

    def asked(self, form: Form) -> Mapping[str, object]:
        """Return a map as it is now."""
        made_of = (self.history.version, self.history.bad_days)
        if self.made_of != made_of:
            self.made_of, self.made = made_of, {}
        if form not in self.made:
            self.made[form] = map_of(self.history, form)
        return self.made[form]


def map_of(history: History, form: Form) -> Mapping[str, object]:
    """Return the map that ``form`` asks for, as Trakt makes it on a bad day."""
    bad_days = history.bad_days
    if bad_days.empty_maps:
        return {}
    plays = [
        play
        for play in history.watched(bad_days.stale_maps)
        if play.kind == KINDS[form.kind] and (form.specials or not is_special(play))
    ]
    times: Mapping[str, object] = (
        times_by_show(plays, with_numbers=form.with_numbers)
        if form.kind == "shows"
        else times_by_id(plays)
    )
    return dict(islice(times.items(), len(times) // 2)) if bad_days.shortened_maps else times


def times_by_id(plays: Iterable[Play]) -> dict[str, list[str]]:
    """Return ``{"<film or episode>": [times]}``."""
    times: dict[str, list[str]] = {}
    for play in plays:
        times.setdefault(str(play.work.trakt), []).append(stamp(play.watched_at))
    return times


def times_by_show(plays: Iterable[Play], *, with_numbers: bool) -> dict[str, object]:
    """Return ``{"<show>": {"<season>" or "<season>|<number>": {"<episode>": [times]}}}``."""
    shows: dict[str, dict[str, list[Play]]] = {}
    for play in plays:
        match play.work:
            case EpisodeOf(show=show, season=number, season_id=season_id) if show:
                season = f"{season_id}|{number}" if with_numbers else str(season_id)
                shows.setdefault(str(show.trakt), {}).setdefault(season, []).append(play)
    return {
        show: {season: times_by_id(seen) for season, seen in seasons.items()}
        for show, seasons in shows.items()
    }


def is_special(play: Play) -> bool:
    """Tell whether ``play`` is one of season 0."""
    return isinstance(play.work, EpisodeOf) and play.work.season == 0
