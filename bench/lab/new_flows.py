"""Scenario `new-flows`: every packet begins a connection, in a table that is full of connections nobody answered."""
import copy
import time

from lab import podwire, traffic
from lab.system import Unmeasurable

# Of the source's flows: before the first come round again, a window is over.
_PART = 0.85


class NewFlows(podwire.Podwire):
    """Each window is the source's first round in a domain that there was not before: nobody knows its flows."""

    programs = {"new-flows": (podwire.encap_new, 1)}

    def __init__(self, name, ns, directory, cell, march):
        self.packets = traffic.packets_of(cell.size, cell.flows)
        self.round = 0
        super().__init__(name, ns, directory, cell, march)

    def options(self, cell):
        return {}  # full, at the default's size

    def establish(self):
        pass  # nobody answers

    def move(self):
        """Everything but the uplink into another domain, with a source of its own."""
        self.round += 1
        domain, source = podwire.DOMAIN + self.round, podwire.ANSWERS + self.round
        objects = copy.deepcopy(self.objects)
        objects["domains"][0] |= {"id": domain, "name": f"bench{self.round}"}
        for port in objects["ports"]:
            if port["id"] == podwire.SOURCE:
                port |= {"id": source, "name": f"source{self.round}", "domain": domain}
        for endpoint in objects["endpoints"]:
            endpoint |= {"id": endpoint["id"] + self.round, "domain": domain, "port": source}
        for route in objects["routes"]:
            if route["domain"] != 1:
                route |= {"id": route["id"] + self.round, "domain": domain}
        # The source that was holds most of the buffers.
        self.engine.replace({"vteps": objects["vteps"],
                             "ports": [port for port in objects["ports"] if port["id"] == podwire.UPLINK],
                             "routes": [route for route in objects["routes"] if route["domain"] == 1]})
        self.engine.replace(objects)

    def observe(self, seconds):
        self.move()
        before = self.sample()
        while True:
            time.sleep(0.01)
            after = self.sample()
            if after[1]["ledger"]["received"] - before[1]["ledger"]["received"] > _PART * self.packets:
                break
        window = self.window(before, after)
        inserted = after[1]["flows"]["inserted"] - before[1]["flows"]["inserted"]
        if inserted < 0.95 * window.packets:
            raise Unmeasurable(f"{window.packets} packets began {inserted} connections only")
        window.more["new_mflows"] = round(inserted / window.seconds / 1e6, 3)
        return window
