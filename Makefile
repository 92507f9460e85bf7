# make alone lists the targets.
#
# Variables of 'make gate': CYCLES, APPS, STEPS (comma-separated), NODES (an inventory
# file; default: the lab), CATALOG (directories of manifests; default: catalog/apps and
# catalog/field), PREVIOUS (the releases to update from; default: catalog/previous, where the run
# has catalog/field, which it is of). make turns every failure into its own status 2; the
# gate's own status is that of 'out/bin/gate run'.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATIC  := CGO_ENABLED=0
BUILD   := $(STATIC) go build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)'
BIN     := out/bin
GATE    := $(BIN)/gate

# install,PROGRAM,PACKAGE: Debian's package of a program that is missing.
install = command -v $(1) >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; } || { echo "$(1) is missing: install the package $(2), as root" >&2; exit 1; }

# Some tests open pages.
BROWSER := $(call install,chromium-headless-shell,chromium-headless-shell)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the daemon, the commands and the suites into out/bin
	@mkdir -p $(BIN)
	$(BUILD) -o $(BIN)/ ./cmd/...
	$(STATIC) go test -c -trimpath -o $(BIN)/matrix.test ./matrix

.PHONY: setup
setup: build ## install the programs that the gate runs, or name those that are missing
	$(GATE) setup $$(if [ -n "$$CI" ] || [ ! -t 0 ]; then echo --yes; fi)

PREVIOUS ?= $(if $(filter catalog/field,$(patsubst %/,%,$(or $(CATALOG),catalog/field))),catalog/previous)

.PHONY: gate
gate: setup ## run the gate: build, bring the lab up, run, report
	$(GATE) run $(if $(CYCLES),--cycles $(CYCLES)) $(if $(APPS),--apps $(APPS)) $(if $(STEPS),--steps $(STEPS)) $(if $(NODES),--nodes $(NODES)) $(foreach d,$(CATALOG),--catalog $(d)) $(if $(PREVIOUS),--previous $(PREVIOUS))

.PHONY: l0
l0: ## level 0: manifests of catalog/apps, catalog/field, catalog/upstream and catalog/previous, and what the daemon of this source renders, without a node
	go test ./matrix -count=1 -run '^TestMatrix$$' -ginkgo.label-filter=l0

.PHONY: l1
l1: setup ## level 1: the lifecycle by RPC, on one lab node
	$(GATE) run --cycles 1 --only .228 --steps install,stop,start,restart,reinstall,uninstall $(if $(APPS),--apps $(APPS))

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, shellcheck and actionlint
	test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	go vet ./...
	go vet -tags lab,faults ./...
	go tool staticcheck -tags lab ./...
	$(call install,shellcheck,shellcheck)
	{ git ls-files '*.sh'; git grep -lIE '^#!/(bin/|usr/bin/env )(ba)?sh' -- ':!*.txtar'; } | sort -u | xargs shellcheck
	go tool actionlint $$(git ls-files '.github/workflows' '.forgejo/workflows')

# The packages that start goroutines.
RACE := ./orchestrator/... ./nodes/... ./matrix/... ./gate/... ./catalog/publish

.PHONY: unit
unit: ## tests that need no node, those of what runs concurrently with the race detector; also those of applications' own programs, which are modules of their own
	$(BROWSER)
	$(call install,restic,restic)
	CGO_ENABLED=1 go test -race -timeout 20m $(RACE)
	go test $$(go list ./... | grep -vxF "$$(go list $(RACE))")
	for m in $$(git ls-files 'catalog/**/go.mod'); do (cd $$(dirname $$m) && go vet . && go test .) || exit; done

.PHONY: gate-selftest
gate-selftest: setup ## a few planted faults must be red, healthy runs green, on the lab
	go test -p 1 -tags lab -count=1 -timeout 40m -v ./gate/selftest ./cmd/gate

.PHONY: mutants
mutants: setup ## the gate's power: every planted fault, one at a time, on the lab; FOCUS selects, spaces as _; writes out/mutants/table.md
	cd gate/selftest && MUTANTS_TABLE=$(if $(FOCUS),,$(CURDIR)/out/mutants/table.md) go test -tags lab,mutants -count=1 -timeout 60m -parallel 2 -run 'TestMutants/all$(if $(FOCUS),/$(FOCUS))'

.PHONY: faults
faults: setup ## what a small server does to its applications, on both lab nodes; FOCUS selects, CUTS is the number of power cuts; writes out/faults/table.md
	cd gate/faults && FAULTS_TABLE=$(if $(FOCUS),,$(CURDIR)/out/faults/table.md) FAULTS_CUTS=$(or $(CUTS),100) go run github.com/onsi/ginkgo/v2/ginkgo run --tags lab --procs 2 --silence-skips --poll-progress-after 120s $(if $(FOCUS),--focus '$(FOCUS)') .

.PHONY: few-faults
few-faults: setup
	cd gate/faults && FAULTS_CUTS=$(or $(CUTS),4) go run github.com/onsi/ginkgo/v2/ginkgo run --tags lab --procs 2 --silence-skips --poll-progress-after 120s --label-filter '!long' .

.PHONY: deb
deb: build ## Debian's packages of a node (archipelago) and of the commands (archipelago-tools), into out/deb
	@rm -rf out/deb
	sh dist/deb/build.sh '$(VERSION)' $$(go env GOARCH) $(BIN) out/deb

RELEASE := out/release/$(VERSION)
# The architectures that the gate tests.
ARCHES  ?= amd64

.PHONY: release
release: build ## static programs and Debian's packages for ARCHES (amd64), checksums, SBOM, provenance, signed by KEYS; RUN and TRUST name a run that may go out, WAIVERS whose waivers count for it, TO where to publish
	@test -n "$(TRUST)" || { echo "TRUST=gate.key.pub names the key of the gate whose run counts; RUN=DIR the run (default: the latest)" >&2; exit 2; }
	@test -n "$(KEYS)" || { echo "KEYS='release.key' names the keys that sign the release for nodes, files or agent:NAME; IDENTITY=id.txt opens files" >&2; exit 2; }
	@rm -rf $(RELEASE).new && mkdir -p $(RELEASE).new
	for arch in $(ARCHES); do for c in archipelago archy catalog gate; do GOARCH=$$arch $(BUILD) -o $(RELEASE).new/$$c-linux-$$arch ./cmd/$$c || exit; done; done
	for arch in $(ARCHES); do NATIVE=$(BIN) sh dist/deb/build.sh '$(VERSION)' $$arch $(RELEASE).new $(RELEASE).new || exit; done
	$(GATE) release $(RELEASE).new --version '$(VERSION)' --trust $(TRUST) $(foreach k,$(WAIVERS),--trust-waivers '$(k)') $(foreach k,$(KEYS),--key '$(k)') $(if $(IDENTITY),--identity $(IDENTITY)) $(if $(RUN),--run $(RUN)) $(if $(TO),--to $(TO))
	rm -rf $(RELEASE) && mv $(RELEASE).new $(RELEASE)

.PHONY: keep
keep: ## before release VERSION is tagged: keep its manifests, their schema, the RPC and a node's records, which later versions must take
	@case "$(VERSION)" in v[0-9]*.[0-9]*.[0-9]*) ;; *) echo "VERSION=v1.2.3 names the release" >&2; exit 2 ;; esac
	mkdir catalog/manifest/testdata/released/$(VERSION)
	cp catalog/manifest/schema.json catalog/manifest/testdata/released/$(VERSION)/
	cd catalog/apps && find . -name Containerfile -printf '%h\n' | tar --anchored -X - -cf - . | tar -C $(CURDIR)/catalog/manifest/testdata/released/$(VERSION) -xf -
	go test ./orchestrator/api -count=1 -run '^TestTheRPCOfEveryReleaseIsKept$$' -keep $(VERSION)
	go test ./orchestrator/state -count=1 -run '^TestRecordsOfEveryReleaseAreRead$$' -keep $(VERSION)

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked; needs vuln.go.dev
	go run ./gate/vuln

.PHONY: test
test: lint unit gate-selftest few-faults ## everything: what CI runs

.PHONY: bench
bench: setup ## the daemon against bare systemctl and podman; the planner; catalogs of 10,000 applications; 100 manifests checked; manifests rendered; compose files imported; BLAKE3 against b3sum; backups of 10 GiB in 100,000 files against plain restic (BENCH_BACKUP_MIB and BENCH_BACKUP_FILES make it smaller)
	$(call install,b3sum,b3sum)
	go test -run '^$$' -bench . ./orchestrator/plan ./orchestrator/render ./orchestrator/subscription ./catalog/document ./catalog/manifest/findings ./catalog/compose ./cmd/archy
	go test -tags lab -count=1 -timeout 60m -v ./gate/bench

.PHONY: docs
docs: ## render docs/*.dot, write docs/manifest.md, and bring the last full run and what 'make faults' and 'make mutants' measured into TESTING.md
	$(call install,dot,graphviz)
	go test ./catalog/manifest -count=1 -run TestReferenceIsThatOfTheSchema -update
	go test . -count=1 -run '^TestTestingSaysWhatTheLastFullRunCovered$$' -update
	sh docs/render.sh

.PHONY: pictures
pictures: setup ## take pictures of My Apps' pages on a lab node, for docs/my-apps
	$(call install,pngquant,pngquant)
	go test -tags lab -count=1 -timeout 15m -run '^TestMyAppsInABrowser$$' ./gate/selftest -pictures
	pngquant --force --ext .png --quality 70-95 --skip-if-larger out/my-apps/*.png
	mkdir -p docs/my-apps && cp out/my-apps/*.png docs/my-apps/

.PHONY: proto
proto: ## generate the RPC's code; needs protoc and its Go plug-ins
	cd orchestrator/api && protoc --go_out=. --go_opt=paths=source_relative --connect-go_out=. --connect-go_opt=paths=source_relative,package_suffix=connect orchestrator.proto

.PHONY: clean
clean: ## remove what was built, the runs, and their ledger
	rm -rf out
