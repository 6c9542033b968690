#!/usr/bin/env python3
"""A link with a delay, for kernels without netem: connects a TUN device in one network namespace with one in another.

    bench/delay.py SPACE SPACE DEVICE MILLISECONDS

Says `ready` when both devices are there, and forwards until it is killed. Packets are as large as the devices' MTU allows; it
takes processor time of its own for each.
"""
import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
LARGEST = 65_536
# Packets under way in one direction; what comes after them is lost, as in a full queue.
MOST = 20_000


def open_device(space, name):
    """A non-blocking file of a new TUN device in a namespace. It stays there when this process moves on."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{space}", "rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {space}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def take(device, queue, due):
    """Takes everything that a device has to send."""
    while True:
        try:
            packet = os.read(device, LARGEST)
        except BlockingIOError:
            return
        if len(queue) < MOST:
            queue.append((due, packet))


def give(device, queue, now):
    """Hands over what is due."""
    while queue and queue[0][0] <= now:
        try:
            os.write(device, queue.popleft()[1])
        except OSError:
            # The device is down, or its queue is full: the packet is lost.
            pass


def forward(first, second, delay):
    other = {first: second, second: first}
    queues = {first: collections.deque(), second: collections.deque()}
    while True:
        due = min((queue[0][0] for queue in queues.values() if queue), default=None)
        wait = None if due is None else max(due - time.monotonic(), 0)
        for device in select.select([first, second], [], [], wait)[0]:
            take(device, queues[other[device]], time.monotonic() + delay)
        for device, queue in queues.items():
            give(device, queue, time.monotonic())


def main():
    first, second, name, milliseconds = sys.argv[1:]
    devices = [open_device(space, name) for space in (first, second)]
    print("ready", flush=True)
    forward(*devices, float(milliseconds) / 1000)


if __name__ == "__main__":
    main()
