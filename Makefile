# Everything here is thin: what needs logic is a Go program. `make` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export GOFLAGS := -buildvcs=false -trimpath

# The version of Kubernetes that the components are compatible with, as they report it.
KUBERNETES := 1.37.2
VERSION    := k8s.io/component-base/version
COMMIT     := $(shell git rev-parse HEAD 2>/dev/null)
TREE       := $(if $(shell git status --porcelain 2>/dev/null),dirty,clean)
LDFLAGS    := -s -w -X $(VERSION).gitVersion=v$(KUBERNETES) -X $(VERSION).gitMajor=1 -X $(VERSION).gitMinor=37 -X $(VERSION).gitTreeState=$(TREE) -X $(VERSION).gitCommit=$(COMMIT)

COMPONENTS := etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy plumb-hollow plumb-network
LINT       := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOTESTSUM  := gotest.tools/gotestsum@v1.13.0
JUNIT      := artifacts/junit
UNIT       := $$(go list ./... | grep -v /e2e)

# Processes that run the suites side by side, how often to run them again, and what else to
# tell who runs them:
# make e2e REPEAT=4 GINKGO_FLAGS='--focus=rolling'
# make conformance CONFORMANCE_FLAGS='--focus sig-apps --retries 1'
# make matrix MATRIX_FLAGS='--combination=reference'
# make bench-scheduler SCHEDULER_FLAGS='--workload PodAffinity/5000Nodes --runs 10 --pods-first'
PROCS             ?= 4
REPEAT            ?= 0
GINKGO_FLAGS      ?=
CONFORMANCE_FLAGS ?=
DIFFERENTIAL_FLAGS ?=
MATRIX_FLAGS      ?=
SCHEDULER_FLAGS   ?= --workload SchedulingBasic/500Nodes_5000Pods --runs 5
SCHEDULER_RESULTS ?= artifacts/bench-scheduler

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: binary ## build bin/plumb with the components' names beside it, and what clusters run
	go run ./fixtures/build

.PHONY: binary
binary:
	@mkdir -p bin
	go build -ldflags="$(LDFLAGS)" -o bin/ ./cmd/...
	@for name in $(COMPONENTS); do ln -sf plumb bin/$$name; done

.PHONY: e2e
e2e: build suites ## boot a cluster and run the suites against it
	@mkdir -p $(JUNIT)
	env -u KUBECONFIG -u PLUMB_CLUSTER bin/ginkgo run --procs=$(PROCS) --repeat=$(REPEAT) --timeout=$$((30 * ($(REPEAT) + 1)))m --poll-progress-after=60s \
		--output-dir=$(JUNIT) --junit-report=e2e.xml $(GINKGO_FLAGS) bin/e2e.test

.PHONY: matrix
matrix: build suites ## run the suites on clusters that mix our components with Kubernetes' own
	bin/plumb matrix --procs=$(PROCS) $(MATRIX_FLAGS)

.PHONY: suites
# Without vet, which goes through every dependency once more: it is among the linters.
suites:
	go build -ldflags="-s -w" -o bin/ginkgo github.com/onsi/ginkgo/v2/ginkgo
	go test -c -vet=off -ldflags="-s -w" -o bin/e2e.test ./e2e

.PHONY: unit
unit: build ## run the unit tests with the race detector
	@mkdir -p $(JUNIT)
	go run $(GOTESTSUM) --format=pkgname-and-test-fails --junitfile=$(JUNIT)/unit.xml -- -race -vet=off $(UNIT)
	cd fixtures/binaries && go test -race -vet=off ./bridge && go test -vet=off ./shim

.PHONY: test
test: unit e2e ## run the unit tests, then the suites

.PHONY: conformance
conformance: build suites ## boot a cluster and run Kubernetes' own conformance suite against it
	bin/plumb conformance $(CONFORMANCE_FLAGS)

.PHONY: differential
differential: binary ## compare our scheduler with Kubernetes' own over random clusters and pods
	bin/plumb differential $(DIFFERENTIAL_FLAGS)

.PHONY: bench
bench: build ## measure boot, pod start-up and memory
	bin/plumb bench

.PHONY: bench-scheduler
bench-scheduler: build ## measure our scheduler against Kubernetes' own
	bin/plumb bench scheduler --contender ours --contender reference --out $(SCHEDULER_RESULTS) $(SCHEDULER_FLAGS)

.PHONY: lint
lint: ## run the linters
	@mkdir -p $(JUNIT)
	go run $(LINT) run --output.text.path=stdout --output.junit-xml.path=$(JUNIT)/lint.xml ./...

.PHONY: generate
generate: ## write the generated files anew
	go generate ./...

.PHONY: clean
clean: ## remove what was built here; the cache is kept: rm -r ~/.cache/plumbline
	rm -rf bin artifacts
