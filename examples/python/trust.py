"""Reads how far the fleet may be trusted, of what that is made, and why of its worst agent."""

import orca

with orca.connect_sync() as client:
    trust = client.trust.refresh()
    print(f"fleet {trust.trust_ppb}")
    for field, part in trust.components.ListFields():
        print(f"  {field.name} {part.contribution_ppb}")
    worst = client.trust.of_agent(trust.worst[0].id)
    for part in worst.contributions:
        print(f"worst agent {part.name} {part.contribution_ppb}")
