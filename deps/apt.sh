# SPDX-License-Identifier: MIT
# Sourced by fetch.sh and llhttp.sh: apt on a state directory of our own.
#
# apt already knows how to check a signature, an index and a file, so it does
# the downloading; but it is pointed at a private directory ($DEPS_STATE), so
# nothing of the system's own apt is written, no root is needed and the suites
# may be newer than the system's. The mirror is the one the machine's apt is
# configured with (or $DEPS_MIRROR); no host is named here.
#
#   apt_open deb-src|deb   make the state usable for source or binary packages
#   apt_refresh            fetch its indexes again
#   apt_fetch ARGS…        `apt-get ARGS` in the current directory, with retries
#   papt COMMAND ARGS…     any apt command on the private state

: "${DEPS_STATE:?}" "${DEPS_SUITES:=trixie forky sid}"
DEPS_KEYRING=${DEPS_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# A mirror may be a frozen snapshot, whose lists have expired: the signature
# still vouches for the bytes, and the minimum version for their age.
papt() {
    papt_command=$1; shift
    "$papt_command" -q=2 \
        -o "Dir::Etc::sourcelist=$apt_state/list.sources" \
        -o "Dir::Etc::sourceparts=$apt_state/none" \
        -o "Dir::State=$apt_state" -o "Dir::State::Lists=$apt_state/lists" \
        -o "Dir::State::status=$apt_state/status" \
        -o "Dir::Cache=$apt_state/cache" \
        -o APT::Sandbox::User=root -o Acquire::Languages=none \
        -o Acquire::Check-Valid-Until=false -o Acquire::Retries=2 \
        -o Acquire::http::Timeout=30 \
        -o Acquire::https::Timeout=30 "$@"
}

# The first repository that the machine's own apt has under this label. Labels
# are known only once indexes were fetched; where the system's were wiped (small
# containers), fetch the release files of the same sources privately.
apt_mirror() {
    apt_targets() {
        apt-get "$@" indextargets --format '$(REPO_URI)' \
            'Created-By: Packages' 'Origin: Debian' "Label: $label" \
            2>/dev/null | head -n 1
    }
    label=$1
    found=$(apt_targets)
    if [ -z "$found" ]; then
        own=$apt_state/system
        mkdir -p "$own/lists/partial" "$own/cache/archives/partial"
        : >"$own/status"
        set -- -o "Dir::State=$own" -o "Dir::State::Lists=$own/lists" \
            -o "Dir::State::status=$own/status" -o "Dir::Cache=$own/cache" \
            -o APT::Sandbox::User=root
        [ -n "$(ls "$own/lists" | grep Release)" ] ||
            apt-get -qq "$@" update >/dev/null 2>&1 || :
        found=$(apt_targets "$@")
    fi
    echo "$found"
}

apt_open() {
    command -v apt-get >/dev/null || {
        echo "this system has no apt-get to fetch signed source with" >&2
        return 1
    }
    mkdir -p "$DEPS_STATE"
    apt_state=$(cd "$DEPS_STATE" && pwd)/$1
    [ -s "$apt_state/list.sources" ] && return 0
    mkdir -p "$apt_state/none" "$apt_state/lists/partial" \
        "$apt_state/cache/archives/partial"
    : >"$apt_state/status"
    mirror=${DEPS_MIRROR:-$(apt_mirror Debian)}
    security=${DEPS_SECURITY_MIRROR:-$(apt_mirror Debian-Security)}
    [ -n "$mirror" ] || {
        echo "no Debian mirror in apt's configuration (set DEPS_MIRROR)" >&2
        return 1
    }
    [ -s "$DEPS_KEYRING" ] || {
        echo "$DEPS_KEYRING is missing (package debian-archive-keyring)" >&2
        return 1
    }
    {
        apt_stanza "$1" "$mirror" "$DEPS_SUITES"
        [ -z "$security" ] ||
            apt_stanza "$1" "$security" "${DEPS_SUITES%% *}-security"
    } >"$apt_state/new.sources"
    mv "$apt_state/new.sources" "$apt_state/list.sources"
    apt_refresh || { rm -f "$apt_state/list.sources"; return 1; }
}

apt_stanza() {
    printf 'Types: %s\nURIs: %s\nSuites: %s\nComponents: main\n' "$1" "$2" "$3"
    printf 'Signed-By: %s\n\n' "$DEPS_KEYRING"
}

# A suite that is gone makes `update` fail while the others are there: what
# counts is whether any index of packages arrived.
apt_refresh() {
    for pause in 2 6 0; do
        if papt apt-get update >"$apt_state/update.log" 2>&1; then break; fi
        sleep "$pause"
    done
    ls "$apt_state/lists" | grep -q -E '_(Sources|Packages)' && return 0
    echo "the package indexes could not be fetched:" >&2
    tail -n 4 "$apt_state/update.log" >&2
    return 1
}

# 404 means a hole on the mirror: asking again is no use. Anything else might.
apt_fetch() {
    for pause in 1 4 0; do
        papt apt-get "$@" >"$apt_state/fetch.log" 2>&1 && return 0
        grep -q -E '404|Unable to find|Can not find' "$apt_state/fetch.log" &&
            return 1
        sleep "$pause"
    done
    return 1
}
