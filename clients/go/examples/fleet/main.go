// Fleet lists the fleet, reports what an agent did, and reads trust with its components.
//
//	ORCA_ADDRESS=localhost:50051 go run ./examples/fleet
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"orcamesh/clients/go/orca"
	orcav1 "orcamesh/clients/go/orca/v1"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatalf("%v %s", err, orca.Reason(err))
	}
}

func run(ctx context.Context) error {
	connection, err := orca.Connect("", "")
	if err != nil {
		return err
	}
	defer connection.Close()
	agents := orcav1.NewAgentServiceClient(connection)
	if err := list(ctx, agents); err != nil {
		return err
	}
	if err := report(ctx, agents); err != nil {
		return err
	}
	return explain(ctx, orcav1.NewTrustServiceClient(connection))
}

func list(ctx context.Context, agents orcav1.AgentServiceClient) error {
	// Whoever reports is part of the fleet; enrolling by name again changes nothing.
	bot := &orcav1.Agent{Type: "bot", Name: "invoice-bot", Owner: "finance"}
	_, err := agents.UpdateAgent(ctx, &orcav1.UpdateAgentRequest{Agent: bot, AllowMissing: true})
	if err != nil {
		return err
	}
	request := &orcav1.ListAgentsRequest{}
	for {
		page, err := agents.ListAgents(ctx, request)
		if err != nil {
			return err
		}
		for _, agent := range page.GetAgents() {
			fmt.Printf("agent %s/%s\n", agent.GetType(), agent.GetName())
		}
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return nil
		}
	}
}

func report(ctx context.Context, agents orcav1.AgentServiceClient) error {
	// A retry repeats the record as it was: it finds itself and is counted once. While the server
	// is away the channel repeats the call by itself; after a crash of yours, send it again.
	record := &orcav1.TelemetryRecord{
		Agent:      &orcav1.AgentRef{Type: "bot", Name: "invoice-bot"},
		Id:         "run-1",
		ObservedAt: timestamppb.Now(),
		Operations: 200,
		Errors:     9,
	}
	request := &orcav1.RecordTelemetryRequest{Records: []*orcav1.TelemetryRecord{record}}
	for _, attempt := range []string{"first", "again"} {
		receipt, err := agents.RecordTelemetry(ctx, request)
		if err != nil {
			return err
		}
		fmt.Printf("%s: accepted %d, duplicates %d\n",
			attempt, receipt.GetAccepted(), receipt.GetDuplicates())
	}
	return nil
}

func explain(ctx context.Context, trust orcav1.TrustServiceClient) error {
	fleet, err := trust.RefreshTrust(ctx, &orcav1.RefreshTrustRequest{})
	if err != nil {
		return err
	}
	fmt.Printf("trust %d\n", fleet.GetTrustPpb())
	parts := fleet.GetComponents()
	show("agentUptime", parts.GetAgentUptime())
	show("policyAdherence", parts.GetPolicyAdherence())
	show("syncFreshness", parts.GetSyncFreshness())
	show("riskExposure", parts.GetRiskExposure())
	return nil
}

func show(name string, part *orcav1.TrustComponent) {
	if part.GetContributionPpb() == 0 && part.GetMeasured() == 0 {
		fmt.Printf("component %s: not measured\n", name)
		return
	}
	fmt.Printf("component %s: %d\n", name, part.GetContributionPpb())
}
