#!/usr/bin/env bash
# A first fleet, for real, against a running `make up`. Prints all that it does.
#
#   examples/first-fleet.sh DATA
#
# DATA holds mcp-registry/*.json, docker-mcp/*.yaml and anomaly/{realKnownCause,realAWSCloudwatch}/*.csv: public data
# sets, named in tests/data/README.md. Ports are those of `make up`: ORCA_REST_PORT, ORCA_GRPC_PORT, ORCA_DATA_DIR.
set -euo pipefail

data=$(cd "${1:?usage: first-fleet.sh DATA}" && pwd)
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
rest=http://localhost:${ORCA_REST_PORT:-3000}
export ORCA_ADDRESS=localhost:${ORCA_GRPC_PORT:-50051}
work=$(mktemp -d)
# The series are copied here: beside each its import remembers how far it moved it, so that a second run of this
# script counts nothing twice.
state=${ORCA_DATA_DIR:-.orca}/first-fleet
mkdir -p "$state"
dice=
trap 'if [ -n "$dice" ]; then kill "$dice"; fi; rm -rf "$work"' EXIT

step() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
rows_of() { "$bin/orca" psql -qAt -c "SELECT count(*) FROM telemetry JOIN agents ON agents.id = agent_id WHERE name = '$1'"; }

curl -fsS "$rest/health" > "$work/health" || fail "nothing answers at $rest: run 'make up' first"

step "Both registries into the catalogue, whole, twice"
run "$bin/orca" registry import "$data/mcp-registry" "$data/docker-mcp"
run "$bin/orca" registry import "$data/mcp-registry" "$data/docker-mcp" | tee "$work/second"
grep -q '^0 created, 0 updated' "$work/second" || fail "the second run changed something"

step "Three MCP servers, probed for real"
"$bin/python" - > "$work/port" <<'PY'
import socket
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    print(free.getsockname()[1])
PY
port=$(cat "$work/port")
"$bin/python" examples/mcp/dice.py "$port" > "$work/dice.log" 2>&1 &
dice=$!
for _ in $(seq 100); do curl -s "http://127.0.0.1:$port/mcp" > /dev/null && break; sleep 0.1; done
cat > "$work/probe.yaml" <<YAML
agents:
  - {agent: mcp/clock, command: $bin/python, args: [$PWD/examples/mcp/clock.py]}
  - {agent: mcp/notes, command: $bin/python, args: [$PWD/examples/mcp/notes.py]}
  - {agent: mcp/dice, url: "http://127.0.0.1:$port/mcp"}
YAML
run "$bin/orca" probe "$work/probe.yaml" | tee "$work/probe"
[ "$(grep -c speaks-mcp "$work/probe")" = 3 ] || fail "not all three speak MCP"

step "Six real series as telemetry of six catalogue entries, which thereby join the fleet"
agents=(redis neo4j-cypher elevenlabs mongodb stripe notion)
number=0
for series in "$data"/anomaly/realKnownCause/*.csv "$data"/anomaly/realAWSCloudwatch/*.csv; do
    case $series in *network*) continue ;; esac # bytes are no latency
    [ "$number" -lt 6 ] || break
    agent=${agents[$number]}
    file=$state/$(basename "$series")
    cp -f "$series" "$file" # -f: the copy of a read-only file is read-only
    import=("$bin/orca" telemetry import "$file" --agent "$agent" --map latency_ms=value)
    if [ "$number" = 2 ]; then
        printf '$ orca telemetry import %s --agent %s …   (killed in the middle)\n' "$(basename "$file")" "$agent"
        "${import[@]}" --batch-size 1 > "$work/killed.log" 2>&1 &
        pid=$!
        while kill -0 "$pid" 2> /dev/null && [ "$(rows_of "$agent")" -lt 50 ]; do sleep 0.02; done
        kill -9 "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
        printf 'killed -9 with %s rows stored; again:\n' "$(rows_of "$agent")"
    fi
    run "${import[@]}"
    sent=$("$bin/python" -c 'import sys; print(sum(1 for line in open(sys.argv[1])) - 1)' "$file")
    stored=$(rows_of "$agent")
    [ "$stored" = "$sent" ] || fail "$agent: the file has $sent rows, $stored are stored"
    printf '%s: %s rows in the file, %s stored\n' "$agent" "$sent" "$stored"
    number=$((number + 1))
done
[ "$number" = 6 ] || fail "six series were expected, $number found"

step "Two workflows: one succeeds, one fails and is tried again"
write() { printf '$ curl -X %s %s  %s\n' "$1" "$2" "$3"; curl -fsS -X "$1" "$rest$2" -H 'content-type: application/json' -d "$3"; echo; }
ago() { date -u -d "-$1 minutes" +%Y-%m-%dT%H:%M:%SZ; }
for name in n8n/daily-report github-actions/nightly; do
    write PATCH '/workflows?allow_missing=true' "{\"provider\": \"${name%/*}\", \"name\": \"${name#*/}\", \"freshness_slo_hours\": 26}"
done
event() { printf '{"workflow": {"provider": "%s", "name": "%s"}, "run_id": "%s", "kind": "%s", "occurred_at": "%s", "attempt": %s}' "$@"; }
run_id=$(date +%s)
# Out of order and one of them twice: the run is the same.
write POST /events "{\"events\": [$(event n8n daily-report "$run_id" succeeded "$(ago 10)" 1), $(event n8n daily-report "$run_id" started "$(ago 12)" 1), $(event n8n daily-report "$run_id" started "$(ago 12)" 1)]}" | tee "$work/stored"
grep -q '"accepted":2,"duplicates":1' "$work/stored" || fail "two events and one duplicate were expected: $(cat "$work/stored")"
write POST /events "{\"events\": [$(event github-actions nightly "$run_id" failed "$(ago 30)" 1), $(event github-actions nightly "$run_id" started "$(ago 5)" 2)]}"
run "$bin/orca" trust refresh
run "$bin/orca" workflows list
nightly=$(curl -fsS "$rest/workflows" | "$bin/python" -c 'import json, sys; print(next(w["id"] for w in json.load(sys.stdin)["workflows"] if w["name"] == "nightly"))')
curl -fsS "$rest/workflows/$nightly/runs/$run_id" | tee "$work/run"; echo
grep -q '"STATE_RUNNING"' "$work/run" || fail "the second attempt of the nightly run is under way"
curl -fsS "$rest/trust" | "$bin/python" -c 'import json, sys; t = json.load(sys.stdin); print(t["workflows"], t["sync_freshness_pct"])'

step "A third workflow, whose run failed: it is stale until one succeeds"
run "$bin/orca" workflows update n8n/invoices --allow-missing --freshness-slo-hours 26
run "$bin/orca" events send --workflow n8n/invoices --run "$run_id" --kind failed --error "timeout after 30 s"
run "$bin/orca" trust refresh
run "$bin/orca" runs list n8n/invoices --limit 3 | tee "$work/runs"
grep -q 'failed.*timeout after 30 s' "$work/runs" || fail "the failed run is not told"
run "$bin/orca" workflows list --filter 'freshness = STALE' | tee "$work/stale"
grep -q invoices "$work/stale" || fail "a workflow whose last run failed is not stale"

step "A policy violation: reported with its rule, looked at, resolved"
ids() { "$bin/orca" "$@" --output csv | awk -F, 'NR > 1 { print $7 }'; }
run "$bin/orca" telemetry send --agent clock --operations 40 --violations 2 --rule unlisted-tool
run "$bin/orca" trust refresh
run "$bin/orca" violations list --filter 'name = "clock"' | tee "$work/violations"
grep -q 'mcp/clock *unlisted-tool *2 ' "$work/violations" || fail "two violations of the rule were expected"
run "$bin/orca" violations resolve "$(ids violations list --filter 'name = "clock"')" --reason "the tool is listed now"
[ -z "$(ids violations list --filter 'name = "clock"')" ] || fail "the violation is still open"

step "Drift: a probed server says something else of its tool; seen, looked at, accepted"
cat > "$work/changed.yaml" <<YAML
agents:
  - {agent: mcp/notes, command: $bin/python, args: [$PWD/examples/mcp/notes.py], env: {NOTES_COPY: "archive-$run_id"}}
YAML
run "$bin/orca" probe "$work/changed.yaml"
run "$bin/orca" drift list
drift=$(ids drift list --filter 'name = "notes" AND rule = "tools"')
[ -n "$drift" ] || fail "the changed tool was not seen"
run "$bin/orca" drift show "$drift" | tee "$work/drift"
grep -q "/tools/add_note/description.*→.*archive-$run_id" "$work/drift" || fail "the difference is not told"
run "$bin/orca" trust refresh
run "$bin/orca" reports healing --limit 50 | grep -E '^SEVERITY|drifted|invoices' | tee "$work/healing"
grep -q "orca drift show $drift" "$work/healing" || fail "healing does not tell of the drift"
run "$bin/orca" drift accept "$drift" --reason "the archive is ours"
[ -z "$(ids drift list --filter 'name = "notes"')" ] || fail "the drift is still open"

step "Found by what they do"
run "$bin/orca" search "read issues from github" | tee "$work/found"
grep -qi github "$work/found" || fail "nothing of GitHub was found"

step "One trust score: curl, grpcurl and the Python client say the same digits"
run "$bin/orca" trust refresh
digits='import json, sys
t = json.load(sys.stdin)
c = t["components"]
parts = {n: c[n].get("contribution_ppb", c[n].get("contributionPpb")) for n in sorted(c)}
print(t.get("trust_ppb", t.get("trustPpb")), {n: p for n, p in parts.items() if p is not None})'
curl -fsS "$rest/trust" | "$bin/python" -c "$digits" | tee "$work/curl"
"$bin/grpcurl" -plaintext "$ORCA_ADDRESS" orca.v1.TrustService/GetTrust | "$bin/python" -c "$digits" | tee "$work/grpcurl"
"$bin/python" - <<'PY' | tee "$work/python"
import asyncio

import orca

NAMES = ("agent_uptime", "policy_adherence", "risk_exposure", "sync_freshness")


async def main() -> None:
    async with orca.connect() as client:
        trust = await client.trust.get()
    parts = {name: getattr(trust.components, name) for name in NAMES}
    present = {n: p.contribution_ppb for n, p in parts.items() if p.HasField("contribution_ppb")}
    assert sum(present.values()) == trust.trust_ppb, "the contributions do not add up"
    print(trust.trust_ppb, present)


asyncio.run(main())
PY
cmp "$work/curl" "$work/grpcurl" && cmp "$work/curl" "$work/python" || fail "they differ"

step "The state of the fleet, and as a document in each format"
run "$bin/orca" reports summary
export_as() { # FORMAT, how such a document begins, what it says of drift
    local file=$work/summary.$1
    printf '$ curl -X POST /reports/export  {"format": "%s"}\n' "$1"
    curl -fsS -X POST "$rest/reports/export" -H 'content-type: application/json' -d "{\"format\": \"$1\"}" -o "$file"
    head -n 1 "$file"
    [[ $(head -n 1 "$file") = "$2"* ]] || fail "that is no document in $1"
    grep -qi "$3" "$file" || fail "the document in $1 says nothing of drift"
    printf '%s bytes\n' "$(wc -c < "$file")"
}
export_as markdown '# Executive summary' 'drift rate'
export_as json '{' '"drift_rate_pct"'
export_as csv 'section,item,figure,value,rows' 'drift rate'
export_as html '<!doctype html>' 'drift rate'

step "The rows agree"
eval "$("$bin/orca" env)"
run "$bin/orca" trust verify

step "What doctor says"
run "$bin/orca" doctor
printf '\nAll of it holds.\n'
