#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: testssl.sh ROPEWALK
#
# Runs testssl.sh on a web server with default settings and a certificate of an
# authority of its own; fails on each finding that is worse than INFO, but for
# what such an authority and a server without a name of the real world bring
# with them.
set -eu

ropewalk=$(realpath "$1")
port=${PORT:-18443}
dir=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || :; rm -rf "$dir"' EXIT
server=

"$ropewalk" cert ca --dir "$dir" >/dev/null
"$ropewalk" cert issue localhost 127.0.0.1 --ca "$dir" --days 90 --dir "$dir" >/dev/null
cat >"$dir/app.lua" <<'EOF'
local rw, web = require "ropewalk", require "ropewalk.web"
local app = web.Site()
app:get("/", function()
  return web.response(200, "hello\n", { ["strict-transport-security"] = "max-age=31536000" })
end)
return rw.server(("tls:127.0.0.1:%s:cert=%s/localhost.pem:key=%s/localhost.key")
  :format(rw.config.port, rw.config.dir, rw.config.dir), app)
EOF
"$ropewalk" run "$dir/app.lua" --set dir="$dir" --set port="$port" >"$dir/log" 2>&1 &
server=$!
sleep 1

testssl --quiet --warnings off --add-ca "$dir/ca.pem" --severity LOW \
    --jsonfile "$dir/report.json" "localhost:$port" || :
kill -0 "$server" || { cat "$dir/log"; exit 1; }

# one object a finding: id, severity, finding, each on a line of its own
awk -F '"' '
    $2 == "id" { id = $4 }
    $2 == "severity" { severity = $4 }
    $2 == "finding" && id !~ /^(cert_|DNS_|HTTP_|security_headers|ipv6|OCSP|overall_grade)/ {
        if (severity ~ /LOW|MEDIUM|HIGH|CRITICAL/) { print severity, id ": " $4; bad = 1 }
    }
    END { exit bad }
' "$dir/report.json"
