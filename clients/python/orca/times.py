"""Instants, as Python and as the wire have them."""

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(instant: datetime | None) -> Timestamp | None:
    """The instant for a message; None stays None.

    Raises:
        ValueError: If it has no time zone, for then nobody knows when it is.
    """
    if instant is None:
        return None
    if instant.tzinfo is None:
        raise ValueError(f"{instant} needs a time zone, such as datetime.UTC")
    message = Timestamp()
    message.FromDatetime(instant)
    return message
