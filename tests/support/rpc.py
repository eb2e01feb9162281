"""JSON-RPC client of both daemons: one message a line, descriptors on the sendmsg that starts it."""
import array
import json
import os
import socket


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(error.get("message"))
        self.code = error.get("code")
        self.message = error.get("message", "")


class Rpc:
    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(path)
        self.fds = []  # that came with the last reply
        self._buffer = b""
        self._id = 0

    def call(self, method, params=None, fds=()):
        self._id += 1
        self.send_raw(json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": params or {}}), fds)
        reply = self.receive()
        assert reply["id"] == self._id, reply
        if "error" in reply:
            raise RpcError(reply["error"])
        return reply["result"]

    def send_raw(self, line, fds=()):
        data = line.encode() if isinstance(line, str) else line
        data += b"\n"
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], rights)
        if sent < len(data):  # an empty send fails when the peer has answered and gone already
            self.socket.sendall(data[sent:])

    def receive(self):
        """The next reply as it is; ConnectionError when the server closed."""
        self.close_fds()
        while b"\n" not in self._buffer:
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(4 * 250))
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    received = array.array("i")
                    received.frombytes(payload[:len(payload) - len(payload) % 4])
                    self.fds += received
            if not data:
                raise ConnectionError("the server closed the connection")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def close_fds(self):
        for fd in self.fds:
            os.close(fd)
        self.fds = []

    def close(self):
        self.close_fds()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
