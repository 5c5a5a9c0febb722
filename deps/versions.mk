# SPDX-License-Identifier: MIT
# What each library must be. NAME_MIN is the oldest that works, NAME_PC its
# pkg-config names, NAME_PACKAGE Debian's source package, NAME_SHA256 the
# release tarballs known to be good (for DEPS_TARBALLS). How each is compiled
# stands in deps.mk.

lua_MIN       := 5.4.6
lua_PC        := lua5.4 lua-5.4
lua_PACKAGE   := lua5.4
lua_SHA256    := 9fbf5e28ef86c69858f6d3d34eccc32e911c1a28b4120ff3e84aaa70cfbf1e30

uv_MIN        := 1.48
uv_PC         := libuv
uv_PACKAGE    := libuv1
uv_SHA256     := ec9de6ecf2a780fd2afb3b007947d2cd57c3bb17f3b9e721a66774980d35cd4d

ares_MIN      := 1.34
ares_PC       := libcares
ares_PACKAGE  := c-ares
ares_SHA256   := 7d935790e9af081c25c495fd13c2cfcda4792983418e96358ef6e7320ee06346

yyjson_MIN    := 0.8
yyjson_PC     := yyjson
yyjson_PACKAGE := yyjson
yyjson_SHA256 := ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a

mbedtls_MIN   := 3.6.2
mbedtls_PC    := mbedtls
mbedtls_PACKAGE := mbedtls
mbedtls_SHA256 := 8fb65fae8dcae5840f793c0a334860a411f884cc537ea290ce1c52bb64ca007a

# The system's or none.
crypto_MIN    := 3.0
crypto_PC     := libcrypto

# Fuzzing only, and only when it can be had: the oracle for our HTTP/1 parser.
llhttp_MIN    := 9.0
llhttp_PC     := libllhttp llhttp
