"""Pod Security Standards, "restricted", field by field, and what we ask beyond them."""

import pytest
from conftest import Objects, in_every_ci, merged, nested, render

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
ALL_ON = {"preflight": {"enabled": True}}


def pods_of(objects):
    """The `spec` of every pod, by whose it is."""
    pods = {f"Pod/{o['metadata']['name']}": o["spec"] for o in objects.of("Pod")}
    for kind in ("Deployment", "Job"):
        pods |= {f"{kind}/{o['metadata']['name']}": o["spec"]["template"]["spec"] for o in objects.of(kind)}
    return pods


def containers_of(pod):
    return pod.get("initContainers", []) + pod["containers"]


def violations(pod):
    """What of the standard "restricted" a pod does not keep."""
    found = [f"{name} is set" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    security = pod.get("securityContext", {})
    found += [f"volume {v['name']}" for v in pod.get("volumes", []) if not (set(v) - {"name"}) <= VOLUMES]
    found += [f"{name} is set" for name in ("sysctls", "windowsOptions", "seLinuxOptions") if name in security]
    for container in containers_of(pod):
        name, own = container["name"], container.get("securityContext", {})
        effective = {**security, **own}
        capabilities = own.get("capabilities", {})
        found += [f"{name}: {key}" for key in ("hostPort",) for p in container.get("ports", []) if key in p]
        found += [f"{name}: capabilities"] * (capabilities.get("drop") != ["ALL"])
        found += [f"{name}: adds capabilities"] * (not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"})
        found += [f"{name}: privilege escalation"] * (own.get("allowPrivilegeEscalation") is not False)
        found += [f"{name}: privileged"] * bool(own.get("privileged"))
        found += [f"{name}: procMount"] * (own.get("procMount", "Default") != "Default")
        found += [f"{name}: may be root"] * (effective.get("runAsNonRoot") is not True)
        found += [f"{name}: is root"] * (effective.get("runAsUser") == 0)
        seccomp = effective.get("seccompProfile", {}).get("type")
        found += [f"{name}: seccomp"] * (seccomp not in ("RuntimeDefault", "Localhost"))
    return found


@in_every_ci
def test_every_pod_is_restricted(values):
    pods = pods_of(render(merged(values, ALL_ON)))
    assert len(pods) == 3
    assert {name: violations(pod) for name, pod in pods.items()} == {name: [] for name in pods}


@in_every_ci
def test_every_pod_has_a_read_only_root_and_no_token(values):
    for name, pod in pods_of(render(merged(values, ALL_ON))).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in containers_of(pod):
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
        sources = [s for v in pod.get("volumes", []) for s in v.get("projected", {}).get("sources", [])]
        assert not [s for s in sources if "serviceAccountToken" in s], name


@in_every_ci
def test_a_service_account_has_no_token_either(values):
    for account in render(values).of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@in_every_ci
def test_nothing_is_mounted_by_sub_path(values):
    for pod in pods_of(render(merged(values, ALL_ON))).values():
        mounts = [mount for container in containers_of(pod) for mount in container.get("volumeMounts", [])]
        assert not [mount for mount in mounts if "subPath" in mount or "subPathExpr" in mount]


@in_every_ci
def test_only_the_data_folder_is_writable(values):
    container = render(values).container
    assert [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")] == ["/var/lib/lychgate"]


def test_a_cluster_may_choose_user_and_group():
    security = render({"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}).pod["spec"]["securityContext"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(security)
    assert security["runAsNonRoot"] is True


@pytest.mark.parametrize(
    "path,value",
    [
        ("securityContext.allowPrivilegeEscalation", True),
        ("securityContext.privileged", True),
        ("securityContext.capabilities", {"drop": ["NET_RAW"]}),
        ("securityContext.capabilities", {"add": ["SYS_ADMIN"]}),
        ("securityContext.runAsUser", 0),
        ("securityContext.runAsNonRoot", False),
        ("securityContext.seccompProfile", {"type": "Unconfined"}),
        ("podSecurityContext.sysctls", [{"name": "a", "value": "b"}]),
        ("extraPodSpec.hostNetwork", True),
        ("extraVolumes", [{"name": "a", "hostPath": {"path": "/"}}]),
    ],
)
def test_the_check_finds_a_pod_that_is_not_restricted(path, value):
    assert violations(pods_of(Objects(render(nested(path, value))))["Deployment/rel-lychgate"])
