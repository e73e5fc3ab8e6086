"""What is made of /metrics: by Prometheus' own tools, the dashboard, the alerts and the page for operators."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from config.values import CHECKOUT
from tests.web.answers import TEAL_PNG, upload
from tests.web.metric_samples import samples_of

DASHBOARD = CHECKOUT / "deploy" / "grafana" / "dashboard.json"
OPERATIONS = CHECKOUT / "docs" / "operations.md"

PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_accepts_it(client: FlaskClient) -> None:
    """Its own parser, and its advice on names."""
    client.post("/analyze", data=TEAL_PNG, content_type="image/png")
    client.get("/nowhere")
    checked = subprocess.run(
        [PROMTOOL or "", "check", "metrics"],
        input=client.get("/metrics").data, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def metrics_named_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:captions|process)_[a-z_]+\b", text))


def names_there_are(client: FlaskClient) -> set[str]:
    client.post("/analyze", **upload())
    return {name for name, _ in samples_of(client)}


def test_the_dashboard_names_what_there_is(client: FlaskClient) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = metrics_named_in(" ".join(expressions))
    assert named <= names_there_are(client)
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names_there_are(client) if "captions" in name}
    assert ours == {re.sub(r"_(bucket|count|sum)$", "", name) for name in named if "captions" in name}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])


@pytest.mark.skipif(not PROMTOOL, reason="promtool is not installed: apt-get install prometheus")
def test_prometheus_understands_the_dashboard_and_the_alerts(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = [
        {"record": f"panel:{number}", "expr": text.replace("$__rate_interval", "5m")}
        for number, text in enumerate(expressions)
    ]
    of_panels = tmp_path / "panels.json"  # JSON is YAML
    of_panels.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    found = re.findall(r"```yaml\n(groups:.*?)```", OPERATIONS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    alerts = tmp_path / "alerts.yml"
    alerts.write_text(found[0])
    checked = subprocess.run(
        [PROMTOOL or "", "check", "rules", of_panels, alerts], capture_output=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_page_for_operators_names_what_there_is(client: FlaskClient) -> None:
    text = OPERATIONS.read_text(encoding="utf-8")
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in names_there_are(client)}
    assert metrics_named_in(text) <= families | names_there_are(client)
    assert {name for name in families if name.startswith("captions_")} <= metrics_named_in(text)
