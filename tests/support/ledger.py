"""What every functional test ends on: the drop ledger balances and no packet buffer leaked."""
import time


def mbufs_in_use(status):
    mbufs = status["memory"]["mbufs"]
    return mbufs["in_use"] + mbufs["jumbo_in_use"]


def ledgers(stats):
    """Every ledger of a stats reply with a name for it."""
    yield "engine", stats["ledger"]
    for port in stats["ports"]:
        yield f"port {port['name']}", port["ledger"]
    for domain in stats["domains"]:
        yield f"domain {domain['name']}", domain["ledger"]


def imbalances(stats):
    return [f"{name}: {ledger}" for name, ledger in ledgers(stats) if ledger["balance"] != 0]


def port_sums(stats):
    """A port's totals are the sums of its queues."""
    wrong = []
    for port in stats["ports"]:
        for field in ("received_packets", "received_bytes", "sent_packets", "sent_bytes"):
            total = sum(queue[field] for queue in port["queues"])
            if total != port[field]:
                wrong.append(f"port {port['name']} {field} is {port[field]}, its queues add up to {total}")
    return wrong


class LedgerCheck:
    """Takes the buffer level at the start; check() waits up to 2 s for quiescence.

    `slack`: buffers that ports may hold beyond the start's (a driver's rings, a tap's spare ones).
    """

    def __init__(self, call, slack=0):
        self.call = call
        self.slack = slack
        self.start = mbufs_in_use(call("status"))

    def check(self, timeout=2.0):
        deadline = time.monotonic() + timeout
        while True:
            stats = self.call("stats")
            in_use = mbufs_in_use(self.call("status"))
            wrong = imbalances(stats) + port_sums(stats)
            if in_use > self.start + self.slack:
                wrong.append(f"{in_use} buffers in use, {self.start} at the start (may keep {self.slack} more)")
            if not wrong:
                return stats
            if time.monotonic() > deadline:
                raise AssertionError("not quiescent: " + "; ".join(wrong))
            time.sleep(0.05)


def drops(stats):
    return {entry["reason"]: entry["packets"] for entry in stats["drops"]}
