"""deploy/kubernetes against Kubernetes' own schemas, and what it promises."""

import ipaddress
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from config.settings import Settings
from config.values import CHECKOUT
from tests.fakes import make_app

FOLDER = CHECKOUT / "deploy" / "kubernetes"
KUBERNETES = "1.37.0"  # the newest that kubernetes-validate knows
KINDS = {"Namespace", "PersistentVolumeClaim", "Deployment", "Service"} | {
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
}
PRIVATE = ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1"]
PRIVATE_IPV6 = ["::1", "fd00:ec2::254", "fe80::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1"]

Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    content: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def patched(manifest: Manifest, patches: Sequence[Manifest]) -> Manifest:
    """`manifest` after the operations add and replace of RFC 6902 on members of objects."""
    result = deepcopy(manifest)
    for patch in patches:
        *way, last = [part.replace("~1", "/") for part in patch["path"].split("/")[1:]]
        target: Any = result
        for part in way:
            target = target[int(part) if isinstance(target, list) else part]
        assert patch["op"] == ("replace" if last in target else "add")
        target[last] = patch["value"]
    return result


@pytest.fixture(scope="module")
def manifests() -> dict[str, Manifest]:
    return {
        m["kind"]: m
        for m in map(read, (FOLDER / name for name in read(FOLDER / "kustomization.yaml")["resources"]))
    }


@pytest.fixture(scope="module")
def on_gpus(manifests: dict[str, Manifest]) -> Manifest:
    """The deployment as kubernetes-gpu/ makes it."""
    overlay = read(FOLDER.with_name("kubernetes-gpu") / "kustomization.yaml")
    assert overlay["resources"] == ["../kubernetes"]
    (patch,) = overlay["patches"]
    assert patch["target"] == {"kind": "Deployment", "name": manifests["Deployment"]["metadata"]["name"]}
    return patched(manifests["Deployment"], yaml.safe_load(patch["patch"]))


@pytest.fixture(scope="module")
def pod(manifests: dict[str, Manifest]) -> Manifest:
    spec: Manifest = manifests["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: Manifest) -> Manifest:
    (only,) = pod["containers"]
    return dict(only)


def test_everything_in_the_folder_is_applied(manifests: dict[str, Manifest]) -> None:
    assert set(manifests) == KINDS
    others = {"kustomization.yaml", "prometheus-adapter.yaml"}
    assert {path.name for path in FOLDER.glob("*.yaml")} - others == set(
        read(FOLDER / "kustomization.yaml")["resources"]
    )


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_kubernetes_schema_accepts_it(manifests: dict[str, Manifest], kind: str) -> None:
    kubernetes_validate.validate(manifests[kind], KUBERNETES, strict=True)


def test_kubernetes_schema_accepts_the_deployment_on_gpus(on_gpus: Manifest) -> None:
    kubernetes_validate.validate(on_gpus, KUBERNETES, strict=True)


def test_the_schema_is_strict(manifests: dict[str, Manifest]) -> None:
    path = "/spec/template/spec/containers/0/securityContext/readOnlyRoot"
    misspelt = patched(manifests["Deployment"], [{"op": "add", "path": path, "value": True}])
    with pytest.raises(kubernetes_validate.ValidationError, match="readOnlyRoot"):
        kubernetes_validate.validate(misspelt, KUBERNETES, strict=True)


def test_all_that_find_the_pods_find_them(manifests: dict[str, Manifest]) -> None:
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert manifests["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert manifests["Service"]["spec"]["selector"] == labels
    assert manifests["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels


def test_pods_have_no_rights(pod: Manifest, container: Manifest) -> None:
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_full_queue_or_a_long_download_restarts_nothing(container: Manifest) -> None:
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/v2/health/live", "liveness": "/v2/health/live", "readiness": "/ready"}
    with make_app() as app:
        routes = {rule.rule for rule in app.url_map.iter_rules()}
    assert set(paths.values()) <= routes


def test_a_pod_may_take_its_time_to_drain(pod: Manifest) -> None:
    assert pod["terminationGracePeriodSeconds"] >= Settings.drain_s + Settings.grace_s


def test_what_it_sets_are_settings(container: Manifest) -> None:
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    settings = Settings.from_env(environ, env_file=None)
    assert (settings.model, settings.log_format, settings.image_roots) == (Settings.model, "json", ())


def test_weights_are_kept_on_a_volume_that_all_pods_share(manifests: dict[str, Manifest], pod: Manifest) -> None:
    claim = manifests["PersistentVolumeClaim"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["cache"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


# --- the autoscaler ---


def test_the_autoscaler_follows_the_queue_of_the_metrics(manifests: dict[str, Manifest]) -> None:
    spec = manifests["HorizontalPodAutoscaler"]["spec"]
    assert spec["scaleTargetRef"]["name"] == manifests["Deployment"]["metadata"]["name"]
    assert "replicas" not in manifests["Deployment"]["spec"]  # or each apply would undo what it did
    (metric,) = spec["metrics"]
    name = metric["pods"]["metric"]["name"]
    with make_app() as app:
        assert f"\n{name} " in app.test_client().get("/metrics").text
    (rule,) = read(FOLDER / "prometheus-adapter.yaml")["rules"]["custom"]
    assert rule["seriesQuery"].startswith(name)
    assert rule["name"]["as"] == name


def test_prometheus_is_sent_to_the_metrics(manifests: dict[str, Manifest], container: Manifest) -> None:
    annotations = manifests["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] == "/metrics"
    assert int(annotations["prometheus.io/port"]) == container["ports"][0]["containerPort"] == Settings.port


# --- the network ---


def may_go_to(policy: Manifest, address: str, port: int) -> bool:
    """Whether a rule of egress by address allows it."""
    wanted = ipaddress.ip_address(address)
    return any(
        wanted in ipaddress.ip_network(to["ipBlock"]["cidr"])
        and not any(wanted in ipaddress.ip_network(part) for part in to["ipBlock"]["except"])
        for rule in policy["spec"]["egress"]
        if port in [allowed["port"] for allowed in rule["ports"]]
        for to in rule["to"]
        if "ipBlock" in to
    )


@pytest.mark.parametrize("address", PRIVATE + PRIVATE_IPV6)
def test_private_addresses_are_out_of_reach(manifests: dict[str, Manifest], address: str) -> None:
    assert "Egress" in manifests["NetworkPolicy"]["spec"]["policyTypes"]
    assert not may_go_to(manifests["NetworkPolicy"], address, 80)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111"])
def test_public_ones_are_within_reach_on_the_ports_of_the_service(
    manifests: dict[str, Manifest], address: str
) -> None:
    policy = manifests["NetworkPolicy"]
    assert [port for port in (22, 53, 80, 443, 6379) if may_go_to(policy, address, port)] == list(
        Settings.url_allowed_ports
    )


def test_beside_addresses_only_the_cluster_s_name_server_is_allowed(manifests: dict[str, Manifest]) -> None:
    rules = [r for r in manifests["NetworkPolicy"]["spec"]["egress"] if not all("ipBlock" in to for to in r["to"])]
    (names,) = rules
    assert {port["port"] for port in names["ports"]} == {53}
    (to,) = names["to"]
    assert to["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


# --- GPUs ---


def test_on_gpus_each_pod_asks_for_one(on_gpus: Manifest) -> None:
    spec = on_gpus["spec"]["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert [toleration["key"] for toleration in spec["tolerations"]] == ["nvidia.com/gpu"]
