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
build: ready ## build the three programs, in target/release
	@[ -e $(TARGET_DIR)/release/headstart-worker ] || \
		echo "headstart: the first build takes about six minutes on two quiet cores; cargo shows how far it is" >&2
	$(TORCH) $(CARGO) build --workspace --bins --release

.PHONY: demo
demo: build ## compare a head start with random weights, on handwritten digits: under a minute
	@$(BUILT) examples/digits/demo.sh

.PHONY: demo-seeds
demo-seeds: build ## the same comparison with other seeds
	@$(BUILT) scripts/demo_seeds.sh

.PHONY: demo-kill
demo-kill: build ## kill -9 a worker during a run, and check that the weights stay the same
	@$(BUILT) $(PYTHON) scripts/demo_kill.py

.PHONY: sections
sections: build ## fine-tune a 22.7 M parameter BERT on package descriptions
	@examples/sections/setup.py
	@$(BUILT) headstart train examples/sections/run.yaml

.PHONY: sections-bits
sections-bits: build ## check that 1, 2, 3 and 5 workers give the same weights, bit for bit
	@examples/sections/setup.py
	@$(BUILT) scripts/sections_bits.sh

.PHONY: assistant
assistant: build ## train an adapter of a 134.5 M parameter chat model, and compare it with random weights
	@$(BUILT) examples/assistant/assistant.sh

.PHONY: parity
parity: build ## check losses and logits against PyTorch, transformers and PEFT
	@examples/sections/setup.py
	@examples/assistant/setup.py
	@$(TORCH) $(BUILT) tests/parity/run.sh

.PHONY: test
test: build ## run all tests
	servers="$$(scripts/test-env.sh)" && eval "$$servers" && $(TORCH) $(CARGO) test --workspace --release
	$(MAKE) --no-print-directory test-deploy

# mdBook is installed on first use.
.PHONY: docs
docs: ## build the documentation as a site, in target/book/html, and check its links
	@mdbook="$$(scripts/mdbook.sh)" && $(PYTHON) scripts/book.py "$$mdbook" $(TARGET_DIR)/book

.PHONY: docs-reference
docs-reference: build ## write docs/reference/ anew from the programs' --help and the schema of run files
	$(TORCH) HEADSTART_WRITE_REFERENCE=1 $(CARGO) test --package headstart-tests --release --test docs reference

# Both compile most dependencies once more.
.PHONY: test-slow
test-slow: test-processor fuzz-short ## run what `make test` leaves out because it is slow and rarely fails

SEEDS ?= 1000
.PHONY: simulate
simulate: ready ## simulate 10000 schedules with faults, 10000 damaged checkpoints and SEEDS (1000) clusters
	HEADSTART_SEEDS=$(or $(SCHEDULES),10000) HEADSTART_FLIPS=$(or $(SCHEDULES),10000) SEEDS=$(SEEDS) SEED=$(SEED) $(TORCH) \
		$(CARGO) test --workspace --release --test simulate --test seeds -- --nocapture

# Compiles the coordinator's arithmetic for another processor: the bits must not change.
.PHONY: test-processor
test-processor: ready ## check the coordinator's bits when compiled for x86-64-v3
	CARGO_TARGET_DIR=$(TARGET_DIR)/x86-64-v3 RUSTFLAGS="-C target-cpu=x86-64-v3" \
		$(CARGO) test --package headstart-coordinator --test processor --release

.PHONY: damage
damage: build ## damage the checkpoint of a real run ten thousand times, and resume it each time
	TMPDIR=$${TMPDIR:-/dev/shm} HEADSTART_FLIPS=$(or $(FLIPS),10000) $(TORCH) \
		$(CARGO) test --workspace --release --test damage -- --nocapture

.PHONY: chaos
chaos: build ## ten minutes of faults in real processes, one every five seconds; the bits must not change
	@$(BUILT) $(PYTHON) scripts/chaos.py

.PHONY: chaos-net
chaos-net: build ## chaos with silent, lossy and slow links between network namespaces (root)
	@$(BUILT) $(PYTHON) scripts/chaos_net.py

.PHONY: mutants
mutants: ready ## plant the bugs of tests/mutants one by one; the tests must catch each
	@scripts/mutants.sh

.PHONY: test-deploy
test-deploy: build ## check the Kubernetes manifests against Kubernetes' schemas, and with planted errors
	@$(BUILT) deploy/tests/run.sh

.PHONY: e2e
e2e: build ## run the manifests' pods in containers: train, kill a worker, compare the weights (Debian, root)
	@$(BUILT) deploy/e2e/e2e.sh

FUZZ_SECONDS ?= 600
.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZ_SECONDS (600) each
	scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: fuzz-short
fuzz-short: ## fuzz every parser for ten seconds each
	scripts/fuzz.sh 10

.PHONY: check
check: ready ## check formatting, lints, licences and documentation
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(TORCH) $(CARGO) clippy --workspace --all-targets --release -- -D warnings
	$(TORCH) RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --release
	scripts/deny.sh
	scripts/lint-scripts.sh

.PHONY: bench
bench: build ## run the benchmarks of bench/
	@$(BUILT) bench/run.sh

.PHONY: bench-net
bench-net: build ## time Headstart and torchrun DDP on two hosts of namespaces, by link and wire format (root)
	@$(BUILT) bench/net.sh

.PHONY: bench-formats
bench-formats: build ## measure what each wire format costs in accuracy, at 2, 8 and 32 shards a step: about an hour
	@examples/sections/setup.py
	@$(BUILT) $(PYTHON) bench/formats.py

.PHONY: bench-scale
bench-scale: build ## measure what 1 to 32 workers and 1000 idle ones cost, with trainers that only sleep
	$(CARGO) build --package headstart-worker --no-default-features --example sleepers --release
	@$(BUILT) $(PYTHON) bench/scale.py "$$(realpath $(TARGET_DIR))/release/examples/sleepers"

.PHONY: bench-transfer
bench-transfer: build ## compare the probe's ranks and verdicts with fine-tuning, on a text and an image task: half an hour
	@examples/sections/setup.py
	@examples/assistant/setup.py
	@$(BUILT) $(PYTHON) bench/transfer.py

.PHONY: bench-treatments
bench-treatments: build ## measure when freeze, layer_decay, unfreeze and l2_sp pay: half an hour
	@examples/sections/setup.py
	@$(BUILT) $(PYTHON) bench/treatments.py

.PHONY: bench-watched
bench-watched: build ## measure what the dashboard and the trackers cost a step
	@examples/sections/setup.py
	@servers="$$(scripts/test-env.sh)" && eval "$$servers" && $(BUILT) $(PYTHON) bench/watched.py

.PHONY: bench-recovery
bench-recovery: build ## measure how long a run stands still after a crash, and what a commit costs
	@$(BUILT) $(PYTHON) bench/recovery.py

.PHONY: bench-lora
bench-lora: build ## time an adapter of a chat model beside transformers and PEFT
	@$(BUILT) bench/lora.sh

.PHONY: plan-memory
plan-memory: build ## compare the memory that headstart plan predicts with the use of small runs
	@examples/sections/setup.py
	@examples/assistant/setup.py
	@$(BUILT) $(PYTHON) bench/plan_memory.py

.PHONY: bench-gpu
bench-gpu: build ## on a GPU: compare the bits of 1, 2 and 4 workers, and the speed with PyTorch and PEFT
	@$(BUILT) bench/gpu.sh

.PHONY: clean-all
clean-all: ## remove everything built, downloaded or trained inside this checkout
	$(CARGO) clean
	rm -rf .libtorch runs examples/digits/data examples/sections/data examples/sections/model examples/assistant/data examples/assistant/model
