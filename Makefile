# redistill: build, set-up and checks.  `make help` lists the targets.
#
# Overridable, best in an untracked config.mk:  CC, CFLAGS, MPIRUN, PKG_* (pkg-config names),
# LIBS_EXTRA, SCALAPACK_LIBS, BUILD (output directory), SAN=1 (ASan + UBSan build),
# LAYERS (directories of src/ that go into the library), V=1 (print the commands).

-include config.mk

VERSION := 0.1.0
BUILD ?= build
LAYERS ?= base par io la nn text task infer teacher distill train cli
SHELL := /bin/bash

ifeq ($(origin CC),default)
CC = mpicc
endif
PYTHON ?= python3
MPIRUN ?= mpirun
CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
# One binary runs on any processor of the architecture: what takes time in la, nn and train is compiled
# for several and chosen when the program starts (RD_CLONES, la/tiles.c).  OPT="-O3 -march=native" is
# no faster.
OPT ?= -O3
# GCC 12 with 512-bit vectors preferred writes some constants wrongly ({a,a,a,a,b,b,b,b} becomes a
# broadcast of a) when it vectorises straight-line code.  So wide vectors are left to the numeric
# layers, which are compiled without that pass.
X86 := $(filter x86_64,$(shell uname -m))
# GCC 12 for aarch64 dies on some reductions of the tests when it vectorises loops.
NARROW := $(if $(X86),-mprefer-vector-width=256,-fno-tree-loop-vectorize)
WIDE := -fno-tree-slp-vectorize
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wvla
PKG_HDF5 ?= $(shell for p in hdf5-openmpi hdf5-mpich hdf5; do pkg-config --exists $$p 2>/dev/null && echo $$p && break; done)
PKG_SCALAPACK ?= $(shell for p in scalapack-openmpi scalapack-mpich scalapack; do pkg-config --exists $$p 2>/dev/null && echo $$p && break; done)
PKG_BLAS ?= openblas
PKGS := $(PKG_HDF5) $(PKG_SCALAPACK) $(PKG_BLAS) libcjson libpcre2-8 libutf8proc libcurl
GIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

ifneq ($(SAN),)
SAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 -fno-omit-frame-pointer
endif
CFLAGS ?= $(OPT) -g
CPPFLAGS += -Iinclude -Isrc -D_GNU_SOURCE $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
ALL_CFLAGS = -std=c17 $(WARN) $(CFLAGS) $(SAN_FLAGS) -fopenmp -fno-math-errno -ffp-contract=fast $(VECTORS) -MMD -MP
SCALAPACK_LIBS ?= $(shell pkg-config --libs $(PKG_SCALAPACK) 2>/dev/null)
LDLIBS += $(SCALAPACK_LIBS) $(shell pkg-config --libs $(filter-out $(PKG_SCALAPACK),$(PKGS)) 2>/dev/null) $(LIBS_EXTRA) -lm

# Open MPI refuses root and more ranks than cores unless told; harmless elsewhere.
export OMPI_ALLOW_RUN_AS_ROOT = 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM = 1
export OMPI_MCA_mpi_yield_when_idle = 1
export OMPI_MCA_rmaps_base_oversubscribe = 1
export OMPI_MCA_btl_vader_single_copy_mechanism ?= none
export OPENBLAS_NUM_THREADS ?= 1
export RD_DATA ?= ../shared/data/redis

SRC := $(filter-out src/cli/main.c,$(wildcard $(LAYERS:%=src/%/*.c)))
OBJ := $(SRC:src/%.c=$(BUILD)/obj/%.o)
# The local product is compiled once more for each of these; the processor's own is taken at run time.
TILES := $(if $(X86),$(if $(filter la,$(LAYERS)),$(patsubst %,$(BUILD)/obj/la/tiles_%.o,v3 v4 bf16 amx)))
OBJ += $(TILES)
LIB := $(BUILD)/libredistill.a
BIN := $(BUILD)/redistill
TESTS ?= $(sort $(patsubst tests/%.c,%,$(wildcard tests/test_*.c)))
BENCH_ALL := $(patsubst tests/%.c,%,$(wildcard tests/bench_*.c))
FUZZ ?= $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
C_FILES := $(shell git ls-files '*.c' '*.h' 2>/dev/null)

# A short line for each file that is made; nothing with -s, whole commands with V=1.
SAY := $(if $(findstring s,$(firstword -$(MAKEFLAGS))),:,printf '%-6s %s\n')
run = $(if $(V),,@$(SAY) '$(1)' '$(2)'; )

.PHONY: all check check-slurm check-oracle check-asan check-valgrind prove tests lint layers format info deps quickstart page smollm2 bench plan-check plan-table fuzz fuzz-run clean help
all: $(BIN)

$(BUILD)/obj/la/%.o $(BUILD)/obj/nn/%.o $(BUILD)/obj/train/%.o: VECTORS := $(WIDE)
VECTORS := $(NARROW)
$(BUILD)/obj/la/tiles_v3.o: VECTORS := $(WIDE) -march=x86-64-v3 -DRD_TILES=rd_tiles_v3 -DRD_TILES_NAME='"avx2"'
$(BUILD)/obj/la/tiles_v4.o: VECTORS := $(WIDE) -march=x86-64-v4 -DRD_TILES=rd_tiles_v4 -DRD_TILES_NAME='"avx512"'
$(BUILD)/obj/la/tiles_bf16.o: VECTORS := $(WIDE) -march=x86-64-v4 -mavx512bf16 -DRD_PAIRS -DRD_TILES=rd_tiles_bf16 -DRD_TILES_NAME='"avx512_bf16"'
$(BUILD)/obj/la/tiles_amx.o: VECTORS := $(WIDE) -march=x86-64-v4 -mavx512bf16 -mamx-tile -mamx-bf16 -DRD_PAIRS -DRD_AMX -DRD_TILES=rd_tiles_amx -DRD_TILES_NAME='"amx"'
$(TILES): src/la/tiles.c | $(BUILD)/git.h
	@mkdir -p $(@D)
	$(call run,cc,$@)$(CC) $(CPPFLAGS) -include $(BUILD)/git.h $(ALL_CFLAGS) -c $< -o $@
$(BUILD)/obj/%.o: src/%.c | $(BUILD)/git.h
	@mkdir -p $(@D)
	$(call run,cc,$<)$(CC) $(CPPFLAGS) -include $(BUILD)/git.h $(ALL_CFLAGS) -c $< -o $@
# Rewritten only when the revision changes, so that a build does not start anew each time.
$(BUILD)/git.h: FORCE
	@mkdir -p $(BUILD)
	@printf '#define RD_VERSION "%s"\n#define RD_GIT "%s"\n' '$(VERSION)' '$(GIT)' > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
FORCE:
$(BUILD)/obj/cli/build.o: CPPFLAGS += -DRD_FLAGS='"$(ALL_CFLAGS)"'

$(LIB): $(OBJ)
	@rm -f $@
	$(call run,ar,$@)$(AR) rcs $@ $(OBJ)
$(BIN): src/cli/main.c $(LIB)
	$(call run,link,$@)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) $< $(LIB) $(LDLIBS) -o $@
# What callgrind counts is compiled for what valgrind knows: AVX2.
COUNTED := src/nn/ops.c src/nn/attention.c
$(BUILD)/tests/bench_counts: tests/bench_counts.c $(COUNTED) $(LIB) tests/rd_test.h
	@mkdir -p $(@D)
	$(call run,link,$@)$(CC) $(CPPFLAGS) -Itests $(filter-out -MMD -MP,$(ALL_CFLAGS)) $(WIDE) $(if $(X86),-march=x86-64-v3) \
	  $< $(COUNTED) $(LIB) $(LDLIBS) -o $@
$(BUILD)/tests/%: tests/%.c $(LIB) tests/rd_test.h
	@mkdir -p $(@D)
	$(call run,link,$@)$(CC) $(CPPFLAGS) -Itests $(ALL_CFLAGS) $< $(LIB) $(LDLIBS) -o $@
# The program with its requests to the generator written down.
$(BUILD)/tests/bench/requests: tests/bench/requests.c src/cli/main.c $(LIB)
	@mkdir -p $(@D)
	$(call run,link,$@)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -Wl,--wrap=rd_generator_next,--wrap=rd_generator_free,--wrap=rd_generator_create \
	  $(filter %.c,$^) $(LIB) $(LDLIBS) -o $@
$(BUILD)/fuzz/%: tests/fuzz/%.c $(LIB)
	@mkdir -p $(@D)
	$(call run,link,$@)$(CC) $(CPPFLAGS) -Itests $(ALL_CFLAGS) $< $(LIB) $(LDLIBS) -o $@

## tests: build the test programs (TESTS="test_a test_b" for some)
tests: $(TESTS:%=$(BUILD)/tests/%)
## fuzz: build the fuzz programs (tests/fuzz.t runs them)
fuzz: $(FUZZ:%=$(BUILD)/fuzz/%)

## fuzz-run: each fuzz program under ASan and UBSan, first over tests/corpus, then for FUZZ_SECONDS (60),
##           beginning with mutation FUZZ_FIRST (0); FUZZ="fuzz_gguf fuzz_safetensors" for some
fuzz-run: deps
	$(MAKE) -j2 SAN=1 BUILD=$(BUILD)/asan fuzz FUZZ="$(FUZZ)"
	@BUILD=$(BUILD)/asan FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) FUZZ_FIRST=$(or $(FUZZ_FIRST),0) tests/fuzz_run.sh $(FUZZ)

## prove: run the tests, each at the rank counts of its first line
prove: tests
	@BUILD=$(BUILD) MPIRUN="$(MPIRUN)" TEST_TIMEOUT=$(or $(TEST_TIMEOUT),180) tests/prove.sh $(TESTS)

## check: set up what is missing, build, run every test
check: ANALYSIS := 1
check: deps
	$(MAKE) layers
	$(MAKE) -j2 all tests fuzz
	$(MAKE) prove

## check-slurm: jobs/ on a private Slurm of this machine (as root, with Debian's slurm-wlm and munge, which
##        are installed; without: skipped)
check-slurm: deps
	@SLURM=1 tests/deps.sh
	$(MAKE) -j2 all
	@BUILD=$(BUILD) MPIRUN="$(MPIRUN)" prove --timer --exec bash tests/slurm/*.t

## check-oracle: compare live with torch, transformers, peft, trl and LLaMA-Factory, of the versions in
##        tests/oracle/requirements.txt, in a Python environment (ORACLE_VENV, default build/oracle)
##        that is made if it is not there; without it and without network: skipped.
##        ORACLE="tests/oracle/x.py" for some
check-oracle: deps
	$(MAKE) -j2 all tests
	@BUILD=$(BUILD) PYTHON="$(PYTHON)" ORACLE_VENV="$(ORACLE_VENV)" ORACLE="$(ORACLE)" tests/oracle.sh

## check-asan: the same under AddressSanitizer and UndefinedBehaviorSanitizer
check-asan: deps
	$(MAKE) -j2 SAN=1 BUILD=$(BUILD)/asan all tests fuzz
	ASAN_OPTIONS=detect_leaks=0 $(MAKE) SAN=1 BUILD=$(BUILD)/asan TEST_TIMEOUT=600 prove

## check-valgrind: the small tests of one rank under valgrind (which knows no AVX-512)
check-valgrind: deps
	$(MAKE) -j2 OPT="-O2 $(if $(X86),-march=x86-64-v3)" BUILD=$(BUILD)/valgrind tests
	BUILD=$(BUILD)/valgrind tests/valgrind.sh

## bench: ratios against the measured machine (a first line `/* bench ranks: 2 */` of tests/bench_*.c says
##        at how many ranks; BENCH="bench_a bench_b" for some), then training and search beside PyTorch,
##        TRL and llama.cpp where they are installed (tests/bench.sh)
bench: deps $(BENCH_ALL:%=$(BUILD)/tests/%) $(BUILD)/tests/bench/step $(BUILD)/tests/bench/requests all
	@BUILD=$(BUILD) MPIRUN="$(MPIRUN)" BENCH="$(BENCH)" tests/bench.sh

## plan-check: plans against measured memory and time, on 1, 2 and 4 ranks of this machine
plan-check: deps $(BUILD)/tests/bench_plan
	@set -e; for n in 1 2 4; do $(MPIRUN) -n $$n $(BUILD)/tests/bench_plan; done
## plan-table: the README's plans for large models
plan-table: all
	@BUILD=$(BUILD) MPIRUN="$(MPIRUN)" tests/plan_table.sh

## layers: fail when an #include points up, or a library is used outside its one door
layers:
	@tests/layers.sh
## lint: formatting, layers and clang-tidy (NO_TIDY=1: without the last, which takes minutes)
lint: layers
	@command -v $(CLANG_FORMAT) >/dev/null || { echo "lint: $(CLANG_FORMAT) is not installed ('make deps DEV=1')" >&2; exit 1; }
	@$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
	@[ -n "$(NO_TIDY)" ] || PKGS="$(PKGS)" CLANG_TIDY="$(CLANG_TIDY)" tests/tidy.sh
## format: rewrite the sources with clang-format
format:
	@$(CLANG_FORMAT) -i $(C_FILES)

## info: what was found and how it will be built
info:
	@printf '%-12s %s\n' version '$(VERSION) ($(GIT))' compiler "$$($(CC) --version 2>/dev/null | head -n 1)" \
	  cflags '$(ALL_CFLAGS)' mpi "$$($(MPIRUN) --version 2>/dev/null | head -n 1)"
	@for p in $(PKGS); do printf '%-12s %s\n' "$$p" "$$(pkg-config --modversion $$p 2>/dev/null || echo missing)"; done
	@printf '%-12s %s\n' libraries '$(LDLIBS)'

## deps: install missing Debian packages (as root on Debian only; elsewhere it only reports);
##       DEV=1: also clang-format, clang-tidy and valgrind, for lint and check-valgrind;
##       ANALYSIS=1: also Python's h5py, numpy and matplotlib, for analysis/ and its tests
deps:
	@DEV=$(DEV) ANALYSIS=$(ANALYSIS) tests/deps.sh

## quickstart: set up, build, run inputs/quickstart.json on two ranks
quickstart: deps
	$(MAKE) -j2 all
	$(MPIRUN) -n 2 $(BIN) run inputs/quickstart.json

## page: the README's figure and table, analysis/quickstart.svg and .md: the quickstart under three seeds;
##       PAGE=student: those of inputs/student.json
PAGE ?= quickstart
page: deps
	$(MAKE) -j2 all
	$(MPIRUN) -n 2 $(BIN) run inputs/$(PAGE).json
	@set -e; for s in 5 6; do \
	  $(MPIRUN) -n 2 $(BIN) run inputs/$(PAGE).json --set run.seed=$$s --set run.name=$(PAGE)-$$s; done
	/usr/bin/python3 -m analysis summary runs/$(PAGE) runs/$(PAGE)-5 runs/$(PAGE)-6 -o $(BUILD)/page
	cp $(BUILD)/page/summary.svg analysis/$(PAGE).svg
	cp $(BUILD)/page/summary.md analysis/$(PAGE).md

## smollm2: fetch SmolLM2-135M-Instruct and run inputs/smollm2.json on two ranks; RD_DATA: folder with
##          the official task files
smollm2: deps
	$(MAKE) -j2 all
	inputs/get_smollm2.sh
	$(MPIRUN) -n 2 $(BIN) run inputs/smollm2.json --set data.dir=$(abspath $(RD_DATA))

clean:
	rm -rf $(BUILD)
help:
	@grep -hE '^## ' $(MAKEFILE_LIST) | sed 's/^## /  /'

-include $(OBJ:.o=.d) $(wildcard $(BUILD)/tests/*.d $(BUILD)/fuzz/*.d)
