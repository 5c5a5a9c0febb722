# SPDX-License-Identifier: MIT
#
# One makefile for everything; `make help` lists what it can do. Variables worth
# knowing: VARIANT=release|debug|asan|tsan|fuzz, CC=gcc|clang, V=1 (show the
# commands), PREFIX and DESTDIR (install), T=, F= and SEED= (fuzz), DEPS_FROM,
# DEPS_TARBALLS (deps/deps.mk), ACCEL=0 (TLS on portable C), BUILD=elsewhere, EXTRA_CFLAGS, EXTRA_LDFLAGS.
#
# A source is taken in by lying in the right folder. Which folder may see which
# library is written in CPPFLAGS_<layer> below: what a layer may not use is not
# on its include path. `make layers` checks the rest of the rules.

VERSION := 0.1.0
VARIANT := release
BUILD   := build
OUT     := $(BUILD)/$(VARIANT)
PREFIX  ?= /usr/local
T ?= 30
Q := $(if $(V),,@)

.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
ifeq ($(MAKELEVEL),0)
    MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif

# ---------------------------------------------------------------- accelerators
#
# What may be accelerated: by the processor, by OpenSSL's libcrypto. Each
# function that an accelerator stands in for is one that --wrap renames.
ACCEL    := 1
ACCEL_BY := $(if $(filter-out 0,$(ACCEL)),cpu $(shell \
    pkg-config --exists 'libcrypto >= 3.0' 2>/dev/null && echo crypto))
ACCEL_OF_cpu    := aead gcm
ACCEL_OF_crypto := chacha curves rsa sha256
WRAP_cpu    := psa_aead_encrypt psa_aead_decrypt
WRAP_crypto := psa_ecp_generate_key psa_ecp_export_public_key psa_ecp_import_key \
    psa_ecdsa_sign_hash psa_ecdsa_verify_hash psa_key_agreement_ecdh \
    psa_rsa_sign_hash psa_rsa_verify_hash sha256_update sha256_finish sha256
WRAP := $(foreach b,$(ACCEL_BY),$(WRAP_$(b):%=--wrap=mbedtls_%))

# ---------------------------------------------------------------- flags

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion \
    -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror
LANGUAGE := -std=c11 -D_GNU_SOURCE -DRW_VERSION='"$(VERSION)"'

# for each variant: what our code and the libraries are both compiled with,
# what only our code gets, and what is linked with
COMMON  := -g -fPIE -ffunction-sections -fdata-sections
HARDEN  := -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

BOTH_release := -O2
OURS_release := $(HARDEN) -fno-plt
BOTH_debug   := -O0 -fno-omit-frame-pointer
OURS_debug   := -DRW_DEBUG
BOTH_asan    := -O1 -fno-omit-frame-pointer -fsanitize=address
OURS_asan    := -DRW_DEBUG -fsanitize=undefined -fno-sanitize-recover=undefined
BOTH_tsan    := -O1 -fno-omit-frame-pointer -fsanitize=thread
OURS_tsan    := -DRW_DEBUG
BOTH_fuzz    := -O1 -fno-omit-frame-pointer -fsanitize=address,fuzzer-no-link
OURS_fuzz    := -DRW_DEBUG -DRW_FUZZ \
    -fsanitize=undefined -fno-sanitize-recover=undefined

ifeq ($(BOTH_$(VARIANT)),)
    $(error VARIANT is one of: release debug asan tsan fuzz)
endif
ifeq ($(VARIANT),fuzz)
    override CC := $(or $(FUZZ_CC),clang)
else ifeq ($(origin CC),default)
    CC := cc
endif
OBJCOPY ?= objcopy

ALL_FLAGS := $(COMMON) $(BOTH_$(VARIANT)) $(EXTRA_CFLAGS)
# libraries check how they are used everywhere but in the release
DEPS_FLAGS := -std=gnu11 -D_GNU_SOURCE $(ALL_FLAGS) -w \
    $(if $(filter release,$(VARIANT)),,-DLUA_USE_APICHECK)
OUR_FLAGS := $(LANGUAGE) $(ALL_FLAGS) $(OURS_$(VARIANT)) $(WARNINGS) \
    -fvisibility=hidden
LDFLAGS := $(BOTH_$(VARIANT)) $(filter -fsanitize=%,$(OURS_$(VARIANT))) \
    -pie -Wl,--gc-sections -Wl,-z,relro,-z,now $(WRAP:%=-Wl,%) $(EXTRA_LDFLAGS)

# ---------------------------------------------------------------- sources

LAYERS   := base proto io bind cli
$(foreach l,$(LAYERS),$(eval SRC_$(l) := $(sort $(wildcard src/$(l)/*.c))))
SRC_io   := $(filter-out $(foreach b,$(filter-out $(ACCEL_BY),cpu crypto),\
    $(ACCEL_OF_$(b):%=src/io/accel_%.c)),$(SRC_io))
LUA      := $(shell find lua -name '*.lua' 2>/dev/null | LC_ALL=C sort)
HOSTS    := $(patsubst apps/embed/%.c,%,$(wildcard apps/embed/*.c))
HEADERS  := $(wildcard src/*.h src/*/*.h src/*/*.def)
TORTURES := $(foreach t,torture torture_io torture_bind,$(if $(wildcard spec/$(t)/*.c),$(t)))
BENCHES  := $(filter-out $(if $(filter crypto,$(ACCEL_BY)),,tls_load tls_idle), \
    $(patsubst spec/bench/%.c,%,$(wildcard spec/bench/*.c)))
FUZZERS_LUA := $(patsubst spec/fuzz/parsers/%.lua,%, \
    $(filter-out %/property.lua,$(wildcard spec/fuzz/parsers/*.lua)))
FUZZERS  := $(patsubst spec/fuzz/fuzz_%.c,%,$(wildcard spec/fuzz/fuzz_*.c)) $(FUZZERS_LUA)
ENGINES  := http1 line netstring frame tls # of these: what carries a connection

object    = $(patsubst %.c,$(OUT)/%.o,$(1))
CORE_OBJ := $(call object,$(SRC_base) $(SRC_proto) $(SRC_io) $(SRC_bind)) \
    $(OUT)/gen/lualib.o
CLI_OBJ  := $(call object,$(SRC_cli))
# the torture harnesses and the fuzzers, save one, work on the layers below Lua
BELOW_OBJ := $(call object,$(SRC_base) $(SRC_proto) $(SRC_io))
$(foreach t,$(TORTURES),$(eval $(t)_OBJ := $(call object,$(wildcard spec/$(t)/*.c spec/support/*.c))))
FUZZ_OBJ := $(call object,$(SRC_base) $(SRC_proto) $(wildcard \
    $(filter-out spec/fuzz/fuzz_%,$(wildcard spec/fuzz/*.c))))

BINARY   := $(OUT)/ropewalk
LIBRARY  := $(OUT)/libropewalk.a

# ---------------------------------------------------------------- goals
#
# Goals that only check the tree, or that first have to see whether the tools
# are there and then call make again, do without the libraries.

LIGHT := docs embed help setup clean distclean run test asan tsan fuzz fuzz-keep bench simulate torture \
    valgrind testssl layers lines lint lint-lua lint-docs lint-sh selftest analyze analyze-fast \
    budget budget-update soak gcstress selftest-nets
ifneq ($(and $(filter %clean,$(MAKECMDGOALS)),$(filter-out %clean,$(MAKECMDGOALS))),)
    $(error clean goes alone: make clean && make …)
endif
.PHONY: $(LIGHT) all lint-c deps-info install FORCE
FORCE:

ifeq ($(VARIANT),release)
all: $(BUILD)/ropewalk $(BUILD)/libropewalk.a ## build build/ropewalk and build/libropewalk.a (the default)
else
all: $(BINARY)
endif

run: ## build, then serve the demo application on port 8080
	@sh deps/setup.sh build
	@$(MAKE) all
	@exec $(BUILD)/ropewalk run $(firstword $(wildcard apps/demo.lua) apps/hello.lua)

setup: ## install what building and testing need (as root, with apt)
	@sh deps/setup.sh build test

test: ## everything that has to pass; the specs' totals come last
	@sh deps/setup.sh build test
	+@MAKE='$(MAKE)' BUILD=$(BUILD) bash spec/checks/test.sh

asan: ## the specs under AddressSanitizer and UBSan (S="spec/…" for some, J=2 processes)
	@sh deps/setup.sh build test
	@$(MAKE) VARIANT=asan all
	@$(SANITIZER_ENV) $(BUILD)/asan/ropewalk test -j $(or $(J),2) --again --exclude-tags=slow $(or $(S),spec)

tsan: ## the specs under ThreadSanitizer
	@sh deps/setup.sh build test
	@$(MAKE) VARIANT=tsan all
	@$(SANITIZER_ENV) $(BUILD)/tsan/ropewalk test --exclude-tags=slow $(or $(S),spec)

valgrind: ## the specs under valgrind's memcheck
	@sh deps/setup.sh build test
	@$(MAKE) VARIANT=debug all
	@valgrind -q --leak-check=full --errors-for-leak-kinds=definite \
	    --error-exitcode=9 --num-callers=30 \
	    $(BUILD)/debug/ropewalk test --exclude-tags=slow $(or $(S),spec)

torture: ## every transcript in spec/wire: split everywhere, memory failing, …
ifeq ($(TORTURES),)
	@echo "torture: nothing in spec/torture"
else
	@$(MAKE) $(TORTURES:%=$(OUT)/%)
	@set -e; for t in $(TORTURES); do \
	    $(SANITIZER_ENV) $(OUT)/$$t $$(test $$t != torture || echo spec/wire); \
	done
endif

fuzz: ## libFuzzer on every target: T=seconds for each, F=name for one, SEED= for the same again
ifeq ($(FUZZERS),)
	@echo "fuzz: nothing in spec/fuzz"
else
	@sh deps/setup.sh build test
	@mkdir -p $(BUILD)/fuzz
	@$(MAKE) VARIANT=fuzz T=$(T) T_ENGINES=$(or $(T_ENGINES),$(T)) SEED=$(SEED) \
	    $(addprefix fuzz-run-,$(or $(F),$(FUZZERS)))
endif

fuzz-keep: ## minimise what fuzzing has found, and keep what is small in spec/fuzz/corpus
	@$(MAKE) fuzz T=keep

simulate: ## N=10000 simulated runs of the chat with random faults, from seed FROM=1, in J=1 processes
	@sh deps/setup.sh build test
	@$(MAKE) all
	@each=$$(($(or $(N),10000) / $(or $(J),1))) first=$(or $(FROM),1) running=; \
	for _ in $$(seq $(or $(J),1)); do \
	    SIMULATE=$$each SIMULATE_FROM=$$first $(BUILD)/ropewalk test spec/sim/chat_spec.lua & \
	    running="$$running $$!" first=$$((first + each)); \
	done; \
	for each in $$running; do wait $$each || exit 1; done

testssl: ## testssl.sh against a server with default settings (minutes)
	@sh deps/setup.sh build testssl
	@$(MAKE) all
	@sh spec/checks/testssl.sh $(BUILD)/ropewalk

bench: ## measure (spec/bench/run)
	@sh deps/setup.sh build
	@$(MAKE) all $(BENCHES:%=$(OUT)/bench/%)
	@exec spec/bench/run $(ARGS)

soak: ## everything at once through bad networks, with reloads, for T=60 seconds: grows, leaks?
	@sh deps/setup.sh build test
	@$(MAKE) all
	@spec/soak/run --seconds $(if $(filter command line,$(origin T)),$(T),60) --binary $(BUILD)/ropewalk $(ARGS)

# without what computes a lot, or measures time
GC_STRESS_SPECS := spec/bind spec/lua spec/semantics spec/e2e/http_spec.lua spec/e2e/reload_spec.lua
GC_STRESS_NOT := --filter-out="deep stack" --filter-out="as deep as can be" --filter-out="of 100,000" --filter-out="during a turn" \
    --filter-out="no sign of life" --filter-out="a wrong argument"
gcstress: ## some specs with a full collection after every entry of Lua (S="spec/…" for others)
	@sh deps/setup.sh build test
	@$(MAKE) VARIANT=debug all
	@RW_GC_STRESS=1 $(BUILD)/debug/ropewalk test --exclude-tags=slow \
	    $(GC_STRESS_NOT) $(or $(S),$(GC_STRESS_SPECS))

budget: ## instructions per operation against spec/bench/budget.txt
	@sh deps/setup.sh build test
	@$(MAKE) all $(OUT)/bench/budget
	@spec/bench/budget --build $(BUILD) --compiler $(or $(CC),cc) $(ARGS)

budget-update: ## write the present figures to spec/bench/budget.txt
	@$(MAKE) budget ARGS=--update

embed: ## the example hosts of apps/embed, into build/embed
	@sh deps/setup.sh build
	@$(MAKE) all
	@mkdir -p $(BUILD)/embed && cp src/ropewalk.h $(BUILD)/embed
	@set -e; for host in $(HOSTS); do \
	    case $$host in \
	    glib) need=$$(pkg-config --cflags --libs glib-2.0) || continue ;; \
	    *) need= ;; \
	    esac; \
	    $(CC) -std=c11 -D_GNU_SOURCE -O1 -g $(WARNINGS) -I$(BUILD)/embed -o $(BUILD)/embed/$$host \
	        apps/embed/$$host.c $(LIBRARY) $$need -lm -ldl -lpthread; \
	done

docs: docs/limits.md ## remake the generated pages
docs/limits.md: src/base/limits.def docs/generate-limits.sh
	@sh docs/generate-limits.sh >$@

layers: ## who may include, require and yield (spec/checks/layers.table)
	@sh spec/checks/layers.sh .

lines: ## no file over its cap (spec/checks/lines.allow)
	@sh spec/checks/lines.sh .

lint: ## luacheck, clang's warnings, shell syntax, what docs/ has to name
	@$(MAKE) lint-lua lint-sh lint-docs lint-c

analyze: ## gcc -fanalyzer, clang-tidy and cppcheck on all C (spec/checks/analyze.allow)
	@sh deps/setup.sh build test
	@$(MAKE) analyze-all

analyze-fast: ## the same for src, but clang-tidy on src/base and src/proto only
	@sh deps/setup.sh build test
	@$(MAKE) analyze-some

lint-lua:
	@sh spec/checks/lint.sh lua .

lint-docs:
	@sh spec/checks/docs.sh .

lint-sh:
	@sh spec/checks/lint.sh sh .

selftest: ## each check fails on a planted violation
	+@MAKE='$(MAKE)' sh spec/checks/selftest.sh

selftest-nets: ## each net catches a mistake that is made for it, in a copy (slower)
	@sh deps/setup.sh build test
	@$(MAKE) all torture-programs $(OUT)/bench/budget
	+@MAKE='$(MAKE)' BUILD=$(BUILD) sh spec/checks/selftest_nets.sh $(W)

clean: ## remove what was built (not the libraries)
	rm -rf $(addprefix $(BUILD)/,release debug asan tsan fuzz lint analyze ropewalk libropewalk.a)

distclean: ## remove the libraries, too
	rm -rf $(BUILD)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

SANITIZER_ENV = ASAN_OPTIONS=strict_string_checks=1:detect_stack_use_after_return=1 \
    UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=second_deadlock_stack=1

# From here on: what needs the libraries. The makefiles that say where they are
# would be made by merely reading on, hence the guard.
ifneq ($(filter-out $(LIGHT),$(or $(MAKECMDGOALS),all)),)

include deps/deps.mk
$(foreach d,$(DEPS),$(eval $(call dep_resolve,$(d))))
$(foreach d,$(DEPS),$(eval $(call dep_build,$(d))))

# Files that change only when their text would: what depends on them is remade
# when a flag changes or a source comes or goes, and at no other time.
# $(call remember,FILE,TEXT)
same = $(and $(findstring x$(1)x,x$(2)x),$(findstring x$(2)x,x$(1)x))
remember = $(if $(call same,$(strip $(file <$(1))),$(strip $(2))),,$(shell \
    mkdir -p $(dir $(1)))$(file >$(1),$(strip $(2))))
$(call remember,$(OUT)/flags,$(CC) $(OUR_FLAGS) $(LDFLAGS) $(foreach d,$(DEPS),$($(d)_CPPFLAGS)) $(ACCEL_BY))
$(call remember,$(OUT)/deps-flags,$(CC) $(DEPS_FLAGS))
$(call remember,$(OUT)/gen/modules,$(LUA))
$(call remember,$(OUT)/gen/objects,$(CLI_OBJ) $(CORE_OBJ))
$(call remember,$(OUT)/gen/torture,$(CORE_OBJ) $(foreach t,$(TORTURES),$($(t)_OBJ)))

# ---------------------------------------------------------------- compiling

CPPFLAGS_io      := $(uv_CPPFLAGS) $(ares_CPPFLAGS) $(mbedtls_CPPFLAGS)
CPPFLAGS_accel   := $(crypto_CPPFLAGS) $(ACCEL_BY:%=-DACCEL_BY_%)
CPPFLAGS_bind    := $(lua_CPPFLAGS)
CPPFLAGS_torture := -Ispec
CPPFLAGS_support := -Ispec
CPPFLAGS_torture_io := -Ispec $(uv_CPPFLAGS) $(mbedtls_CPPFLAGS)
CPPFLAGS_torture_bind := -Ispec $(lua_CPPFLAGS)
CPPFLAGS_fuzz    := $(foreach d,llhttp lua uv ares mbedtls,$($(d)_CPPFLAGS))
CPPFLAGS_bench   := $(uv_CPPFLAGS) $(lua_CPPFLAGS)
JSON             := src/base/json% src/bind/json%
# $(call cppflags,SOURCE)
cppflags = -Isrc $(CPPFLAGS_$(word 2,$(subst /, ,$(1)))) \
    $(if $(filter src/io/accel%,$(1)),$(CPPFLAGS_accel)) \
    $(if $(filter $(JSON),$(1)),$(yyjson_CPPFLAGS))

# the libraries' headers are no prerequisites (-MMD), their origin is
$(OUT)/src/io/tls%.o $(OUT)/src/io/accel%.o: $(mbedtls_CONFIG)
$(OUT)/%.o: %.c $(OUT)/flags $(DEPS:%=$(DEPS_DIR)/%.mk)
	@mkdir -p $(@D)
	@echo "CC   $<"
	$(Q)$(CC) $(OUR_FLAGS) $(call cppflags,$<) -MMD -MP -c $< -o $@

-include $(patsubst %.o,%.d,$(sort $(CORE_OBJ) $(CLI_OBJ) $(FUZZ_OBJ) \
    $(foreach t,$(TORTURES),$($(t)_OBJ)) $(BENCHES:%=$(OUT)/spec/bench/%.o) \
    $(FUZZERS:%=$(OUT)/spec/fuzz/fuzz_%.o) $(call object,$(wildcard spec/fuzz/*/*.c))))

# ---------------------------------------------------------------- the Lua library
#
# Every file under lua/ becomes a module in the binary, by .incbin:
# lua/ropewalk/web/init.lua is "ropewalk.web".

define EMBED
{ for (i = 1; i <= NF; i++) file[++n] = $$i }
END {
    print "#include \"bind/embedded.h\"\n"
    for (i = 1; i <= n; i++) {
        printf "__asm__(\".section .rodata\\n\"\n"
        printf "\"lua_%d: .incbin \\\"%s\\\"\\n\"\n", i, file[i]
        printf "\"lua_%d_end: .byte 0\\n.previous\\n\");\n", i
        printf "extern const char lua_%d[], lua_%d_end[];\n", i, i
    }
    print "\nconst struct embedded_module embedded_modules[] = {"
    for (i = 1; i <= n; i++) {
        name = file[i]
        sub(/^lua\//, "", name); sub(/\.lua$$/, "", name)
        sub(/\/init$$/, "", name); gsub(/\//, ".", name)
        printf "    {\"%s\", lua_%d, lua_%d_end},\n", name, i, i
    }
    print "    {0, 0, 0},\n};"
    printf "const unsigned embedded_module_count = %d;\n", n
}
endef
export EMBED

$(OUT)/gen/lualib.c: $(OUT)/gen/modules Makefile
	@awk "$$EMBED" $< >$@

$(OUT)/gen/lualib.o: $(OUT)/gen/lualib.c $(LUA) $(OUT)/flags
	@echo "LUA  $(words $(LUA)) modules"
	$(Q)$(CC) $(OUR_FLAGS) -Isrc -MMD -MP -c $< -o $@

# ---------------------------------------------------------------- linking

CORE_LIBS := $(foreach d,lua ares mbedtls uv yyjson crypto,$($(d)_LIBS))

# Lua's C modules, loaded at run time, find Lua's functions in the binary: those
# are exported, nothing else. The revision is that of the last link: taken only when linking anyway, so a
# commit alone rebuilds nothing. src/cli may print build_revision.
$(BINARY): $(DEPS_FILES) $(CLI_OBJ) $(CORE_OBJ) $(OUT)/gen/objects deps/config/exports.list
	@echo "LINK $@"
	@revision=$$(test -e .git && git describe --always --dirty 2>/dev/null || :); \
	printf 'extern const char build_revision[];\nconst char build_revision[] = "%s";\n' \
	    "$$revision" >$(OUT)/gen/revision.c
	$(Q)$(CC) $(OUR_FLAGS) $(LDFLAGS) -Wl,--dynamic-list=deps/config/exports.list \
	    -o $@ $(OUT)/gen/revision.c $(CLI_OBJ) $(CORE_OBJ) $(CORE_LIBS) $(DEPS_NEEDS)

# The library is one object: all our code and the static libraries under it,
# every name local but rw_*. So neither our short names nor our copies of Lua
# and libuv can meet the host's own. (System libraries that exist only as
# shared ones stay outside: see the .pc file.)
$(LIBRARY): $(DEPS_FILES) $(CORE_OBJ) $(OUT)/gen/objects
	@echo "AR   $@"
	$(Q)$(LD) -r $(WRAP) -o $(OUT)/libropewalk.o $(CORE_OBJ) $(filter %.a,$(CORE_LIBS))
	$(Q)$(OBJCOPY) --wildcard --keep-global-symbol='rw_*' $(OUT)/libropewalk.o
	$(Q)rm -f $@ && $(AR) rcsD $@ $(OUT)/libropewalk.o

ifeq ($(VARIANT),release)
$(BUILD)/ropewalk $(BUILD)/libropewalk.a: $(BUILD)/%: $(OUT)/%
	@ln -f $< $@
endif

BELOW_LIBS := $(foreach d,ares mbedtls uv yyjson crypto,$($(d)_LIBS))

# system calls that torture_io makes fail (spec/torture_io/faults.h)
FAULTY := clock_gettime $(shell sed -n 's/^    X.\([a-z0-9_]*\),.*/\1/p' spec/torture_io/faults.h)
torture_io_LDFLAGS := $(FAULTY:%=-Wl,--wrap=%)
# and allocations of torture_bind, which has all of the system under it
torture_bind_LDFLAGS := $(foreach f,alloc zalloc realloc free,-Wl,--wrap=mem_$(f))
torture_bind_ON := $(filter-out $(BELOW_OBJ),$(CORE_OBJ)) $(lua_LIBS)

.PHONY: torture-programs
torture-programs: $(TORTURES:%=$(OUT)/%)

define torture_rule
$(OUT)/$(1): $(DEPS_FILES) $($(1)_OBJ) $($(1)_ON) $(BELOW_OBJ) $(OUT)/gen/torture
	@echo "LINK $$@"
	$$(Q)$$(CC) $$(LDFLAGS) $$($(1)_LDFLAGS) -o $$@ $$($(1)_OBJ) $$($(1)_ON) $$(BELOW_OBJ) $$(BELOW_LIBS) $$(DEPS_NEEDS)
endef
$(foreach t,$(TORTURES),$(eval $(call torture_rule,$(t))))

# A measuring program may stand on anything, Lua and libuv bare included.
$(OUT)/bench/tls_load $(OUT)/bench/tls_idle: BENCH_LIBS := -lssl -lcrypto
$(BENCHES:%=$(OUT)/bench/%): $(OUT)/bench/%: $(OUT)/spec/bench/%.o $(DEPS_FILES) $(BELOW_OBJ)
	@mkdir -p $(@D)
	@echo "LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(BELOW_OBJ) $(BENCH_LIBS) $(CORE_LIBS) $(DEPS_NEEDS)

# The door between scripts and the core is the whole of it. It is called at
# random, so the linker has what could do harm go through spec/fuzz/guard/.
GUARDED  := bind connect sendto sendmsg sendmmsg unlink unlinkat renameat linkat mkdir \
    chmod chown open openat fopen remove rename rmdir symlink system popen execve kill getrandom
DOOR_OBJ := $(OUT)/spec/fuzz/fuzz_door.o $(call object,$(wildcard spec/fuzz/guard/*.c))
$(OUT)/fuzz_door: $(DOOR_OBJ) $(CORE_OBJ) $(DEPS_FILES) $(OUT)/gen/objects
	@echo "LINK $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer $(GUARDED:%=-Wl,--wrap=%) -o $@ $(DOOR_OBJ) \
	    $(CORE_OBJ) $(CORE_LIBS) $(DEPS_NEEDS)

# What Lua reads: one program, whose name says which script it runs.
PARSERS_OBJ := $(OUT)/spec/fuzz/parsers/parsers.o
$(OUT)/fuzz_parsers: $(PARSERS_OBJ) $(CORE_OBJ) $(DEPS_FILES) $(OUT)/gen/objects
	@echo "LINK $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(PARSERS_OBJ) $(CORE_OBJ) $(CORE_LIBS) $(DEPS_NEEDS)
$(FUZZERS_LUA:%=$(OUT)/fuzz_%): $(OUT)/fuzz_parsers
	@ln -f $< $@

# What works on streams needs the layers below Lua whole.
FUZZERS_BELOW := tls dns pem
$(FUZZERS_BELOW:%=$(OUT)/fuzz_%): $(OUT)/fuzz_%: $(OUT)/spec/fuzz/fuzz_%.o $(BELOW_OBJ) $(DEPS_FILES)
	@echo "LINK $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(BELOW_OBJ) $(CORE_LIBS) $(DEPS_NEEDS)

$(patsubst %,$(OUT)/fuzz_%,$(filter-out door $(FUZZERS_BELOW) $(FUZZERS_LUA),$(FUZZERS))): \
    $(OUT)/fuzz_%: $(OUT)/spec/fuzz/fuzz_%.o $(FUZZ_OBJ) $(DEPS_FILES)
	@echo "LINK $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(FUZZ_OBJ) $(yyjson_LIBS) $(llhttp_LIBS) -lm

# New inputs go to build/fuzz/corpus/NAME; seeds are spec/fuzz/corpus/NAME.
.PHONY: $(FUZZERS:%=fuzz-run-%)
$(FUZZERS:%=fuzz-run-%): fuzz-run-%: $(OUT)/fuzz_%
	@sh spec/checks/fuzz.sh $< $* $(if $(filter $*,$(ENGINES)),$(T_ENGINES),$(T)) $(OUT) $(SEED)

# ---------------------------------------------------------------- the rest

CLANG := $(or $(FUZZ_CC),clang)
LINT_C ?= $(foreach l,$(LAYERS),$(SRC_$(l))) $(wildcard spec/*/*.c spec/*/*/*.c)
lint-c: $(if $(shell command -v $(CLANG)),$(LINT_C:%=$(BUILD)/lint/%.ok))
	@$(if $^,:,echo "lint: no $(CLANG) or no C: nothing compiled with it")

$(BUILD)/lint/%.ok: % $(HEADERS) $(OUT)/flags
	@mkdir -p $(@D)
	$(Q)$(CLANG) -fsyntax-only $(LANGUAGE) $(WARNINGS) $(call cppflags,$<) $<
	@touch $@

# Each source's verdict is kept as a file: only what has changed is looked at again.
# gcc's analyzer and cppcheck are quick; clang's is not: `make test` shows it what
# parses the outside's bytes, `make analyze` everything, the C of spec/ too. What has no
# system under it must also compile for a machine of 32 bits.
ANALYZE      ?= $(foreach l,$(LAYERS),$(SRC_$(l)))
ANALYZE_SPEC ?= $(filter-out $(if $(filter crypto,$(ACCEL_BY)),,%/tls_load.c %/tls_idle.c), \
    $(wildcard spec/*/*.c spec/*/*/*.c))
ANALYZE_FAST := $(filter src/base/% src/proto/%,$(ANALYZE))
ANALYZE_RULES := $(HEADERS) $(wildcard spec/checks/analyze*) .clang-tidy $(OUT)/flags
verdicts = $(1:%=$(BUILD)/analyze/%.gcc) $(2:%=$(BUILD)/analyze/%.tidy) \
    $(ANALYZE_FAST:%=$(BUILD)/analyze/%.m32) $(BUILD)/analyze/src.cppcheck

.PHONY: analyze-all analyze-some
analyze-some: $(call verdicts,$(ANALYZE),$(ANALYZE_FAST))
analyze-all: $(call verdicts,$(ANALYZE) $(ANALYZE_SPEC),$(ANALYZE) $(ANALYZE_SPEC)) \
    $(BUILD)/analyze/spec.cppcheck
	@sh spec/checks/analyze_stale.sh spec/checks/analyze.allow $(^:%=%.found)

ANALYZE_ONE = @mkdir -p $(@D); sh spec/checks/analyze.sh
$(BUILD)/analyze/%.gcc: % $(ANALYZE_RULES)
	$(ANALYZE_ONE) gcc $@ $< -- $(LANGUAGE) $(call cppflags,$<)

$(BUILD)/analyze/%.tidy: % $(ANALYZE_RULES)
	$(ANALYZE_ONE) tidy $@ $< -- $(LANGUAGE) $(call cppflags,$<)

$(BUILD)/analyze/%.m32: % $(ANALYZE_RULES)
	$(ANALYZE_ONE) m32 $@ $< -- $(LANGUAGE) $(filter-out -Werror,$(WARNINGS)) $(call cppflags,$<)

$(BUILD)/analyze/src.cppcheck: $(ANALYZE) $(ANALYZE_RULES)
	$(ANALYZE_ONE) cppcheck $@ $(ANALYZE) -- -D_GNU_SOURCE -DRW_VERSION='"$(VERSION)"' -Isrc

$(BUILD)/analyze/spec.cppcheck: $(ANALYZE_SPEC) $(ANALYZE_RULES)
	$(ANALYZE_ONE) cppcheck $@ $(ANALYZE_SPEC) -- -D_GNU_SOURCE -Isrc -Ispec

deps-info: ## where each library comes from
	@$(foreach d,$(DEPS),printf '%-8s %s\n' '$(d)' '$($(d)_ORIGIN)';)
	@printf '%-8s %s\n' 'TLS by' 'mbedtls $(ACCEL_BY:cpu=processor)'

install: TO = $(DESTDIR)$(PREFIX)
install: all ## to PREFIX (/usr/local), below DESTDIR
	install -d $(TO)/bin $(TO)/include \
	    $(TO)/lib/pkgconfig $(TO)/share/ropewalk/apps
	install -m 755 $(BUILD)/ropewalk $(TO)/bin
	install -m 644 $(BUILD)/libropewalk.a $(TO)/lib
	install -m 644 src/ropewalk.h $(TO)/include
	set -- apps/*.lua; test ! -e "$$1" || \
	    install -m 644 "$$@" $(TO)/share/ropewalk/apps
	printf '%s\n' 'Name: ropewalk' 'Description: embeddable network server' \
	    'Version: $(VERSION)' 'Cflags: -I$(PREFIX)/include' \
	    'Libs: -L$(PREFIX)/lib -lropewalk $(filter-out %.a,$(CORE_LIBS)) $(strip $(DEPS_NEEDS))' \
	    >$(TO)/lib/pkgconfig/ropewalk.pc

endif
