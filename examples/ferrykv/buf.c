// SPDX-License-Identifier: LGPL-2.1-or-later
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

#define KEEP ((size_t)64 << 10) /* a buffer up to this size is kept for the next use */

char *buf_reserve(struct buf *b, size_t len)
{
	size_t room = b->room ? b->room : 4096;

	if (b->room - b->end >= len)
		return b->data + b->end;
	if (b->start && b->start >= buf_len(b)) {
		memcpy(b->data, buf_ptr(b), buf_len(b));
		b->end -= b->start;
		b->start = 0;
	}
	while (room - b->end < len)
		room *= 2;
	if (room > b->room) {
		b->data = realloc(b->data, room);
		if (!b->data) {
			fputs("ferrykv: out of memory for a client's buffer\n", stderr);
			abort();
		}
		b->room = room;
	}
	return b->data + b->end;
}

void buf_added(struct buf *b, size_t len)
{
	b->end += len;
}

void buf_put(struct buf *b, const void *data, size_t len)
{
	if (!len)
		return;
	memcpy(buf_reserve(b, len), data, len);
	b->end += len;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf_reserve(b, 256), 256, fmt, ap);
	va_end(ap);
	if (n >= 256) {
		va_start(ap, fmt);
		vsnprintf(buf_reserve(b, (size_t)n + 1), (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->end += (size_t)n;
}

void buf_take(struct buf *b, size_t len)
{
	b->start += len;
	if (b->start < b->end)
		return;
	b->start = b->end = 0;
	if (b->room > KEEP)
		buf_free(b);
}

void buf_free(struct buf *b)
{
	free(b->data);
	*b = (struct buf){};
}
