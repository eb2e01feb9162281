"""Scenario `churn`: what forwarding loses, and how long a reply takes, while the tables change 1,000 times a second."""
import itertools
import statistics
import threading
import time

from lab import podwire, traffic
from support.rpc import Rpc

UPDATES_PER_SECOND = 1000
_CHANGING = 1000  # remote endpoints that take turns to move to another peer
_PEERS = 2


class Updates(threading.Thread):
    """Moves one endpoint after the other, at a steady rate; `replies` are the times the engine took, in seconds."""

    def __init__(self, engine):
        super().__init__(daemon=True)
        self.engine, self.replies, self.error = engine, [], None
        self._stop_asked = threading.Event()

    def run(self):
        try:
            began = time.monotonic()
            for number in itertools.count():
                wait = began + number / UPDATES_PER_SECOND - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                if self._stop_asked.is_set():
                    return
                index, vtep = number % _CHANGING, podwire.FIRST_PEER + (number // _CHANGING + 1) % _PEERS
                asked = time.monotonic()
                self.engine.put(endpoints=[changing(index, vtep)])
                self.replies.append(time.monotonic() - asked)
        except Exception as error:  # the thread that measures raises it
            self.error = error

    def finish(self):
        self._stop_asked.set()
        self.join()
        if self.error is not None:
            raise self.error


def changing(index, vtep):
    return podwire.endpoint(index, traffic.wide_pod(index), vtep=vtep)


def program(cell, directory):
    return podwire.encap(cell, directory, _PEERS, [changing(i, podwire.FIRST_PEER) for i in range(_CHANGING)])


class Churn(podwire.Podwire):
    """Each window is one without updates and one with them; the figures are those of the second."""

    programs = {"churn": (program, _PEERS)}

    def __init__(self, name, ns, directory, cell, march):
        super().__init__(name, ns, directory, cell, march)
        self.statistics = Rpc(self.engine.socket)  # the updates have the engine's own connection

    def sample(self):
        stats = self.statistics.call("stats")
        return time.monotonic(), stats

    def observe(self, seconds):
        quiet = super().observe(seconds)
        updates = Updates(self.engine)
        updates.start()
        try:
            time.sleep(0.05)
            window = super().observe(seconds)
        finally:
            updates.finish()
        replies = sorted(updates.replies)
        window.more |= {"quiet_mpps": round(quiet.mpps, 3), "lost": round(1 - window.mpps / quiet.mpps, 4),
                        "updates_per_second": round(len(replies) / (seconds + 0.05)),
                        "reply_ms_p50": round(statistics.median(replies) * 1e3, 3),
                        "reply_ms_p99": round(replies[len(replies) * 99 // 100] * 1e3, 3)}
        return window

    def close(self):
        self.statistics.close()
        super().close()
