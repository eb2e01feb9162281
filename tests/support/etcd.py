"""A real etcd on a machine of its own on the underlay."""
import json
import pathlib
import subprocess

from support.netns import Netns, run
from support.process import Daemon, wait_until


class Certificates:
    """An authority, and what it signed for the server and for a client; another authority beside it."""

    def __init__(self, directory, address):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        for authority in ("ca", "other-ca"):
            self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                          "-subj", f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")
        # etcd's gateway is a client of the server, with the server's certificate.
        self._sign("server", f"subjectAltName=IP:{address},IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._sign("client", "extendedKeyUsage=clientAuth\n")

    def _openssl(self, *argv):
        run("env", "-C", self.directory, "openssl", *argv)

    def _sign(self, name, extensions):
        (self.directory / f"{name}.ext").write_text(extensions)
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/O=podwire/OU={name}",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                      "-extfile", f"{name}.ext", "-out", f"{name}.pem")

    def path(self, name):
        return str(self.directory / name)

    def of_client(self):
        """As `tls` of podwired.json has them."""
        return {"ca": self.path("ca.pem"), "certificate": self.path("client.pem"), "key": self.path("client.key")}


class Etcd:
    """One member at 192.168.100.`number`, plain HTTP or TLS that asks for client certificates; its data outlives kill9() and
    start()."""

    def __init__(self, fabric, directory, tls=False, number=250):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.address = f"192.168.100.{number}"
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://{self.address}:2379"
        self.certificates = Certificates(self.directory / "tls", self.address) if tls else None
        secure, self._ctl_tls = [], []
        if tls:
            at = self.certificates.path
            secure = ["--cert-file", at("server.pem"), "--key-file", at("server.key"), "--trusted-ca-file", at("ca.pem"),
                      "--client-cert-auth"]
            self._ctl_tls = ["--cacert", at("ca.pem"), "--cert", at("client.pem"), "--key", at("client.key")]
        self._ctl_user = []
        self.ns = Netns(f"etcd{number}")
        self.port = fabric.attach(self.ns, "eth0", [f"{self.address}/24"])
        self.daemon = Daemon(f"etcd {number}", self.ns, [
            "etcd", "--name", "m", "--data-dir", self.directory / "data", "--listen-client-urls", f"{scheme}://0.0.0.0:2379",
            "--advertise-client-urls", self.url, "--listen-peer-urls", "http://127.0.0.1:2380",
            "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "m=http://127.0.0.1:2380",
            "--logger", "zap", "--log-level", "warn", *secure], self.directory / "etcd.log")

    def start(self, timeout=20):
        with open(self.daemon.log, "ab") as log:
            self.daemon.process = subprocess.Popen(["ip", "netns", "exec", self.ns.name, *self.daemon.argv], stdout=log,
                                                   stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if self.daemon not in Daemon.live:
            Daemon.live.append(self.daemon)
        wait_until(lambda: self.ctl("get", "health", check=False).returncode == 0, timeout, "etcd answers")
        return self

    def ctl(self, *argv, check=True):
        return run("ip", "netns", "exec", self.ns.name, "env", "ETCDCTL_API=3", "etcdctl", "--endpoints",
                   self.url.replace(self.address, "127.0.0.1"), "--command-timeout", "2s", *self._ctl_tls, *self._ctl_user,
                   *argv, check=check)

    def enable_auth(self, user, password, prefix="/podwire/"):
        """`user` may read and write below `prefix`; from now on nobody does without a user."""
        self.ctl("user", "add", "root:root")
        self.ctl("user", "grant-role", "root", "root")
        self.ctl("role", "add", "podwire")
        self.ctl("role", "grant-permission", "podwire", "--prefix=true", "readwrite", prefix)
        self.ctl("user", "add", f"{user}:{password}")
        self.ctl("user", "grant-role", user, "podwire")
        self.ctl("auth", "enable")
        self._ctl_user = ["--user", "root:root"]

    def keys(self, prefix="/podwire/"):
        """Every key below `prefix` with its value."""
        lines = self.ctl("get", "--prefix", prefix).stdout.splitlines()
        return dict(zip(lines[::2], lines[1::2]))

    def owners(self, domain):
        """The prefixes of a domain and who has them."""
        start = f"/podwire/prefixes/{domain}/"
        return {key.removeprefix(start): json.loads(value)["node"] for key, value in self.keys(start).items()}

    def kill9(self):
        self.daemon.kill9()

    def close(self):
        self.daemon.forget()
        self.ns.delete()


class Members:
    """What lives and ends together: the `podwire` nodes on one `fabric` with their store, `etcd`."""

    def close(self):
        for node in self.podwire:
            node.close()
        self.etcd.close()
        self.fabric.delete()
