"""Which of the bridge's keys may be lost, so that its person must rightly grant a new one."""

import json
from dataclasses import dataclass, field

from app.demo.trakt_door import Answer
from tests.torture.fates import Where

Holder = tuple[Where, str]


@dataclass(slots=True)
class Keys:
    """Pairs on their way, and those that may not have arrived.

    A new pair has arrived when its access token is used: the bridge commits it before that.
    """

    fresh: dict[str, Holder] = field(default_factory=dict)
    lost: set[Holder] = field(default_factory=set)

    def given(self, holder: Holder, answer: Answer, *, arrives: bool) -> None:
        """Note a pair that a token endpoint gave out; ``arrives``: nothing was in its way."""
        if answer.status >= 400:
            return
        if arrives:
            self.fresh[json.loads(answer.body)["access_token"]] = holder
        else:
            self.lost.add(holder)

    def used(self, authorization: str) -> None:
        """Note that an access token was used."""
        self.fresh.pop(authorization.removeprefix("Bearer "), None)

    def died(self) -> None:
        """Note that the bridge died: what it had just been given may be lost."""
        self.lost |= set(self.fresh.values())
        self.fresh.clear()

    def refused(self, holder: Holder) -> None:
        """Note that a key was refused, or is an old one again."""
        self.lost.add(holder)

    def excused(self, where: Where, name: str) -> bool:
        """Tell whether this key may have been lost, and forget that it was."""
        is_lost = (where, name) in self.lost
        self.lost.discard((where, name))
        return is_lost
