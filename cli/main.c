/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memferry(1): finds the subcommand and hands it the rest of the command line. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include <memferry.h>

#include "cli.h"

static const struct mf_cmd commands[] = {
	{ "bench", "measure faults, bulk moves and hand-overs on this machine", mf_cmd_bench },
	{ "demo", "hand a loaded server over several times and check every value",
	  mf_cmd_demo },
	{ "probe", "what this kernel and this user can do", mf_cmd_probe },
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct option options[] = {
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{},
};

static void usage(FILE *out)
{
	fputs("usage: memferry [--help] [--version] COMMAND [OPTION...]\n\n"
	      "Moves private anonymous memory of a running process into a successor.\n\n"
	      "commands:\n",
	      out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("\n\"memferry COMMAND --help\" tells the options of a command.\n", out);
}

static int run_command(int argc, char **argv)
{
	static char name[32];

	for (size_t i = 0; i < N_COMMANDS; i++) {
		if (strcmp(argv[0], commands[i].name))
			continue;
		/* getopt_long() starts afresh, and complains in this name */
		snprintf(name, sizeof(name), "memferry %s", argv[0]);
		argv[0] = name;
		optind = 0;
		return commands[i].run(argc, argv);
	}
	fprintf(stderr, "memferry: there is no command '%s'; see memferry --help\n", argv[0]);
	return MF_EXIT_USAGE;
}

/* What was promised to a pipe or a file must have arrived there. */
static int finish(int status)
{
	if (fflush(stdout) || ferror(stdout)) {
		perror("memferry: writing the output");
		return status ? status : MF_EXIT_FAILURE;
	}
	return status;
}

int main(int argc, char **argv)
{
	int c;

	/* "+": stop at the command's name, what follows is the command's */
	while ((c = getopt_long(argc, argv, "+hV", options, NULL)) != -1) {
		switch (c) {
		case 'h':
			usage(stdout);
			return finish(MF_EXIT_OK);
		case 'V':
			printf("memferry %s\n", mf_version());
			return finish(MF_EXIT_OK);
		default:
			return MF_EXIT_USAGE;
		}
	}
	if (optind >= argc) {
		usage(stderr);
		return MF_EXIT_USAGE;
	}
	return finish(run_command(argc - optind, argv + optind));
}
