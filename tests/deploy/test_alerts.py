"""The alerts that the chart ships are those of `deploy/prometheus`, changed as values say, and Prometheus takes them."""

import subprocess

import pytest
import yaml
from conftest import CHART, REPOSITORY, ci_values, merged, nested, render

SOURCE = REPOSITORY / "deploy" / "prometheus" / "rules.yaml"
ON = {"metrics": {"prometheusRule": {"enabled": True}}}


def groups(values):
    return render(merged(ON, values)).one("PrometheusRule")["spec"]["groups"]


def rules(values, name=None):
    found = [rule for group in groups(values) for rule in group["rules"]]
    return [rule for rule in found if name in (None, rule.get("alert"))]


def override(name, change):
    return nested(f"metrics.prometheusRule.overrides.{name}", change)


def alerts():
    return [r for group in yaml.safe_load(SOURCE.read_text())["groups"] for r in group["rules"] if "alert" in r]


def test_there_is_one_source():
    assert (CHART / "files" / "rules.yaml").resolve() == SOURCE


def test_without_overrides_they_are_as_they_are():
    assert groups({}) == yaml.safe_load(SOURCE.read_text())["groups"]


@pytest.mark.parametrize(
    "values",
    [{}, ci_values("monitoring"), override("LychgateTokensRefused", {"threshold": 0.5, "for": "1h30m"})],
    ids=["as they are", "monitoring", "a threshold"],
)
def test_prometheus_takes_them(values, tmp_path):
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": groups(values)}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_alerts_still_fire_and_stay_silent_as_their_tests_say(tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": groups({})}))
    tests = SOURCE.with_name("rules_test.yaml").read_text()
    (tmp_path / "rules_test.yaml").write_text(tests)
    done = subprocess.run(["promtool", "test", "rules", "rules_test.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_may_be_left_out():
    names = {rule["alert"] for rule in rules(nested("metrics.prometheusRule.disabled", ["LychgateProviderDown"])) if "alert" in rule}
    assert names == {rule["alert"] for rule in alerts()} - {"LychgateProviderDown"}


def test_a_group_without_rules_is_left_out():
    everything = nested("metrics.prometheusRule.disabled", [rule["alert"] for rule in alerts()])
    assert [rule for rule in rules(everything) if "alert" in rule] == []
    assert all(group["rules"] for group in groups(everything))


def test_an_alert_may_wait_longer_weigh_more_and_compare_with_something_else():
    [before] = rules({}, "LychgateTokensRefused")
    [after] = rules(override("LychgateTokensRefused", {"for": "1h", "severity": "critical", "threshold": 20}), "LychgateTokensRefused")
    assert (after["for"], after["labels"]["severity"]) == ("1h", "critical")
    assert after["expr"] == before["expr"].rpartition(">")[0] + "> 20"


def test_an_alert_may_have_an_expression_of_ones_own():
    [rule] = rules(override("LychgateSignInFailures", {"expr": "a > 1"}), "LychgateSignInFailures")
    assert rule["expr"] == "a > 1"


def test_every_alert_gets_the_labels_of_values_and_no_recording_rule_does():
    labelled = rules(nested("metrics.prometheusRule.alertLabels", {"team": "ours"}))
    assert {rule["labels"]["team"] for rule in labelled if "alert" in rule} == {"ours"}
    assert not [rule for rule in labelled if "record" in rule and rule.get("labels")]


def test_runbooks_may_lie_elsewhere():
    moved = rules(nested("metrics.prometheusRule.runbooks", "https://wiki.example/sign-in/"))
    urls = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in moved if "alert" in rule}
    assert urls == {name: f"https://wiki.example/sign-in/{name}.html" for name in urls}


def test_labels_by_which_a_prometheus_finds_it_come_along():
    rule = render(ci_values("monitoring")).one("PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "monitoring"
