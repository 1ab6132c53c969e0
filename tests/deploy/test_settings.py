"""What the chart renders is laid out as the kubelet would, and the built binary reads it: chart and binary agree."""

import json
import os
import re
import subprocess
import sys
import tempfile

import pytest
import yaml
from conftest import NAMESPACE, REPOSITORY, in_every_ci, merged, render
from test_render import ACME, URL

ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
POD = [*ROOT, sys.executable, str(REPOSITORY / "tests" / "deploy" / "pod.py")]
DEPLOYMENT = "Deployment/rel-lychgate"


def openssl(*arguments):
    return subprocess.run(["openssl", *arguments], capture_output=True, check=True, text=True).stdout


def test_the_pod_is_that_of_the_image():
    image = (REPOSITORY / "deploy" / "docker" / "Dockerfile").read_text()
    said = {word: re.findall(rf"^{word} (.*)$", image, re.M)[-1] for word in ("USER", "EXPOSE", "ENTRYPOINT", "CMD", "WORKDIR")}
    objects = render()
    security = objects.pod["spec"]["securityContext"]
    assert said["USER"] == f"{security['runAsUser']}:{security['runAsGroup']}"
    assert said["EXPOSE"].split() == [str(port["containerPort"]) for port in objects.container["ports"]]
    assert json.loads(said["CMD"]) == objects.container["args"]
    assert "command" not in objects.container and json.loads(said["ENTRYPOINT"]) == ["/usr/bin/lychgate"]
    assert said["WORKDIR"] == objects.settings["data"]


@pytest.fixture(scope="session")
def pem(tmp_path_factory):
    """A certificate and its private key."""
    folder = tmp_path_factory.mktemp("pem")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a.example", "-days", "2", "-keyout", folder / "key", "-out", folder / "crt")
    return {"crt": (folder / "crt").read_text(), "key": (folder / "key").read_text()}


@pytest.fixture
def around(pem):
    """ConfigMaps and Secrets that others made: those that values of `ci/` name."""
    tenant = "issuer: https://id.sales.example\nclient_id: sales\nclient_secret: hush\n"
    key = subprocess.run([REPOSITORY / "target/debug/lychgate", "secret"], capture_output=True, check=True, text=True).stdout
    made = {
        "Secret/acme-oidc": {"client-secret": "hush"},
        "Secret/rel-oidc": {"client-secret": "hush"},
        "Secret/globex-oidc": {"key.pem": pem["key"]},
        "Secret/tenant-secrets": {"acme.client_secret": "hush", "sales.client_secret": "hush"},
        "Secret/lychgate-keys": {"secret.key": key},
        "Secret/redis-login": {"username": "lychgate", "password": "hush"},
        "Secret/sentinel-login": {"password": "hush"},
        "Secret/redis-connection": {"url": "rediss://a:hush@redis.internal:6380"},
        "Secret/redis-client": {"tls.crt": pem["crt"], "tls.key": pem["key"]},
        "Secret/redis-ca": {"bundle.pem": pem["crt"]},
        "ConfigMap/redis-ca": {"ca.crt": pem["crt"]},
        "Secret/login-tls": {"tls.crt": pem["crt"], "tls.key": pem["key"]},
        "ConfigMap/corporate-ca": {"ca.crt": pem["crt"]},
        "Secret/partner-ca": {"partner.pem": pem["crt"]},
        "ConfigMap/tenants-of-sales": {"sales.yaml": tenant},
        "ConfigMap/tenants-of-support": {"support.toml": 'issuer = "https://id.support.example"\nclient_id = "support"\nclient_secret = "hush"\n'},
        "Secret/sealed-tenants": {"sealed.yaml": tenant.replace("sales", "sealed")},
        "Secret/acme": {"token": "hush"},
    }
    return [
        {"apiVersion": "v1", "kind": name.split("/")[0], "metadata": {"name": name.split("/")[1], "namespace": NAMESPACE},
         ("stringData" if name.startswith("Secret") else "data"): data}
        for name, data in made.items()
    ]


class Pod:
    """A pod's file system below a folder of the repository's own, so that the binary need not be copied."""

    def __init__(self, root, objects, workload=DEPLOYMENT):
        self.root, self.objects, self.workload = root, objects, workload
        self.call("make")

    def call(self, verb):
        asked = json.dumps({"objects": self.objects, "workload": self.workload})
        done = subprocess.run([*POD, verb, str(self.root)], input=asked, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.made = json.loads(done.stdout)

    def run(self, *arguments):
        command, environment = self.made["command"], self.made["environment"]
        program = command.index("/usr/bin/lychgate") + 1
        command = command[:program] + list(arguments or command[program:])
        if ROOT:
            command = [*ROOT, "env", "-i", *(f"{k}={v}" for k, v in environment.items()), *command]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def make_pod():
    roots = []

    def make(values, around, workload=DEPLOYMENT):
        (REPOSITORY / "target" / "pods").mkdir(parents=True, exist_ok=True)
        roots.append(tempfile.mkdtemp(dir=REPOSITORY / "target" / "pods"))
        return Pod(roots[-1], list(render(values)) + around, workload)

    yield make
    for root in roots:
        subprocess.run([*ROOT, "rm", "-rf", root], check=True)


def without_pages(values):
    """Pages of our own that nobody made here; the kubelet would mount an empty folder."""
    return merged(values, {"extraVolumes": [], "extraVolumeMounts": []})


@in_every_ci
def test_the_binary_takes_what_the_chart_renders(values, make_pod, around):
    values = merged(without_pages(values), {"fullnameOverride": "rel-lychgate"})
    pod = make_pod(values, around)
    done = pod.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    expected = {name for name, tenant in (values.get("tenants") or {}).items() if tenant and tenant.get("enabled", True)}
    files = values.get("tenantFiles") or {}
    expected |= {name.removeprefix("tenants-of-") for name in files.get("existingConfigMaps", [])}
    expected |= {name.removesuffix("-tenants") for name in files.get("existingSecrets", [])}
    told = done.stdout.partition(":")[2].strip() if expected else ""
    assert {name for name in told.split(", ") if name} == expected


@pytest.mark.parametrize("name,tenants", [("external-secrets", "acme, globex"), ("sops", "acme, globex"), ("valkey", "acme")])
def test_the_binary_takes_the_values_of_the_examples(name, tenants, make_pod, around, pem):
    folder = REPOSITORY / "deploy" / "examples" / name
    values = yaml.safe_load((folder / "values.yaml").read_text())
    beside = [o for path in folder.glob("*.yaml") if path.name != "values.yaml" for o in yaml.safe_load_all(path.read_text())]
    # What External Secrets would make.
    fetched = {"acme.client_secret": "hush", "globex.private_key": pem["key"]}
    beside.append({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "lychgate-tenants"}, "stringData": fetched})
    done = make_pod(values, around + beside).run("check")
    assert (done.returncode, done.stdout.partition(": ")[2].strip()) == (0, tenants), done.stdout + done.stderr


@in_every_ci
def test_the_preflight_reads_the_same(values, make_pod, around):
    values = merged(without_pages(values), {"preflight": {"enabled": True, "online": False}, "fullnameOverride": "rel-lychgate"})
    done = make_pod(values, around, "Job/rel-lychgate-preflight").run()
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_preflight_finds_a_bad_tenant(make_pod):
    values = merged(ACME, {"preflight": {"enabled": True}, "tenants": {"acme": {"config": {"clientid": "typo"}}}})
    done = make_pod(values, [], "Job/rel-lychgate-preflight").run()
    assert done.returncode == 78
    assert "/etc/lychgate/tenants/acme.yaml: clientid" in done.stderr


def test_a_secret_that_is_missing_is_told_by_the_file_that_it_would_be(make_pod):
    reference = {"tenants": {"acme": {"secrets": {"client_secret": {"secretKeyRef": {"name": "nowhere", "key": "a"}}}}}}
    done = make_pod(merged(ACME, reference), []).run("check")
    assert done.returncode == 78
    assert "/etc/lychgate/tenants/acme.yaml: client_secret_file" in done.stderr


def test_every_key_of_a_tenant_file_may_be_one_of_the_chart(make_pod):
    """A tenant as TOML shows it in documents is the same tenant as values show it."""
    config = {
        "client_auth": "none", "display_name": "Acme", "scopes": ["openid", "offline_access"], "prefix": "/.lychgate", "session": {"idle": "2h"},
        "access": {"claims": [{"claim": ["realm_access", "roles"], "contains": "staff"}]},
        "rules": [{"paths": ["/admin/**"], "effect": "allow", "claims": [{"claim": "level", "equals": 3}]}],
        "identity": {"headers": {"X-Roles": "roles"}}, "extra_authorize_params": {"ext-color": "red"},
        "upstreams": [{"path": "/app", "url": "http://127.0.0.1:8080", "max_body": "1GiB"}],
    }
    done = make_pod(merged(ACME, {"tenants": {"acme": {"config": config}}}), []).run("check")
    assert done.returncode == 0, done.stderr


def test_the_pod_cannot_write_but_in_its_data_folder(make_pod):
    pod = make_pod(merged(ACME, {"tenants": {"acme": {"config": {"client_auth": "none"}}}}), [])
    assert pod.run("check").returncode == 0
    found = subprocess.run([*ROOT, "find", pod.root, "-writable", "-not", "-uid", "0"], capture_output=True, text=True)
    assert found.stdout == ""


def test_settings_of_the_process_come_from_the_variables_of_the_pod(make_pod):
    values = merged(URL, {"extraEnv": [{"name": "LYCHGATE_LOG__LEVEL", "value": "not a level, at all!"}]})
    done = make_pod(values, []).run("check")
    assert done.returncode == 78 and "LYCHGATE_LOG__LEVEL" in done.stderr
