# SPDX-License-Identifier: MIT
# libuv's own list for Linux (its CMakeLists.txt), 1.48 to 1.5x: names that a
# version does not have drop out, because deps.mk keeps only what exists.

uv_NAMES := \
    fs-poll idna inet random strscpy strtok thread-common threadpool timer \
    uv-common uv-data-getter-setters version \
    $(addprefix unix/, \
        async core dl fs getaddrinfo getnameinfo linux loop loop-watcher pipe \
        poll process procfs-exepath proctitle random-devurandom \
        random-getrandom random-sysctl-linux signal stream tcp thread tty udp)
