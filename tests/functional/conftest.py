"""Every test of a file with a `switch` or `nodes` fixture ends on the drop ledger and an mbuf-leak check."""
import pytest


@pytest.fixture(autouse=True)
def settled(request):
    """Before: nothing is pending. After: every ledger balances, ports equal the sum of their queues, no buffer leaked."""
    if "switch" in request.fixturenames:
        switch = request.getfixturevalue("switch")
        switch.quiet()
        checks = [switch.ledger()]
    elif "nodes" in request.fixturenames:
        checks = [node.ledger(slack=256) for node in request.getfixturevalue("nodes").podwire]
    else:
        checks = []
    yield
    for check in checks:
        check.check()


@pytest.fixture(scope="session")
def nodes(short_directory):
    """Two nodes with af_xdp underlays, pods, a Flannel style and an L2 learning kernel machine."""
    from support.cluster import Cluster
    cluster = Cluster(short_directory / "nodes")
    yield cluster
    cluster.close()
