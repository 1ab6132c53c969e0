"""Every pair of values that is unsafe or contradicts itself is refused, with what to set instead."""

import re

import pytest
from conftest import HELMS, ci_values, merged, nested, refusal, render
from test_render import ACME, REDIS, TENANT, URL

PASSWORD = {"sessions": {"redis": {"passwordSecret": {"name": "a", "key": "b"}}}}
ON = {"metrics": {"prometheusRule": {"enabled": True}}}
ROUTE = {"hostnames": ["a.example"], "parentRefs": [{"name": "gw"}], "enabled": True}


def acme(**tenant):
    return merged(URL, {"tenants": {"acme": merged(TENANT, tenant)}})


# What is refused, and what Helm says; each line of it names a value to set.
REFUSED = {
    "enabled by itself": ({"enabled": False}, "enabled=false is for a parent chart's"),
    "several pods, embedded": ({"replicaCount": 2}, "replicaCount=2 means several pods, but sessions.store=embedded .*: set sessions.store=redis"),
    "an external scaler, embedded": ({"replicaCount": None}, "replicaCount=null means several pods"),
    "an autoscaler, embedded": ({"autoscaling": {"enabled": True}}, "autoscaling.enabled=true means several pods"),
    "redis without keys": (merged(REDIS, {"keys": {"existingSecret": ""}}), "sessions.store=redis needs keys.existingSecret"),
    "redis with a volume": (merged(REDIS, {"sessions": {"persistence": {"enabled": True}}}), "sessions.persistence.enabled=true is for sessions.store=embedded"),
    "a volume and a rolling update": ({"sessions": {"persistence": {"enabled": True}}, "updateStrategy": {"type": "RollingUpdate"}}, "would wait for ever"),
    "more at least than at most": (merged(REDIS, {"autoscaling": {"enabled": True, "minReplicas": 9}}), "autoscaling.minReplicas is more than autoscaling.maxReplicas"),
    "an autoscaler without metrics": (merged(REDIS, {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}), "autoscaling has nothing to go by"),
    "two thresholds of a budget": ({"podDisruptionBudget": {"minAvailable": 1, "maxUnavailable": 0}}, "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both given"),
    "a grace period too short": ({"extraPodSpec": {"terminationGracePeriodSeconds": 20}}, "terminationGracePeriodSeconds=20 is less than .* = 25"),
    "redis nowhere": (merged(REDIS, {"sessions": {"redis": {"url": ""}}}), "needs sessions.redis.url, such as rediss://"),
    "redis at two places": (merged(REDIS, {"sessions": {"redis": {"urlSecret": {"name": "a", "key": "b"}}}}), "sessions.redis.url and sessions.redis.urlSecret are both given"),
    "sentinels without nodes": (merged(REDIS, {"sessions": {"redis": {"url": "", "mode": "sentinel", "masterName": "m"}}}), "sessions.redis.mode=sentinel needs sessions.redis.nodes"),
    "sentinels without a master": (merged(ci_values("sentinel"), {"sessions": {"redis": {"masterName": ""}}}), "needs sessions.redis.masterName"),
    "a cluster at one url": (merged(REDIS, {"sessions": {"redis": {"mode": "cluster", "nodes": ["rediss://a"]}}}), "name the servers of a cluster in sessions.redis.nodes"),
    "one server with nodes": (merged(REDIS, {"sessions": {"redis": {"nodes": ["redis://a"]}}}), "sessions.redis.nodes is for sessions.redis.mode=sentinel or cluster"),
    "two users of redis": (merged(ci_values("sentinel"), {"sessions": {"redis": {"username": "a"}}}), "sessions.redis.username and sessions.redis.usernameSecret are both given"),
    "a password in a url": (merged(REDIS, {"sessions": {"redis": {"url": "rediss://a:hush@redis.internal"}}}), "a URL in sessions.redis holds a password"),
    "redis that is not used": ({"sessions": {"redis": {"url": "redis://a"}}}, "but sessions.store=embedded: set sessions.store=redis"),
    "a tenant without a provider": (merged(URL, {"tenants": {"acme": {"config": {"client_id": "a"}}}}), "tenants.acme.config has neither issuer nor domain"),
    "a tenant with two providers": (acme(config={"domain": "a.auth0.com"}), "tenants.acme.config has both issuer and domain"),
    "a tenant without a url": ({"tenants": {"acme": TENANT}}, "tenants.acme has no URL: set config.public_url"),
    "one host of two tenants": ({"tenants": {"a": merged(TENANT, {"config": {"hosts": ["X.example"]}}), "b": merged(TENANT, {"config": {"hosts": ["x.example"]}})}}, "tenants.b.config.hosts has x.example, which is a host of tenants.a"),
    "the shared host for one tenant": (acme(config={"hosts": ["login.example.com"]}), "tenants.acme.config.hosts has login.example.com, the host of config.public_url"),
    "a client secret in plain sight": (acme(config={"client_secret": "hush"}), "tenants.acme.config.client_secret would lie in a ConfigMap: move it to tenants.acme.secrets.client_secret"),
    "a private key in plain sight": (acme(config={"private_key": "-----BEGIN"}), "tenants.acme.config.private_key would lie in a ConfigMap"),
    "a secret at two places": (acme(config={"client_secret_file": "/a"}, secrets={"client_secret": {"value": "hush"}}), "tenants.acme.config.client_secret_file and tenants.acme.secrets.client_secret are both given"),
    "a secret of nowhere": (acme(secrets={"client_secret": {"existing": True}}), "tenants.acme.secrets.client_secret.existing needs tenantSecrets.existingSecrets: a Secret with the key acme.client_secret"),
    "a bundle of nowhere": (acme(caBundle="corporate"), "tenants.acme.caBundle=corporate is not the name of any of caBundles"),
    "two bundles of a tenant": (merged(acme(caBundle="a", config={"ca_file": "/a"}), {"caBundles": [{"name": "a", "secret": "a"}]}), "tenants.acme.config.ca_file and tenants.acme.caBundle are both given"),
    "two bundles of one name": ({"caBundles": [{"name": "a", "secret": "a"}, {"name": "a", "configMap": "b"}]}, "caBundles has the name a twice"),
    "too many tenants": (acme(config={"display_name": "x" * 950_000}), "tenants take 92. KiB; .* tenantFiles.existingConfigMaps"),
    "an ingress for every host": ({"ingress": {"enabled": True}}, "ingress.enabled=true needs ingress.hosts"),
    "a route for every host": ({"route": {"main": merged(ROUTE, {"hostnames": []})}}, "route.main needs hostnames"),
    "a route of no gateway": ({"route": {"main": merged(ROUTE, {"parentRefs": []})}}, "route.main needs parentRefs"),
    "rules and closed paths": ({"route": {"other": merged(ROUTE, {"rules": [{}], "closedPaths": ["/a"]})}}, "route.other.rules replaces closedPaths and filters"),
    "a policy that keeps prometheus out": ({"networkPolicy": {"enabled": True}, "metrics": {"serviceMonitor": {"enabled": True}}}, "set networkPolicy.metricsFrom"),
    "a policy for no route": (nested("integrations.envoyGateway.securityPolicy.enabled", True), "securityPolicy needs targetRefs"),
    "an unknown alert to change": (merged(ON, nested("metrics.prometheusRule.overrides", {"Nope": {"for": "1m"}})), "knows no alert Nope; there are Lychgate"),
    "an unknown alert to leave out": (merged(ON, nested("metrics.prometheusRule.disabled", ["Nope"])), "knows no alert Nope"),
    "a threshold of two": (merged(ON, nested("metrics.prometheusRule.overrides", {"LychgateSignInFailures": {"threshold": 1}})), "does not compare exactly once. Set expr"),
    "a threshold and an expression": (merged(ON, nested("metrics.prometheusRule.overrides", {"LychgateTokensRefused": {"threshold": 1, "expr": "a > 1"}})), "threshold and expr are both given"),
}
# What the chart fills in itself; read from the template, so that none goes untested.
OWNED = re.findall(
    r"^([a-z_.]+): (.*)$",
    re.search(r'define "lychgate.ownedSettings" -}}\n(.*?)\{\{- end', (__import__("conftest").CHART / "templates" / "_settings.tpl").read_text(), re.S)[1],
    re.M,
)
# What values.schema.json refuses, with the place that it names.
MALFORMED = {
    "an unknown value": ({"replicas": 2}, "replicas"),
    "an unknown value inside": ({"image": {"pullpolicy": "Always"}}, "pullpolicy"),
    "a tenant's id": ({"tenants": {"Acme": TENANT}}, "Acme"),
    "an unknown field of a tenant": ({"tenants": {"acme": {"issuer": "a"}}}, "issuer"),
    "a secret of two sources": (acme(secrets={"client_secret": {"value": "a", "existing": True}}), "client_secret"),
    "a secret of no source": (acme(secrets={"client_secret": {}}), "client_secret"),
    "a secret without a key": (acme(secrets={"client_secret": {"secretKeyRef": {"name": "a"}}}), "client_secret"),
    "a digest": ({"image": {"digest": "sha256:abc"}}, "digest"),
    "a store": ({"sessions": {"store": "memcached"}}, "store"),
    "a url of redis": ({"sessions": {"redis": {"url": "http://a"}}}, "url"),
    "a reference without a key": ({"sessions": {"redis": {"passwordSecret": {"name": "a"}}}}, "passwordSecret"),
    "a bundle of two sources": ({"caBundles": [{"name": "a", "secret": "a", "configMap": "a"}]}, "caBundles"),
    "a budget": ({"podDisruptionBudget": {"maxUnavailable": "half"}}, "maxUnavailable"),
    "a port": ({"service": {"port": 70000}}, "port"),
    "a duration": ({"metrics": {"serviceMonitor": {"interval": "soon"}}}, "interval"),
    "an annotation that is no text": ({"podAnnotations": {"a": 1}}, "podAnnotations"),
    "a variable that is no text": ({"extraEnv": [{"name": "A", "value": 1}]}, "extraEnv"),
    "what traefik asks": (nested("integrations.traefik.forwardAuth.path", "/auth"), "path"),
}


@pytest.mark.parametrize("values,message", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_with_what_to_set(values, message):
    said = refusal(values)
    assert re.search(message, said), said
    assert re.search(r"^1 fault\(s\) in the values of lychgate:$", said, re.M), f"more than that one was found:\n{said}"


@pytest.mark.parametrize("path,instead", OWNED, ids=[path for path, _ in OWNED])
def test_a_setting_that_the_chart_fills_in_is_refused_in_config(path, instead):
    assert f"config.{path} is filled in by the chart: set {instead}" in refusal(nested(f"config.{path}", "x"))


@pytest.mark.parametrize("values,place", MALFORMED.values(), ids=MALFORMED)
@pytest.mark.parametrize("helm", HELMS)
def test_the_schema_refuses_it_and_names_the_place(helm, values, place):
    said = refusal(values, helm=helm)
    assert "don't meet the specifications of the schema" in said and place in said, said


def test_all_faults_are_told_at_once():
    said = refusal({"replicaCount": 2, "ingress": {"enabled": True}, "tenants": {"acme": {"config": {"client_secret": "hush"}}}})
    assert "5 fault(s)" in said and "hush" not in said


def test_a_reference_to_a_variable_is_no_secret_in_plain_sight():
    assert render(acme(config={"client_secret": "${ACME_SECRET}"})).tenants["acme.yaml"]["client_secret"] == "${ACME_SECRET}"


def test_a_tenant_that_is_off_is_not_looked_at():
    assert render(merged(ACME, {"tenants": {"bad": {"enabled": False, "config": {}}, "gone": None}})).tenants.keys() == {"acme.yaml"}


def test_no_refusal_says_a_password():
    assert "hush" not in refusal(REFUSED["a password in a url"][0])
