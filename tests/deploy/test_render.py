"""What values do to the objects."""

import re
import shutil

import pytest
from conftest import CHART, HELMS, RELEASE, REPOSITORY, ci_values, hash_of, in_every_ci, merged, nested, notes, render, render_text

REDIS = {
    "sessions": {"store": "redis", "redis": {"url": "rediss://redis.internal:6379"}},
    "keys": {"existingSecret": "keys"},
}
URL = {"config": {"public_url": "https://login.example.com"}}
TENANT = {"config": {"issuer": "https://id.acme.example", "client_id": "gw"}}
ACME = merged(URL, {"tenants": {"acme": TENANT}})
LABEL = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")


def labels_in(value, path=""):
    """All labels and selectors of labels in an object."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("labels", "matchLabels", "selector") and isinstance(item, dict):
                yield from ((f"{path}.{key}", k, v) for k, v in item.items() if isinstance(v, str))
            yield from labels_in(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from labels_in(item, path)


@in_every_ci
def test_names_and_labels_are_legal(values):
    for document in render(values):
        assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", document["metadata"]["name"])
        assert [found for found in labels_in(document) if not LABEL.match(found[2]) and found[2] != ""] == []


@pytest.mark.parametrize("release", ["a" * 53, "lychgate-" + "b" * 44])
def test_long_names_stay_within_63_characters_and_apart(release):
    values = merged(ci_values("kitchen-sink"), {"nameOverride": "n" * 63})
    for options in (values, merged(values, {"fullnameOverride": "f" * 63}), merged(values, {"nameOverride": ""})):
        options = merged(options, {"extraObjects": []})
        names = [(o["kind"], o["metadata"]["name"]) for o in render(options, release=release)]
        assert [name for _, name in names if len(name) > 63] == []
        assert len(names) == len(set(names))


def test_a_digest_is_pinned_and_the_labels_keep_the_version():
    digest = "sha256:" + "0" * 64
    objects = render({"image": {"digest": digest, "tag": "1.2.3", "registry": "registry.example.com"}})
    assert objects.container["image"] == f"registry.example.com/lychgate:1.2.3@{digest}"
    assert objects.one("Deployment")["metadata"]["labels"]["app.kubernetes.io/version"] == "1.2.3"


def test_one_switch_moves_all_images_to_another_registry():
    text = render_text(merged(URL, {"global": {"imageRegistry": "mirror.example.com"}, "image": {"registry": "r.example.com"}, "preflight": {"enabled": True}}))
    assert re.findall(r"image: (.*)", text) == ["mirror.example.com/lychgate:0.1.0"] * 3


@in_every_ci
def test_nothing_selects_by_what_changes(values):
    fixed = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
    objects = render(values)
    deployment = objects.one("Deployment")
    assert set(deployment["spec"]["selector"]["matchLabels"]) == fixed
    for service in objects.of("Service"):
        assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
        assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for monitor in objects.of("ServiceMonitor"):
        chosen = [s for s in objects.of("Service") if monitor["spec"]["selector"]["matchLabels"].items() <= s["metadata"]["labels"].items()]
        assert [s["metadata"]["name"] for s in chosen] == [objects.one("Service", "-metrics")["metadata"]["name"]]


def test_the_job_has_the_name_that_the_alerts_know():
    objects = render(merged(ci_values("monitoring"), {"fullnameOverride": "gate", "nameOverride": "gate"}), release="gate")
    label = objects.one("ServiceMonitor")["spec"]["jobLabel"]
    assert objects.one("Service", "-metrics")["metadata"]["labels"][label] == "lychgate"
    told = [m for g in objects.one("PrometheusRule")["spec"]["groups"] for r in g["rules"] for m in re.findall(r'job=~?"([^"]*)"', r["expr"])]
    assert told and all(re.fullmatch(job, "lychgate") for job in told)


def test_labels_of_values_do_not_change_selectors():
    evil = {"app.kubernetes.io/name": "other", "app.kubernetes.io/component": "other", "team": "ours"}
    before, after = render(), render({"commonLabels": evil, "podLabels": evil})
    assert after.one("Deployment")["spec"]["selector"] == before.one("Deployment")["spec"]["selector"]
    assert before.pod["metadata"]["labels"].items() <= after.pod["metadata"]["labels"].items()
    assert after.pod["metadata"]["labels"]["team"] == "ours"


def test_selectors_outlive_a_new_version_of_chart_and_image():
    for values in ({"image": {"tag": "9.9.9"}}, {"replicaCount": 0}, {"podAnnotations": {"a": "b"}}):
        assert render(values).one("Deployment")["spec"]["selector"] == render().one("Deployment")["spec"]["selector"]


TENANT_CHANGES = [
    {"tenants": {"acme": {"config": {"display_name": "Acme"}}}},
    {"tenants": {"globex": merged(TENANT, {"config": {"client_id": "other"}})}},
    {"tenants": {"acme": None}},
    {"tenants": {"acme": {"enabled": False}}},
    {"tenants": {"globex": merged(TENANT, {"secrets": {"client_secret": {"existing": True}}})}},
]


@pytest.mark.parametrize("change", TENANT_CHANGES)
def test_a_change_of_tenants_keeps_the_pods(change):
    base = merged(ACME, {"tenantSecrets": {"existingSecrets": ["all"]}})
    before, after = render(base), render(merged(base, change))
    assert before.one("ConfigMap", "-tenants")["data"] != after.one("ConfigMap", "-tenants")["data"]
    assert hash_of(before.pod) == hash_of(after.pod)


@pytest.mark.parametrize("change", TENANT_CHANGES)
def test_it_rolls_the_pods_if_values_want_that(change):
    base = merged(ACME, {"tenantSecrets": {"existingSecrets": ["all"]}, "tenantFiles": {"rollOnChange": True}})
    assert hash_of(render(base).pod) != hash_of(render(merged(base, change)).pod)


@pytest.mark.parametrize("change", [{"config": {"log": {"level": "debug"}}}, {"containerPorts": {"http": 8080}}, {"shutdown": {"drainDelaySeconds": 9}}, REDIS])
def test_a_change_of_server_settings_rolls_the_pods(change):
    annotation = lambda values: render(values).pod["metadata"]["annotations"]["lychgate/settings"]
    assert annotation(ACME) != annotation(merged(ACME, change))


def reloadable():
    """The keys of `lychgate.toml` that a reload takes over, as the binary's source has them."""
    source = (REPOSITORY / "src" / "config" / "keys.rs").read_text()
    return re.findall(r'"(\w+)"', re.search(r"RELOADABLE: &\[&str\] = &\[(.*?)\];", source, re.S)[1])


def test_a_change_of_what_a_reload_takes_over_keeps_the_pods():
    template = (CHART / "templates" / "_settings.tpl").read_text()
    assert re.findall(r'"(\w+)"', re.search(r"omit \$settings (.*?)\)", template)[1]) == reloadable()
    before, after = render(ACME), render(merged(ACME, {"config": {"trusted_proxies": ["10.0.0.0/8"], "list_tenants": True}}))
    assert before.settings != after.settings
    assert hash_of(before.pod) == hash_of(after.pod)


def test_the_first_tenant_and_the_last_one_keep_the_pods():
    none, one = render(URL), render(ACME)
    assert (none.settings["allow_no_tenants"], one.settings["allow_no_tenants"]) == (True, False)
    assert hash_of(none.pod) == hash_of(one.pod)


def test_settings_of_values_win_over_what_the_chart_suggests():
    settings = render(merged(ACME, {"config": {"on_invalid_tenant": "fail", "allow_no_tenants": True}})).settings
    assert (settings["on_invalid_tenant"], settings["allow_no_tenants"]) == ("fail", True)


def test_an_upgrade_of_the_chart_alone_keeps_the_pods(tmp_path):
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy)
    (copy / "Chart.yaml").write_text((CHART / "Chart.yaml").read_text().replace("version: 0.1.0\n", "version: 0.1.1\n", 1))
    assert render(ACME, chart=copy).one("Deployment")["metadata"]["labels"]["helm.sh/chart"] == "lychgate-0.1.1"
    assert hash_of(render(ACME, chart=copy).pod) == hash_of(render(ACME).pod)


@pytest.mark.parametrize(
    "budget,expected",
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"maxUnavailable": "50%"}, {"maxUnavailable": "50%"}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
        ({"minAvailable": 2}, {"minAvailable": 2}),
        ({"minAvailable": "50%"}, {"minAvailable": "50%"}),
    ],
)
def test_a_disruption_budget_says_what_it_was_told(budget, expected):
    spec = render({"podDisruptionBudget": budget}).one("PodDisruptionBudget")["spec"]
    assert {key: value for key, value in spec.items() if key.endswith("vailable")} == expected
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_grace_period_is_the_drain_and_five_seconds():
    period = lambda values: render(values).pod["spec"]["terminationGracePeriodSeconds"]
    assert period({}) == 30
    assert period({"shutdown": {"drainDelaySeconds": 10, "drainTimeoutSeconds": 120}}) == 135
    assert period({"shutdown": {"drainDelaySeconds": 0, "drainTimeoutSeconds": 0}}) == 5
    assert period({"extraPodSpec": {"terminationGracePeriodSeconds": 90}}) == 90


def test_the_number_of_pods_is_left_to_who_decides_it():
    replicas = lambda values: render(values).one("Deployment")["spec"].get("replicas")
    assert replicas({}) == 1
    assert replicas({"replicaCount": 0}) == 0
    assert replicas(merged(URL, REDIS, {"replicaCount": 3})) == 3
    assert replicas(merged(URL, REDIS, {"replicaCount": None})) is None
    assert replicas(merged(URL, REDIS, {"autoscaling": {"enabled": True}})) is None


def test_pods_are_replaced_one_after_another_but_where_they_share_a_volume():
    strategy = lambda values: render(values).one("Deployment")["spec"]["strategy"]
    assert strategy({}) == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert strategy({"sessions": {"persistence": {"enabled": True}}}) == {"type": "Recreate"}
    assert strategy({"updateStrategy": {"type": "Recreate"}}) == {"type": "Recreate"}


def test_three_probes_ask_three_things_of_the_admin_port():
    container = render().container
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/startupz", "port": "admin"},
        "liveness": {"path": "/livez", "port": "admin"},
        "readiness": {"path": "/readyz", "port": "admin"},
    }


def test_spreading_fills_in_whose_pods_are_meant():
    spread = render().pod["spec"]["topologySpreadConstraints"]
    assert [c["topologyKey"] for c in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    for constraint in spread:
        assert constraint["labelSelector"]["matchLabels"] == render().one("Deployment")["spec"]["selector"]["matchLabels"]
        assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert "topologySpreadConstraints" not in render({"topologySpreadConstraints": []}).pod["spec"]


def test_resources_limit_memory_and_not_cpu():
    assert set(render().container["resources"]["limits"]) == {"memory"}


def test_the_metrics_service_shows_every_pod_by_itself():
    spec = render().one("Service", "-metrics")["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)


def test_a_claim_stays_and_an_existing_one_is_taken():
    on = {"sessions": {"persistence": {"enabled": True}}}
    assert render(on).one("PersistentVolumeClaim")["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    gone = render(merged(on, {"sessions": {"persistence": {"retain": False}}}))
    assert "annotations" not in gone.one("PersistentVolumeClaim")["metadata"]
    own = render(merged(on, {"sessions": {"persistence": {"existingClaim": "mine"}}}))
    assert own.of("PersistentVolumeClaim") == []
    assert own.volume("data")["persistentVolumeClaim"]["claimName"] == "mine"


def test_an_ingress_leads_each_host_to_the_service():
    objects = render(merged(URL, {"ingress": {"enabled": True, "hosts": [{"host": "a.example"}, {"host": "b.example", "paths": [{"path": "/x", "pathType": "Exact"}]}]}}))
    rules = objects.one("Ingress")["spec"]["rules"]
    assert [(r["host"], p["path"], p["pathType"]) for r in rules for p in r["http"]["paths"]] == [
        ("a.example", "/", "Prefix"),
        ("b.example", "/x", "Exact"),
    ]
    backend = rules[0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": objects.one("Service", "-lychgate")["metadata"]["name"], "port": {"number": 80}}


def test_a_route_has_many_parents_and_closes_paths():
    route = render(ci_values("gateway-api")).one("HTTPRoute", "-lychgate")["spec"]
    assert [parent["name"] for parent in route["parentRefs"]] == ["edge", "inside"]
    assert [("backendRefs" in rule, rule["matches"][0]["path"]["value"]) for rule in route["rules"]] == [
        (True, "/"),
        (False, "/.lychgate/auth"),
    ]


def test_rules_of_a_route_may_be_ones_own():
    route = render(ci_values("gateway-api")).one("HTTPRoute", "-health")["spec"]
    assert route["rules"][0]["backendRefs"] == [{"name": f"{RELEASE}-lychgate", "port": 80}]


def test_a_network_policy_lets_in_whom_it_must_and_out_where_we_go():
    spec = render(ci_values("kitchen-sink")).one("NetworkPolicy")["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    http, extra = spec["ingress"]
    assert http["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/component": "test"}}} in http["from"]
    assert [port["port"] for rule in spec["egress"] for port in rule["ports"]] == [53, 53, 443, 6379, 4317]


@pytest.mark.parametrize(
    "name,ports", [("ha-redis", [6380]), ("sentinel", [6379, 26379]), ("cluster", [7001, 7002]), ("managed-redis", [6379])]
)
def test_a_network_policy_opens_the_ports_of_redis(name, ports):
    values = merged(ci_values(name), {"networkPolicy": {"enabled": True}})
    rules = render(values).one("NetworkPolicy")["spec"]["egress"]
    assert [port["port"] for port in rules[2]["ports"]] == ports


def test_the_admin_port_is_open_to_those_who_scrape_alone():
    policy = lambda values: render(values).one("NetworkPolicy")["spec"]["ingress"]
    assert [p["port"] for rule in policy({"networkPolicy": {"enabled": True}}) for p in rule["ports"]] == [3000]
    scraped = policy(ci_values("monitoring"))
    assert [p["port"] for rule in scraped for p in rule["ports"]] == [3000, 3001]
    assert scraped[1]["from"]


def test_a_horizontal_autoscaler_has_its_metrics():
    spec = render(ci_values("ha-redis")).one("HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 80
    assert spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 300


def test_a_preflight_reads_the_new_files_before_they_are_anybodys():
    objects = render(ci_values("kitchen-sink"))
    job = objects.one("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["check", "--online"]
    for name in ("config", "tenants"):
        hook, own = objects.one("ConfigMap", f"-{name}-preflight"), objects.one("ConfigMap", f"-{name}")
        assert hook["data"] == own["data"]
        assert int(hook["metadata"]["annotations"]["helm.sh/hook-weight"]) < 0
    assert objects.one("Secret", "-tenants-preflight")["stringData"] == objects.one("Secret", "-tenants")["stringData"]
    mounts = job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert mounts == objects.container["volumeMounts"]


def test_the_test_pod_asks_the_service_by_our_own_binary():
    ready = lambda values: render(values).one("Pod")["spec"]["containers"][0]
    assert ready({})["args"] == ["healthcheck", f"--url=http://{RELEASE}-lychgate.ns.svc:80"]
    assert ready({})["image"] == render().container["image"]
    assert ready(ci_values("tls"))["args"] == ["healthcheck", f"--url=http://{RELEASE}-lychgate-metrics.ns.svc:3001"]
    assert render({"testPod": {"enabled": False}}).of("Pod") == []


def test_traefik_asks_after_it_has_removed_what_a_client_may_forge():
    objects = render(ci_values("kitchen-sink"))
    chain = objects.one("Middleware", "-signed-in")["spec"]["chain"]["middlewares"]
    assert [m["name"] for m in chain] == [objects.one("Middleware", s)["metadata"]["name"] for s in ("-plain-names", "-forward-auth")]
    asked = objects.one("Middleware", "-forward-auth")["spec"]["forwardAuth"]
    assert asked["address"] == f"http://{RELEASE}-gate.ns.svc:80/acme/auth/traefik"
    assert asked["trustForwardHeader"] is False
    removed = objects.one("Middleware", "-plain-names")["spec"]["headers"]["customRequestHeaders"]
    assert {h.replace("-", "_") for h in asked["authResponseHeaders"]} <= set(removed)
    assert set(removed.values()) == {""}


def test_envoy_lets_nobody_in_where_lychgate_does_not_answer():
    objects = render(ci_values("gateway-api"))
    policy = objects.one("SecurityPolicy")
    assert policy["metadata"]["namespace"] == "acme"
    assert policy["spec"]["extAuth"]["failOpen"] is False
    assert "cookie" in policy["spec"]["extAuth"]["headersToExtAuth"]
    assert objects.one("ReferenceGrant")["spec"]["from"][0]["namespace"] == "acme"
    same = merged(ci_values("gateway-api"), nested("integrations.envoyGateway.securityPolicy.namespace", ""))
    assert render(same).of("ReferenceGrant") == []


def test_extra_objects_are_tables_or_texts_with_templates_in_them():
    objects = render(ci_values("kitchen-sink"))
    assert objects.one("ConfigMap", "-more")["metadata"]["name"] == f"{RELEASE}-gate-more"
    assert objects.one("ConfigMap", "-text")["data"] == {"c": "d"}


def test_a_large_number_stays_a_whole_one():
    assert render({"config": {"server": {"max_connections": 1000000}}}).settings["server"]["max_connections"] == 1000000


def test_what_is_off_renders_nothing():
    kinds = sorted({o["kind"] for o in render()})
    assert kinds == ["ConfigMap", "Deployment", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount"]


@pytest.mark.parametrize("helm", HELMS)
def test_later_files_lay_over_tenants_of_earlier_ones(helm, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("config: {public_url: 'https://a.example'}\ntenants: {acme: {config: {issuer: 'https://i.example', client_id: a}}, globex: {config: {issuer: 'https://i.example', client_id: b}}}\n")
    second.write_text("tenants: {acme: {config: {client_id: c}}, globex: null}\n")
    objects = render(helm=helm, args=("--values", str(first), "--values", str(second)))
    assert objects.tenants == {"acme.yaml": {"issuer": "https://i.example", "client_id": "c"}}


def test_notes_name_urls_and_the_next_step():
    text = notes(ci_values("embedded"))
    assert "acme: https://login.example.com/acme" in text
    assert "globex: https://login.globex.example/" in text
    assert "lychgate urls" in text and "WARNING" not in text


@pytest.mark.parametrize(
    "values,warning",
    [
        ({}, "There is no tenant"),
        ({}, "Sessions lie in the pod"),
        ({}, "So does the root secret"),
        (ci_values("tls"), "tenants.acme.secrets.client_secret.value is also kept in Helm's own Secret"),
        ({"config": {"public_url": "http://a.example"}}, "config.public_url is http"),
        (merged(URL, {"ingress": {"enabled": True, "hosts": [{"host": "a.example"}]}}), "config.trusted_proxies is not set"),
        (merged(URL, {"ingress": {"enabled": True, "hosts": [{"host": "a.example"}]}}), "ingress.tls is empty"),
        (ci_values("cluster"), "redis://redis-1.internal:7001 is without TLS"),
        ({"metrics": {"prometheusRule": {"enabled": True}}}, "no ServiceMonitor"),
    ],
)
def test_notes_warn_of_what_should_not_stay_so(values, warning):
    assert warning in notes(values)
    assert warning not in notes(ci_values("embedded"))


@pytest.mark.parametrize("name", ["on", "y", "1234", "1e3", "null"])
def test_names_that_yaml_would_take_for_something_else_stay_texts(name):
    values = merged(ci_values("kitchen-sink"), {"fullnameOverride": name, "namespaceOverride": name})
    names = {
        "tenants": {"acme": {"secrets": {"client_secret": {"secretKeyRef": {"name": name, "key": name}}}}},
        "tenantFiles": {"existingConfigMaps": [name], "existingSecrets": [name]},
        "tenantSecrets": {"existingSecrets": [name]},
        "caBundles": [{"name": "corporate", "secret": name, "key": name}],
        "keys": {"existingSecret": name},
        "tls": {"existingSecret": name},
        "sessions": {"redis": {"usernameSecret": {"name": name, "key": name}, "passwordSecret": {"name": name, "key": name}}},
        "serviceAccount": {"name": name},
        "priorityClassName": name,
        "commonLabels": {"team": name},
        "ingress": {"className": name},
        "integrations": {"envoyGateway": {"securityPolicy": {"enabled": True, "namespace": f"{name}-2", "targetRefs": [{"name": name}]}}},
    }
    objects = render(merged(values, names))
    texts = [value for o in objects for path, value in leaves(o) if path.endswith(("ame", "amespace", "key"))]
    assert name in texts
    assert [value for value in texts if not isinstance(value, str)] == []


def leaves(value, path=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value
