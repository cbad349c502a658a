"""Progress, on a terminal as a live bar and elsewhere as a line now and then.

Knows: how far, how fast, how long still. Refuses to know: what is being moved. `update` may be called for
every chunk: it draws at most ten times a second.
"""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from rudp.cli.common import rate_text, size_text, time_text

__all__ = ["Meter"]

DRAW_INTERVAL = 0.1


class Meter:
    """A context manager; `done` counts bytes up to `total` (None when nobody knows)."""

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        done: int = 0,
        to_stderr: bool = False,
        line_interval: float = 2.0,
    ) -> None:
        self._console = Console(stderr=to_stderr, highlight=False)
        self._label = label
        self._total = total
        self._start = done
        self._live: Live | None = None
        self._draws = self._console.is_terminal and not self._console.is_dumb_terminal
        self._interval = DRAW_INTERVAL if self._draws else line_interval
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            expand=True,
        )
        self._task = self._progress.add_task(label, total=total, completed=done)
        self._began = self._drawn = time.monotonic()

    def __enter__(self) -> Meter:
        self._began = self._drawn = time.monotonic()
        if self._draws:
            self._live = Live(console=self._console, auto_refresh=False, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, done: int, note: str = "", *, now: bool = False) -> None:
        """Show that `done` bytes are through; `note` is a second line. `now` draws whatever the time."""
        moment = time.monotonic()
        if not now and moment - self._drawn < self._interval:
            return
        self._drawn = moment
        if self._live is not None:
            self._progress.update(self._task, completed=done)
            second = Text("  " + note, no_wrap=True, overflow="ellipsis")
            # Two columns stay free for the ^C that a terminal shows, which would otherwise break the line.
            shown = Group(self._progress, second) if note else self._progress
            self._live.update(Constrain(shown, max(1, self._console.width - 2)), refresh=True)
        else:
            self._console.print(self._line(done, moment, note), soft_wrap=True)

    def _line(self, done: int, moment: float, note: str) -> str:
        seconds = moment - self._began
        moved = done - self._start
        text = f"{self._label}: {size_text(done)}"
        speed = rate_text(moved, seconds)
        if note:
            return f"{text}, {speed}, {note}"
        if self._total is None:
            return f"{text}, {speed}"
        text += f" of {size_text(self._total)}, {speed}"
        left = (self._total - done) * seconds / moved if moved > 0 else 0.0
        return f"{text}, {time_text(left)} left" if left > 0 else text
