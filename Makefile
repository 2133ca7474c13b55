# Every command that a person or CI runs. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo demo-cluster test kills cluster-test faults soak deploy deploy-plan refresh-host teardown deploy-test deploy-rules monitoring-test workflows-test docker-build docker-push image-test check advisories lint bench gpu-test gpu-pack gpu-bench \
    bench-mix bench-idle bench-delivery bench-clips bench-history bench-tracking bless fuzz clean

# The paths of what scripts/setup installed; see scripts/env.
ENV := source scripts/env &&
PYTEST := $(ENV) "$$KVS_INFER_PYTHON" -m pytest
SCRIPTS := scripts/setup scripts/env scripts/requirements/lock .ci/run deployment/release deployment/ecs/user-data.sh \
    deployment/cloudformation/deploy deployment/cloudformation/pack scripts/image/base-images scripts/image/libraries scripts/image/push \
    scripts/image/renew-digests scripts/gpu/run scripts/gpu/self_test_clips

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install and fetch all that building, the demo and the tests need (scripts/setup --help)
	@scripts/setup demo test

build: ## build target/release/kvs-infer
	@scripts/setup build
	cargo build --release --locked --bin kvs-infer

demo: ## watch two cameras here, without AWS: page on HTTP_PORT (8080), ends after DEMO_SECONDS if given
	@scripts/setup demo
	cargo build --release --locked --bin kvs-infer
	$(ENV) target/release/kvs-infer demo $(if $(DEMO_SECONDS),--seconds $(DEMO_SECONDS))

demo-cluster: ## watch three workers share six cameras here, without AWS: one is killed, and nothing is missed; ends by itself
	@scripts/setup test
	cargo build --release --locked --bin kvs-infer
	$(ENV) "$$KVS_INFER_PYTHON" -u scripts/demo_cluster.py target/release/kvs-infer

test: ## run all tests
	@scripts/setup test
	$(ENV) if cargo nextest --version >/dev/null 2>&1; \
	    then cargo nextest run --workspace --locked && cargo test --workspace --locked --doc; \
	    else cargo test --workspace --locked; fi

kills: ## kill the program N times (40) over stored footage of each kind, with AWS failing now and then; the last lines are the figures
	@scripts/setup test
	$(ENV) log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	    KILLS=$(or $(N),40) cargo test --workspace --locked --test kills -- --nocapture killing:: | tee "$$log"; \
	    grep -Eo '[A-Za-z ]+, kills [0-9]+: .*' "$$log"

cluster-test: ## disturb a pool of workers N times (12): kills, pauses, outages, reloads, and N/10 losses alone; the last lines are the figures
	@scripts/setup test
	$(ENV) log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	    CLUSTER_FAULTS=$(N) cargo test --workspace --locked --test kills -- --nocapture --test-threads=1 cluster:: | tee "$$log"; \
	    grep -Eo 'cluster, (faults|one by one) [0-9]+: .*' "$$log"

check: lint ## all that can be said without running: format, lints, documentation, the GPU's PTX, licences, sources and advisories
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --document-private-items --locked
	$(PYTEST) checks/scripts/test_ptx.py
	$(ENV) cargo deny --locked check bans licenses sources
	$(ENV) "$$KVS_INFER_PYTHON" scripts/advisories.py check

advisories: ## RustSec's advisories about our crates, by today's database; fails where that cannot be fetched
	@scripts/setup check
	$(ENV) "$$KVS_INFER_PYTHON" scripts/advisories.py check --strict

lint: ## the quick part of check: formats, Python (ruff, mypy), shell scripts, and the language and structure that CONTRIBUTING.md asks for
	@scripts/setup check
	cargo fmt --all --check
	python3 scripts/house.py
	$(ENV) ruff check && ruff format --check && mypy
	$(PYTEST) checks/scripts/test_house.py
	@if command -v shellcheck >/dev/null; then shellcheck -x $(SCRIPTS); \
	    else echo "lint: shellcheck is not installed, shell scripts not checked (apt-get install shellcheck)"; fi

bench: ## CPU time per frame by stage, beside the decoder and ONNX Runtime alone and the usual Python program; int8 beside float32
	@scripts/setup bench
	cargo build --release --locked --bin kvs-infer
	$(ENV) cache=$$KVS_INFER_CACHE; table() { "$$KVS_INFER_PYTHON" benches/table.py target/release/kvs-infer "$$@"; }; \
	    table "$$cache/models/street.onnx" "$$cache/clips/street.mp4" --int8; \
	    table "$$cache/models/plate.onnx" "$$cache/clips/gate.mp4" --int8 $(if $(NO_CALLGRIND),,--callgrind)

# ONNX Runtime with CUDA, and the libraries that it loads.
GPU = $(ENV) cuda="$$KVS_INFER_CACHE/onnxruntime-gpu/lib"; \
    export ORT_DYLIB_PATH="$$cuda/libonnxruntime.so" LD_LIBRARY_PATH="$$cuda$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}";

# Said before anything is fetched and built.
HAS_DRIVER = python3 -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || \
    { echo "$@: this machine has no driver of NVIDIA (libcuda.so.1 is not found)" >&2; exit 69; }

gpu-test: ## the tests that need a GPU of NVIDIA (driver 580 or later) on this machine; the lines `figure:` are its figures
	@$(HAS_DRIVER)
	@scripts/setup gpu
	$(GPU) export KVS_INFER_GPU=1; cargo test --locked -p kvs-infer --lib -- --nocapture kernel_tests:: && \
	    real() { cargo test --locked -p kvs-infer --test integration -- --ignored --nocapture --test-threads=1 "$$@"; }; \
	    real real_gpu:: --skip loss:: && real real_gpu::loss::

gpu-pack: ## what both need in parts of 64 MiB in .gpu, for a machine with a GPU and no network: ARCH=90 (H100), 75 (T4), 89 (L4)
	@scripts/setup gpu
	$(ENV) "$$KVS_INFER_PYTHON" scripts/gpu/pack.py .gpu $(or $(ARCH),90)

# By default the detectors of the cache, with their float16 twins where they are. A comma in $(or) would end its argument.
DETECTORS := "$$KVS_INFER_CACHE"/models/{street,plate}{,.half}.onn[x]

gpu-bench: ## detectors by the size of batches, NVDEC by the number of streams, memory over reconnects, cameras: MODELS="a.onnx b.onnx"
	@$(HAS_DRIVER)
	@scripts/setup gpu
	cargo build --release --locked --bin kvs-infer
	$(GPU) cache=$$KVS_INFER_CACHE; shopt -s nullglob; gpu() { cargo bench --locked --bench gpu -- "$$@"; }; \
	    for model in $(or $(MODELS),$(DETECTORS)); do gpu batches "$$model" cuda:0; done; \
	    for clip in hd hd-b-frames hd-h265; do gpu decode "$$cache/clips/$$clip.mp4"; done; \
	    gpu reconnects "$$cache/clips/hd.mp4"; \
	    "$$KVS_INFER_PYTHON" benches/gpu_cameras.py target/release/kvs-infer "$$cache"/{models/{street,plate,plate-text}.onnx,clips/hd.mp4} \
	        --cameras "$${CAMERAS:-1,16,64,148}"

bench-mix: ## a mostly idle mix of cameras: CPU time with and without the motion gate, beside the usual Python program
	@scripts/setup bench
	cargo build --release --locked --bin kvs-infer
	$(ENV) "$$KVS_INFER_PYTHON" benches/mix.py target/release/kvs-infer "$$KVS_INFER_CACHE"/{models/street.onnx,clips/street.mp4}

bench-idle: ## cameras on which little happens: CPU time, delay, recall, wakes, memory; BEFORE=BINARY for the busy camera's ratio
	@scripts/setup bench
	cargo build --release --locked --bin kvs-infer
	$(ENV) "$$KVS_INFER_PYTHON" benches/idle.py target/release/kvs-infer "$$KVS_INFER_CACHE"/{models/street.onnx,clips/{yard,street}.mp4} \
	    $(if $(BEFORE),--before "$(BEFORE)")

bench-delivery: ## the cost of an event's pictures, and events per second of each sink at a round trip of 60 ms
	@scripts/setup bench
	$(ENV) frame=$$(mktemp) && trap 'rm -f "$$frame"' EXIT && \
	    ffmpeg -v error -y -i "$$KVS_INFER_CACHE/clips/gate.mp4" -frames:v 1 -vf scale=1920:1080 -pix_fmt yuv420p -f rawvideo "$$frame" && \
	    cargo bench --locked --bench delivery -- "$$frame"

bench-clips: ## the delay of 200 events at once, without clips, with them, and with clips that are stuck
	@scripts/setup bench
	$(ENV) cargo bench --locked --bench clips

bench-history: ## the history of a folder with 100,000 incidents: time to build its index, and of the first page of each filter
	$(ENV) cargo bench --locked --bench history

bench-tracking: ## the incidents of 79.5 s of footage beside ByteTrack's tracks of the same boxes, by kvs-infer eval
	@scripts/setup tracking
	cargo build --release --locked --bin kvs-infer
	$(ENV) cache=$$KVS_INFER_CACHE; "$$cache/tracking-venv/bin/python" benches/tracking.py target/release/kvs-infer \
	    "$$cache"/{models/street.onnx,clips/yard-whole.mp4}

bless: ## accept what the program prints now as the golden files
	@scripts/setup test
	$(ENV) INSTA_UPDATE=always BLESS=1 cargo test --workspace --locked

fuzz: ## fuzz every target for S seconds each (60; needs a nightly toolchain and cargo-fuzz)
	@cargo +nightly fuzz --version >/dev/null 2>&1 || { \
	    echo "fuzz: needs cargo-fuzz and nightly Rust: rustup toolchain install nightly; cargo install --locked cargo-fuzz"; exit 1; }
	cd fuzz && for target in $$(cargo +nightly fuzz list); do \
	    cargo +nightly fuzz run "$$target" -- -max_total_time=$(or $(S),60) || exit 1; done

# Gathers the figures of tests/faults; the last line is their sum. Those that measure how much this machine can do run alone.
FAULTS = $(ENV) faults() { cargo test --workspace --locked --test faults -- --nocapture "$$@" 2>&1; }; \
    { faults --test-threads=4 --skip overload:: --skip late:: && faults --test-threads=1 overload:: late::; } \
    | tee target/faults.log | awk '\
    sub(/.*figure: /, "faults: ") { print; fflush(); figures++ } \
    /^faults: R11/ { shown += $$4; all += $$6 } \
    /panicked at|FAILED/ { print > "/dev/stderr" } \
    END { printf "faults: %d of %d show and go away; %d figures\n", shown, all, figures; exit shown != all || !figures }'

faults: ## every fault of docs/operations.md at full length, one line per figure (about four minutes)
	@scripts/setup test
	@export KVS_INFER_FAULTS=full; $(FAULTS)

soak: ## the same with 10,000 reconnects
	@scripts/setup test
	@export KVS_INFER_FAULTS=soak; $(FAULTS)

# docker, or podman where there is no docker; podman keeps health checks only in Docker's format.
DOCKER ?= $(if $(shell command -v docker),docker,podman)

docker-build: ## build the image IMG=NAME:TAG, VARIANT=gpu (the default) or cpu, with docker or podman
	@[[ -n "$(IMG)" ]] || { echo "docker-build: say what it is to be called: make docker-build IMG=NAME:TAG" >&2; exit 64; }
	$(DOCKER) build --platform linux/amd64 $(if $(findstring podman,$(DOCKER)),--format docker) $(BUILD_FLAGS) \
	    --build-arg VARIANT=$(or $(VARIANT),gpu) -t "$(IMG)" .

docker-push: ## push the image IMG=ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG to ECR, signing in first
	@scripts/image/push "$(DOCKER)" "$(IMG)"

image-test: ## build the image with podman and run it as ECS would, without AWS; VARIANT="cpu gpu". As root, takes a while
	@scripts/setup image
	@scripts/image/base-images
	$(PYTEST) -v -s checks/image $(addprefix --variant=,$(VARIANT))

deploy: ## make or change the stack of docs/deploy.md on AWS: STACK, PARAMETERS, CONFIG, MODELS, IMG
	@deployment/cloudformation/deploy up

deploy-plan: ## show what `make deploy` would change in the stack
	@deployment/cloudformation/deploy plan

refresh-host: ## replace the stack's host by one with the newest AMI (driver, kernel, agent); run it every month
	@deployment/cloudformation/deploy refresh

teardown: ## delete the stack, after a question; says what remains
	@deployment/cloudformation/deploy down

deploy-test: ## all that can be said of deployment/ and docs/deploy.md without AWS; CHECKS="files lint" for some of it
	@scripts/setup deploy
	$(ENV) "$$KVS_INFER_CACHE/deploy-venv/bin/python" -m pytest \
	    $(patsubst %,checks/deployment/test_%.py,$(or $(CHECKS),files life lint sbom stack script guide))

deploy-rules: ## the part of deploy-test that takes seconds: rules over the files of deployment/, and mistakes that they must catch
	@scripts/setup test monitoring
	$(PYTEST) checks/deployment/test_{files,life}.py

monitoring-test: ## the alert rules and the dashboard against the table of metrics; each rule is spoilt to see its tests fail
	@scripts/setup monitoring
	$(PYTEST) checks/monitoring

workflows-test: ## .github/workflows by our rules, shellcheck and (where it is installed) actionlint; deployment/release against a stand-in
	@scripts/setup monitoring
	$(PYTEST) checks/workflows checks/scripts/test_{advisories,image_libraries,renew_digests}.py

clean: ## delete what was built; the cache folder of scripts/setup stays
	cargo clean
