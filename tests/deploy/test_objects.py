"""Everything that is rendered is what Kubernetes and the operators know, field by field."""

import json
import subprocess

import kubernetes_validate
import pytest
import yaml
from conftest import CHART, REPOSITORY, Loader, Objects, in_every_ci, render

OLDEST, NEWEST = "1.27", "1.37"
VERSIONS = [OLDEST, "1.33", NEWEST]
# Groups whose kinds are custom resources: `crd.mjs` has their schemas, or FIELDS lists every field that may be there.
CUSTOM = [
    "external-secrets.io/",
    "gateway.envoyproxy.io/",
    "gateway.networking.k8s.io/",
    "monitoring.coreos.com/",
    "traefik.io/",
]
# The schemas of custom resources take fields that they do not know. These are the ones that we write; `*` is any list
# entry or any key of a map, and what follows `!` is free.
FIELDS = {
    "HTTPRoute": """
        spec.parentRefs.*.name spec.parentRefs.*.namespace spec.parentRefs.*.sectionName spec.hostnames.*
        spec.rules.*.matches.*.path.type spec.rules.*.matches.*.path.value spec.rules.*.filters!
        spec.rules.*.backendRefs.*.name spec.rules.*.backendRefs.*.namespace spec.rules.*.backendRefs.*.port""",
    "ReferenceGrant": """
        spec.from.*.group spec.from.*.kind spec.from.*.namespace spec.to.*.group spec.to.*.kind spec.to.*.name""",
    "ServiceMonitor": """
        spec.jobLabel spec.namespaceSelector.matchNames.* spec.selector.matchLabels.* spec.endpoints.*.port
        spec.endpoints.*.path spec.endpoints.*.interval spec.endpoints.*.scrapeTimeout spec.endpoints.*.honorLabels
        spec.endpoints.*.relabelings! spec.endpoints.*.metricRelabelings.*.sourceLabels.*
        spec.endpoints.*.metricRelabelings.*.regex spec.endpoints.*.metricRelabelings.*.action""",
    "PrometheusRule": """
        spec.groups.*.name spec.groups.*.interval spec.groups.*.rules.*.record spec.groups.*.rules.*.alert
        spec.groups.*.rules.*.expr spec.groups.*.rules.*.for spec.groups.*.rules.*.keep_firing_for
        spec.groups.*.rules.*.labels.* spec.groups.*.rules.*.annotations.*""",
    "Middleware": """
        spec.chain.middlewares.*.name spec.forwardAuth.address spec.forwardAuth.trustForwardHeader
        spec.forwardAuth.authResponseHeaders.* spec.headers.customRequestHeaders.*""",
    # Nobody publishes a schema of it as a package; the fields are those of Envoy Gateway's documentation.
    "SecurityPolicy": """
        spec.targetRefs.*.group spec.targetRefs.*.kind spec.targetRefs.*.name spec.targetRefs.*.sectionName
        spec.extAuth.failOpen spec.extAuth.headersToExtAuth.* spec.extAuth.http.path
        spec.extAuth.http.backendRefs.*.name spec.extAuth.http.backendRefs.*.namespace
        spec.extAuth.http.backendRefs.*.port spec.extAuth.http.headersToBackend.*""",
    "ExternalSecret": """
        spec.refreshInterval spec.secretStoreRef.name spec.secretStoreRef.kind spec.target.name
        spec.target.creationPolicy spec.data.*.secretKey spec.data.*.remoteRef.key spec.data.*.remoteRef.property
        spec.dataFrom!""",
}
METADATA = "apiVersion kind metadata.name metadata.namespace metadata.labels.* metadata.annotations.*"
# Examples that are objects of Kubernetes, not settings of a proxy and not values of the chart.
EXAMPLES = [
    path
    for folder in ("external-secrets", "gateway-api", "ingress-nginx", "sops", "valkey")
    for path in sorted((REPOSITORY / "deploy" / "examples" / folder).glob("*.yaml"))
    if not path.name.endswith("values.yaml")
]


def is_custom(document):
    return any(document["apiVersion"].startswith(group) for group in CUSTOM)


def faults_of(documents, version):
    """What is wrong with objects of Kubernetes itself; what its version does not know is wrong, too."""
    faults = []
    for document in documents:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            faults.append(f"{document['kind']} {document['metadata']['name']} on {version}: {error}")
    return faults


def custom_faults_of(documents):
    faults = [fault for document in documents for fault in unknown_fields(document)]
    known = [document for document in documents if document["kind"] != "SecurityPolicy"]
    done = subprocess.run(
        ["node", "crd.mjs"], input=json.dumps(known), capture_output=True, text=True, cwd=REPOSITORY / "tests" / "deploy"
    )
    assert done.returncode == 0, done.stderr
    return faults + json.loads(done.stdout)


def unknown_fields(document):
    allowed = f"{METADATA} {FIELDS.get(document['kind'], '')}".split()
    return [
        f"{document['kind']} {document['metadata']['name']}: {'.'.join(path)} is not among the fields that we know"
        for path in paths_in(document)
        if not any(fits(path, pattern) for pattern in allowed)
    ]


def paths_in(value, path=()):
    if isinstance(value, dict) and value:
        return [found for key, item in value.items() for found in paths_in(item, (*path, key))]
    if isinstance(value, list) and value:
        return [found for item in value for found in paths_in(item, (*path, "*"))]
    return [path]


def fits(path, pattern):
    names = pattern.split(".")
    if pattern.endswith("!"):
        names[-1] = names[-1][:-1]
        path = path[: len(names)]
    return len(path) == len(names) and all(name in ("*", part) for name, part in zip(names, path))


@pytest.mark.parametrize("version", VERSIONS)
@in_every_ci
def test_every_object_of_kubernetes_is_valid(values, version):
    own = [document for document in render(values) if not is_custom(document)]
    assert own and faults_of(own, version) == []


@in_every_ci
def test_every_custom_resource_is_valid(values):
    assert custom_faults_of([document for document in render(values) if is_custom(document)]) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_valid(path):
    documents = [document for document in yaml.load_all(path.read_text(), Loader) if document]
    own = [document for document in documents if not is_custom(document)]
    assert documents and [fault for version in VERSIONS for fault in faults_of(own, version)] == []
    assert custom_faults_of([document for document in documents if is_custom(document)]) == []


def test_the_oldest_supported_version_is_that_of_the_chart():
    chart = yaml.load((CHART / "Chart.yaml").read_text(), Loader)
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"
    assert kubernetes_validate.latest_version() == f"{NEWEST}.0", "newer schemas are there: test against those"


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "livenesProbe": {}}]}},
        {"apiVersion": "apps/v2", "kind": "Deployment", "metadata": {"name": "a"}},
        {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "a"}, "spec": {}},
    ],
    ids=["an unknown field", "an unknown version", "a version that was removed"],
)
def test_the_schemas_find_what_is_wrong(document):
    assert faults_of([document], "1.33")


@pytest.mark.parametrize(
    "kind,spec",
    [
        ("monitoring.coreos.com/v1/ServiceMonitor", {"selector": {}, "endpoints": [{"port": "metrics", "interval": "soon"}]}),
        ("monitoring.coreos.com/v1/ServiceMonitor", {"selector": {}, "endpoints": [{"prt": "metrics"}]}),
        ("monitoring.coreos.com/v1/PrometheusRule", {"groups": [{"name": "g", "rules": [{"alert": "A"}]}]}),
        ("gateway.networking.k8s.io/v1/HTTPRoute", {"rules": [{"matches": [{"path": {"type": "Prefix", "value": "/"}}]}]}),
        ("gateway.networking.k8s.io/v1/HTTPRoute", {"rules": [{"filters": [{"type": "ExternalAuth", "externalAuth": {}}]}]}),
        ("gateway.networking.k8s.io/v1/HTTPRoute", {"parentRef": [{"name": "gw"}]}),
        ("traefik.io/v1alpha1/Middleware", {"forwardAuth": {"address": 5}}),
        ("gateway.envoyproxy.io/v1alpha1/SecurityPolicy", {"extAuth": {"failClosed": True}}),
        ("example.com/v1/Thing", {}),
    ],
)
def test_the_schemas_of_custom_resources_find_what_is_wrong(kind, spec):
    version, _, name = kind.rpartition("/")
    assert custom_faults_of([{"apiVersion": version, "kind": name, "metadata": {"name": "a"}, "spec": spec}])


def test_a_switch_that_is_on_renders_whatever_the_cluster_knows():
    objects = render({"config": {"public_url": "https://a.example"}, "metrics": {"serviceMonitor": {"enabled": True}}})
    assert isinstance(objects, Objects) and objects.one("ServiceMonitor")
