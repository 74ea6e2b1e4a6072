"""What can keep the local stack from running, said so that a person can act on it."""


class LocalError(Exception):
    """Refused or failed; the message is one line and says what to do."""
