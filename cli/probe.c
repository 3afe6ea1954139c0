/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* memferry probe: what this kernel and this user can do. */
#include <stdio.h>

#include <memferry.h>

#include "cli.h"

int mf_cmd_probe(int argc, char **argv)
{
	struct mf_probe_item item = { .size = sizeof(item) };
	struct mf_probe *probe;

	if (argc > 1) {
		fprintf(stderr, "memferry probe: takes no argument '%s'\n", argv[1]);
		return MF_EXIT_USAGE;
	}
	if (mf_probe_run(&probe)) {
		fprintf(stderr, "memferry probe: %s\n", mf_error());
		return MF_EXIT_FAILURE;
	}
	for (size_t i = 0; i < mf_probe_count(probe); i++)
		if (mf_probe_item_at(probe, i, &item) == 0)
			printf("%-28s %s\n", item.name, mf_probe_state_name(item.state));
	mf_probe_free(probe);
	return MF_EXIT_OK;
}
