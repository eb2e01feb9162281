"""What the runner wants of a switch under test."""
import contextlib
import dataclasses
import signal
import os
import time

from lab import machine

# Less than this part of what came in went out: then the figure is one of dropping.
LEAST_FORWARDED = 0.98
# The polling thread had its CPU for less than this part of a window: then the window is taken again, a few times.
_LEAST_SHARE = 0.95
_ATTEMPTS = 5
_PATIENCE = 2  # seconds that what surrounds a window may take


class Unmeasurable(Exception):
    """This cell cannot be had, and why."""


@dataclasses.dataclass
class Window:
    """What a switch did in a while."""

    seconds: float
    packets: int  # that left it
    cycles: float  # TSC cycles a packet, receive and transmit included
    more: dict = dataclasses.field(default_factory=dict)

    @property
    def mpps(self):
        return self.packets / self.seconds / 1e6


class System:
    """A switch between start and close(); stopped (SIGSTOP) except while it is measured.

    A subclass sets `pids`, `threads` (those of the first process that poll, which become real-time) and defines
    observe().
    """

    name = None
    march = None

    def observe(self, seconds):
        """A Window of so many seconds; traffic flows already."""
        raise NotImplementedError

    def ready(self):
        """Called before each window: what must be true by then."""

    def pause(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.pids:
            os.kill(pid, signal.SIGCONT)

    def measure(self, seconds):
        with machine.turn():
            self.resume()
            try:
                self.ready()
                for attempt in range(_ATTEMPTS):
                    time.sleep(attempt)
                    with machine.RealTime(self.threads, 3 * seconds + _PATIENCE) as real_time:
                        time.sleep(0.05)
                        window, share = self._observe(seconds)
                    undisturbed = share > _LEAST_SHARE and not real_time.cut_short
                    if window is not None and (undisturbed or not real_time.allowed):
                        return window
                raise Unmeasurable(f"its polling thread had CPU {machine.SWITCH_CPU} for {share:.0%} of the time only")
            finally:
                self.pause()

    def _observe(self, seconds):
        """The window, and the part of it for which the polling thread that had the least had its CPU."""
        run_time = lambda: [machine.run_time(self.pids[0], thread) for thread in self.threads]
        began, before = time.monotonic(), run_time()

        def share():
            elapsed = time.monotonic() - began
            return min(after - first for after, first in zip(run_time(), before)) / elapsed

        try:
            window = self.observe(seconds)
        except Unmeasurable:
            if share() > _LEAST_SHARE:
                raise
            return None, share()
        window.more["cpu_share"] = round(share(), 3)
        return window, share()

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.resume()
