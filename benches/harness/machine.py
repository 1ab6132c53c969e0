"""The machine: what it is, what a process has used of its processors, and what others do meanwhile."""

import os
import platform
import re
import subprocess
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def facts():
    """What a reader must know of the machine."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.*)$", cpuinfo, re.MULTILINE)
    memory = int(re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)[1])
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{memory / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "rustc": rustc,
    }


def cpu_seconds(pids):
    """Processor time that these processes have used, all threads, user and system."""
    return sum(_ticks(Path(f"/proc/{pid}/stat"), 13) for pid in pids) / TICKS


def _ticks(stat, first):
    # The name, in parentheses, may hold blanks.
    fields = stat.read_text().rpartition(")")[2].split()
    return int(fields[first - 2]) + int(fields[first - 1])


def family(pid):
    """A process and its children, which must be all there by now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


def children_seconds():
    """Processor time of our own children that have ended: what made the load."""
    times = os.times()
    return times.children_user + times.children_system


def busy_seconds():
    """Processor time that anybody has used."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in first[:8])
    return (user + nice + system + irq + softirq + steal) / TICKS


def resident_mib(pid):
    """Memory of a process, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE)[1]) / 1024
