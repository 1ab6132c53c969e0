"""Load from h2load, and what it says of it: a line for each request, with its status and how long it took."""

import contextlib
import subprocess
import tempfile
from pathlib import Path


class Load:
    """Requests to one URL, `rate` a second in all, or as many as `clients` get if there is no rate. Runs until `result`."""

    def __init__(self, url, headers, clients, seconds, rate=None):
        self.stack = contextlib.ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lychgate-soak-")))
        self.seconds = seconds
        command = ["h2load", "--h1", "-t1", f"-c{clients}", f"-D{seconds}", f"--log-file={self.folder / 'log'}"]
        if rate:
            command.append(f"--rps={rate / clients}")
        for name, value in headers.items():
            command += ["-H", f"{name}: {value}"]
        self.process = subprocess.Popen([*command, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def result(self):
        with self.stack:
            try:
                self.process.wait(self.seconds + 120)
            finally:
                if self.process.poll() is None:
                    self.process.kill()
                    self.process.wait()
            lines = (self.folder / "log").read_text().splitlines()
        return Result([line.split("\t") for line in lines], self.seconds)


class Result:
    def __init__(self, lines, seconds):
        self.seconds, self.statuses, self.times = seconds, {}, []
        for _, status, micros in lines:
            self.statuses[int(status)] = self.statuses.get(int(status), 0) + 1
            self.times.append(int(micros))
        self.times.sort()

    @property
    def rate(self):
        return len(self.times) / self.seconds

    def within(self, percent):
        """The milliseconds within which so many of a hundred were answered."""
        return self.times[min(len(self.times) - 1, int(len(self.times) * percent / 100))] / 1000 if self.times else float("nan")
