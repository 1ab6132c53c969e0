"""Makes of what the chart renders the file system that a pod's process sees, and runs the built binary in it.

What the kubelet would do is done here: projected volumes are laid out with their `..data` links, files belong to root and
to the group `fsGroup`, the root is nobody's to write. The process gets the user, the group and the variables of the
pod, and no others. Needs root.

    pod.py make ROOT < '{"values": {...}, "objects": [...], "workload": "Deployment/rel-lychgate"}'
    pod.py publish ROOT < the same

`make` makes the root, `publish` swaps the volumes as an update does; both print how the container's process is started.
`values` are the chart's, `objects` what else is in the cluster.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "lychgate"
HELM = REPOSITORY / ".tools" / "deploy" / "helm4"
BINARY = REPOSITORY / "target" / "debug" / "lychgate"
PROGRAM = "/usr/bin/lychgate"  # as in the image; a test compares
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
NODE_FILES = ["/etc/resolv.conf", "/etc/nsswitch.conf"]


class PodError(Exception):
    """What the kubelet would refuse."""


class Pod:
    """One pod below the folder `root`; `objects` are those of the cluster."""

    def __init__(self, root, objects, workload):
        self.root = Path(root)
        self.objects = {(o["kind"], o["metadata"]["name"]): o for o in objects}
        kind, name = workload.split("/")
        self.workload = self.objects[kind, name]
        self.spec = self.workload["spec"] if kind == "Pod" else self.workload["spec"]["template"]["spec"]
        self.container = self.spec["containers"][0]
        security = self.spec.get("securityContext", {})
        self.user = security.get("runAsUser", 0)
        self.group = security.get("runAsGroup", 0)
        self.fs_group = security.get("fsGroup", 0)

    def make(self):
        """Makes the root: the binary and the libraries that it needs, then the volumes."""
        image(self.root)
        services = [o["metadata"] for (kind, _), o in self.objects.items() if kind == "Service"]
        names = " ".join(f"{service['name']}.{service['namespace']}.svc" for service in services)
        (self.root / "etc" / "hosts").write_text(f"127.0.0.1 localhost {names}\n")
        self.publish()

    def publish(self):
        """Lays the volumes out, or swaps what is in them."""
        for mount in self.container.get("volumeMounts", []):
            if "subPath" in mount:
                raise PodError(f"{mount['mountPath']}: a subPath never changes")
            [volume] = [v for v in self.spec["volumes"] if v["name"] == mount["name"]]
            folder = self.root / mount["mountPath"].lstrip("/")
            if "projected" in volume:
                projected = volume["projected"]
                mode = projected.get("defaultMode", 0o644)
                publish(folder, self.files(projected["sources"]), mode, self.fs_group)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                os.chown(folder, 0, self.fs_group)
                folder.chmod(0o2777)

    def files(self, sources):
        """The files of a projected volume. Where two sources have the same name, the later one wins."""
        files = {}
        for source in sources:
            [(kind, source)] = source.items()
            kind = {"configMap": "ConfigMap", "secret": "Secret"}[kind]
            data = self.data(kind, source["name"])
            items = source.get("items")
            if data is None or any(item["key"] not in data for item in items or []):
                if not source.get("optional"):
                    raise PodError(f"{kind} {source['name']}, or a key of it, is missing: the pod would wait for it")
                if data is None:
                    continue
            items = items or [{"key": key, "path": key} for key in data]
            files.update({item["path"]: data[item["key"]] for item in items if item["key"] in data})
        return files

    def data(self, kind, name):
        """The files that a ConfigMap or a Secret holds; None if there is none of the name."""
        found = self.objects.get((kind, name))
        if found is None:
            return None
        texts = {**(found.get("data") or {}), **(found.get("stringData") or {})}
        if kind == "Secret":
            coded = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
            return {**{key: text.encode() for key, text in texts.items()}, **coded}
        return {key: text.encode() for key, text in texts.items()}

    def environment(self):
        """The variables that the container gets, those of the pod itself included."""
        variables = {"PATH": "/usr/bin"}
        own = {"metadata.name": "lychgate-0", "metadata.namespace": self.workload["metadata"]["namespace"]}
        for entry in self.container.get("env", []):
            source = entry.get("valueFrom")
            if source is None:
                value = re.sub(r"\$\(([A-Z_]+)\)", lambda m: variables.get(m[1], m[0]), entry.get("value", ""))
            elif "fieldRef" in source:
                value = own[source["fieldRef"]["fieldPath"]]
            else:
                reference = source["secretKeyRef"]
                value = self.data("Secret", reference["name"])[reference["key"]].decode()
            variables[entry["name"]] = value
        return variables

    def command(self):
        """How the process is started."""
        identity = [f"--userspec={self.user}:{self.group}", f"--groups={self.fs_group}"]
        return ["chroot", *identity, str(self.root), PROGRAM, *self.container["args"]]


def chroot_environment(variables):
    """`chroot` itself is looked for by PATH, in the old root."""
    return {**variables, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def image(root):
    """What an image would hold: the binary, its libraries, certificates; all of it root's."""
    files = [(str(BINARY), PROGRAM), (CERTIFICATES, CERTIFICATES)] + [(name, name) for name in NODE_FILES]
    linked = subprocess.run(["ldd", BINARY], capture_output=True, text=True, check=True).stdout
    files += [(name, name) for name in re.findall(r"(/\S+) \(0x", linked)]
    for source, target in files:
        if not os.path.exists(source):
            continue
        target = root / target.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(os.path.realpath(source), target)
        except OSError:
            shutil.copy(source, target)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)


def publish(folder, files, mode, group):
    """What the kubelet's AtomicWriter does: a new folder beside the old, then one rename of the link `..data`."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    new = Path(tempfile.mkdtemp(prefix=time.strftime("..%Y_%m_%d_%H_%M_%S."), dir=folder))
    new.chmod(0o755)
    for name, content in files.items():
        path = new / name
        path.write_bytes(content)
        os.chown(path, 0, group)
        path.chmod(mode | (0o440 if group else 0))
    data = folder / "..data"
    old = folder / os.readlink(data) if data.is_symlink() else None
    link = folder / "..data_tmp"
    link.symlink_to(new.name)
    link.rename(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in files:
            path.unlink()
    if old:
        shutil.rmtree(old)


def rendered(values):
    """What the chart makes of values."""
    if not HELM.exists():
        raise PodError(f"{HELM} is missing: tests/deploy/run installs it")
    command = [HELM, "template", "rel", CHART, "--namespace", "ns", "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False)
    if done.returncode:
        raise PodError(done.stderr)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def main():
    verb, root = sys.argv[1:]
    asked = json.load(sys.stdin)
    objects = rendered(asked["values"]) if "values" in asked else []
    pod = Pod(root, objects + asked["objects"], asked["workload"])
    if verb == "make":
        pod.make()
    elif verb == "publish":
        pod.publish()
    else:
        sys.exit(f"{verb} is neither make nor publish")
    template = json.dumps(pod.workload["spec"], sort_keys=True)
    print(json.dumps({"command": pod.command(), "environment": chroot_environment(pod.environment()), "pod": template}))


if __name__ == "__main__":
    main()
