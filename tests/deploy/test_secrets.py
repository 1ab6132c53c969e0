"""Every secret, from every source, ends as a file of one name; what the chart makes of them holds none in plain sight."""

import pytest
from conftest import in_every_ci, merged, nested, refusal, render, render_text
from test_render import ACME, REDIS, TENANT, URL

FIELDS = ["client_secret", "private_key", "local_users"]
SOURCES = {
    "value": {"value": "hush hush"},
    "secretKeyRef": {"secretKeyRef": {"name": "oidc", "key": "some.key"}},
    "existing": {"existing": True},
}
ALL = {"tenantSecrets": {"existingSecrets": ["all-secrets"]}}
REDIS_SECRETS = {
    "sessions.redis.passwordSecret": ("redis_password_file", "password"),
    "sessions.redis.sentinelPasswordSecret": ("redis_sentinel_password_file", "sentinel.password"),
}


def with_secret(field, source):
    return merged(ACME, ALL, {"tenants": {"acme": {"secrets": {field: SOURCES[source]}}}})


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("field", FIELDS)
def test_a_tenants_secret_is_a_file_of_its_name(field, source):
    objects = render(with_secret(field, source))
    assert objects.tenants["acme.yaml"][f"{field}_file"] == f"/etc/lychgate/secrets/acme.{field}"
    sources = objects.volume("secrets")["projected"]["sources"]
    items = [{"key": "some.key", "path": f"acme.{field}"}]
    expected = {
        "value": {"secret": {"name": "rel-lychgate-tenants", "optional": True}},
        "secretKeyRef": {"secret": {"name": "oidc", "optional": True, "items": items}},
        "existing": None,
    }[source]
    assert sources == [s for s in (expected, {"secret": {"name": "all-secrets", "optional": True}}) if s]


@pytest.mark.parametrize("field", FIELDS)
def test_a_value_is_in_a_secret_alone(field):
    values = with_secret(field, "value")
    assert render(values).one("Secret")["stringData"] == {f"acme.{field}": "hush hush"}
    assert render_text(values).count("hush hush") == 1


@pytest.mark.parametrize("source", ["secretKeyRef", "existing"])
def test_a_reference_makes_no_secret(source):
    assert render(with_secret("client_secret", source)).of("Secret") == []


def test_a_new_tenant_whose_secret_is_in_a_whole_secret_needs_no_new_pod():
    base = with_secret("client_secret", "existing")
    more = merged(base, {"tenants": {"globex": merged(TENANT, {"secrets": {"client_secret": SOURCES["existing"]}})}})
    assert render(base).pod == render(more).pod


@in_every_ci
def test_no_source_of_tenants_stops_the_pod(values):
    objects = render(merged(values, {"tenantSecrets": {"optional": True}}))
    for name in ("tenants", "secrets"):
        for source in (objects.volume(name) or {"projected": {"sources": []}})["projected"]["sources"]:
            [source] = source.values()
            assert source["optional"] is True


def test_a_missing_secret_may_stop_the_pod_if_values_want_that():
    values = merged(with_secret("client_secret", "secretKeyRef"), {"tenantSecrets": {"optional": False}})
    for source in render(values).volume("secrets")["projected"]["sources"]:
        assert source["secret"]["optional"] is False


def test_tenants_of_elsewhere_need_none_of_ours():
    values = {"tenantFiles": {"existingConfigMaps": ["a"], "existingSecrets": ["b"]}}
    objects = render(values)
    assert [o["metadata"]["name"] for o in objects.of("ConfigMap")] == ["rel-lychgate-config"]
    assert objects.volume("tenants")["projected"]["sources"] == [
        {"configMap": {"name": "a", "optional": True}},
        {"secret": {"name": "b", "optional": True}},
    ]


@pytest.mark.parametrize("value,expected", REDIS_SECRETS.items())
def test_a_password_of_redis_is_a_file(value, expected):
    key, path = expected
    sentinel = {"sessions": {"redis": {"mode": "sentinel", "url": "", "nodes": ["rediss://s"], "masterName": "m"}}}
    objects = render(merged(URL, REDIS, sentinel, nested(value, {"name": "login", "key": "pw"})))
    assert objects.settings["sessions"][key] == f"/etc/lychgate/redis/{path}"
    assert objects.volume("redis")["projected"]["sources"] == [
        {"secret": {"name": "login", "items": [{"key": "pw", "path": path}]}}
    ]


@pytest.mark.parametrize(
    "value,variable",
    [
        ("sessions.redis.urlSecret", "LYCHGATE_SESSIONS__REDIS_URL"),
        ("sessions.redis.usernameSecret", "LYCHGATE_SESSIONS__REDIS_USERNAME"),
    ],
)
def test_a_url_or_a_name_from_a_secret_is_a_variable(value, variable):
    url = {"sessions": {"redis": {"url": ""}}} if "url" in value else {}
    objects = render(merged(URL, REDIS, url, nested(value, {"name": "login", "key": "k"})))
    [entry] = [e for e in objects.container["env"] if e["name"] == variable]
    assert entry["valueFrom"] == {"secretKeyRef": {"name": "login", "key": "k"}}


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_certificates_for_redis_come_from_either(kind):
    ca = {"sessions": {"redis": {"tls": {"ca": {kind: "redis-ca"}, "clientCertSecret": "ours"}}}}
    objects = render(merged(URL, REDIS, ca))
    sessions = objects.settings["sessions"]
    assert sessions["redis_ca_file"] == "/etc/lychgate/redis/ca.crt"
    assert sessions["redis_certificate_file"] == "/etc/lychgate/redis/tls.crt"
    assert sessions["redis_key_file"] == "/etc/lychgate/redis/tls.key"
    first, second = objects.volume("redis")["projected"]["sources"]
    assert first == {kind: {"name": "redis-ca", "items": [{"key": "ca.crt", "path": "ca.crt"}]}}
    assert second["secret"]["name"] == "ours"


def test_the_key_ring_is_a_whole_secret_mounted_as_a_folder():
    objects = render(merged(URL, REDIS))
    assert objects.settings["secret_file"] == "/etc/lychgate/keys/secret.key"
    assert objects.volume("keys")["projected"]["sources"] == [{"secret": {"name": "keys"}}]


def test_ca_bundles_of_both_kinds_lie_in_one_folder():
    bundles = [{"name": "a", "configMap": "x"}, {"name": "b", "secret": "y", "key": "b.pem"}]
    objects = render(merged(ACME, {"caBundles": bundles, "tenants": {"acme": {"caBundle": "b"}}}))
    assert objects.tenants["acme.yaml"]["ca_file"] == "/etc/lychgate/ca/b.crt"
    assert objects.volume("ca")["projected"]["sources"] == [
        {"configMap": {"name": "x", "items": [{"key": "ca.crt", "path": "a.crt"}]}},
        {"secret": {"name": "y", "items": [{"key": "b.pem", "path": "b.crt"}]}},
    ]


@in_every_ci
def test_secret_files_are_for_our_group_alone(values):
    for volume in render(values).pod["spec"]["volumes"]:
        if volume["name"] in ("secrets", "keys", "redis", "tls"):
            assert volume["projected"]["defaultMode"] == 0o440, volume["name"]


@pytest.mark.parametrize("path", ["secret", "sessions.redis_password", "sessions.redis_sentinel_password"])
def test_a_secret_of_the_server_is_refused_in_config_without_being_said(path):
    assert "hush" not in refusal(nested(f"config.{path}", "hush hush"))
