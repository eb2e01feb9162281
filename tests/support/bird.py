"""BIRD in a namespace: real BGP and BFD sessions between the machines of a test."""
import pathlib
import re

from support.netns import run
from support.process import REPO, Daemon, wait_until


class Bird:
    def __init__(self, ns, name, directory, config):
        self.ns = ns
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket = f"{self.directory}/bird.ctl"
        (self.directory / "bird.conf").write_text(config)
        self.argv = ["bird", "-f", "-c", f"{self.directory}/bird.conf", "-s", self.socket]
        self.daemon = Daemon(f"bird {name}", ns, self.argv, self.directory / "bird.log")
        self.daemon.start(self.socket)

    def command(self, text):
        return run("birdc", "-s", self.socket, *text.split()).stdout

    def established(self):
        """Names of the BGP sessions that are up."""
        return {line.split()[0] for line in self.command("show protocols").splitlines()
                if " BGP " in line and line.rstrip().endswith("Established")}

    def wait_established(self, count, timeout=60):
        wait_until(lambda: len(self.established()) >= count, timeout, f"{count} BGP sessions of {self.daemon.name}")

    def restart_gracefully(self):
        """The daemon ends and comes back; its neighbours and the kernel keep its routes meanwhile."""
        self.command("graceful restart")
        self.daemon.wait()
        self.daemon.argv = [*self.argv, "-R"]
        self.daemon.start(self.socket)

    def close(self):
        self.daemon.forget()


def node_config(**values):
    """config/bird.conf with other values of its `define` lines."""
    text = (REPO / "config" / "bird.conf").read_text()
    for name, value in values.items():
        text, found = re.subn(rf"^define {name} = .*;$", f"define {name} = {value};", text, flags=re.M)
        assert found == 1, name
    return text
