/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes that come in at one end and go out at the other. Out of memory ends the program. */
#ifndef FERRYKV_BUF_H
#define FERRYKV_BUF_H

#include <stddef.h>

struct buf {
	char *data;
	size_t start; /* first byte not taken yet */
	size_t end;   /* behind the last byte */
	size_t room;
};

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

static inline char *buf_ptr(const struct buf *b)
{
	return b->data + b->start;
}

/* Where @len more bytes may be written; buf_added() then counts those that were. */
char *buf_reserve(struct buf *b, size_t len);
void buf_added(struct buf *b, size_t len);
void buf_put(struct buf *b, const void *data, size_t len);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop @len bytes at the front; a big buffer that got empty is given back. */
void buf_take(struct buf *b, size_t len);
void buf_free(struct buf *b);

#endif /* FERRYKV_BUF_H */
