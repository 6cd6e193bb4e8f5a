"""The time, for all processes: the world's clock, and the bridge's, which may be wrong."""

import mmap
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path

LAYOUT = struct.Struct("dd")
NOWHERE = bytes(LAYOUT.size)


class SharedClock:
    """Two offsets in a small file that every process maps.

    The first is what the world's clock is ahead of the real one, the second what the bridge's
    clock is ahead of the world's. Both flow as real time does.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(NOWHERE)
        with path.open("r+b") as file:
            self.shared = mmap.mmap(file.fileno(), LAYOUT.size)

    def world(self) -> datetime:
        """Return the true time, by which the simulators live."""
        return datetime.now(UTC) + timedelta(seconds=self.offsets[0])

    def bridge(self) -> datetime:
        """Return what the clock of the bridge's machine shows."""
        return datetime.now(UTC) + timedelta(seconds=sum(self.offsets))

    @property
    def offsets(self) -> tuple[float, float]:
        ahead, wrong = LAYOUT.unpack_from(self.shared)
        return ahead, wrong

    def passes(self, span: timedelta) -> None:
        """Let the world grow older."""
        ahead, wrong = self.offsets
        LAYOUT.pack_into(self.shared, 0, ahead + span.total_seconds(), wrong)

    def goes_wrong_by(self, span: timedelta) -> None:
        """Set the clock of the bridge's machine wrong; by nothing: right again."""
        LAYOUT.pack_into(self.shared, 0, self.offsets[0], span.total_seconds())
