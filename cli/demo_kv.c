/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "demo_kv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int kv_open(struct kv *kv, const char *path)
{
	struct timeval limit = { .tv_sec = KV_TIMEOUT_S };
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int r;

	*kv = (struct kv){ .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) };
	if (kv->fd < 0)
		return -errno;
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	if (setsockopt(kv->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(kv->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(kv->fd, (struct sockaddr *)&sa, sizeof(sa))) {
		r = -errno;
		kv_close(kv);
		return r;
	}
	return 0;
}

void kv_close(struct kv *kv)
{
	if (kv->fd >= 0)
		close(kv->fd);
	free(kv->in);
	free(kv->out);
	*kv = (struct kv){ .fd = -1 };
}

static char *out_room(struct kv *kv, size_t len)
{
	size_t room = kv->out_room ? kv->out_room : 65536;
	char *p;

	while (room < kv->out_len + len)
		room *= 2;
	if (room > kv->out_room) {
		p = realloc(kv->out, room);
		if (!p)
			return NULL;
		kv->out = p;
		kv->out_room = room;
	}
	return kv->out + kv->out_len;
}

char *kv_put_set_room(struct kv *kv, const char *key, size_t len)
{
	char *p = out_room(kv, strlen(key) + len + 128), *value;
	int n;

	if (!p)
		return NULL;
	n = sprintf(p, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n", strlen(key), key, len);
	value = p + n;
	memcpy(value + len, "\r\n", 2);
	kv->out_len += (size_t)n + len + 2;
	return value;
}

int kv_put_set(struct kv *kv, const char *key, const void *value, size_t len)
{
	char *p = kv_put_set_room(kv, key, len);

	if (!p)
		return -ENOMEM;
	memcpy(p, value, len);
	return 0;
}

int kv_put_get(struct kv *kv, const char *key)
{
	char *p = out_room(kv, strlen(key) + 64);

	if (!p)
		return -ENOMEM;
	kv->out_len +=
		(size_t)sprintf(p, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
	return 0;
}

int kv_put_word(struct kv *kv, const char *word)
{
	char *p = out_room(kv, strlen(word) + 64);

	if (!p)
		return -ENOMEM;
	kv->out_len += (size_t)sprintf(p, "*1\r\n$%zu\r\n%s\r\n", strlen(word), word);
	return 0;
}

static int socket_error(ssize_t n)
{
	if (n == 0)
		return -ECONNRESET;
	return errno == EAGAIN ? -ETIMEDOUT : -errno;
}

int kv_flush(struct kv *kv)
{
	size_t sent = 0;

	while (sent < kv->out_len) {
		ssize_t n = send(kv->fd, kv->out + sent, kv->out_len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return socket_error(n);
		sent += (size_t)n;
	}
	kv->out_len = 0;
	return 0;
}

static int fill(struct kv *kv)
{
	size_t room = kv->in_room ? kv->in_room : 262144;
	ssize_t n;
	char *p;

	if (kv->in_start) {
		memmove(kv->in, kv->in + kv->in_start, kv->in_end - kv->in_start);
		kv->in_end -= kv->in_start;
		kv->in_start = 0;
	}
	while (room - kv->in_end < 65536)
		room *= 2;
	if (room > kv->in_room) {
		p = realloc(kv->in, room);
		if (!p)
			return -ENOMEM;
		kv->in = p;
		kv->in_room = room;
	}
	do
		n = recv(kv->fd, kv->in + kv->in_end, room - kv->in_end, 0);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return socket_error(n);
	kv->in_end += (size_t)n;
	return 0;
}

/* Length of the line at the front, with its end. */
static int whole_line(struct kv *kv, size_t *ret_len)
{
	for (;;) {
		char *start = kv->in + kv->in_start;
		char *end = memchr(start, '\n', kv->in_end - kv->in_start);
		int r;

		if (kv->in_end > kv->in_start && end) {
			*ret_len = (size_t)(end - start) + 1;
			return *ret_len < 3 ? -EPROTO : 0;
		}
		r = fill(kv);
		if (r)
			return r;
	}
}

static int read_bulk(struct kv *kv, size_t header, struct kv_reply *ret)
{
	long len = strtol(kv->in + kv->in_start + 1, NULL, 10);
	int r;

	if (len < 0) {
		kv->in_start += header;
		*ret = (struct kv_reply){ KV_NIL, NULL, 0 };
		return 0;
	}
	while (kv->in_end - kv->in_start < header + (size_t)len + 2) {
		r = fill(kv);
		if (r)
			return r;
	}
	*ret = (struct kv_reply){ KV_BULK, kv->in + kv->in_start + header, (size_t)len };
	kv->in_start += header + (size_t)len + 2;
	return 0;
}

int kv_read(struct kv *kv, struct kv_reply *ret)
{
	size_t len;
	int r = whole_line(kv, &len);
	char kind;

	if (r)
		return r;
	kind = kv->in[kv->in_start];
	if (kind == KV_BULK)
		return read_bulk(kv, len, ret);
	if (kind != KV_STATUS && kind != KV_ERROR && kind != KV_INT)
		return -EPROTO;
	*ret = (struct kv_reply){ kind, kv->in + kv->in_start + 1, len - 3 };
	kv->in_start += len;
	return 0;
}

int kv_info(struct kv *kv, char *ret_text, size_t size)
{
	struct kv_reply reply;
	int r = kv_put_word(kv, "INFO");

	if (r == 0)
		r = kv_flush(kv);
	if (r == 0)
		r = kv_read(kv, &reply);
	if (r)
		return r;
	if (reply.kind != KV_BULK || reply.len >= size)
		return -EPROTO;
	memcpy(ret_text, reply.data, reply.len);
	ret_text[reply.len] = '\0';
	return 0;
}

int kv_info_number(const char *info, const char *name, double *ret_value)
{
	size_t len = strlen(name);
	const char *p = info;

	while (p && *p) {
		if (!strncmp(p, name, len) && p[len] == ':') {
			*ret_value = strtod(p + len + 1, NULL);
			return 0;
		}
		p = strchr(p, '\n');
		p += p != NULL;
	}
	return -ENOENT;
}
