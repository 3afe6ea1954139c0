// SPDX-License-Identifier: LGPL-2.1-or-later
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "resp.h"

static enum resp_result bad(struct resp *r, const char *error)
{
	r->error = error;
	return RESP_BAD;
}

static void add_arg(struct resp *r, size_t at, size_t len)
{
	if (r->argc == r->room) {
		r->room = r->room ? 2 * r->room : 8;
		r->at = realloc(r->at, (size_t)r->room * sizeof(*r->at));
		r->argv = realloc(r->argv, (size_t)r->room * sizeof(*r->argv));
		if (!r->at || !r->argv) {
			fputs("ferrykv: out of memory for a command's arguments\n", stderr);
			abort();
		}
	}
	r->at[r->argc] = at;
	r->argv[r->argc++].len = len;
}

/* The line at r->pos without its end; r->pos moves behind it. NULL: not there yet. */
static const char *line(struct resp *r, const struct buf *in, size_t *ret_len)
{
	const char *start = buf_ptr(in) + r->pos;
	const char *end = memchr(start, '\n', buf_len(in) - r->pos);

	if (!end)
		return NULL;
	r->pos += (size_t)(end - start) + 1;
	*ret_len = (size_t)(end - start);
	if (*ret_len && end[-1] == '\r')
		(*ret_len)--;
	return start;
}

/* A number behind a type byte, as in "*3" or "$5". */
static bool count_in(const char *text, size_t len, int64_t *ret_n)
{
	struct arg a = { text + 1, len - 1 };

	return len > 1 && resp_int(&a, ret_n);
}

static enum resp_result inline_command(struct resp *r, const struct buf *in, const char *text,
				       size_t len)
{
	size_t i = 0, from;

	while (i < len) {
		while (i < len && isspace((unsigned char)text[i]))
			i++;
		from = i;
		while (i < len && !isspace((unsigned char)text[i]))
			i++;
		if (i > from)
			add_arg(r, (size_t)(text - buf_ptr(in)) + from, i - from);
	}
	return RESP_COMMAND;
}

static enum resp_result header(struct resp *r, const struct buf *in)
{
	const char *text;
	int64_t n;
	size_t len;

	text = line(r, in, &len);
	if (!text)
		return buf_len(in) > RESP_LINE_MAX ? bad(r, "too big inline request")
						   : RESP_MORE;
	if (len == 0 || text[0] != '*')
		return inline_command(r, in, text, len);
	if (!count_in(text, len, &n) || n > RESP_ARGS_MAX)
		return bad(r, "invalid multibulk length");
	r->expected = n > 0 ? (int)n : 0;
	return RESP_COMMAND;
}

static enum resp_result bulk(struct resp *r, const struct buf *in)
{
	const char *text;
	int64_t n;
	size_t len;

	if (!r->bulk) {
		text = line(r, in, &len);
		if (!text)
			return buf_len(in) - r->pos > RESP_LINE_MAX
				       ? bad(r, "too big bulk count string")
				       : RESP_MORE;
		if (len == 0 || text[0] != '$')
			return bad(r, "expected '$'");
		if (!count_in(text, len, &n) || n < 0 || n > (int64_t)RESP_BULK_MAX)
			return bad(r, "invalid bulk length");
		r->bulk = (size_t)n + 1;
	}
	len = r->bulk - 1;
	if (buf_len(in) - r->pos < len + 2)
		return RESP_MORE;
	if (memcmp(buf_ptr(in) + r->pos + len, "\r\n", 2))
		return bad(r, "expected CRLF behind a bulk");
	add_arg(r, r->pos, len);
	r->pos += len + 2;
	r->bulk = 0;
	return RESP_COMMAND;
}

enum resp_result resp_parse(struct resp *r, const struct buf *in)
{
	enum resp_result result = RESP_COMMAND;

	if (!r->expected)
		result = header(r, in);
	while (result == RESP_COMMAND && r->argc < r->expected)
		result = bulk(r, in);
	if (result != RESP_COMMAND)
		return result;
	for (int i = 0; i < r->argc; i++)
		r->argv[i].p = buf_ptr(in) + r->at[i];
	return RESP_COMMAND;
}

size_t resp_missing(const struct resp *r, const struct buf *in)
{
	size_t need = r->pos + (r->bulk ? r->bulk + 1 : 1);

	return need > buf_len(in) ? need - buf_len(in) : 1;
}

void resp_next(struct resp *r)
{
	r->pos = r->bulk = 0;
	r->expected = r->argc = 0;
	if (r->room > 1024)
		resp_free(r);
}

void resp_free(struct resp *r)
{
	free(r->at);
	free(r->argv);
	*r = (struct resp){};
}

bool resp_int(const struct arg *a, int64_t *ret_value)
{
	uint64_t v = 0, limit = INT64_MAX;
	size_t i = 0;

	if (a->len && a->p[0] == '-') {
		limit++;
		i++;
	}
	/* as Redis has it: no sign but '-', no leading zeros, so that what INCR writes is
	 * the only way to write a number */
	if (i >= a->len || a->len - i > 19 || (a->p[i] == '0' && a->len > 1))
		return false;
	for (; i < a->len; i++) {
		if (a->p[i] < '0' || a->p[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(a->p[i] - '0');
	}
	if (v > limit)
		return false;
	*ret_value = a->p[0] == '-' ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}

void reply_simple(struct buf *out, const char *text)
{
	buf_printf(out, "+%s\r\n", text);
}

void reply_error(struct buf *out, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++) /* it may quote the client: keep it one line */
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	buf_printf(out, "-%s\r\n", text);
}

void reply_int(struct buf *out, int64_t value)
{
	buf_printf(out, ":%lld\r\n", (long long)value);
}

void reply_bulk(struct buf *out, const void *data, size_t len)
{
	buf_reserve(out, len + 32);
	buf_printf(out, "$%zu\r\n", len);
	buf_put(out, data, len);
	buf_put(out, "\r\n", 2);
}

void reply_nil(struct buf *out)
{
	buf_put(out, "$-1\r\n", 5);
}

void reply_array(struct buf *out, size_t n)
{
	buf_printf(out, "*%zu\r\n", n);
}
