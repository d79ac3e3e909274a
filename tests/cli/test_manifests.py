"""The manifests of `examples/deploy`, held against the schemas of what reads them and the options of `serve`."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from typer.main import get_command

from langchain_ptc import Limits
from langchain_ptc.cli.app import app
from tests.support import ROOT

DEPLOY = ROOT / "examples" / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
KUBERNETES = "1.37"
_UNITS = {"g": 2**30, "Gi": 2**30, "Mi": 2**20}


def objects() -> Iterator[dict[str, Any]]:
    """Yield the objects of all manifests of Kubernetes."""
    for path in MANIFESTS:
        yield from yaml.safe_load_all(path.read_text("utf-8"))


def checkable() -> Iterator[dict[str, Any]]:
    """Yield what Kubernetes itself has a schema for: of a Ray cluster, its pods."""
    for found in objects():
        if found["apiVersion"] != "ray.io/v1":
            yield found
            continue
        spec = found["spec"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            yield {"apiVersion": "v1", "kind": "Pod", **group["template"]}


CHECKABLE = [pytest.param(found, id=f"{found['kind']}-{n}") for n, found in enumerate(checkable())]


@pytest.fixture(scope="module")
def check() -> Callable[[dict[str, Any]], object]:
    """What holds an object against the schema of Kubernetes, without tolerance for what it does not know."""
    validating = pytest.importorskip("kubernetes_validate")
    return lambda found: validating.validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("found", CHECKABLE)
def test_an_object_of_kubernetes_has_its_schema(
    check: Callable[[dict[str, Any]], object], found: dict[str, Any]
) -> None:
    """Each field is one that Kubernetes knows, with a value of its type."""
    check(found)


@pytest.mark.parametrize("found", CHECKABLE)
def test_a_field_that_is_misspelled_is_found(
    check: Callable[[dict[str, Any]], object], found: dict[str, Any]
) -> None:
    """The check is strict: an unknown field in any object is an error."""
    wrong = copy.deepcopy(found)
    wrong.setdefault("spec", {})["replicaz"] = 3
    with pytest.raises(Exception, match="replicaz"):
        check(wrong)


def test_the_compose_file_is_one() -> None:
    """Each service, network and secret is as the specification of Compose has it, and refers to what is there."""
    compose_spec = pytest.importorskip("compose_spec")
    text = COMPOSE.read_text("utf-8")
    compose_spec.PyCompose.from_yaml(text).validate()
    with pytest.raises(ValueError, match="cap_dropp"):
        compose_spec.PyCompose.from_yaml(text.replace("cap_drop:", "cap_dropp:", 1))


# --- what they say about `serve` ----------------------------------------------------------------


def sandbox_of_compose() -> tuple[list[str], float, str]:
    """Return the arguments, the time between SIGTERM and SIGKILL and the memory of a node in Compose."""
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["sandbox-1"]
    grace = float(service["stop_grace_period"].removesuffix("s"))
    return service["command"], grace, service["deploy"]["resources"]["limits"]["memory"]


def sandbox_of_kubernetes() -> tuple[list[str], float, str]:
    """Return the same of a node in Kubernetes."""
    (node,) = (found for found in objects() if found["kind"] == "StatefulSet")
    pod = node["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    grace = float(pod["terminationGracePeriodSeconds"])
    return container["args"], grace, container["resources"]["limits"]["memory"]


def read(arguments: list[str]) -> dict[str, Any]:
    """Return what the command line makes of the arguments, with its own parser; skip while it has no `serve`."""
    name, *rest = arguments
    command = get_command(app)
    with command.make_context("langchain-ptc", [name]) as context:
        found = command.get_command(context, name)
    if found is None:
        pytest.skip(f"there is no command {name}")
    with found.make_context(name, rest) as context:
        return dict(context.params)


@pytest.mark.parametrize("node", [sandbox_of_compose, sandbox_of_kubernetes])
def test_a_node_is_started_with_options_that_serve_has(
    node: Callable[[], tuple[list[str], float, str]],
) -> None:
    """It is parsed, drains before it is killed, and has the memory that its executions may use."""
    arguments, grace, memory = node()
    options = read(arguments)
    assert options["drain_seconds"] > Limits().wall_seconds
    assert grace > options["drain_seconds"]
    assert options["token_file"] is not None
    assert options["tls_cert"] is not None
    assert not options["insecure_plain"]
    match = re.fullmatch(r"(\d+)(\w+)", memory)
    assert match is not None
    size = int(match[1]) * _UNITS[match[2]]
    assert size >= options["max_workers"] * Limits().memory_bytes + 512 * 2**20


def test_ports_are_the_same_everywhere() -> None:
    """Services, policies, probes and the addresses that agents are given have the ports of `serve`."""
    found = list(objects())
    (node,) = (o for o in found if o["kind"] == "StatefulSet")
    options = read(sandbox_of_kubernetes()[0])
    (container,) = node["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"workers": options["port"], "health": options["health_port"]}
    (policy,) = (
        o for o in found if o["metadata"]["name"] == "sandbox" and o["kind"] == "NetworkPolicy"
    )
    opened = [rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]]
    assert opened == [options["port"], options["health_port"]]
    (service,) = (o for o in found if o["metadata"]["name"] == "sandbox" and o["kind"] == "Service")
    assert service["spec"]["ports"][0]["port"] == options["port"]
    for text in (
        COMPOSE.read_text("utf-8"),
        (DEPLOY / "kubernetes/agents.yaml").read_text("utf-8"),
    ):
        addresses = re.search(r"sandbox-[^\s]+:(\d+),sandbox-[^\s]+:(\d+)", text)
        assert addresses is not None
        assert {int(addresses[1]), int(addresses[2])} == {read(sandbox_of_compose()[0])["port"]}
