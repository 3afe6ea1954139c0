/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files about handing over share. */
#ifndef FERRYKV_HANDOVER_H
#define FERRYKV_HANDOVER_H

#include <memferry.h>

#include "server.h"

struct handover {
	struct watch source_watch, drain_watch;
	struct mf_source *source;
	struct mf_successor *successor; /* while it drains */
	struct mf_stats stats;		/* of the hand-over that made us */
	bool is_successor, listening;
	uint64_t count; /* hand-overs in this line of servers */
	int64_t give_up_ms;
	uint8_t token[MF_TOKEN_BYTES]; /* as the token file has it */
};

/* "ferrykv: @what: <what the library says>" on stderr; returns -1. */
int complain(const char *what);

/* state.c: what is not in the arena */
int state_save(const struct server *srv, struct mf_state *state);
/* Takes the descriptors too; has no effect that anyone outside could see. */
int state_load(struct server *srv, const void *data, size_t len);

/* token.c: the secret of --token-file */
int token_write(struct server *srv);
int token_read(const char *path, uint8_t ret_token[MF_TOKEN_BYTES]);

#endif /* FERRYKV_HANDOVER_H */
