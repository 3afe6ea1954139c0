/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A client of ferrykv over its unix socket: blocking, with every wait bounded. */
#ifndef MF_DEMO_KV_H
#define MF_DEMO_KV_H

#include <stddef.h>
#include <stdint.h>

#define KV_TIMEOUT_S 30

struct kv {
	int fd;
	char *in; /* received; [in_start, in_end) has not been taken */
	size_t in_start, in_end, in_room;
	char *out; /* to be sent by kv_flush() */
	size_t out_len, out_room;
};

enum kv_kind {
	KV_STATUS = '+',
	KV_ERROR = '-',
	KV_INT = ':',
	KV_BULK = '$',
	KV_NIL = 'N',
};

struct kv_reply {
	enum kv_kind kind;
	const char *data; /* not terminated; good until the next reply is read */
	size_t len;
};

int kv_open(struct kv *kv, const char *path);
void kv_close(struct kv *kv);

/* Queue "SET key value", "GET key", or any one-word command. -ENOMEM. */
int kv_put_set(struct kv *kv, const char *key, const void *value, size_t len);
int kv_put_get(struct kv *kv, const char *key);
int kv_put_word(struct kv *kv, const char *word);
/* Room for a SET's value of @len bytes, to be filled in by the caller. NULL: no memory. */
char *kv_put_set_room(struct kv *kv, const char *key, size_t len);
int kv_flush(struct kv *kv);
/* -ECONNRESET: the server closed; -ETIMEDOUT; -EPROTO: not RESP. */
int kv_read(struct kv *kv, struct kv_reply *ret_reply);

/* INFO into @ret_text, terminated. */
int kv_info(struct kv *kv, char *ret_text, size_t size);
/* The number behind "name:" in an INFO text; false if it is not there. */
int kv_info_number(const char *info, const char *name, double *ret_value);

#endif /* MF_DEMO_KV_H */
