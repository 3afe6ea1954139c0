/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading userfaultfd messages. Safe on the fault path. */
#ifndef MF_UFFD_EVENT_H
#define MF_UFFD_EVENT_H

#include "memferry.h"
#include "uffd/op.h"

#define MF_UFFD_BATCH 16

static inline void mf_event_from_msg(const struct uffd_msg *msg, struct mf_event *ev)
{
	*ev = (struct mf_event){ .fd = -1 };
	switch (msg->event) {
	case UFFD_EVENT_PAGEFAULT:
		ev->kind = MF_EVENT_FAULT;
		ev->addr = msg->arg.pagefault.address;
		ev->tid = msg->arg.pagefault.feat.ptid;
		if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE)
			ev->flags |= MF_FAULT_WRITE;
		if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP)
			ev->flags |= MF_FAULT_WP;
		break;
	case UFFD_EVENT_FORK:
		ev->kind = MF_EVENT_FORK;
		ev->fd = (int)msg->arg.fork.ufd;
		break;
	case UFFD_EVENT_REMAP:
		ev->kind = MF_EVENT_REMAP;
		ev->addr = msg->arg.remap.from;
		ev->to = msg->arg.remap.to;
		ev->len = msg->arg.remap.len;
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		ev->kind = msg->event == UFFD_EVENT_REMOVE ? MF_EVENT_REMOVE : MF_EVENT_UNMAP;
		ev->addr = msg->arg.remove.start;
		ev->len = msg->arg.remove.end - msg->arg.remove.start;
		break;
	}
}

/* Raw messages into @msg: how many, or -errno; never 0. */
static inline long mf_event_read_raw(int uffd, void *msg, size_t max)
{
	long n = mf_sys_read(uffd, msg, max * sizeof(struct uffd_msg));

	if (n < 0)
		return n;
	n /= (long)sizeof(struct uffd_msg);
	return n ? n : -EAGAIN;
}

/* From memory that others can write to: looked at once. */
static inline void mf_event_from_words(const u64 *words, struct mf_event *ev)
{
	union {
		u64 word[4];
		struct uffd_msg msg;
	} local;
	size_t i;

	_Static_assert(sizeof(local.msg) == sizeof(local.word), "a message is four words");
	for (i = 0; i < 4; i++)
		local.word[i] = mf_load(&words[i]);
	mf_event_from_msg(&local.msg, ev);
}

/* As mf_uffd_read(): the number of events, or -EAGAIN and friends; 0 is not returned. */
static inline long mf_event_read(int uffd, struct mf_event *ev, size_t max)
{
	struct uffd_msg msg[MF_UFFD_BATCH];
	long n, i;

	if (max > MF_UFFD_BATCH)
		max = MF_UFFD_BATCH;
	n = mf_event_read_raw(uffd, msg, max);
	for (i = 0; i < n; i++)
		mf_event_from_msg(&msg[i], &ev[i]);
	return n;
}

#endif /* MF_UFFD_EVENT_H */
