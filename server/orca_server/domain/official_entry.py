"""An entry of the official MCP registry (`server.json`), as an agent.

Source: modelcontextprotocol/registry, docs/reference/server-json; names are read in both of its
spellings (`registryType`, `registry_type`) and in that of its first form (`registry_name`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from orca_server.domain import entry_values as values
from orca_server.domain.agent_checks import MAX_VERSION
from orca_server.domain.agents import Content, Endpoint
from orca_server.domain.stamps import MAX_VERSION as MAX_STAMP_VERSION
from orca_server.domain.stamps import Stamp, published_at

REGISTRY = "official"
OFFICIAL_META = "io.modelcontextprotocol.registry/official"

# What starts a package of each kind, unless the entry hints at something else.
_RUNTIMES = {"npm": "npx", "pypi": "uvx", "oci": "docker", "docker": "docker", "nuget": "dnx"}


def content(entry: Mapping[str, Any], meta: Mapping[str, Any]) -> Content:
    """What the entry says of its server."""
    packages = values.mappings(entry, "packages")
    return Content(
        display_name=values.short_text(entry.get("title")),
        description=values.long_text(entry.get("description")),
        version=values.text(_version(entry), MAX_VERSION),
        endpoint=_endpoint(entry, packages),
        capabilities=values.capabilities(values.pick(entry, "tags", "keywords", "capabilities")),
        tools=values.tools(entry.get("tools")),
        labels=_labels(entry, meta, packages),
    )


def status(entry: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """`active`, `deprecated`, `deleted`, or nothing."""
    found = values.pick(_official(meta), "status") or entry.get("status")
    return found if isinstance(found, str) else ""


def stamp(entry: Mapping[str, Any], meta: Mapping[str, Any]) -> Stamp:
    """What orders this entry among the others of its name."""
    official, detail = _official(meta), values.mapping(entry, "version_detail")
    latest = values.pick(official, "isLatest", "is_latest")
    if latest is None:
        latest = detail.get("is_latest")
    published = values.pick(
        official, "publishedAt", "published_at", "release_date", "updatedAt", "updated_at"
    )
    return Stamp(
        latest=latest if isinstance(latest, bool) else None,
        published=published_at(published or detail.get("release_date")),
        version=values.text(_version(entry), MAX_STAMP_VERSION),
    )


def _official(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    return values.mapping(meta, OFFICIAL_META, "official") or meta


def _version(entry: Mapping[str, Any]) -> Any:
    return values.pick(entry, "version") or values.mapping(entry, "version_detail").get("version")


def _labels(
    entry: Mapping[str, Any], meta: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    first: Mapping[str, Any] = packages[0] if packages else {}
    found_status = status(entry, meta)
    return values.labels(
        {
            "registry": REGISTRY,
            "registry_type": _kind(first),
            "package": _identifier(first),
            "repository": values.url(values.mapping(entry, "repository").get("url")),
            "website": values.url(values.pick(entry, "websiteUrl", "website_url")),
            "status": found_status if found_status != "active" else "",
        }
    )


def _endpoint(entry: Mapping[str, Any], packages: Sequence[Mapping[str, Any]]) -> Endpoint:
    """The first address, else the first package that can be started."""
    for remote in values.mappings(entry, "remotes"):
        if address := values.url(remote.get("url")):
            return Endpoint(url=address)
    for package in packages:
        if (started := _started(package)) != Endpoint():
            return started
    return Endpoint()


def _started(package: Mapping[str, Any]) -> Endpoint:
    kind, name = _kind(package), _identifier(package)
    runtime = values.pick(package, "runtimeHint", "runtime_hint") or _RUNTIMES.get(kind)
    if not name or not isinstance(runtime, str):
        return Endpoint()
    version = values.pick(package, "version")
    version = version if isinstance(version, str) else ""
    variables = values.mappings(package, "environmentVariables", "environment_variables")
    env = values.references(one.get("name") for one in variables)
    before = _arguments(values.mappings(package, "runtimeArguments", "runtime_arguments"))
    after = _arguments(values.mappings(package, "packageArguments", "package_arguments"))
    args = _command_line(kind, name, version, env, before, after)
    return values.command_endpoint(runtime, args, env)


def _command_line(
    kind: str,
    name: str,
    version: str,
    env: Mapping[str, str],
    before: list[str],
    after: list[str],
) -> list[str]:
    """What follows the runtime's name."""
    match kind:
        case "npm":
            return [*(before or ["-y"]), f"{name}@{version}" if version else name, *after]
        case "pypi":
            return [*before, f"{name}=={version}" if version else name, *after]
        case "oci" | "docker":
            if "-i" in after or "--rm" in after:  # the first form wrote docker's own arguments
                return ["run", *after]
            image = f"{name}:{version}" if version and not _has_tag(name) else name
            named = [part for variable in env for part in ("-e", variable)]
            return ["run", "-i", "--rm", *named, *before, image, *after]
        case "nuget":
            spec = f"{name}@{version}" if version else name
            return [*before, spec, "--yes", *(["--", *after] if after else [])]
        case _:
            return [*before, name, *after]


def _arguments(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arguments as they are typed; what the operator must fill in stays as `{hint}`."""
    args: list[str] = []
    for one in found:
        name = one.get("name") if isinstance(one.get("name"), str) else ""
        value = _argument_value(one)
        if name and value.startswith(name):  # the first form repeats the name in the value
            args += value.split(" ", 1)
        elif one.get("type") == "named" and name:
            args += [name, value] if value else [name]
        elif value:
            args.append(value)
    return args


def _argument_value(one: Mapping[str, Any]) -> str:
    value = values.pick(one, "value", "default")
    if isinstance(value, str):
        return value
    hint = values.pick(one, "valueHint", "value_hint")
    needed = values.pick(one, "isRequired", "is_required") is True
    return f"{{{hint}}}" if isinstance(hint, str) and needed else ""


def _kind(package: Mapping[str, Any]) -> str:
    found = values.pick(package, "registryType", "registry_type", "registry_name")
    return found if isinstance(found, str) else ""


def _identifier(package: Mapping[str, Any]) -> str:
    found = values.pick(package, "identifier", "name")
    return found if isinstance(found, str) else ""


def _has_tag(image: str) -> bool:
    return ":" in image.rsplit("/", 1)[-1] or "@" in image
