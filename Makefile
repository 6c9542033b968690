# `make` lists the targets. A machine needs Rust, a C++ compiler and Python 3 with pip; libtorch is fetched. `make test`
# needs Node.js with npm too.
# Everything builds with --release, so that checks, tests and examples share one set of build outputs.

PYTHON ?= python3
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
export PYTHON CARGO

# .libtorch is a link; its target is passed on, because a changed LIBTORCH rebuilds the bindings.
TORCH = LIBTORCH="$$(realpath .libtorch)"
# Scripts find headstart, headstart-coordinator and headstart-worker on PATH, as a user would.
BUILT = PATH="$$(realpath $(TARGET_DIR))/release:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name what; do printf '%-15s %s\n' "$$name" "$$what"; done

.PHONY: ready
ready:
	@scripts/prerequisites.sh
	@$(PYTHON) scripts/libtorch.py >/dev/null

.PHONY: env
env: ready ## print what plain cargo needs: eval "$(make -s env)"
	@echo "export LIBTORCH='$$(realpath .libtorch)'"

.PHONY: build
build: ready ## the three programs, in target/release
	@[ -e $(TARGET_DIR)/release/headstart-worker ] || \
		echo "headstart: the first build takes some minutes on two cores; cargo shows how far it is" >&2
	$(TORCH) $(CARGO) build --workspace --bins --release

.PHONY: demo
demo: build ## what a head start is worth, on handwritten digits: under a minute
	@$(BUILT) examples/digits/demo.sh

.PHONY: demo-seeds
demo-seeds: build ## the head start holds for other seeds as well
	@$(BUILT) scripts/demo_seeds.sh

.PHONY: demo-kill
demo-kill: build ## kill -9 a worker mid-run: the same weights come out
	@$(BUILT) $(PYTHON) scripts/demo_kill.py

.PHONY: sections
sections: build ## fine-tune a 22.7 M parameter BERT on package descriptions
	@examples/sections/setup.py
	@$(BUILT) headstart train examples/sections/run.yaml

.PHONY: sections-bits
sections-bits: build ## 1, 2, 3 and 5 workers give the same weights, bit for bit
	@examples/sections/setup.py
	@$(BUILT) scripts/sections_bits.sh

.PHONY: parity
parity: build ## the same training in PyTorch and transformers gives the same losses
	@examples/sections/setup.py
	@$(TORCH) $(BUILT) tests/parity/run.sh

.PHONY: test
test: build ## all tests
	servers="$$(scripts/test-env.sh)" && eval "$$servers" && $(TORCH) $(CARGO) test --workspace --release
	$(MAKE) --no-print-directory test-deploy

# Both compile most dependencies once more.
.PHONY: test-slow
test-slow: test-processor fuzz-short ## what `make test` leaves out because it is slow and rarely fails

SEEDS ?= 1000
.PHONY: simulate
simulate: ready ## faults of 10000 schedules, of 10000 damaged checkpoints, and in simulated time of SEEDS (1000) clusters
	HEADSTART_SEEDS=$(or $(SCHEDULES),10000) HEADSTART_FLIPS=$(or $(SCHEDULES),10000) SEEDS=$(SEEDS) SEED=$(SEED) $(TORCH) \
		$(CARGO) test --workspace --release --test simulate --test seeds -- --nocapture

# The same arithmetic compiled for another processor: its bits must not change.
.PHONY: test-processor
test-processor: ready ## the coordinator's bits, compiled for x86-64-v3
	CARGO_TARGET_DIR=$(TARGET_DIR)/x86-64-v3 RUSTFLAGS="-C target-cpu=x86-64-v3" \
		$(CARGO) test --package headstart-coordinator --test processor --release

.PHONY: damage
damage: build ## ten thousand damaged checkpoints of a real run, each through the command that resumes it
	TMPDIR=$${TMPDIR:-/dev/shm} HEADSTART_FLIPS=$(or $(FLIPS),10000) $(TORCH) \
		$(CARGO) test --workspace --release --test damage -- --nocapture

.PHONY: chaos
chaos: build ## ten minutes of faults in real processes, one every five seconds: the same bits
	@$(BUILT) $(PYTHON) scripts/chaos.py

.PHONY: chaos-net
chaos-net: build ## the same with silent, lossy and slow links between network namespaces (root)
	@$(BUILT) $(PYTHON) scripts/chaos_net.py

.PHONY: mutants
mutants: ready ## the bugs in tests/mutants, planted one by one: the tests must catch each
	@scripts/mutants.sh

.PHONY: test-deploy
test-deploy: build ## the Kubernetes manifests, against Kubernetes' schemas and with errors planted
	@$(BUILT) deploy/tests/run.sh

.PHONY: e2e
e2e: build ## the manifests' pods in containers: train, kill a worker, compare with a laptop (Debian, root)
	@$(BUILT) deploy/e2e/e2e.sh

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: ## hostile bytes for every parser, FUZZ_SECONDS (600) for each
	scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: fuzz-short
fuzz-short: ## the same, ten seconds for each
	scripts/fuzz.sh 10

.PHONY: check
check: ready ## formatting, lints, licences, documentation
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(TORCH) $(CARGO) clippy --workspace --all-targets --release -- -D warnings
	$(CARGO) check --release --locked --bins --manifest-path fuzz/Cargo.toml
	$(TORCH) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --release
	scripts/deny.sh
	scripts/lint-scripts.sh

.PHONY: bench
bench: build ## the measurements in bench/
	@$(BUILT) bench/run.sh

.PHONY: bench-recovery
bench-recovery: build ## how long a run stands still after a death, and what a commit costs
	@$(BUILT) $(PYTHON) bench/recovery.py

.PHONY: plan-memory
plan-memory: build ## what headstart plan predicts of memory, against what eight small runs use
	@examples/sections/setup.py
	@$(BUILT) $(PYTHON) bench/plan_memory.py

.PHONY: bench-gpu
bench-gpu: build ## on a GPU: equal bits from 1, 2 and 4 workers, and speed beside PyTorch
	@$(BUILT) bench/gpu.sh

.PHONY: clean-all
clean-all: ## remove everything built, downloaded or trained inside this checkout
	$(CARGO) clean
	rm -rf .libtorch runs examples/digits/data examples/sections/data examples/sections/model
