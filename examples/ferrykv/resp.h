/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* RESP 2: commands from bytes, replies to bytes. */
#ifndef FERRYKV_RESP_H
#define FERRYKV_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define RESP_ARGS_MAX (1 << 20)
#define RESP_BULK_MAX ((size_t)512 << 20)
#define RESP_LINE_MAX ((size_t)64 << 10)

struct arg {
	const char *p;
	size_t len;
};

/*
 * How far one command has been read. It stands on offsets into the buffer and picks up
 * where it stopped, so that a command that comes in many pieces costs no more than one that
 * comes whole; thrown away, parsing starts over at the front of the buffer.
 */
struct resp {
	size_t pos;   /* read so far, from the front of the buffer */
	size_t bulk;  /* length of the bulk being read + 1; 0: its header is to come */
	int expected; /* number of arguments; 0: the header is to come */
	int argc;
	int room;
	size_t *at;	  /* offset of each argument */
	struct arg *argv; /* filled in when the command is complete */
	const char *error;
};

enum resp_result {
	RESP_MORE = 0,
	RESP_COMMAND = 1, /* argc (may be 0) and argv are set; take r->pos bytes afterwards */
	RESP_BAD = 2,	  /* r->error says what; nothing further can be read */
};

enum resp_result resp_parse(struct resp *r, const struct buf *in);
/* The number of bytes that are sure to be missing before the command can be complete. */
size_t resp_missing(const struct resp *r, const struct buf *in);
void resp_next(struct resp *r); /* ready for the next command */
void resp_free(struct resp *r);

bool resp_int(const struct arg *a, int64_t *ret_value);

void reply_simple(struct buf *out, const char *text);
void reply_error(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reply_int(struct buf *out, int64_t value);
void reply_bulk(struct buf *out, const void *data, size_t len);
void reply_nil(struct buf *out);
void reply_array(struct buf *out, size_t n);

#endif /* FERRYKV_RESP_H */
