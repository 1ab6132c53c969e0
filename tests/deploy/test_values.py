"""Values, templates, schema and README speak of the same things."""

import json
import shutil
import subprocess

import jsonschema
import pytest
import yaml
from conftest import CHART, REPOSITORY, TOOLS, Loader, ci_values, merged, nested, notes, render_text
from test_render import ACME, REDIS, URL

VALUES = yaml.load((CHART / "values.yaml").read_text(), Loader)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
# Tables whose keys are the user's, or Kubernetes' own: looked at as a whole.
WHOLE = ["resources", "podSecurityContext", "securityContext", "startupProbe", "livenessProbe", "readinessProbe", "autoscaling.behavior"]
# Tables within the values where everything is on, so that each single value can show what it does.
EMBEDDED = merged(
    ACME,
    {"sessions": {"persistence": {"enabled": True}}},
    {"ingress": {"enabled": True, "hosts": [{"host": "a.example"}]}},
    {"route": {"main": {"enabled": True, "hostnames": ["a.example"], "parentRefs": [{"name": "gw"}]}}},
    {"networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {}}]}},
    {"metrics": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True, "folder": "a"}}},
    {"integrations": {"traefik": {"forwardAuth": {"enabled": True}}, "envoyGateway": {"securityPolicy": {"enabled": True, "targetRefs": [{"name": "a"}]}}}},
    {"preflight": {"enabled": True}, "tenantSecrets": {"existingSecrets": ["a"]}},
)
SHARED = merged(ACME, REDIS, {"networkPolicy": {"enabled": True}, "autoscaling": {"enabled": True}})
SENTINEL = merged(ci_values("sentinel"), {"networkPolicy": {"enabled": True}})
# What to set a value to where flipping, adding one or appending will not do, and over what.
KEY = {"name": "a", "key": "b"}
OTHERS = {
    "config": {"log": {"level": "debug"}},
    "tenants": {"globex": {"config": {"issuer": "https://id.globex.example"}}},
    "image.digest": "sha256:" + "1" * 64,
    "bindAddress": "[::]",
    "caBundles": [{"name": "a", "secret": "b"}],
    "sessions.store": ({"keys": {"existingSecret": "a"}}, "redis", REDIS),
    "sessions.persistence.accessModes": ["ReadWriteOncePod"],
    "sessions.persistence.existingClaim": "mine",
    "sessions.redis.mode": (SENTINEL, "cluster"),
    "sessions.redis.url": (SHARED, "rediss://other"),
    "sessions.redis.urlSecret": (SHARED, KEY, {"sessions": {"redis": {"url": ""}}}),
    "sessions.redis.nodes": (SENTINEL, ["rediss://a"]),
    "sessions.redis.masterName": (SENTINEL, "other"),
    "sessions.redis.sentinelUsername": (SENTINEL, "other"),
    "sessions.redis.sentinelPasswordSecret": (SENTINEL, KEY),
    "sessions.redis.usernameSecret": (SHARED, KEY),
    "sessions.redis.passwordSecret": (SHARED, KEY),
    "sessions.redis.username": (SHARED, "other"),
    "sessions.redis.keyPrefix": (SHARED, "other"),
    "sessions.redis.tls.ca": (SHARED, {"secret": "a"}),
    "sessions.redis.tls.clientCertSecret": (SHARED, "a"),
    "networkPolicy.redisTo": (SHARED, [{"podSelector": {}}]),
    "networkPolicy.redisPorts": (SHARED, [1]),
    "service.type": "NodePort",
    "image.pullPolicy": "Always",
    "ingress.hosts": [{"host": "b.example"}],
    "networkPolicy.httpsPorts": [8443],
    "route.main.closedPaths": ["/a"],
    "route.main.rules": [{}],
    "metrics.serviceMonitor.interval": "5s",
    "metrics.serviceMonitor.scrapeTimeout": "5s",
    "metrics.prometheusRule.runbooks": "https://wiki.example/",
    "metrics.prometheusRule.disabled": ["LychgateProviderDown"],
    "metrics.prometheusRule.overrides": {"LychgateProviderDown": {"for": "1h"}},
    "integrations.traefik.forwardAuth.path": "/acme/auth/traefik",
    "integrations.envoyGateway.securityPolicy.path": "/acme/auth/envoy",
    "integrations.envoyGateway.securityPolicy.targetRefs": [{"name": "b"}],
    "integrations.traefik.forwardAuth.authResponseHeaders": ["X-Other"],
    "integrations.envoyGateway.securityPolicy.headersToBackend": ["X-Other"],
    "updateStrategy": (ACME, {"type": "Recreate"}),
    "replicaCount": 0,
    "podDisruptionBudget.minAvailable": 1,
    "podDisruptionBudget.maxUnavailable": 2,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": "IfHealthyBudget",
    "autoscaling.enabled": (merged(SHARED, {"autoscaling": {"enabled": False}}), True),
    "autoscaling.metrics": (SHARED, [{"type": "Resource"}]),
    "autoscaling.minReplicas": (SHARED, 3),
    "autoscaling.maxReplicas": (SHARED, 9),
    "autoscaling.targetCPUUtilizationPercentage": (SHARED, 50),
    "autoscaling.behavior": (SHARED, {"scaleUp": {}}),
    "hostUsers": False,
    "extraEnv": [{"name": "A", "value": "b"}],
    "topologySpreadConstraints": [],
    "extraObjects": ["kind: A\nmetadata: {name: a}"],
}
# A parent chart reads it, we do not; `test_lint.py` and `test_refusals.py` show both.
NOT_OURS = ["enabled"]


def leaves(value, path=""):
    if isinstance(value, dict) and value and path not in WHOLE:
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}".lstrip("."))
    else:
        yield path


LEAVES = list(leaves(VALUES))


def other(path):
    """Values in force before, another one for `path`, and what must change with it."""
    if path in OTHERS:
        found = OTHERS[path]
        return (*found, {})[:3] if isinstance(found, tuple) else (EMBEDDED, found, {})
    value = VALUES
    for name in path.split("."):
        value = value[name]
    base = EMBEDDED
    for name in path.split("."):
        base = base.get(name) if isinstance(base, dict) else None
    if isinstance(value, bool):
        return EMBEDDED, not (value if base is None else base), {}
    if isinstance(value, int):
        return EMBEDDED, value + 1, {}
    if isinstance(value, str):
        return EMBEDDED, "other", {}
    if isinstance(value, list):
        names = any(word in path.lower() for word in ("existing", "secrets", "args", "hostnames"))
        return EMBEDDED, ["other"] if names else [{"name": "other"}], {}
    return EMBEDDED, {"other": "more"}, {}


@pytest.mark.parametrize("path", [path for path in LEAVES if path not in NOT_OURS])
def test_every_value_does_something(path):
    base, value, also = other(path)
    before, after = render_text(base), render_text(merged(base, also, nested(path, value)))
    assert before != after, "nothing became different"


def test_every_value_in_that_list_exists():
    assert [path for path in OTHERS if path not in LEAVES] == []


def test_the_defaults_fit_the_schema():
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


@pytest.mark.parametrize("path", LEAVES)
def test_the_schema_knows_every_value(path):
    place = SCHEMA
    for name in path.split("."):
        while "$ref" in place:
            place = SCHEMA["definitions"][place["$ref"].rpartition("/")[2]]
        assert name in place["properties"], f"{path}: {name} is not in values.schema.json"
        place = place["properties"][name]


def test_the_schema_is_a_schema():
    command = [TOOLS / "python" / "bin" / "check-jsonschema", "--check-metaschema", CHART / "values.schema.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_is_strict_but_open_where_others_write_and_asks_nobody():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert SCHEMA["additionalProperties"] is False
    assert "additionalProperties" not in SCHEMA["properties"]["global"]
    assert [ref for ref in references(SCHEMA) if not ref.startswith("#/definitions/")] == []
    assert {ref.rpartition("/")[2] for ref in references(SCHEMA)} == set(SCHEMA["definitions"])


def references(value):
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_the_readme_has_every_value_as_it_is(tmp_path):
    copy = tmp_path / "README.md"
    shutil.copy(CHART / "README.md", copy)
    command = ["node_modules/.bin/readme-generator", "--values", CHART / "values.yaml", "--readme", copy]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY / "tests" / "deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert copy.read_text() == (CHART / "README.md").read_text(), "run tests/deploy/run --readme"


def test_a_value_without_a_comment_is_found(tmp_path):
    (tmp_path / "values.yaml").write_text((CHART / "values.yaml").read_text() + "undocumented: 1\n")
    shutil.copy(CHART / "README.md", tmp_path)
    command = ["node_modules/.bin/readme-generator", "--values", tmp_path / "values.yaml", "--readme", tmp_path / "README.md"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY / "tests" / "deploy")
    assert done.returncode != 0 and "Missing metadata for key: undocumented" in done.stdout


def test_notes_are_rendered_for_every_kind_of_use():
    for values in (URL, EMBEDDED, SHARED, SENTINEL):
        assert "lychgate urls" in notes(values)
