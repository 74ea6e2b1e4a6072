"""A `server.yaml` of Docker's MCP registry, as an agent.

Types: `server` (an image that speaks MCP), `remote` (an address), `poci` (tools that are each a
container). Source: docker/mcp-registry, CONTRIBUTING.md.
"""

from collections.abc import Mapping
from typing import Any

from orca_server.domain import entry_values as values
from orca_server.domain.agents import Content, Endpoint

REGISTRY = "docker"


def content(entry: Mapping[str, Any]) -> Content:
    """What the entry says of its server."""
    about, meta = values.mapping(entry, "about"), values.mapping(entry, "meta")
    return Content(
        display_name=values.short_text(about.get("title")),
        description=values.long_text(about.get("description")),
        endpoint=_endpoint(entry),
        capabilities=values.capabilities(meta.get("tags")),
        tools=values.tools(entry.get("tools")),
        labels=_labels(entry, meta),
    )


def _labels(entry: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, str]:
    source = values.mapping(entry, "source")
    return values.labels(
        {
            "registry": REGISTRY,
            "registry_type": entry.get("type"),
            "package": entry.get("image"),
            "category": meta.get("category"),
            "repository": pick_url(source),
            "commit": source.get("commit"),
        }
    )


def pick_url(source: Mapping[str, Any]) -> str:
    """Where the source lies."""
    return values.url(values.pick(source, "upstream", "project"))


def _endpoint(entry: Mapping[str, Any]) -> Endpoint:
    run, remote = values.mapping(entry, "run"), values.mapping(entry, "remote")
    env = values.references(_variables(values.mapping(entry, "config"), run))
    if address := values.url(remote.get("url")):
        return Endpoint(url=address, env=env)
    image = entry.get("image")
    if not isinstance(image, str) or not image:
        return Endpoint()
    args = ["run", "-i", "--rm"]
    if run.get("disableNetwork") is True:
        args += ["--network", "none"]
    for name in env:
        args += ["-e", name]
    for volume in _texts(run.get("volumes")):
        args += ["-v", volume]
    return values.command_endpoint("docker", [*args, image, *_texts(run.get("command"))], env)


def _variables(config: Mapping[str, Any], run: Mapping[str, Any]) -> list[Any]:
    """Names of the environment variables, secrets first."""
    secrets = [one.get("env") for one in values.mappings(config, "secrets")]
    plain = [values.pick(one, "env", "name") for one in values.mappings(config, "env")]
    return [*secrets, *plain, *values.mapping(run, "env")]


def _texts(found: Any) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
