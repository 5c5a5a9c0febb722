/* SPDX-License-Identifier: MIT */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdio.h>

/* Each takes its name as argv[0] and returns the exit status. */
int cli_run(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_test(int argc, char **argv);
int cli_cert(int argc, char **argv);
int cli_limits(int argc, char **argv);
int cli_version(int argc, char **argv);
int cli_help(int argc, char **argv);

/* The long help of a command. */
void cli_explain(const char *command, FILE *out);

#endif
