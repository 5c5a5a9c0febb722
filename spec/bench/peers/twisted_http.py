# SPDX-License-Identifier: MIT
# usage: python3 twisted_http.py PORT
import sys

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor  # noqa: E402
from twisted.web import resource, server  # noqa: E402


class Hello(resource.Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        return b"Hello from Ropewalk\n"


site = server.Site(Hello(), timeout=600)
site.log = lambda request: None  # the others write no access log either
reactor.listenTCP(int(sys.argv[1]), site, backlog=4096, interface="127.0.0.1")
reactor.run()
