"""The manifests: names, ports, paths and times agree with each other, with the image, and with the bridge."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bridge import __version__
from bridge.cli.serve import serve_command
from bridge.settings import Settings, parse_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
WAYS = {"postgres": "Deployment", "sqlite": "StatefulSet"}
SECRETS = "/run/secrets/bridge"
LABELS = {"app.kubernetes.io/name": "bridge"}

Manifest = dict[str, Any]


def read(path: Path) -> Manifest:
    found: Manifest = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def manifests(way: str) -> dict[str, Manifest]:
    """What a kustomization puts together, by kind."""
    found: dict[str, Manifest] = {}
    waiting = [FOLDER / way]
    while waiting:
        folder = waiting.pop()
        for name in read(folder / "kustomization.yaml")["resources"]:
            path = (folder / name).resolve()
            if path.is_dir():
                waiting.append(path)
            else:
                manifest = read(path)
                assert manifest["kind"] not in found
                found[manifest["kind"]] = manifest
    return found


def pod_of(way: str) -> Manifest:
    spec: Manifest = manifests(way)[WAYS[way]]["spec"]["template"]["spec"]
    return spec


def container_of(way: str) -> Manifest:
    (container,) = pod_of(way)["containers"]
    found: Manifest = container
    return found


def settings_text() -> str:
    return (FOLDER / "base" / "bridge.toml").read_text(encoding="utf-8")


def settings_with(folder: Path, database_url: str) -> Settings:
    """The settings, with a folder of made-up secrets in place of the mounted one."""
    for path in re.findall(rf"\$\{{file:{SECRETS}/([^}}]*)\}}", settings_text()):
        (folder / path).write_text("A" * 43 + "=" if path == "pii-key" else f"the-secret-called-{path}")
    text = settings_text().replace(SECRETS, str(folder))
    return parse_settings(text, file="bridge.toml", base_dir=folder, environ={"DATABASE_URL": database_url})


@pytest.mark.parametrize("way", WAYS)
def test_everything_is_about_the_same_pods(way: str) -> None:
    """One name, one label, one port: from the Ingress to the Service to the pods, and to what may be disrupted."""
    found = manifests(way)
    assert all(each["metadata"]["name"] == "bridge" for each in found.values())
    workload = found[WAYS[way]]
    assert workload["spec"]["template"]["metadata"]["labels"] == LABELS
    assert workload["spec"]["selector"]["matchLabels"] == LABELS
    assert found["Service"]["spec"]["selector"] == LABELS
    (port,) = found["Service"]["spec"]["ports"]
    (opened,) = container_of(way)["ports"]
    assert port["targetPort"] == opened["name"]
    assert f"EXPOSE {opened['containerPort']}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (rule,) = found["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": "bridge", "port": {"name": port["name"]}}
    assert found["Ingress"]["spec"]["tls"][0]["hosts"] == [rule["host"]]


@pytest.mark.parametrize("way", WAYS)
def test_probes_ask_what_the_bridge_answers(way: str) -> None:
    """Alive is /healthz, which no database can fail; ready is /readyz, with more patience than it has itself."""
    container = container_of(way)
    ports = {each["name"] for each in container["ports"]}
    asked = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    paths = {kind: probe["httpGet"]["path"] for kind, probe in asked.items()}
    assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert all(probe["httpGet"]["port"] in ports for probe in asked.values())
    assert asked["readiness"]["timeoutSeconds"] > 2
    assert asked["startup"]["periodSeconds"] * asked["startup"]["failureThreshold"] >= 300


@pytest.mark.parametrize("way", WAYS)
def test_the_command_and_its_files(way: str) -> None:
    """The bridge takes the arguments; settings and secrets are mounted where they are looked for."""
    container, pod = container_of(way), pod_of(way)
    program, name, *arguments = container["args"]
    assert (program, name) == ("bridge", serve_command.name)
    parameters = serve_command.make_context("serve", arguments).params
    assert parameters["host"] == "0.0.0.0"
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert parameters["config"] == Path(mounts["settings"], "bridge.toml")
    assert mounts["secrets"] == SECRETS
    claimed = manifests(way)[WAYS[way]]["spec"].get("volumeClaimTemplates", [])
    declared = {each["name"] for each in pod["volumes"]} | {each["metadata"]["name"] for each in claimed}
    assert set(mounts) == declared
    (made,) = read(FOLDER / "base" / "kustomization.yaml")["configMapGenerator"]
    assert made == {"name": "bridge", "files": ["bridge.toml"]}
    by_name = {each["name"]: each for each in pod["volumes"]}
    assert by_name["settings"]["configMap"]["name"] == made["name"]
    (image,) = read(FOLDER / way / "kustomization.yaml")["images"]
    assert image["name"] == container["image"]


@pytest.mark.parametrize("way", WAYS)
def test_pods_have_few_rights_and_time_to_stop(way: str) -> None:
    """Not root, nothing to write to but its volumes, and longer to stop than preStop and the ten seconds together."""
    container, pod = container_of(way), pod_of(way)
    user = pod["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["fsGroup"] == user
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    sleeping = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert pod["terminationGracePeriodSeconds"] > sleeping + 10
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


def test_two_instances_on_postgresql(tmp_path: Path) -> None:
    """An update and a drained node leave one at work; the address of the database is a secret."""
    found = manifests("postgres")
    deployment = found["Deployment"]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = found["PodDisruptionBudget"]["spec"]
    assert budget["selector"]["matchLabels"] == LABELS
    assert budget["minAvailable"] < deployment["replicas"]
    (variable,) = container_of("postgres")["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "bridge", "key": "database-url"}
    settings = settings_with(tmp_path, "postgresql://bridge:word@db.internal:5432/bridge")
    assert not settings.database.is_sqlite


def test_one_instance_on_sqlite(tmp_path: Path) -> None:
    """Never two at once, its file on a volume that stays, and no budget that would keep a node from being drained."""
    found = manifests("sqlite")
    assert "PodDisruptionBudget" not in found
    spec = found["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    assert spec["serviceName"] == found["Service"]["metadata"]["name"]
    (variable,) = container_of("sqlite")["env"]
    settings = settings_with(tmp_path, variable["value"])
    mounts = {each["name"]: each["mountPath"] for each in container_of("sqlite")["volumeMounts"]}
    (claim,) = spec["volumeClaimTemplates"]
    assert settings.database_path().parent == Path(mounts[claim["metadata"]["name"]])


def test_the_settings_fit_the_ingress(tmp_path: Path) -> None:
    """Host and body size are the same in both, and /metrics, which the Ingress lets through, wants a token."""
    settings = settings_with(tmp_path, "sqlite:////data/bridge.db")
    ingress = manifests("sqlite")["Ingress"]
    assert settings.server.public_url == f"https://{ingress['spec']['rules'][0]['host']}"
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert int(size.removesuffix("m")) * 1024 * 1024 == settings.server.max_body_bytes
    assert not settings.server.metrics_public
    assert settings.warnings == ()


def test_the_guide_makes_the_secret_that_is_read() -> None:
    """`kubectl create secret` in docs/deploy.md has every key that bridge.toml and the pods name, and no other."""
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert "kubectl create secret generic bridge" in guide
    made = set(re.findall(r"--from-literal=([\w-]+)=", guide))
    read_from_files = set(re.findall(rf"\$\{{file:{SECRETS}/([^}}]*)\}}", settings_text()))
    assert made == read_from_files | {"database-url"}


@pytest.mark.parametrize("way", WAYS)
def test_the_image_is_that_of_this_version(way: str) -> None:
    """Who copies the manifests of a release gets the program of that release."""
    (image,) = read(FOLDER / way / "kustomization.yaml")["images"]
    assert image["newTag"] == __version__


@pytest.mark.parametrize("way", WAYS)
def test_kubectl_puts_them_together(way: str) -> None:
    """`kubectl kustomize` takes each folder, names the image, and gives the ConfigMap a name of its content."""
    program = shutil.which("kubectl")
    if not program:
        pytest.skip("there is no kubectl: https://kubernetes.io/docs/tasks/tools/")
    command = [program, "kustomize", str(FOLDER / way)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    built = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert built.keys() == manifests(way).keys() | {"ConfigMap"}
    pod = built[WAYS[way]]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"registry.example.com/bridge:{__version__}"
    settings = next(each for each in pod["volumes"] if each["name"] == "settings")
    assert settings["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"]
