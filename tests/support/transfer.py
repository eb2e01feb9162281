"""A file over one TCP connection, checked by SHA-256 on both sides. Run inside namespaces, standard library only.

  transfer.py serve PORT [ADDRESS]           answers transfers until killed; prints "ready"
  transfer.py put|get ADDRESS PORT MIB SEED  moves MIB of data made from SEED; prints JSON {sha256, seconds, mbit_s}
"""
import hashlib
import json
import random
import socket
import struct
import sys
import threading
import time

BLOCK = 1 << 20


def blocks(mib, seed):
    """No two blocks are equal, so that a lost or swapped one shows."""
    body = random.Random(seed).randbytes(BLOCK - 4)
    for number in range(mib):
        yield struct.pack("!I", number) + body


def read_exactly(connection, count):
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError(f"closed after {len(data)} of {count} bytes")
        data += piece
    return bytes(data)


def send_file(connection, mib, seed):
    digest = hashlib.sha256()
    for block in blocks(mib, seed):
        digest.update(block)
        connection.sendall(block)
    return digest.hexdigest()


def receive_file(connection, mib):
    digest = hashlib.sha256()
    for _ in range(mib):
        digest.update(read_exactly(connection, BLOCK))
    return digest.hexdigest()


def answer(connection):
    with connection:
        connection.settimeout(60)
        direction, mib, seed = struct.unpack("!cII", read_exactly(connection, 9))
        digest = receive_file(connection, mib) if direction == b"p" else send_file(connection, mib, seed)
        connection.sendall(digest.encode())


def serve(port, address="::"):
    listener = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                                    dualstack_ipv6=address == "::", backlog=16)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def transfer(direction, address, port, mib, seed):
    with socket.create_connection((address, port), timeout=60) as connection:
        started = time.monotonic()
        connection.sendall(struct.pack("!cII", direction[0].encode(), mib, seed))
        ours = send_file(connection, mib, seed) if direction == "put" else receive_file(connection, mib)
        theirs = read_exactly(connection, 64).decode()
        seconds = time.monotonic() - started
    if ours != theirs:
        sys.exit(f"sha256 differs: {ours} here, {theirs} there")
    print(json.dumps({"sha256": ours, "seconds": round(seconds, 2), "mbit_s": round(mib * 8.388608 / seconds)}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), *sys.argv[3:4])
    else:
        transfer(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
