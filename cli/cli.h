/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The subcommands of memferry(1). One file per subcommand; a new one adds its prototype
 * here, its line to the table in main.c and its sources to its meson.build.
 */
#ifndef MF_CLI_H
#define MF_CLI_H

/* exit codes of every subcommand */
#define MF_EXIT_OK 0
#define MF_EXIT_FAILURE 1
#define MF_EXIT_USAGE 2

struct mf_cmd {
	const char *name;
	const char *summary; /* one line for memferry --help */
	/* argv[0] is "memferry NAME"; parse with getopt_long() from optind 1 */
	int (*run)(int argc, char **argv);
};

int mf_cmd_bench(int argc, char **argv);
int mf_cmd_demo(int argc, char **argv);
int mf_cmd_probe(int argc, char **argv);

#endif /* MF_CLI_H */
