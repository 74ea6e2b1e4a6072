# The clients in other languages, written from proto/ by pinned plug-ins, and held to what is committed.
TS          := clients/typescript
GO          := clients/go
GO_MODULE   := orcamesh/clients/go
NODE        := $(TS)/node_modules/.package-lock.json
GO_TOOLS    := build/go-tools
TS_OUT      ?= $(TS)/src/generated
GO_OUT      ?= $(GO)
GO_PACKAGES  = $(foreach proto,$(PROTOS),M$(proto:proto/%=%)=$(GO_MODULE)/orca/v1;orcav1)
# What our messages are made of, and what errors are; Go has modules for these.
GOOGLE      := any duration empty field_mask struct timestamp
GOOGLE       := $(GOOGLE:%=google/protobuf/%.proto) google/api/httpbody.proto \
                google/rpc/status.proto google/rpc/error_details.proto
PROTOC       = $(BIN)/python -m grpc_tools.protoc -Iproto -I$(SITE)
# $(1): a program, $(2): the oldest major.minor, $(3): prints its version, $(4): who needs it.
needs        = @command -v $(1) >/dev/null || { echo "$(4) needs $(1) $(2) or newer, and there is none on PATH" >&2; exit 1; }; \
               printf '%s\n%s\n' $(2) "$$($(3))" | sort -VC || { echo "$(4) needs $(1) $(2) or newer; found $$($(3))" >&2; exit 1; }

.PHONY: gen-clients gen-typescript gen-go test-typescript test-go has-node has-go

gen-clients: gen-typescript gen-go ## Write the TypeScript and Go clients from proto/

test-typescript: has-node $(NODE) ## Hold the TypeScript client to proto/, check its types, run its example
	@$(MAKE) --no-print-directory gen-typescript TS_OUT=build/gen-typescript
	diff -r build/gen-typescript $(TS)/src/generated
	cd $(TS) && rm -rf dist && npm run --silent build
	$(BIN)/python -m pytest -q -k typescript tests/clients/examples.py

test-go: has-go $(STAMP) ## Hold the Go client to proto/, vet it, run its example
	@$(MAKE) --no-print-directory gen-go GO_OUT=build/gen-go
	diff -r build/gen-go/orca/v1 $(GO)/orca/v1
	cd $(GO) && go mod verify && go vet ./... && go build -o $(CURDIR)/build/go-example ./examples/fleet
	$(BIN)/python -m pytest -q -k go tests/clients/examples.py

has-node:
	$(call needs,node,20,node --version | tr -d v,the TypeScript client)
	$(call needs,npm,10,npm --version,the TypeScript client)

has-go:
	$(call needs,go,$(GO_NEEDED),go env GOVERSION | tr -d go,the Go client)

GO_NEEDED = $(shell sed -n 's/^go //p' $(GO)/go.mod)

$(NODE): $(STAMP) $(TS)/package.json $(TS)/package-lock.json | has-node
	cd $(TS) && npm ci --silent
	@touch $@

gen-typescript: $(NODE)
	rm -rf $(TS_OUT) && mkdir -p $(TS_OUT)
	@$(PROTOC) --plugin=protoc-gen-ts_proto=$(TS)/node_modules/.bin/protoc-gen-ts_proto --ts_proto_out=$(TS_OUT) \
	    --ts_proto_opt=env=node,outputServices=grpc-js,outputIndex=true,exportCommonSymbols=false,emitImportedFiles=false \
	    --ts_proto_opt=esModuleInterop=true,importSuffix=.js,outputJsonMethods=false,useExactTypes=false \
	    $(PROTOS) $(GOOGLE)

$(GO_TOOLS)/.installed: $(GO)/tools/go.mod $(GO)/tools/go.sum | has-go
	cd $(GO)/tools && GOBIN=$(CURDIR)/$(GO_TOOLS) go install tool
	@touch $@

gen-go: $(STAMP) $(GO_TOOLS)/.installed
	rm -rf $(GO_OUT)/orca/v1 && mkdir -p $(GO_OUT)
	@PATH="$(CURDIR)/$(GO_TOOLS):$$PATH" $(PROTOC) --go_out=$(GO_OUT) --go-grpc_out=$(GO_OUT) \
	    $(foreach each,module=$(GO_MODULE) $(GO_PACKAGES),'--go_opt=$(each)' '--go-grpc_opt=$(each)') $(PROTOS)
