#!/usr/bin/env python3
"""The same as chaos.py with the network at fault: coordinator and workers each in a network namespace of its own, and on a
seeded schedule one worker's link falls silent, in one direction or both, loses packets, or carries 1 Mbit/s.

Needs root, iproute2 and nftables. Delays need the kernel's netem; where it lacks it, the script says so.

    SECONDS=180 EVERY=12 SEED=1 STEPS=1500 scripts/chaos_net.py
"""
import os
import shutil
import subprocess
import sys
import time

for name, value in {"SECONDS": "180", "EVERY": "12", "STEPS": "1500"}.items():
    os.environ.setdefault(name, value)
import chaos  # noqa: E402  (it reads the variables above)

HOST, HUB = "10.99.77.254", "10.99.77.1"
PREFIX = f"headstart-{os.getpid()}"
KINDS = ["silence", "silence to the coordinator", "silence to the worker", "loss", "1 Mbit/s", "delay"]
LOSS = 20
LONGEST = 25


def run(*command, **options):
    return subprocess.run(command, check=True, **options)


class Network:
    """A bridge in one namespace, a namespace for each worker, and a link to this one."""

    def __init__(self):
        self.spaces = []
        self.hub = self.space("hub")
        self.inside(self.hub, "ip", "link", "add", "br0", "type", "bridge")
        self.inside(self.hub, "ip", "addr", "add", f"{HUB}/24", "dev", "br0")
        self.inside(self.hub, "ip", "link", "set", "br0", "up")
        self.host_link = f"hs{os.getpid()}h"
        run("ip", "link", "add", self.host_link, "type", "veth", "peer", "name", "host", "netns", self.hub)
        run("ip", "addr", "add", f"{HOST}/24", "dev", self.host_link)
        run("ip", "link", "set", self.host_link, "up")
        self.plug("host")

    def space(self, name):
        name = f"{PREFIX}-{name}"
        run("ip", "netns", "add", name)
        self.spaces.append(name)
        self.inside(name, "ip", "link", "set", "lo", "up")
        return name

    def inside(self, space, *command, **options):
        return run("ip", "netns", "exec", space, *command, **options)

    def plug(self, link):
        self.inside(self.hub, "ip", "link", "set", link, "master", "br0")
        self.inside(self.hub, "ip", "link", "set", link, "up")

    def worker(self, number):
        space, link = self.space(f"w{number}"), f"w{number}"
        run("ip", "-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", link, "netns", self.hub)
        self.inside(space, "ip", "addr", "add", f"10.99.77.{number + 2}/24", "dev", "eth0")
        self.inside(space, "ip", "link", "set", "eth0", "up")
        self.plug(link)
        return space

    def has_netem(self):
        tried = ("ip", "netns", "exec", self.hub, "tc", "qdisc", "add", "dev", "host", "root", "netem", "delay", "1ms")
        found = subprocess.run(tried, capture_output=True).returncode == 0
        self.mend(self.hub, "host")
        return found

    def spoil(self, space, kind):
        both = ("input", "output")
        drop = {
            "silence": (both, "drop"), "silence to the coordinator": (("output",), "drop"),
            "silence to the worker": (("input",), "drop"), "loss": (both, f"numgen random mod 100 < {LOSS} drop"),
        }
        if kind in drop:
            hooks, verdict = drop[kind]
            side = {"input": "iif", "output": "oif"}
            chains = "".join(
                f"chain {hook} {{\ntype filter hook {hook} priority 0\n{side[hook]} != \"lo\" {verdict}\n}}\n" for hook in hooks
            )
            self.inside(space, "nft", "-f", "-", input=f"table inet fault {{\n{chains}}}\n".encode())
        elif kind == "1 Mbit/s":
            self.inside(space, *"tc qdisc add dev eth0 root tbf rate 1mbit burst 32kbit latency 400ms".split())
        else:
            self.inside(space, *"tc qdisc add dev eth0 root netem delay 200ms 50ms".split())

    def mend(self, space, link="eth0"):
        for command in ("nft delete table inet fault", f"tc qdisc del dev {link} root"):
            subprocess.run(["ip", "netns", "exec", space, *command.split()], capture_output=True)

    def remove(self):
        subprocess.run(["ip", "link", "del", self.host_link], capture_output=True)
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


class NetworkChaos(chaos.Chaos):
    def __init__(self, output, network):
        self.network = network
        self.spaces = [network.worker(number) for number in range(chaos.WORKERS)]
        self.free = list(self.spaces)
        self.home = {}
        self.spoiled = {}
        self.kinds = [kind for kind in KINDS if kind != "delay" or network.has_netem()]
        if len(self.kinds) < len(KINDS):
            print("this kernel has no netem: no delays", flush=True)
        super().__init__(output, host=HUB)

    def start_coordinator(self):
        return self.start(self.network.hub, self.coordinator_command("--set", "cluster.shared_memory=false"))

    def start_worker(self):
        space = self.free.pop()
        worker = self.start(space, self.worker_command())
        self.home[worker] = space
        return worker

    def start(self, space, command):
        return subprocess.Popen(["ip", "netns", "exec", space, *command], stdout=self.log, stderr=self.log)

    def ended(self, worker):
        self.free.append(self.home.pop(worker))

    def tend(self):
        for space, until in list(self.spoiled.items()):
            if time.monotonic() >= until:
                self.network.mend(space)
                del self.spoiled[space]
        return super().tend()

    def disturb(self):
        whole = [worker for worker in self.workers if self.home[worker] not in self.spoiled]
        if not whole:
            return
        worker, kind = self.random.choice(whole), self.random.choice(self.kinds)
        self.in_flight += self.holds_lease(worker)
        self.network.spoil(self.home[worker], kind)
        self.spoiled[self.home[worker]] = time.monotonic() + self.random.uniform(2, LONGEST)
        self.faults[kind] += 1
        self.waiting = self.waiting or (kind, time.monotonic(), self.observed.number("step"))


def main():
    for tool in ("ip", "nft", "tc"):
        if shutil.which(tool) is None:
            sys.exit(f"headstart: no {tool} found: install iproute2 and nftables")
    network = Network()
    try:
        chaos.main(lambda output: NetworkChaos(output, network))
    finally:
        network.remove()


if __name__ == "__main__":
    main()
