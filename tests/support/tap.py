"""Taps made the way the control daemon makes them: vnet header, no packet information, offloads on."""
import fcntl
import os
import struct

from support.netns import link_mac

_TUNSETIFF = 0x400454CA
_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_IFF_TAP, _IFF_NO_PI, _IFF_MULTI_QUEUE, _IFF_VNET_HDR = 0x0002, 0x1000, 0x0100, 0x4000
_OFFLOADS = 0x01 | 0x02 | 0x04 | 0x08  # checksum, TSO4, TSO6, TSO with ECN


def create_tap(ns, name, mac=None, mtu=1450, queues=1):
    """Returns (mac, [descriptor per queue]); the interface lives as long as a descriptor does."""
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR | (_IFF_MULTI_QUEUE if queues > 1 else 0)
    fds = []
    with ns:
        for _ in range(queues):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", 12))
            fcntl.ioctl(fd, _TUNSETOFFLOAD, _OFFLOADS)
            fds.append(fd)
    if mac:
        ns.ip(f"link set {name} address {mac}")
    ns.ip(f"link set {name} mtu {mtu} up")
    return mac or link_mac(ns, name), fds
