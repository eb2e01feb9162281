"""What a change of tables takes until workers go by it, and what the replacement of a large table takes and costs."""
import json
import time

from lab import podwire, traffic
from support.process import wait_until
from support.rpc import Rpc, RpcError

_OTHER_SINK = 5  # port id
_PEERS = 2
_OBJECTS_A_MESSAGE = 5000
_SEEN_WITHIN = 2  # seconds


def moving(cell, directory):
    """One local pod, which all packets are for, can be at either of two ports."""
    objects = podwire.route(cell, directory)
    objects["ports"].append(podwire.port(_OTHER_SINK, "other", "net_null1,no-rx=1"))
    return objects


def replaced(cell, directory):
    """Packets go by a route to a peer; the endpoints that are replaced are behind it and another one."""
    return podwire.encap(cell, directory, _PEERS)


class Tables(podwire.Podwire):
    """An engine under traffic whose tables change."""

    programs = {"moving": (moving, 0), "replaced": (replaced, _PEERS)}

    def __init__(self, ns, directory, cell, march):
        super().__init__("podwire", ns, directory, cell, march)
        self.statistics = Rpc(self.engine.socket)  # changes have the engine's own connection
        self.at = podwire.SINK

    def _sent(self):
        """What has left by each of the two ports, and by when that was so at the latest."""
        stats = self.statistics.call("stats")
        sent = {port["id"]: port["sent_packets"] for port in stats["ports"]}
        return sent[podwire.SINK], sent[_OTHER_SINK], time.monotonic()

    def move(self):
        """Seconds until the reply, and from then until no packet took the former way at the latest."""
        former, self.at = self.at, _OTHER_SINK if self.at == podwire.SINK else podwire.SINK
        old, new = (0, 1) if former == podwire.SINK else (1, 0)
        asked = time.monotonic()
        self.engine.put(endpoints=[podwire.endpoint(0, traffic.remote_pod(0), port=self.at)])
        replied = time.monotonic()
        first = self._sent()
        while True:
            then = self._sent()
            if then[old] == first[old] and then[new] > first[new]:
                return replied - asked, first[2] - replied
            if then[2] - replied > _SEEN_WITHIN:
                raise RuntimeError(f"packets still leave by the former port {_SEEN_WITHIN} s after the reply")
            first = then

    def replacement(self, count, vtep):
        """The lines of a full replacement with `count` remote endpoints, ready to be sent."""
        endpoints = [*self.objects["endpoints"],
                     *(podwire.endpoint(i, traffic.wide_pod(i), vtep=vtep) for i in range(count))]
        chunks = [{"put": dict(self.objects, endpoints=endpoints[:_OBJECTS_A_MESSAGE])}]
        chunks += [{"put": {"endpoints": endpoints[i:i + _OBJECTS_A_MESSAGE]}}
                   for i in range(_OBJECTS_A_MESSAGE, len(endpoints), _OBJECTS_A_MESSAGE)]
        calls = [("replace_begin", {}), *(("replace_chunk", chunk) for chunk in chunks), ("replace_commit", {})]
        return [json.dumps({"jsonrpc": "2.0", "id": i, "method": method, "params": params}).encode()
                for i, (method, params) in enumerate(calls, 1)]

    def replace(self, lines):
        """Seconds from the first word to the last reply, and those of the last call alone."""
        began = time.monotonic()
        for line in lines:
            asked = time.monotonic()
            self.engine.rpc.send_raw(line)
            reply = self.engine.rpc.receive()
            if "error" in reply:
                raise RpcError(reply["error"])
        ended = time.monotonic()
        return ended - began, ended - asked

    def endpoints(self):
        return self.engine.call("status")["counts"]["endpoints"]

    def sent(self):
        stats = self.statistics.call("stats")
        return stats["ledger"]["sent"], time.monotonic()

    def close(self):
        self.statistics.close()
        super().close()


def forwards(system):
    before = system.sent()[0]
    wait_until(lambda: system.sent()[0] > before, 10, "packets flow")
