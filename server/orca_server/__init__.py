"""The server of ORCA AgentMesh, and the command that runs it."""

from importlib.metadata import version

__version__ = version("orca-agentmesh")
"""Version of server and client: they are released together."""
