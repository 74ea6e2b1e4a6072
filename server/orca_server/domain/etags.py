"""Tags of the versions of a resource, by which a lost update is noticed (AIP-154)."""

import hashlib
from uuid import UUID

from orca_server.domain.errors import Conflict


def etag(resource_id: UUID | str, revision: int) -> str:
    """The tag of one version of a resource: 16 hexadecimal digits."""
    return hashlib.sha256(f"{resource_id}:{revision}".encode()).hexdigest()[:16]


def check_etag(kind: str, resource_id: UUID, revision: int, given: str) -> None:
    """Refuses a write that was prepared from another version; an empty tag fits any.

    Args:
        kind: What the resource is, such as `agent`.
        resource_id: Its id.
        revision: Its current version.
        given: The tag of the version that the write was prepared from.

    Raises:
        Conflict: If the tag is not the resource's (`ETAG_MISMATCH`).
    """
    if given and given != etag(resource_id, revision):
        raise Conflict(
            "ETAG_MISMATCH",
            f"{kind.capitalize()} '{resource_id}' changed since it was read; get it and retry.",
            {f"{kind}_id": str(resource_id)},
        )
