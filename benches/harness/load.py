"""Load: wrk for HTTP/1.1, h2load for HTTP/2. Each run gives requests, seconds, latencies in microseconds and errors."""

import contextlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Outcome:
    """What a run of load saw."""

    requests: int
    seconds: float
    p50: float
    p99: float


@dataclass(frozen=True)
class Values:
    """A header, and maybe the path, that differ from request to request: lines of a file, taken in an order that is
    `random` or `turn`."""

    name: str
    file: Path
    order: str = "random"


def outcome(said):
    """Reads what a load generator printed last; errors end the benchmark, for then the figures mean nothing."""
    found = json.loads(said.strip().rpartition("\n")[2])
    if found.pop("errors") or not found["requests"]:
        raise RuntimeError(f"not every request was answered well:\n{said}")
    return Outcome(**found)


@contextlib.contextmanager
def header_lines(headers):
    """A file of them."""
    with tempfile.NamedTemporaryFile("w") as lines:
        lines.writelines(f"{name}: {value}\n" for name, value in headers.items())
        lines.flush()
        yield lines


def wrk(url, headers, connections, seconds, values=None):
    """HTTP/1.1."""
    with header_lines(headers) as lines:
        told = {"LOAD_HEADERS": lines.name}
        threads = min(connections, 2)
        if values:
            told |= {"LOAD_VALUES": str(values.file), "LOAD_NAME": values.name}
            told |= {"LOAD_ORDER": values.order}
        command = ["wrk", "-t", threads, "-c", connections, "-d", f"{seconds}s", "-s", SCRIPT, url]
        return outcome(_output(command, told))


def hits(server, path, headers, connections=64, load=wrk, values=None):
    """A load of one path of a server, for so many seconds."""
    more = {"values": values} if values else {}
    return lambda seconds: load(server.origin + path, headers, connections, seconds, **more)


def h2load(url, headers, connections, seconds):
    """HTTP/2 without TLS, one request at a time on each connection."""
    with tempfile.NamedTemporaryFile("r", dir=_in_memory()) as log:
        command = ["h2load", "-t", min(connections, 2), "-c", connections, "-m", 1, "-D", seconds]
        command += [f"--log-file={log.name}"]
        for name, value in headers.items():
            command += ["-H", f"{':authority' if name == 'Host' else name.lower()}: {value}"]
        said = _output([*command, url])
        statuses = re.search(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said, re.MULTILINE)
        failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", said)
        if not statuses or int(statuses[3]) or int(statuses[4]) or any(int(count) for count in failed.groups()):
            raise RuntimeError(f"not every request was answered well:\n{said}")
        # Its own summary has no percentiles; a line is start, status and microseconds.
        took = sorted(int(line.rpartition("\t")[2]) for line in log)
    requests = int(statuses[1]) + int(statuses[2])
    return Outcome(requests, float(seconds), took[len(took) // 2], took[len(took) * 99 // 100])


def _in_memory():
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _output(command, told=None):
    command = [str(part) for part in command]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | (told or {}))
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def curl(url, headers):
    """One whole answer, however large."""
    command = ["curl", "--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total}", url]
    for name, value in headers.items():
        command += ["--header", f"{name}: {value}"]
    seconds = float(_output(command))
    return Outcome(1, seconds, seconds * 1e6, seconds * 1e6)


def sign_ins(programs, origin, browsers, seconds):
    """Whole sign-ins."""
    return _yardstick(programs, "sign-ins", at=origin, browsers=browsers, seconds=seconds)


def each(programs, origin, file, headers):
    """Each session of a file once."""
    with header_lines(headers) as lines:
        return _yardstick(programs, "each", at=origin, file=file, headers=lines.name)


def _yardstick(programs, role, **options):
    told = (part for name, value in options.items() for part in (f"--{name}", value))
    return outcome(_output([programs.yardsticks_program, role, *told]))
