"""Violations and drift in each state, for the table of error paths."""

from datetime import UTC, datetime, timedelta
from typing import Any

import grpc

from orca.v1 import agent_pb2, drift_pb2, telemetry_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1 import trust_service_pb2 as trust_pb
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.trust_service_pb2_grpc import TrustServiceStub


class _Finder:
    def __init__(self, channel: grpc.Channel) -> None:
        self.agents: Any = AgentServiceStub(channel)
        self.trust: Any = TrustServiceStub(channel)
        self.at = datetime.now(UTC) - timedelta(hours=1)

    def see(self, agent_id: str, **seen: Any) -> list[drift_pb2.DriftDetection]:
        """The open drift after one more observation."""
        self.at += timedelta(seconds=1)
        observation = drift_pb2.AgentObservation(**seen)
        observation.observed_at.FromDatetime(self.at)
        request = drift_pb2.ObserveAgentRequest(id=agent_id, observation=observation)
        return list(self.agents.ObserveAgent(request).drift)

    def drifted(self, name: str) -> tuple[str, str]:
        """A new agent, and its drift."""
        agent = agent_pb2.Agent(type="bot", name=name, version="1")
        agent_id: str = self.agents.CreateAgent(pb.CreateAgentRequest(agent=agent)).id
        return agent_id, self.see(agent_id, version="2")[0].id

    def violations(self, agent_id: str) -> dict[str, str]:
        """Ids of two violations by rule, after a tick."""
        record = telemetry_pb2.TelemetryRecord(agent_id=agent_id, operations=1, violations=1)
        record.observed_at.FromDatetime(self.at)
        for rule in ("pii", "egress"):
            record.rule = record.id = rule
            self.agents.RecordTelemetry(pb.RecordTelemetryRequest(records=[record]))
        self.trust.RefreshTrust(trust_pb.RefreshTrustRequest())
        found = self.trust.ListViolations(trust_pb.ListViolationsRequest())
        return {one.rule: one.id for one in found.violations}


def found_findings(channel: grpc.Channel, ids: dict[str, str]) -> dict[str, str]:
    """Makes them; their ids by what they are."""
    finder = _Finder(channel)
    violations = finder.violations(ids["reported"])
    resolve = trust_pb.ResolveViolationRequest(id=violations["egress"], reason="mended")
    finder.trust.ResolveViolation(resolve)
    gone_agent, gone = finder.drifted("gone-drift")
    finder.see(gone_agent, version="1")
    retired_agent, retired = finder.drifted("retired-drift")
    finder.agents.RetireAgent(pb.RetireAgentRequest(id=retired_agent))
    command = drift_pb2.ObservedCommand(command="uvx")
    return {
        "violation": violations["pii"],
        "resolved violation": violations["egress"],
        "drift": finder.drifted("open-drift")[1],
        "resolved drift": gone,
        "of retired": retired,
        "of file": finder.see(ids["from-file"], command=command)[0].id,
    }


def finding_pages(channel: grpc.Channel) -> dict[str, Any]:
    """Requests for second pages."""
    trust: Any = TrustServiceStub(channel)
    violations = trust_pb.ListViolationsRequest(page_size=1)
    violations.page_token = trust.ListViolations(violations).next_page_token
    drift = trust_pb.ListDriftRequest(page_size=1)
    drift.page_token = trust.ListDrift(drift).next_page_token
    return {"ListViolations": violations, "ListDrift": drift}
