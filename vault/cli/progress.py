"""A progress bar on stderr for what takes more than a second."""

import sys
import threading
import time

from vault.cli.text import clean, size

_PATIENCE = 1.0  # seconds before a bar appears
_PAUSE = 0.1  # seconds between two pictures
_BAR = 24


class Bar:
    """One line that shows how far work has come; several threads may report to it."""

    def __init__(self) -> None:
        """Begin to wait; nothing is shown yet."""
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._drawn = 0.0
        self._shown = False
        self._what = ""
        self._began = self._started

    def report(self, done: int, total: int, what: str) -> None:
        """Take `done` of `total` (bytes, or small numbers of steps) of `what`."""
        now = time.monotonic()
        with self._lock:
            if what != self._what:
                self._what, self._began = what, now
            if now - self._started < _PATIENCE or now - self._drawn < _PAUSE:
                return
            self._drawn = now
            self._shown = True
            self._write("\r\x1b[K" + line(done, total, what, now - self._began, _columns()))

    def clear(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._shown:
                self._shown = False
                self._write("\r\x1b[K")

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # nobody is there to look at it


def line(done: int, total: int, what: str, seconds: float, columns: int) -> str:
    """Picture the progress of one step in at most `columns - 1` characters."""
    share = min(done / total, 1.0) if total > 0 else 0.0
    filled = round(share * _BAR)
    text = f" {'█' * filled}{'░' * (_BAR - filled)} {share:4.0%}"
    if total >= 1_000_000:
        text += f"  {size(done)} of {size(total)}"
        if seconds > 0.5 and done:
            text += f"  {max(0, round((total - done) * seconds / done))} s left"
    room = columns - 1 - len(text)
    if room < 4:
        return f"{share:4.0%}"
    name = clean(what)
    return (name if len(name) <= room else f"{name[: room - 1]}…") + text


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
