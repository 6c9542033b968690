"""Two hosts on one machine: for each a network namespace and a process-id namespace, and a link between them with a rate.

A process finds another's memory through /proc/PID/fd. With a /proc per host, it finds only what runs beside it, as on real
machines. Needs root, iproute2 and util-linux.
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

PINNED = ["taskset", "--cpu-list", "0,1"]
TOOLS = ("ip", "tc", "unshare", "nsenter", "setpriv", "taskset")
ADDRESSES = ["10.98.77.1", "10.98.77.2"]
DEVICE = "eth0"
# A bucket of two of the largest packets that a veth carries, and a queue as a switch has one.
BURST, QUEUE = "128kb", "50ms"
# Packets of a delayed link where a program forwards them: large ones, because it is slow.
TUN_MTU = 32_000
PATIENCE = 10


def run(*command):
    subprocess.run(command, check=True)


class Hosts:
    """Use as a context: at its end, all processes on the hosts are killed and the hosts are gone."""

    def __init__(self, delay_ms=0.0):
        missing = [tool for tool in TOOLS if shutil.which(tool) is None]
        if missing or os.geteuid() != 0:
            sys.exit(f"headstart: network namespaces need root, iproute2 and util-linux; missing: {missing or 'root'}")
        self.names = [f"headstart-{os.getpid()}-host{number}" for number in range(len(ADDRESSES))]
        self.delay_ms = delay_ms
        self.roots, self.inits, self.spaces = [], [], []
        self.forwarder = None

    def __enter__(self):
        # SIGTERM unwinds the stack as an exception does.
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
        try:
            for name in self.names:
                run("ip", "netns", "add", name)
                self.spaces.append(name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            self.connect()
            for name in self.names:
                self.start_init(name)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def connect(self):
        first, second = self.names
        self.netem = self.delay_ms > 0 and self.has_netem()
        if self.delay_ms > 0 and not self.netem:
            forward = [sys.executable, str(pathlib.Path(__file__).with_name("delay.py")), *self.names, DEVICE, str(self.delay_ms)]
            self.forwarder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *forward], stdout=subprocess.PIPE)
            if self.forwarder.stdout.readline() != b"ready\n":
                sys.exit("headstart: the forwarder of the delayed link did not start")
        else:
            run("ip", "-n", first, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", second)
        for name, address in zip(self.names, ADDRESSES):
            if self.forwarder:
                run("ip", "-n", name, "link", "set", DEVICE, "mtu", str(TUN_MTU))
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", DEVICE)
            run("ip", "-n", name, "link", "set", DEVICE, "up")

    def has_netem(self):
        tried = ["tc", "-n", self.names[0], "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
        found = subprocess.run(tried, capture_output=True).returncode == 0
        subprocess.run(["tc", "-n", self.names[0], "qdisc", "del", "dev", "lo", "root"], capture_output=True)
        return found

    def start_init(self, name):
        """Process 1 of a host. When it ends, the kernel kills all others of the host."""
        command = ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", name]
        command += ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sleep", "infinity"]
        root = subprocess.Popen(command)
        self.roots.append(root)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and root.poll() is None:
            child = pathlib.Path(f"/proc/{root.pid}/task/{root.pid}/children").read_text(encoding="utf-8").split()
            # Before it becomes this program, /proc is not mounted yet.
            if child and pathlib.Path(f"/proc/{child[0]}/comm").read_text(encoding="utf-8").strip() == "sleep":
                self.inits.append(child[0])
                return
            time.sleep(0.01)
        sys.exit(f"headstart: {name} did not start")

    def start(self, host, command, log, environment=None):
        """Starts a command on a host, pinned to the two cores that all share. Both outputs go to the file `log`."""
        enter = ["nsenter", "--target", self.inits[host], "--net", "--pid", "--mount", f"--wdns={os.getcwd()}", *PINNED]
        with open(log, "w", encoding="utf-8") as out:
            return subprocess.Popen(enter + command, stdout=out, stderr=out, env=environment)

    def shape(self, rate):
        """Gives both directions of the link a rate, such as `1gbit`, or none."""
        for name in self.names:
            device = ["dev", DEVICE]
            subprocess.run(["tc", "-n", name, "qdisc", "del", *device, "root"], capture_output=True)
            below = ["root"]
            if self.netem:
                delay = ["netem", "delay", f"{self.delay_ms}ms", "limit", "100000"]
                run("tc", "-n", name, "qdisc", "add", *device, "root", "handle", "1:", *delay)
                below = ["parent", "1:"]
            if rate:
                run("tc", "-n", name, "qdisc", "add", *device, *below, "tbf", "rate", rate, "burst", BURST, "latency", QUEUE)

    def counters(self, host):
        """Bytes that the host's side of the link has received and sent."""
        for line in open(f"/proc/{self.inits[host]}/net/dev", encoding="utf-8"):
            name, _, numbers = line.partition(":")
            if name.strip() == DEVICE:
                fields = numbers.split()
                return int(fields[0]), int(fields[8])
        sys.exit(f"headstart: host {host} has no {DEVICE}")

    def remove(self):
        for process in [*self.roots, self.forwarder]:
            if process:
                process.kill()
                process.wait()
        for name in self.spaces:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)
