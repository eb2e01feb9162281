"""dpdk-testpmd, at its prompt: the limit (`io`: what comes out of the source is dropped) and a traffic machine."""
import os
import re
import subprocess
import time

from lab import machine, traffic
from lab.system import System, Window
from support.process import wait_until

SPARE_MBUFS = 16384
_MBUF_BYTES = 2432
# Of its statistics: cycles a packet, cycles with packets in hand, MHz.
CYCLES = r"CPU cycles/packet=([\d.]+) \(total cycles=(\d+) .*\) at (\d+) MHz Clock"


def memory_mib(packets):
    return (packets + SPARE_MBUFS) * _MBUF_BYTES // 2**20 + 96


class Testpmd:
    """A dpdk-testpmd that forwards on `cpu` once it is told to start."""

    def __init__(self, name, ns, directory, cpu, vdevs, *options, eal=(), memory=256, mbufs=SPARE_MBUFS,
                 hugepages=True):
        self.log = directory / f"{name}.log"
        pages = ["--in-memory"] if hugepages else ["--no-huge"]
        # In the namespace only so that a later run finds and ends it if this one cannot.
        argv = ["ip", "netns", "exec", ns.name, *machine.DIES_WITH_US, "stdbuf", "-oL", "dpdk-testpmd", "--lcores",
                f"0@{machine.OTHER_CPU},1@{cpu}", "--main-lcore=0", "--no-pci", "--no-telemetry", *pages,
                "-m", str(memory), *eal, "--file-prefix", f"{directory.name}-{name}",
                *(f"--vdev={vdev}" for vdev in vdevs), "--", "-i", "--nb-cores=1", f"--total-num-mbufs={mbufs}",
                "--no-mlockall", "--no-lsc-interrupt", "--record-core-cycles", *options]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                            text=True)
        try:
            wait_until(lambda: "testpmd>" in self.text() or self.process.poll() is not None, 60, f"{name}'s prompt")
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended: {self.text()[-600:]}")
        except BaseException:
            self.close()
            raise

    @property
    def thread(self):
        return machine.worker_thread(self.process.pid)

    def text(self):
        return self.log.read_text(errors="replace")

    def ask(self, command, expected, timeout=20):
        """What it prints after `command` until `expected`."""
        start = os.path.getsize(self.log)
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        deadline = time.monotonic() + timeout
        while True:
            with open(self.log, errors="replace") as log:
                log.seek(start)
                text = log.read()
            if re.search(expected, text):
                return text
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"testpmd's answer to \"{command}\": {text[-400:]}")
            time.sleep(0.001)

    def start(self):
        self.ask("start", "packet forwarding -")

    def stop(self):
        """What it tells about its forwarding since start()."""
        return self.ask("stop", r"Done\.")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


def cycles_per_packet(text):
    return float(re.search(CYCLES, text).group(1))


class TestpmdIo(System):
    """Receives from the source and drops."""

    def __init__(self, name, ns, directory, cell, march):
        self.name, self.march = name, march
        packets = traffic.packets_of(cell.size, cell.flows)
        self.testpmd = Testpmd("testpmd", ns, directory, machine.SWITCH_CPU,
                               [f"net_pcap0,rx_pcap={cell.pcap},infinite_rx=1"], "--forward-mode=io",
                               "--port-topology=loop", "--no-flush-rx",
                               *([f"--burst={cell.burst}"] if cell.burst else []), memory=memory_mib(packets),
                               mbufs=packets + SPARE_MBUFS, hugepages=cell.hugepages)
        self.pids = [self.testpmd.process.pid]
        self.threads = [self.testpmd.thread]

    def observe(self, seconds):
        self.testpmd.start()
        began = time.monotonic()
        time.sleep(seconds)
        ended = time.monotonic()
        text = self.testpmd.stop()
        return Window(ended - began, int(re.findall(r"TX-packets: (\d+)", text)[-1]), cycles_per_packet(text))

    def close(self):
        super().close()
        self.testpmd.close()
