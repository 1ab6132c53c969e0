"""Helm as tests use it: values in, objects out."""

import functools
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "lychgate"
TOOLS = Path(os.environ.get("LYCHGATE_DEPLOY_TOOLS", REPOSITORY / ".tools" / "deploy"))
HELMS = ["helm3", "helm4"]
CI = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE, NAMESPACE = "rel", "ns"


class Loader(yaml.CSafeLoader):
    """Refuses what a YAML reader may otherwise take in silence: a key that stands twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
        return super().construct_mapping(node, deep)


class Objects(list):
    """What a chart rendered."""

    def of(self, kind):
        return [o for o in self if o["kind"] == kind]

    def one(self, kind, suffix=""):
        """The one object of a kind, or of those the one whose name ends so."""
        found = [o for o in self.of(kind) if o["metadata"]["name"].endswith(suffix)]
        assert len(found) == 1, f"{len(found)} of {kind} *{suffix}: {[o['metadata']['name'] for o in self.of(kind)]}"
        return found[0]

    @property
    def pod(self):
        return self.one("Deployment")["spec"]["template"]

    @property
    def container(self):
        return self.pod["spec"]["containers"][0]

    @property
    def settings(self):
        """`lychgate.yaml`."""
        return yaml.load(self.one("ConfigMap", "-config")["data"]["lychgate.yaml"], Loader)

    @property
    def tenants(self):
        """The tenant files, read."""
        data = self.one("ConfigMap", "-tenants")["data"] or {}
        return {name: yaml.load(text, Loader) for name, text in data.items()}

    def volume(self, name):
        [volume] = [v for v in self.pod["spec"]["volumes"] if v["name"] == name] or [None]
        return volume


class Failed(Exception):
    """Helm refused; its text says why."""


@functools.lru_cache(maxsize=None)
def run_helm(helm, args, values, release=RELEASE, chart=str(CHART)):
    command = [str(TOOLS / helm), args[0], release, chart, "--namespace", NAMESPACE, *args[1:]]
    if values is not None:
        command += ["--values", "-"]
    done = subprocess.run(command, input=values, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise Failed(done.stderr)
    return done.stdout


def render_text(values=None, helm="helm4", release=RELEASE, chart=CHART, args=()):
    """What `helm template` prints. `values` is a table."""
    return run_helm(helm, ("template", *args), json.dumps(values or {}), release, str(chart))


def read(text):
    return Objects(o for o in yaml.load_all(text, Loader) if o)


def render(values=None, **options):
    return read(render_text(values, **options))


def refusal(values, **options):
    """What Helm says of values that it does not take."""
    with pytest.raises(Failed) as failed:
        render_text(values, **options)
    return str(failed.value)


def notes(values=None):
    """NOTES.txt. Helm 3 renders it only beside a cluster, so this is Helm 4's."""
    out = run_helm("helm4", ("install", "--dry-run=client"), json.dumps(values or {}))
    return out.partition("NOTES:\n")[2]


def merged(*tables):
    """Tables laid over one another, as Helm does with values files."""
    result = {}
    for table in tables:
        for key, value in table.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def nested(path, value):
    """`nested("a.b", 1)` is `{"a": {"b": 1}}`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def ci_values(name):
    return yaml.load((CHART / "ci" / f"{name}-values.yaml").read_text(), Loader)


def hash_of(thing):
    return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()


def in_every_ci(function):
    """Runs a test once for each of the chart's values files."""
    named = [pytest.param(yaml.load(path.read_text(), Loader), id=path.name.removesuffix("-values.yaml")) for path in CI]
    return pytest.mark.parametrize("values", named)(function)
