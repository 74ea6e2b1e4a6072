// Package orca opens a channel to a server of ORCA AgentMesh and reads its errors. Messages and
// services are in orcamesh/clients/go/orca/v1, written from the contract.
package orca

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const maxMessageBytes = 32 << 20

// Which calls grpc repeats by itself, when, and how often. Deleting is not idempotent, streams must
// be begun anew by who knows what was answered, and to GetHealth UNAVAILABLE is an answer.
const serviceConfig = `{"methodConfig": [
  {"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "3s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]}},
  {"name": [
    {"service": "orca.v1.AgentService", "method": "DeleteAgent"},
    {"service": "orca.v1.AgentService", "method": "StreamTelemetry"},
    {"service": "orca.v1.WorkflowService", "method": "DeleteWorkflow"},
    {"service": "orca.v1.WorkflowService", "method": "StreamEvents"},
    {"service": "orca.v1.SystemService", "method": "GetHealth"}]}]}`

// Connect returns a channel that connects with its first call. The address is HOST[:PORT], or
// https://HOST[:PORT] for TLS; empty means $ORCA_ADDRESS, else localhost:50051. An empty token means
// $ORCA_TOKEN, else none. A token that would travel unencrypted to another machine is an error.
func Connect(address, token string) (*grpc.ClientConn, error) {
	address = firstOf(address, os.Getenv("ORCA_ADDRESS"), "localhost:50051")
	token = firstOf(token, os.Getenv("ORCA_TOKEN"))
	host, encrypted := strings.CutPrefix(address, "https://")
	host = strings.TrimPrefix(host, "http://")
	target, local := withPort(host, encrypted)
	if token != "" && !encrypted && !local {
		return nil, fmt.Errorf("the token would travel unencrypted to %s: use https://%s", host, host)
	}
	options := []grpc.DialOption{
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
	}
	if encrypted {
		options = append(options, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{})))
	}
	if local { // a proxy of the environment cannot reach this machine's loopback
		options = append(options, grpc.WithNoProxy())
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{token, encrypted}))
	}
	return grpc.NewClient(target, options...)
}

// Reason returns the stable reason of a refused call, such as TELEMETRY_INVALID; empty if the server
// gave none, as when it cannot be reached. docs/errors.md has them all.
func Reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

func firstOf(values ...string) string {
	for _, value := range values {
		if value != "" {
			return value
		}
	}
	return ""
}

// withPort returns host with a port, and whether what is sent there stays on this machine.
func withPort(host string, encrypted bool) (target string, local bool) {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
		port := "50051"
		if encrypted {
			port = "443"
		}
		host = net.JoinHostPort(name, port)
	}
	ip := net.ParseIP(name)
	return host, name == "localhost" || ip != nil && ip.IsLoopback()
}

type bearer struct {
	token     string
	encrypted bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.encrypted }
