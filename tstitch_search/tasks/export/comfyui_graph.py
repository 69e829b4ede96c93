"""Nodes and links of a ComfyUI workflow, and what its node definitions allow."""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tstitch_search.errors import ConfigError

PYTHON: dict[str, tuple[type, ...]] = {"INT": (int,), "FLOAT": (int, float), "STRING": (str,), "COMBO": (str,)}
NODES = Path(__file__).with_name("comfyui_nodes.json")


@dataclass(frozen=True)
class Link:
    """An output of a node."""

    node: str
    output: int = 0


@dataclass
class Graph:
    """A workflow that grows; nodes are numbered from 1 in the order in which they were added."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, class_type: str, title: str | None = None, **inputs: Any) -> Link:
        """A node of this class; what is given to it are values and links. Its first output comes back."""
        name = str(len(self.nodes) + 1)
        given = {key: [v.node, v.output] if isinstance(v, Link) else v for key, v in inputs.items()}
        self.nodes[name] = {"class_type": class_type, "inputs": given, "_meta": {"title": title or class_type}}
        return Link(name)

    def checked(self) -> dict[str, dict[str, Any]]:
        """The workflow, once nothing in it contradicts the definitions. Raises ConfigError naming node and input."""
        for problem in problems_of(self.nodes):
            raise ConfigError(f"ComfyUI {definitions()['version']} would refuse this workflow: {problem}")
        return self.nodes


@lru_cache(maxsize=1)
def definitions() -> dict[str, Any]:
    """The stock nodes that are known, with source and version."""
    found: dict[str, Any] = json.loads(NODES.read_text())
    return found


def problems_of(workflow: dict[str, dict[str, Any]]) -> list[str]:
    """What ComfyUI's definitions say against it: classes, inputs, links, types, ranges; and that nothing is saved."""
    known = definitions()["nodes"]
    found = [f"{n}: no node {node['class_type']}" for n, node in workflow.items() if node["class_type"] not in known]
    if found:
        return found
    for name, node in workflow.items():
        kind = known[node["class_type"]]
        sockets, at = {**kind["required"], **kind["optional"]}, f"{name} ({node['class_type']})"
        found += [f"{at}: no input {given}" for given in node["inputs"] if given not in sockets]
        found += [f"{at}: {needed} is missing" for needed in kind["required"] if needed not in node["inputs"]]
        for given, value in node["inputs"].items():
            problem = _problem(workflow, sockets[given], value) if given in sockets else None
            found += [f"{at}: {given} {problem}"] if problem else []
    if not any(known[node["class_type"]]["is_output"] for node in workflow.values()):
        found.append("nothing is saved")
    return found


def _problem(workflow: dict[str, dict[str, Any]], socket: list[Any], value: Any) -> str | None:
    """What is wrong with an input's value or link."""
    kind, limits = socket[0], socket[1] if len(socket) > 1 else {}
    if isinstance(value, list):
        if value[0] not in workflow:
            return f"comes from {value[0]}, which is not there"
        outputs = definitions()["nodes"][workflow[value[0]]["class_type"]]["outputs"]
        made = outputs[value[1]] if value[1] < len(outputs) else "nothing"
        return None if made == kind else f"takes {kind}, got {made}"
    if isinstance(value, bool) or not isinstance(value, PYTHON.get(kind, ())):
        return f"takes {kind}, got {value!r}"
    if "options" in limits and value not in limits["options"]:
        return f"takes one of {', '.join(limits['options'])}, got {value}"
    if "min" in limits and not limits["min"] <= value <= limits["max"]:
        return f"takes {limits['min']} to {limits['max']}, got {value}"
    return None
