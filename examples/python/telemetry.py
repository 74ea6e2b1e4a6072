"""Reports what an agent did. Sent again, as after a crash, it is counted once."""

from google.protobuf.timestamp_pb2 import Timestamp

import orca
from orca.v1.agent_pb2 import Agent
from orca.v1.telemetry_pb2 import AgentRef, TelemetryRecord

bot, now = AgentRef(type="bot", name="invoice-bot"), Timestamp()
now.GetCurrentTime()
record = TelemetryRecord(agent=bot, id="run-1", observed_at=now, operations=200, errors=9)
with orca.connect_sync() as client:
    client.agents.update(Agent(type=bot.type, name=bot.name), allow_missing=True)
    for _ in range(2):
        receipt = client.telemetry.record([record])
        print(f"accepted {receipt.accepted}, duplicates {receipt.duplicates}")
