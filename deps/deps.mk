# SPDX-License-Identifier: MIT
# The libraries Ropewalk stands on, each linked statically. Included by the top
# Makefile, which sets BUILD, VARIANT and DEPS_FLAGS (the variant's flags: a
# sanitizer wants its libraries instrumented too).
#
#   build/deps/NAME.mk        where NAME comes from: written once by resolve.sh,
#                             again when its lines in versions.mk change
#   build/deps/src/NAME/      its source, if it is not the system's
#   build/deps/VARIANT/       objects and libNAME.a
#
# To add a library: its pins in versions.mk, its name in DEPS, and here
#   NAME_INCLUDE  folders of the tree that its users see
#   NAME_FILES    the files to compile
#   NAME_CFLAGS   flags for compiling it
#   NAME_NEEDS    what a program using it has to link besides
# after which $(NAME_CPPFLAGS), $(NAME_LIBS) and $(NAME_NEEDS) are there to use.

# the slowest to compile first: two jobs then end together
DEPS := mbedtls yyjson ares lua uv

lua_INCLUDE := src
lua_FILES    = $(filter-out %/lua.c %/luac.c,$(wildcard $(lua_TREE)/src/*.c))
lua_CFLAGS  := -DLUA_USE_LINUX -Ideps/config/lua -DLUA_USER_H='"ropewalk_lua.h"'
lua_CONFIG  := deps/config/lua/ropewalk_lua.h
# the system's has a seed of its own, and deeper stacks: it serves, but cannot be simulated with
lua_FROM     = $(if $(filter auto,$(DEPS_FROM)),bundled,$(DEPS_FROM))
lua_NEEDS   := -lm -ldl

uv_INCLUDE  := include
include deps/config/uv.mk
uv_FILES     = $(wildcard $(uv_NAMES:%=$(uv_TREE)/src/%.c))
uv_CFLAGS    = -I$(uv_TREE)/src -D_FILE_OFFSET_BITS=64 -D_LARGEFILE_SOURCE
uv_NEEDS    := -lpthread -ldl -lrt

# Its own configure is not run: deps/config/ares has what that would write.
ares_INCLUDE := include
ares_FILES   = $(wildcard $(ares_TREE)/src/lib/*.c $(ares_TREE)/src/lib/*/*.c)
ares_CFLAGS  = -DHAVE_CONFIG_H -I$(ares_TREE)/src/lib -I$(ares_TREE)/src/lib/include
ares_CPPFLAGS_EXTRA := -DCARES_STATICLIB -isystem deps/config/ares

mbedtls_INCLUDE := include
mbedtls_FILES = $(wildcard $(mbedtls_TREE)/library/*.c)
mbedtls_CFLAGS = -I$(mbedtls_TREE)/library
mbedtls_CPPFLAGS_EXTRA := -isystem deps/config/mbedtls \
    -DMBEDTLS_CONFIG_FILE='"ropewalk_mbedtls.h"'
# what is compiled in, and the seams that accelerators fill, are our choice
mbedtls_FROM = bundled
mbedtls_NEEDS := -lpthread
mbedtls_CONFIG := deps/config/mbedtls/ropewalk_mbedtls.h

yyjson_INCLUDE := src
yyjson_CFLAGS := -g1
yyjson_FILES = $(yyjson_TREE)/src/yyjson.c
yyjson_NEEDS := -lm

# Accelerators of mbedTLS (src/io/accel_*.c) stand on it, if there are any.
crypto_FROM = system
ifneq ($(filter crypto,$(ACCEL_BY)),)
    DEPS += crypto
endif

# llhttp, the oracle for HTTP when fuzzing, may be absent; `LLHTTP=` does without
# it on purpose.
LLHTTP := auto
ifeq ($(VARIANT),fuzz)
    DEPS += $(if $(LLHTTP),llhttp)
endif
llhttp_INCLUDE := .
llhttp_FILES = $(wildcard $(llhttp_TREE)/*.c)
llhttp_CPPFLAGS_EXTRA := -DHAVE_LLHTTP

# auto: the system's library when new enough, else built here; or system, or
# bundled, which insist.
DEPS_FROM := auto
DEPS_DIR := $(BUILD)/deps

include deps/versions.mk

# a bug of mbedTLS, see there
mbedtls_MEND := deps/config/mbedtls/ssl_tls12_client.h
$(DEPS_DIR)/$(VARIANT)/mbedtls/library/ssl_tls12_client.o: mbedtls_CFLAGS += -include $(mbedtls_MEND)
$(DEPS_DIR)/$(VARIANT)/mbedtls/library/ssl_tls12_client.o: $(mbedtls_MEND)

# The answer is remade when the question differs from the one it answered.
define dep_resolve
$(1)_ASKED :=
include $(DEPS_DIR)/$(1).mk
$(1)_QUESTION := $(strip $(or $($(1)_FROM),$(DEPS_FROM)) $($(1)_MIN) $($(1)_PACKAGE) $($(1)_SHA256))
ifneq ($$($(1)_QUESTION),$$($(1)_ASKED))
$(DEPS_DIR)/$(1).mk: FORCE
endif
$(DEPS_DIR)/$(1).mk:
	@DEPS_STATE=$(DEPS_DIR)/apt DEPS_FROM=$(or $($(1)_FROM),$(DEPS_FROM)) DEPS_CC='$(CC)' \
	    sh deps/resolve.sh $$@ $(1) $$($(1)_MIN) '$$($(1)_PC)' \
	    '$$($(1)_PACKAGE)' '$$($(1)_QUESTION)' $$($(1)_SHA256)
endef

define dep_build
ifneq ($$($(1)_TREE),)
$(1)_OBJECTS := $$(patsubst $$($(1)_TREE)/%.c,$(DEPS_DIR)/$(VARIANT)/$(1)/%.o,$$($(1)_FILES))
$(1)_CPPFLAGS := $$(addprefix -isystem $$($(1)_TREE)/,$$($(1)_INCLUDE)) \
    $$($(1)_CPPFLAGS_EXTRA)
$(1)_LIBS := $(DEPS_DIR)/$(VARIANT)/lib$(1).a
$$($(1)_LIBS): $$($(1)_OBJECTS)
	@echo "AR   $$@"
	$$(Q)rm -f $$@ && $$(AR) rcsD $$@ $$^
$(DEPS_DIR)/$(VARIANT)/$(1)/%.o: $$($(1)_TREE)/%.c $(DEPS_DIR)/$(1).mk $$($(1)_CONFIG) $(OUT)/deps-flags
	@mkdir -p $$(@D)
	@echo "CC   $$@"
	$$(Q)$$(CC) $$(DEPS_FLAGS) $$($(1)_CFLAGS) $$($(1)_CPPFLAGS_EXTRA) \
	    $$(addprefix -I$$($(1)_TREE)/,$$($(1)_INCLUDE)) -c $$< -o $$@
endif
DEPS_NEEDS += $$($(1)_NEEDS)
# of the libraries, those that are files here: what a program depends on
DEPS_FILES += $$(filter $(DEPS_DIR)/%,$$($(1)_LIBS))
endef
