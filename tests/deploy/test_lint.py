"""The chart as a whole: linters, both Helms, the same bytes each time."""

import re
import subprocess

import pytest
import yaml
from conftest import CHART, CI, HELMS, NAMESPACE, RELEASE, REPOSITORY, TOOLS, Loader, in_every_ci, render, render_text

TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
@pytest.mark.parametrize("helm", HELMS)
def test_helm_lint_finds_nothing(helm, path):
    command = [TOOLS / helm, "lint", "--strict", "--quiet", CHART, "--values", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_yamllint_finds_nothing():
    paths = [CHART / "Chart.yaml", CHART / "values.yaml", *CI, *(REPOSITORY / "deploy" / "examples").glob("*/*.yaml")]
    command = [TOOLS / "python" / "bin" / "yamllint", "--strict", "--config-file", ".yamllint.yaml", *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY / "tests" / "deploy")
    assert done.returncode == 0, done.stdout + done.stderr


@in_every_ci
def test_the_same_values_make_the_same_bytes_on_both_helms(values):
    rendered = {render_text(values, helm=helm) for helm in HELMS}
    for helm in HELMS:
        render_text.__globals__["run_helm"].cache_clear()
        rendered.add(render_text(values, helm=helm))
    assert len(rendered) == 1


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_ask_neither_chance_nor_the_cluster(path):
    text = path.read_text()
    text = re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", "", text, flags=re.S)  # comments
    text = re.sub(r'"[^"]*"', '""', "".join(re.findall(r"\{\{.*?\}\}", text, re.S)))
    assert not re.search(r"\b(rand\w+|uuidv4|gen\w+|derivePassword|htpasswd|bcrypt|lookup|now|Capabilities)\b", text)
    assert not re.search(r"\b(merge|mergeOverwrite|mustMerge)\b", text), "merge loses what is false: mustMergeOverwrite"


@in_every_ci
def test_nothing_rendered_has_trailing_spaces_or_tabs(values):
    assert [line for line in render_text(values).splitlines() if line != line.rstrip() or "\t" in line] == []


@pytest.mark.parametrize("helm", HELMS)
def test_a_package_holds_what_links_lead_to(helm, tmp_path):
    command = [TOOLS / helm, "package", CHART, "--destination", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    [package] = tmp_path.glob("*.tgz")
    values = {"metrics": {"prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}}
    assert render_text(values, helm=helm, chart=package) == render_text(values, helm=helm)


def parent(tmp_path, condition="lychgate.enabled"):
    """A chart that has ours as a part."""
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "lychgate").symlink_to(CHART)
    dependency = {"name": "lychgate", "version": "*", "repository": "", "condition": condition}
    chart = {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]}
    (tmp_path / "Chart.yaml").write_text(yaml.dump(chart))
    return tmp_path


@pytest.mark.parametrize("helm", HELMS)
def test_it_is_a_part_of_another_chart_whose_globals_it_lets_be(helm, tmp_path):
    foreign = {"storageClass": "fast", "postgresql": {"auth": {}}, "imageRegistry": "registry.example.com"}
    values = {"global": foreign, "lychgate": {"enabled": True, "tenantFiles": {"existingConfigMaps": ["a"]}}}
    objects = render(values, helm=helm, chart=parent(tmp_path))
    assert objects.container["image"].startswith("registry.example.com/lychgate:")
    assert objects.one("Deployment")["metadata"]["name"] == f"{RELEASE}-lychgate"


@pytest.mark.parametrize("helm", HELMS)
def test_a_part_that_is_off_renders_nothing(helm, tmp_path):
    assert render({"lychgate": {"enabled": False}}, helm=helm, chart=parent(tmp_path)) == []


def test_the_version_is_that_of_the_binary():
    chart = yaml.load((CHART / "Chart.yaml").read_text(), Loader)
    cargo = re.search(r'^version = "(.*)"', (REPOSITORY / "Cargo.toml").read_text(), re.M)[1]
    assert chart["appVersion"] == cargo


def test_everything_is_in_the_namespace_of_the_release_or_in_the_one_that_values_name():
    assert {o["metadata"]["namespace"] for o in render()} == {NAMESPACE}
    assert {o["metadata"]["namespace"] for o in render({"namespaceOverride": "other"})} == {"other"}
