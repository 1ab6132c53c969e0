"""The dashboard that the chart ships is that of `deploy/grafana`, byte by byte, where Grafana's sidecar looks for it."""

import json

from conftest import CHART, REPOSITORY, merged, nested, render

SOURCE = REPOSITORY / "deploy" / "grafana" / "lychgate.json"
ON = {"metrics": {"dashboards": {"enabled": True}}}


def test_there_is_one_source():
    assert [path.resolve() for path in (CHART / "files" / "dashboards").iterdir()] == [SOURCE]


def test_it_is_as_it_is():
    [(name, text)] = render(ON).one("ConfigMap", "-dashboard-lychgate")["data"].items()
    assert name == "lychgate.json"
    assert json.loads(text) == json.loads(SOURCE.read_text())
    assert "{{" in text, "what Grafana fills in is still there"


def test_the_sidecar_finds_it():
    metadata = render(ON).one("ConfigMap", "-dashboard-lychgate")["metadata"]
    assert metadata["labels"]["grafana_dashboard"] == "1"
    assert "annotations" not in metadata
    folder = render(merged(ON, nested("metrics.dashboards.folder", "Sign-in"))).one("ConfigMap", "-dashboard-lychgate")
    assert folder["metadata"]["annotations"] == {"grafana_folder": "Sign-in"}


def test_it_leaves_room_in_the_release():
    assert len(json.dumps(render(ON).one("ConfigMap", "-dashboard-lychgate"))) < 400_000, "Helm keeps it in a Secret of 1 MiB"
