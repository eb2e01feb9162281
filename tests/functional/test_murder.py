"""Memif and vhost-user peers killed at random instants under full traffic cost nobody else anything.

PODWIRE_MURDER_ROUNDS and PODWIRE_MURDER_SEED change how often and when; `tests/run.sh murder --rounds N` sets them.
"""
import os
import random

from support.murder import Murder


def test_killed_peers_cost_nobody_else_anything(directory, capsys):
    rounds = int(os.environ.get("PODWIRE_MURDER_ROUNDS", "20"))
    seed = int(os.environ.get("PODWIRE_MURDER_SEED", random.randrange(1 << 32)))

    def progress(text):
        with capsys.disabled():
            print(f"murder: {text}", flush=True)
    murder = Murder(directory, seed)
    try:
        outcome = murder.run(rounds, progress)
    finally:
        murder.close()
    print(f"{outcome} (seed {seed}: {outcome.packets} packets received, {outcome.bystander_sent} datagrams between "
          f"bystanders, {outcome.seconds:.0f} s)")
    report = os.environ.get("PODWIRE_MURDER_REPORT")
    if report:
        with open(report, "w") as file:
            print(outcome, file=file)
    assert outcome.innocent(), f"{outcome}; {outcome.imbalance}"
