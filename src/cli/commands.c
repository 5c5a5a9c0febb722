/* SPDX-License-Identifier: MIT */
#include <signal.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/options.h"

static struct rw *make(const char *command, const struct rw_options *options) {
    const char *error;
    struct rw *rw = rw_new(options, &error);
    if (!rw) fprintf(stderr, "ropewalk %s: %s\n", command, error);
    return rw;
}

/* It has ended: who asks for that now does not change how. */
static void ignore_signals(void) {
    sigset_t asked;
    sigemptyset(&asked);
    sigaddset(&asked, SIGHUP);
    sigaddset(&asked, SIGTERM);
    sigaddset(&asked, SIGINT);
    sigprocmask(SIG_BLOCK, &asked, NULL);
}

int cli_run(int argc, char **argv) {
    struct options o;
    int status = options_parse(&o, argc, argv);
    if (status) return status;
    o.rw.handle_signals = o.rw.raise_nofile = true;
    struct rw *rw = make("run", &o.rw);
    if (!rw) return 2;
    int rc = rw_run(rw);
    ignore_signals();
    rw_free(&rw);
    return rc < 0 ? 1 : rc;
}

int cli_check(int argc, char **argv) {
    struct options o;
    int status = options_parse(&o, argc, argv);
    if (status) return status;
    if (o.rw.watch) {
        fputs("ropewalk check: --watch is for run\n", stderr);
        return 2;
    }
    o.rw.handle_signals = true;
    struct rw *rw = make("check", &o.rw);
    if (!rw) return 2;
    int rc = rw_check(rw);
    rw_free(&rw);
    return rc < 0 ? 1 : rc;
}

int cli_test(int argc, char **argv) {
    const char *library;
    if (!options_library("test", &library)) return 2;
    struct rw *rw = make("test", &(struct rw_options){
        .handle_signals = true, .lua_path = library,
        .log_level = "warn"});
    if (!rw) return 2;
    int status = rw_test(rw, argc - 1, (const char *const *)argv + 1);
    rw_free(&rw);
    return status;
}

int cli_cert(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0) return cli_help(2, (char *[]){"help", argv[0]});
    const char *library;
    if (!options_library("cert", &library)) return 2;
    struct rw *rw = make("cert", &(struct rw_options){
        .handle_signals = true, .lua_path = library,
        .log_level = "none"});
    if (!rw) return 2;
    int status = rw_tool(rw, "cert", argc - 1, (const char *const *)argv + 1);
    rw_free(&rw);
    return status;
}

static int no_arguments(int argc, char **argv) {
    if (argc == 1) return 0;
    fprintf(stderr, "ropewalk %s: no argument is expected\n", argv[0]);
    return 2;
}

int cli_limits(int argc, char **argv) {
    if (no_arguments(argc, argv)) return 2;
    const char *name, *unit, *comment;
    unsigned long long value;
    for (size_t i = 0; rw_limit(i, &name, &unit, &value, &comment); i++)
        printf("%-26s %12llu %-12s %s\n", name, value, unit, comment);
    return 0;
}

int cli_version(int argc, char **argv) {
    if (no_arguments(argc, argv)) return 2;
    printf("ropewalk %s\ntls accelerated: %s\n", rw_version(), rw_accelerators());
    return 0;
}

static const char run_help[] =
    "\nThe script returns a service, or a list of services; see docs/writing-a-script.md.\n"
    "\n"
    "  --set KEY=VALUE        rw.config.KEY is the text VALUE\n"
    "  --limit NAME=NUMBER    another value for a limit (see ropewalk limits)\n"
    "  --watch                reload when a file of the script changes\n"
    "  --log-level LEVEL      debug, info (the default), warn, error, none\n"
    "  --log-format FORMAT    text (the default) or json\n"
    "  --log-file FILE        the log goes there; SIGUSR1 and SIGHUP open it anew\n"
    "  --log-rotate WHEN      a new file when it is so large (10M), or daily\n"
    "  --log-keep N           of old ones: FILE.1 and so on; 7\n"
    "  -- ARGUMENT...         what follows is for the script: rw.args\n"
    "\n"
    "SIGHUP reloads: the new script is staged and takes over if it is good; no connection\n"
    "is cut. SIGTERM and SIGINT stop: requests in flight are finished, for at most the\n"
    "limit drain_timeout; a second one does not wait.\n"
    "\n"
    "ROPEWALK_LUA_PATH=DIR uses the Lua library in DIR instead of the one built in.\n"
    "\n"
    "Exit status: 0 stopped cleanly, 1 the script failed at start, 2 usage; what the script\n"
    "says, if it does (rw.run, rw.reactor:stop).\n";

static const char check_help[] =
    "\nThe script is run as for `run`, with the same --set, --limit and log options, but\n"
    "nothing is bound and nothing is served; its self-tests (rw.on_check) are run.\n"
    "\n"
    "Exit status: 0 it is good, 1 it is not (the log says where), 2 usage, 128 and the\n"
    "signal's number if one ended it.\n";

static const char test_help[] =
    "\nRuns busted (of the system) in this program: `require \"ropewalk\"` works in specs, and\n"
    "they may wait for Deferreds anywhere. A PATH is a file, or a folder in which *_spec.lua\n"
    "is looked for; without one, spec/.\n"
    "\n"
    "  --filter PATTERN       the tests with such a name; --filter-out PATTERN, -t TAG\n"
    "  --timeout SECONDS      for each test: 120\n"
    "  -j N, --jobs N         so many processes at once, a file each; or auto; those with the\n"
    "                         tag #alone after the others, by themselves\n"
    "  --again                with -j: a file that fails runs once more, by itself\n"
    "  --shuffle, --seed N    in a random order, which is shown; the same again\n"
    "  -o text|tap|junit      what is written; --tap FILE, --junit FILE: a report besides\n"
    "  -c, --coverage         which lines ran; --coverage-file FILE (coverage.info)\n"
    "  --log LEVEL            show the log as it comes\n"
    "  --allow-leftovers      a test may leave timers, sockets and the like behind\n"
    "  --allow-errors         a test may log errors\n"
    "\n"
    "Other options are busted's own. The last line is `N passed, N failed, N skipped`.\n"
    "\n"
    "Exit status: 0 all passed, 1 not all, 2 usage, 128 and the signal's number if one\n"
    "ended it.\n";

static const char cert_help[] =
    "\n"
    "  self NAME...          a key and a certificate that it has signed itself\n"
    "  ca                    an authority of your own, for development: ca.pem, ca.key\n"
    "  issue NAME...         a certificate of that authority (--ca DIR)\n"
    "  csr NAME...           a request for another authority to sign\n"
    "  show FILE|HOST:PORT   what certificates say: of a file, of a server\n"
    "  fingerprint FILE      SHA-256 of the first certificate\n"
    "  check FILE|HOST:PORT  is it valid, and for how long? (--days N, 14)\n"
    "\n"
    "A NAME is a host name (also *.example.org), an address, a mail address or a URI.\n"
    "\n"
    "  --dir DIR             where files go, and their names there (NAME.pem, NAME.key)\n"
    "  --out-cert FILE, --out-key FILE, --out FILE (csr)\n"
    "  --key FILE            this key instead of a new one; show: does it belong to it?\n"
    "  --type TYPE           of a new key: p256 (the default), p384, rsa2048, rsa4096;\n"
    "                        --rsa is rsa2048\n"
    "  --days N              how long it is valid: 397, an authority 3650\n"
    "  --subject SUBJECT     \"O=Example, CN=example.org\"\n"
    "  --ca DIR|FILE         issue: DIR/ca.pem with its key; show, check: who is trusted\n"
    "  --client              issue, self: for a client; --email ADDRESS, --user NAME\n"
    "  --name HOST           show, check: the name that it has to be for\n"
    "  --force               replace files that there are\n"
    "\n"
    "Keys are written for their owner only (mode 0600). Nothing is overwritten unless\n"
    "--force is given.\n"
    "\n"
    "Exit status: 0 done, or it is good; 1 it failed, or it is not good; 2 usage.\n";

void cli_explain(const char *command, FILE *out) {
    if (strcmp(command, "run") == 0) fputs(run_help, out);
    else if (strcmp(command, "check") == 0) fputs(check_help, out);
    else if (strcmp(command, "test") == 0) fputs(test_help, out);
    else if (strcmp(command, "cert") == 0) fputs(cert_help, out);
}
