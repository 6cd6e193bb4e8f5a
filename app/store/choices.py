"""All that a person chose, as one file: written, read again, and kept.

Only choices are in it: no key, no address for messages (which may hold one), and nothing that
was watched. Each part says here in one line how it is written, read and kept.
"""

import difflib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.abilities import Ability, overruled
from app.errors import ChoiceRefused
from app.hentry import zone
from app.outbox import LONGEST_HOURS, Unsure
from app.rules import Rules, RulesError
from app.rules import from_json as rules_from_json
from app.rules import to_json as rules_to_json
from app.store import abilities, accounts, rules
from app.style import from_json, kept, to_json
from app.tables import AccountRow, SiteRow

# It stands for what the names of the parts mean; a part may have a version of its own.
VERSION = 1
# By this name a file says that it is one of ours.
MARK = "ownyourtrakt"
OURS = "Bring the file that the page “Settings as a file” gave you to download."
# Each part that nobody knows is named; no bridge will ever write so many.
MOST_PARTS = 100
# Nobody reads on, and a page of fifty thousand faults would keep everybody waiting.
MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the file.

    ``write`` returns it as plain data, None where there is nothing that could be read again.
    ``read`` returns it as a value, or raises ChoiceRefused with what is wrong with each field;
    what it lacks is as at first. ``keep`` stores such a value for an account.
    """

    write: Callable[[AccountRow, SiteRow], object]
    read: Callable[[object], Any]
    keep: Callable[[AsyncSession, int, Any, datetime], Awaitable[None]]


def read_zone(data: object) -> str:
    """Return the name of a time zone."""
    if not isinstance(data, str) or zone(data) is None:
        raise ChoiceRefused({"": "It must be the name of a time zone, such as “Europe/Vienna”."})
    return data


def read_unsure(data: object) -> tuple[Unsure, int]:
    """Return what becomes of a post of which nobody can tell whether it arrived."""
    if not isinstance(data, Mapping):
        raise ChoiceRefused({"": "It must be an object with choice and hours."})
    choice, hours = data.get("choice", Unsure.ASK), data.get("hours", 24)
    problems = {}
    if choice not in list(Unsure):
        problems["choice"] = f"It must be one of: {', '.join(Unsure)}."
    if isinstance(hours, bool) or not isinstance(hours, int) or not 1 <= hours <= LONGEST_HOURS:
        problems["hours"] = f"It must be a whole number from 1 to {LONGEST_HOURS}."
    if problems:
        raise ChoiceRefused(problems)
    return Unsure(choice), hours


async def keep_unsure(
    session: AsyncSession, key: int, chosen: tuple[Unsure, int], now: datetime
) -> None:
    """Store what `read_unsure` returned."""
    await accounts.set_unsure_choice(session, key, *chosen, now)


def write_rules(account: AccountRow, _: SiteRow) -> object:
    """Return an account's rules as plain data, None where nobody can tell what they are."""
    try:
        return rules_to_json(rules.of(account))
    except RulesError:
        return None


def read_rules(data: object) -> Rules:
    """Return a person's rules; what is wrong is told by the number of the rule and its field."""
    try:
        return rules_from_json(data)
    except RulesError as error:
        raise ChoiceRefused(
            {
                f"{problem.number or ''}.{problem.field}".lstrip("."): problem.said
                for problem in error.problems
            }
        ) from error


async def keep_rules(session: AsyncSession, key: int, found: Rules, now: datetime) -> None:
    """Store what `read_rules` returned; ``now`` does not matter."""
    del now
    if account := await rules.hold(session, key):
        rules.put(account, found)


def write_abilities(_: AccountRow, site: SiteRow) -> object:
    """Return the person's own word on what their site can do."""
    known = abilities.of(site)
    words = {ability: known.by_person(ability) for ability in Ability}
    return {str(ability): can for ability, can in words.items() if can is not None}


def read_abilities(data: object) -> dict[Ability, bool | None]:
    """Return a person's word on each ability; None: as it is found."""
    if not isinstance(data, Mapping):
        raise ChoiceRefused({"": "It must be an object of abilities with true or false."})
    names = {str(ability) for ability in Ability}
    problems = {}
    for name, can in data.items():
        if name not in names:
            problems[name] = f"There is no such ability. There are: {', '.join(sorted(names))}."
        elif not isinstance(can, bool):
            problems[name] = "It must be true or false."
    if problems:
        raise ChoiceRefused(problems)
    return {ability: data.get(str(ability)) for ability in Ability}


async def keep_abilities(
    session: AsyncSession, key: int, said: dict[Ability, bool | None], now: datetime
) -> None:
    """Store what `read_abilities` returned."""
    if site := await accounts.site_of(session, key):
        await abilities.change(
            session, key, site.micropub, lambda known: overruled(known, said, now)
        )


PARTS = {
    "timezone": Part(
        lambda account, _: account.timezone if zone(account.timezone) else None,
        read_zone,
        lambda session, key, name, _: accounts.set_timezone(session, key, name),
    ),
    "lost_answers": Part(
        lambda _, site: {"choice": site.unsure_choice, "hours": site.unsure_hours},
        read_unsure,
        keep_unsure,
    ),
    "posts": Part(
        lambda account, _: to_json(kept(account.style)),
        from_json,
        lambda session, key, style, _: accounts.set_style(session, key, to_json(style)),
    ),
    "rules": Part(write_rules, read_rules, keep_rules),
    "site_can": Part(write_abilities, read_abilities, keep_abilities),
}


def exported(account: AccountRow, site: SiteRow) -> str:
    """Return all that a person chose as the text of a file."""
    parts = {name: part.write(account, site) for name, part in PARTS.items()}
    told = {name: data for name, data in parts.items() if data is not None}
    return json.dumps({MARK: VERSION, **told}, ensure_ascii=False, indent=2) + "\n"


def read(text: str) -> dict[str, Any]:
    """Return the values of a file by the names of its parts.

    Raises ChoiceRefused, which says of each field of which part what is wrong with it.
    """
    data = document(text)
    problems: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, found in data.items():
        if name == MARK:
            continue
        if name not in PARTS:
            problems[name] = unknown(name)
            continue
        try:
            values[name] = PARTS[name].read(found)
        except ChoiceRefused as refused:
            problems |= {
                f"{name}.{field}".rstrip("."): said for field, said in refused.problems.items()
            }
    if len(problems) > MOST_FAULTS:
        told = dict(islice(problems.items(), MOST_FAULTS))
        raise ChoiceRefused({"": f"It has {len(problems):,} faults; the first are told.", **told})
    if problems:
        raise ChoiceRefused(problems)
    return values


def document(text: str) -> dict[str, Any]:
    """Return what a file holds, if it is one of ours. Raises ChoiceRefused."""
    try:
        data = json.loads(text)
        # Half a character can be spelled in JSON, and neither stored nor shown.
        json.dumps(data, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        said = f"It is not JSON: {where}: {error.msg}. {OURS}"
        raise ChoiceRefused({"": said}) from error
    except (ValueError, RecursionError) as error:
        raise ChoiceRefused({"": f"It is not JSON that can be read. {OURS}"}) from error
    if not isinstance(data, dict) or MARK not in data:
        said = (
            f"It is not a file of settings: it must be an object with “{MARK}”: {VERSION}. {OURS}"
        )
        raise ChoiceRefused({"": said})
    if len(data) > MOST_PARTS:
        raise ChoiceRefused({"": f"It has {len(data):,} parts; no bridge writes so many."})
    number = data[MARK]
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ChoiceRefused({MARK: f"It must be a whole number from 1 to {VERSION}."})
    if number > VERSION:
        said = f"It is {number}, and this bridge knows {VERSION}: a newer one wrote the file."
        raise ChoiceRefused({MARK: f"{said} Update the bridge first."})
    return data


def unknown(name: str) -> str:
    """Return what is said of a part that nobody knows."""
    near = difflib.get_close_matches(name, PARTS, 1)
    meant = f"; did you mean “{near[0]}”?" if near else ", or a newer one wrote the file."
    return f"This bridge knows no such part{meant}"


async def keep(session: AsyncSession, key: int, values: Mapping[str, Any], now: datetime) -> None:
    """Store what a file holds; what it does not name stays as it is."""
    # In the order in which all others lock, whatever the order of the parts.
    await accounts.granted(session, key)
    for name, value in values.items():
        await PARTS[name].keep(session, key, value, now)
