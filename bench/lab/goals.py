"""What one worker of Podwire is meant to reach, beside what a run measured: one line a goal whose cells it has.

At 100,000 flows and above the source itself gets dearer, differently on every machine. There a goal in cycles means
what testpmd's `io` takes of the same frames in the same run, and what the goal at 10,000 flows leaves above it; the
figure that is written here counts only where the run has no testpmd.
"""
import dataclasses

from lab import results

_SYSTEM = "podwire"
_MANY_FLOWS = 100_000
_FEW = 10_000
# 1400 B against testpmd's `io`, which has nothing to do with a packet.
_LARGE_FRAMES = ("p2p", "route", "encap", "encap-many", "decap", "encap-stateful", "decap-stateful")
_MOST_OF_TESTPMD = 1.15


@dataclasses.dataclass(frozen=True)
class Goal:
    """Of one cell. One of `cycles`, `times`, `of` and `figure` says what is compared."""

    scenario: str
    flows: int
    size: object = 64
    cycles: float = None  # a packet, at most
    like: tuple = None  # (scenario, cycles) of the goal at 10,000 flows that this one extends
    times: tuple = None  # (system, how many times as fast as it at least)
    of: tuple = None  # (scenario of ours with the same frames, how many times its cycles at most)
    figure: tuple = None  # (key of the cell, "at_most" or "at_least", bound)


def _of_the_issue():
    for flows in (1, 1000, 10_000):
        yield Goal("p2p", flows, cycles=65)
        yield Goal("route", flows, cycles=72)
    for scenario, bounds in (("encap", (80, 85, 125)), ("decap", (85, 95, 140))):
        for flows, cycles in zip((1000, 10_000, 100_000), bounds):
            yield Goal(scenario, flows, cycles=cycles, like=(scenario, bounds[1]))
    yield Goal("encap", _FEW, times=("ovs-dpdk", 3.6))
    yield Goal("encap", _FEW, times=("testpmd", 0.53))
    yield Goal("encap-100k", 1_000_000, cycles=150, like=("encap", 85))
    for flows in (1000, 10_000):
        yield Goal("encap-many", flows, of=("encap", 1.10))
    yield Goal("encap-many", _FEW, times=("ovs-dpdk", 2.8))
    yield Goal("decap", _FEW, times=("ovs-dpdk", 6))
    for scenario in ("encap-stateful", "decap-stateful"):
        yield Goal(scenario, _FEW, cycles=125)
        yield Goal(scenario, _FEW, times=("ovs-dpdk", 7))
    yield Goal("encap-stateful-1m", 1_000_000, cycles=250, like=("encap-stateful", 125))
    for scenario in _LARGE_FRAMES:
        yield Goal(scenario, _FEW, 1400, times=("testpmd", round(1 / _MOST_OF_TESTPMD, 3)))
    yield Goal("small-bursts-16", _FEW, of=("encap", 1.25))
    yield Goal("small-bursts-4", _FEW, of=("encap", 1.8))
    for scenario in ("memif", "vhost"):
        for size in (64, 1500):
            yield Goal(scenario, 1, size, times=("testpmd", 0.95))
            yield Goal(scenario, 1, size, times=("ovs-dpdk", 1.5))
    yield Goal("new-flows", 1_000_000, figure=("new_mflows", "at_least", 2.0))
    yield Goal("churn", _FEW, figure=("lost", "at_most", 0.02))


GOALS = tuple(_of_the_issue())


class _Run:
    """A run's cells and ratios, by what they are of."""

    def __init__(self, cells, ratios):
        self.cells = {(c["scenario"], c["size"], c["flows"], c["system"]): c for c in cells}
        self.ratios = {(r["scenario"], r["size"], r["flows"], r["ratio"]): r for r in ratios}

    def cell(self, goal, system=_SYSTEM, **other):
        one = dataclasses.replace(goal, **other)
        return self.cells.get((one.scenario, one.size, one.flows, system))

    def most_cycles(self, goal):
        """At most so many cycles in this run, and why not those that the goal names."""
        if goal.flows < _MANY_FLOWS or goal.like is None:
            return goal.cycles, None
        scenario, few = goal.like
        here = self.cell(goal, "testpmd")
        there = self.cell(goal, "testpmd", scenario=scenario, flows=_FEW)
        if here is None or there is None:
            return goal.cycles, None
        above = few - there["cycles_per_packet"]
        return round(here["cycles_per_packet"] + above, 1), (
            f"testpmd's {here['cycles_per_packet']:.1f} and the {above:.1f} above it at 10k flows")


def _line(goal, what, measured, relation, bound, noisy, **more):
    met = measured <= bound if relation == "at_most" else measured >= bound
    return {"goal": what, "scenario": goal.scenario, "size": goal.size, "flows": goal.flows, "measured": measured,
            relation: bound, "met": met, "noisy": noisy, **more}


def _judge(goal, run):
    cell = run.cell(goal)
    if cell is None:
        return None
    noisy = cell["spread"] > results.NOISY
    if goal.cycles is not None:
        bound, why = run.most_cycles(goal)
        more = {"named": goal.cycles, "why": why} if why else {}
        return _line(goal, "cycles a packet", cell["cycles_per_packet"], "at_most", bound, noisy, **more)
    if goal.times is not None:
        system, least = goal.times
        ratio = run.ratios.get((goal.scenario, goal.size, goal.flows, f"{_SYSTEM} to {system}"))
        return ratio and _line(goal, f"times as fast as {system}", ratio["times"], "at_least", least, ratio["noisy"])
    if goal.of is not None:
        scenario, most = goal.of
        whole = run.cell(goal, scenario=scenario)
        return whole and _line(goal, f"times the cycles of {scenario}",
                               round(cell["cycles_per_packet"] / whole["cycles_per_packet"], 3), "at_most", most,
                               noisy or whole["spread"] > results.NOISY)
    key, relation, bound = goal.figure
    return _line(goal, key, cell[key], relation, bound, noisy) if key in cell else None


def judge(cells, ratios):
    """What of the goals this run can tell."""
    run = _Run(cells, ratios)
    return [line for line in (_judge(goal, run) for goal in GOALS) if line is not None]
