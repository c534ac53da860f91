"""deploy/kubernetes against the schemas of Kubernetes, our settings, and itself."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from daemon.cli.app import app
from daemon.commands.running import gateway_stop_s_max
from daemon.process.role_names import BRIDGE, ROLES, health_port
from daemon.roles.gateway import openness_fault
from daemon.settings import Settings
from daemon.settings_file import read_settings
from deploy.vllm.server import LocalReplica

FOLDER = Path(__file__).parents[3] / "deploy" / "kubernetes"
README = Path(__file__).parents[3] / "README.md"
CONTROLLERS = ("Deployment", "StatefulSet", "Job")


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            for made in yaml.safe_load_all(path.read_text()):
                yield f"{made['kind']}/{made['metadata']['name']}", made


ALL = dict(manifests())
PODS = {
    document["metadata"]["name"]: document["spec"]["template"]
    for document in ALL.values()
    if document["kind"] in CONTROLLERS
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    monkeypatch.chdir(tmp_path)
    return read_settings(FOLDER / "clorad.toml")


def container(name: str) -> dict[str, Any]:
    [only] = PODS[name]["spec"]["containers"]
    return dict(only)


def mounts(name: str) -> dict[str, Mapping[str, Any]]:
    """Where each persistent claim or config map lies in the container."""
    volumes = {volume["name"]: volume for volume in PODS[name]["spec"]["volumes"]}
    return {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in container(name)["volumeMounts"]
        if "emptyDir" not in volumes[mount["name"]]
    }


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", ALL)
def test_kubernetes_would_take_it(name: str, version: str) -> None:
    kubernetes_validate.validate(ALL[name], version, strict=True)


def test_every_file_is_applied() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    [generated] = listed["configMapGenerator"]
    assert {*listed["resources"], *generated["files"], "kustomization.yaml"} == {
        path.name for path in FOLDER.iterdir()
    }
    images = {container(name)["image"] for name in PODS} - {container("vllm")["image"]}
    assert images == {image["name"] for image in listed["images"]}
    assert {
        volume["configMap"]["name"]
        for name in PODS
        for volume in mounts(name).values()
        if "configMap" in volume
    } == {generated["name"]}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_started_and_probed_as_it_is_named(role: str, settings: Settings) -> None:
    made = container(role)
    assert made["args"] == [role]
    assert made["image"] == ("clorad-learner" if role == "learner" else "clorad")
    ports = {port["name"]: port["containerPort"] for port in made["ports"]}
    assert ports["health"] == health_port(settings.telemetry.health_port, role)
    probes = [made[probe]["httpGet"] for probe in ("livenessProbe", "readinessProbe")]
    assert probes == [{"path": "/healthz", "port": "health"}, {"path": "/readyz", "port": "health"}]
    assert settings.telemetry.health_host == "0.0.0.0"
    assert "/etc/clorad" in mounts(role)


def test_the_bridge_waits_for_its_tools_and_keeps_its_journals(settings: Settings) -> None:
    made, spec = container("bridge"), ALL["Deployment/bridge"]["spec"]
    group, name = made["args"]
    assert name in typer.main.get_command(app).commands[group].commands  # type: ignore[attr-defined]
    assert (spec["replicas"], bool(settings.bridges.tools)) == (0, False), (
        "without tools it would end at once"
    )
    assert spec["strategy"] == {"type": "Recreate"}, "two of them would write one journal"
    ports = {port["name"]: port["containerPort"] for port in made["ports"]}
    health = health_port(settings.telemetry.health_port, BRIDGE)
    assert ports == {"http": settings.bridges.port, "health": health}
    assert mounts("bridge")[str(settings.bridges.path)]["persistentVolumeClaim"] == {"claimName": "bridges"}
    assert "PersistentVolumeClaim/bridges" in ALL
    assert settings.bridges.host == "0.0.0.0"


def test_nobody_is_killed_who_would_have_stopped(settings: Settings) -> None:
    grace = {role: PODS[role]["spec"]["terminationGracePeriodSeconds"] for role in ROLES}
    assert grace["gateway"] >= gateway_stop_s_max(settings)
    assert min(grace.values()) >= 30


def test_the_job_runs_a_command_that_exists() -> None:
    group, name, *rest = container("topics")["args"]
    command = typer.main.get_command(app).commands[group].commands[name]  # type: ignore[attr-defined]
    assert command.make_context(name, list(rest)).params["replication"] == 3


def test_who_needs_the_store_and_the_base_sees_the_same_one(settings: Settings) -> None:
    for path, claim, by in (
        (settings.store.path, "adapters", {"learner", "fleet", "vllm", "dashboard"}),
        (settings.engine.base, "base", {"learner", "fleet", "vllm"}),
    ):
        there = {
            name: volume["persistentVolumeClaim"]
            for name in PODS
            for at, volume in mounts(name).items()
            if at == str(path)
        }
        assert there.keys() == by
        assert {volume["claimName"] for volume in there.values()} == {claim}
        assert f"PersistentVolumeClaim/{claim}" in ALL
        writers = {name for name, volume in there.items() if not volume.get("readOnly")}
        assert writers == ({"learner"} if claim == "adapters" else set())


def test_every_replica_is_one_the_fleet_role_knows(settings: Settings) -> None:
    replicas = ALL["StatefulSet/vllm"]["spec"]
    [port] = ALL["Service/vllm"]["spec"]["ports"]
    assert replicas["serviceName"] == "vllm"
    assert [str(url).rstrip("/") for url in settings.fleet.replicas] == [
        f"http://vllm-{number}.vllm:{port['port']}" for number in range(replicas["replicas"])
    ]
    assert {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"} in container("vllm")["env"]


def test_a_gateway_that_listens_to_the_cluster_asks_for_keys(settings: Settings) -> None:
    assert settings.gateway.host == "0.0.0.0"
    assert openness_fault(settings.gateway) is None
    assert settings.gateway.access == "keys"


def test_replicas_ask_for_the_key_that_the_roles_send() -> None:
    [key] = [one for one in container("vllm")["env"] if one["name"] == "VLLM_API_KEY"]
    named = key["valueFrom"]["secretKeyRef"]
    section, setting = named["key"].removeprefix("CLORAD_").lower().split("__")
    assert (section, setting in type(Settings().fleet).model_fields) == ("fleet", True)
    assert named["optional"], "without one there is none"
    for role in ("fleet", "gateway"):
        assert {"secretRef": {"name": named["name"]}} in container(role)["envFrom"]


def test_a_replica_can_hold_what_it_is_given(settings: Settings) -> None:
    flags = dict(re.findall(r"--([a-z-]+)=(\S+)", " ".join(container("vllm")["args"])))
    assert "--enable-lora" in container("vllm")["args"]
    assert int(flags["max-cpu-loras"]) >= settings.fleet.adapters_max
    assert int(flags["max-lora-rank"]) >= settings.engine.rank_max
    assert int(flags["max-loras"]) >= len(settings.agents) + 2
    assert container("vllm")["command"] == ["vllm", "serve", str(settings.engine.base)]


def test_captured_probabilities_are_those_that_were_sampled_from(tmp_path: Path) -> None:
    local = LocalReplica(tmp_path, tmp_path, 8000)._command()
    mode = local[local.index("--logprobs-mode") + 1]
    assert f"--logprobs-mode={mode}" in container("vllm")["args"]


def test_replicas_answer_requests_that_offer_tools(tmp_path: Path) -> None:
    local = LocalReplica(tmp_path, tmp_path, 8000)._command()
    parser = local[local.index("--tool-call-parser") + 1]
    for switch in ("--enable-auto-tool-choice", f"--tool-call-parser={parser}"):
        assert switch in container("vllm")["args"]
    assert "--enable-auto-tool-choice" in local
    assert f"--enable-auto-tool-choice --tool-call-parser {parser}" in README.read_text()


def test_nobody_but_fleet_and_gateway_reaches_the_replicas() -> None:
    policy = ALL["NetworkPolicy/vllm"]["spec"]
    [rule] = policy["ingress"]
    [peer] = rule["from"]
    [labels] = peer["podSelector"]["matchExpressions"]
    assert policy["podSelector"]["matchLabels"].items() <= PODS["vllm"]["metadata"]["labels"].items()
    for name, pod in PODS.items():
        allowed = pod["metadata"]["labels"][labels["key"]] in labels["values"]
        assert allowed == (name in ("fleet", "gateway"))


@pytest.mark.parametrize("name", PODS)
def test_it_runs_as_nobody_in_particular(name: str) -> None:
    pod, made = PODS[name]["spec"], container(name)
    assert pod["securityContext"]["runAsNonRoot"]
    assert made["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert made["resources"]["limits"]["memory"]
    assert not pod["automountServiceAccountToken"]


def policies(kind: str) -> Iterator[tuple[set[str], list[Mapping[str, Any]]]]:
    """The pods that each policy is about, with its rules of that kind (`ingress`, `egress`)."""
    for name, made in ALL.items():
        if name.startswith("NetworkPolicy/") and kind in made["spec"]:
            yield selected_pods(made["spec"]["podSelector"]), made["spec"][kind]


def selected_pods(selector: Mapping[str, Any]) -> set[str]:
    wanted = {key: {value} for key, value in selector.get("matchLabels", {}).items()}
    wanted |= {one["key"]: set(one["values"]) for one in selector.get("matchExpressions", [])}
    return {
        name
        for name, pod in PODS.items()
        if all(pod["metadata"]["labels"].get(key) in values for key, values in wanted.items())
    }


def test_whatever_no_policy_names_is_denied() -> None:
    spec = ALL["NetworkPolicy/default-deny"]["spec"]
    assert spec == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for _, rules in [*policies("ingress"), *policies("egress")]:
        for rule in rules:
            assert rule.get("from") or rule.get("to"), "a rule without a peer is open to everybody"
            assert rule["ports"]


def test_who_needs_a_server_may_reach_it() -> None:
    reached: dict[int, set[str]] = {}
    for pods, rules in policies("egress"):
        for rule in rules:
            for port in rule["ports"]:
                reached.setdefault(port["port"], set()).update(pods)
    assert reached[53] == set(PODS)
    assert reached[9092] == {"intake", "fleet", "gateway", "topics", "bridge"}
    assert reached[443] == {"bridge", "fleet"}, "tools, and receivers of notices"
    assert reached[5432] == {"intake", "learner", "fleet", "gateway", "dashboard"}
    assert reached[8000] == {"fleet", "gateway"}
    assert all("vllm" not in pods for port, pods in reached.items() if port != 53)


def test_only_monitoring_reaches_the_health_ports() -> None:
    peers = [
        rule["from"]
        for _, rules in policies("ingress")
        for rule in rules
        if {"port": "health"} in rule["ports"]
    ]
    assert peers == [[{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]]


def test_the_gateway_alone_has_a_user_of_the_ledger_that_only_reads() -> None:
    for name in ROLES:
        secrets = [source["secretRef"]["name"] for source in container(name)["envFrom"]]
        assert secrets == (["clorad", "clorad-gateway"] if name == "gateway" else ["clorad"])


@pytest.mark.parametrize("name", PODS)
def test_no_pod_can_fill_the_disk_of_its_node(name: str) -> None:
    for volume in PODS[name]["spec"]["volumes"]:
        if "emptyDir" in volume:
            assert volume["emptyDir"]["sizeLimit"]


def test_every_image_has_a_version() -> None:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]
    tags = {image["name"]: image["newTag"] for image in listed}
    for name in PODS:
        image = container(name)["image"]
        version = tags.get(image) or image.partition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?", version), image
