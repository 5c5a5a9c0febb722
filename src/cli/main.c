/* SPDX-License-Identifier: MIT */
/* The command line: which command, and nothing else. Each command is one
 * function over the public header. Exit status: 0 a clean end, 1 the script
 * (or a spec) failed, 2 usage. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct command {
    const char *name, *synopsis, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "run APP [OPTION]...", "load a script and serve", cli_run},
    {"check", "check APP [OPTION]...", "run a script's initialisers, bind nothing", cli_check},
    {"test", "test [OPTION]... [PATH]...", "run specs with busted, inside the server", cli_test},
    {"cert", "cert WHAT [OPTION]...", "make and look at certificates", cli_cert},
    {"limits", "limits", "list every limit with its default", cli_limits},
    {"version", "version", "print the version", cli_version},
    {"help", "help [COMMAND]", "explain a command", cli_help},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const struct command *find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static void usage(FILE *out) {
    fputs("usage: ropewalk COMMAND [ARGUMENT]...\n\n", out);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-28s %s\n", commands[i].synopsis, commands[i].summary);
    fputs("\n`ropewalk help COMMAND` says more.\n", out);
}

int cli_help(int argc, char **argv) {
    if (argc < 2) {
        usage(stdout);
        return 0;
    }
    const struct command *c = find(argv[1]);
    if (!c) {
        fprintf(stderr, "ropewalk: no command '%s'\n", argv[1]);
        return 2;
    }
    printf("usage: ropewalk %s\n\n%s.\n", c->synopsis, c->summary);
    cli_explain(c->name, stdout);
    return 0;
}

/* Or the first socket would be what some library takes for standard error. */
static void open_standard_descriptors(void) {
    int fd;
    do fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) close(fd);
}

/* The status, unless what was said has not arrived: on a disk that is full, say. */
static int finish(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    perror("ropewalk: standard output");
    return status ? status : 1;
}

int main(int argc, char **argv) {
    open_standard_descriptors();
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    const struct command *c = find(name);
    if (!c) {
        fprintf(stderr, "ropewalk: no command '%s'\n\n", name);
        usage(stderr);
        return 2;
    }
    if (argc > 2 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0))
        return finish(cli_help(2, (char *[]){"help", (char *)c->name}));
    return finish(c->run(argc - 1, argv + 1));
}
