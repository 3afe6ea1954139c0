/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of the probe.
 *
 * Everything is tried in a *lab*: a forked child that works through the table of items
 * and writes each answer into memory it shares with the caller. If an item does not come
 * back in time, or takes the lab down with it, the caller notes that against the item
 * and starts another lab behind it. So nothing that an item does (descriptors, mappings,
 * signals, hangs) reaches the caller. An item that needs somebody to fault, or another
 * address space, starts a child of the lab.
 */
#ifndef MF_UFFD_PROBE_H
#define MF_UFFD_PROBE_H

#include "base/fail.h"
#include "memferry.h"
#include "uffd/op.h"

#define MF_LAB_CHILDREN 4
#define MF_LAB_WAIT_MS 250  /* for one answer inside an item */
#define MF_LAB_ITEM_MS 1000 /* for a whole item, kept by the caller */
#define MF_LAB_TOTAL_MS 5000

/* how the lab makes its userfaultfds: the best of what the access items found */
enum mf_lab_access {
	MF_LAB_NO_ACCESS = 0,
	MF_LAB_BY_USER_MODE,
	MF_LAB_BY_DEVICE,
	MF_LAB_BY_SYSCALL,
};

struct mf_probe_slot {
	u32 state;
	char why[384];
	char remedy[512];
};

/* A mapping shared with the lab, written by it until mf_probe_run() returns. */
struct mf_probe {
	size_t bytes;
	u32 count;
	u32 next;	    /* the item under way */
	u32 access;	    /* enum mf_lab_access */
	u32 no_userfaultfd; /* the kernel has none: not just refused */
	u32 offer_known;
	u64 offer;		       /* features of UFFDIO_API */
	u32 children[MF_LAB_CHILDREN]; /* pids to reap if the lab dies before them */
	struct mf_probe_slot slots[];
};

struct mf_lab;

struct mf_probe_spec {
	const char *name;
	const char *group;
	const char *about;
	void (*run)(struct mf_lab *lab);
	u64 bits; /* for features: the bits to enable, the one in question on top */
};

struct mf_lab {
	struct mf_probe *probe;
	struct mf_probe_slot *slot;
	const struct mf_probe_spec *spec;
	u8 *page; /* one page full of MF_LAB_BYTE */
};

#define MF_LAB_BYTE 0xa5

extern const struct mf_probe_spec mf_probe_specs[];
extern const size_t mf_probe_n_specs;

/* ---- answers (probe_lab.c) */

/* The item's state and what came back. The last word counts. */
void mf_lab_say(struct mf_lab *lab, enum mf_probe_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void mf_lab_advise(struct mf_lab *lab, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/*
 * What an errno means for the question "can this be done": refusals are denied, shortages
 * unknown, and those by which kernels say that they do not know a request are missing.
 */
enum mf_probe_state mf_lab_judge(long err);
/* Says "@what: <errno>" with the state that mf_lab_judge() finds. */
void mf_lab_failed(struct mf_lab *lab, const char *what, long err);

/* ---- userfaultfds and mappings (probe_lab.c) */

/* A bare one, before UFFDIO_API; -errno. */
long mf_lab_bare(enum mf_lab_access access);
/* With @features. On failure the answer has been said and -errno is returned. */
int mf_lab_uffd(struct mf_lab *lab, u64 features);

/* A userfaultfd with one registered mapping. */
struct mf_spot {
	int uffd;
	u8 *addr;
	size_t len;
	u64 ioctls;
};

#define MF_SPOT_INIT                                                                           \
	{                                                                                      \
		.uffd = -1                                                                     \
	}

/* Like mf_lab_uffd(): on failure it has been said. @mode: UFFDIO_REGISTER_MODE_*. */
int mf_spot_open(struct mf_lab *lab, struct mf_spot *spot, u64 features, u64 mode, size_t len);
/* Registers what the caller mapped at spot->addr. */
int mf_spot_register(struct mf_lab *lab, struct mf_spot *spot, u64 features, u64 mode);
void mf_spot_close(struct mf_spot *spot);
/* @len bytes of private anonymous memory, NULL (said) if there are none. */
u8 *mf_lab_map(struct mf_lab *lab, size_t len);
/* The next message: 0, -ETIMEDOUT, or the errno of reading. */
int mf_lab_message(int uffd, struct uffd_msg *ret_msg);
bool mf_lab_resident(const void *addr);

/* ---- children (probe_child.c) */

struct mf_child {
	pid_t pid;
	int pidfd;
	u32 *record;
	void *stack;
};

#define MF_CHILD_INIT                                                                          \
	{                                                                                      \
		.pidfd = -1                                                                    \
	}

typedef int (*mf_child_fn)(void *arg);

/*
 * A child in an address space of its own, or (task) in ours; it runs fn(arg) and exits
 * with the result. A task shares our thread-local storage: raw system calls only. On
 * failure the answer has been said.
 */
int mf_child_fork(struct mf_lab *lab, struct mf_child *child, mf_child_fn fn, void *arg);
int mf_child_task(struct mf_lab *lab, struct mf_child *child, unsigned long flags,
		  mf_child_fn fn, void *arg);
/*
 * Its exit status, 256 + signal if a signal ended it, or -ETIMEDOUT: it still runs
 * (mf_child_end() ends it).
 */
int mf_child_wait(struct mf_child *child, int timeout_ms);
void mf_child_end(struct mf_child *child);

/* What tasks do to memory; the fields are read back after mf_child_wait(). */
struct mf_touch {
	volatile u8 *addr;
	u8 seen;
	u8 write; /* this, unless 0 */
};

int mf_touch_run(void *touch);

/* ---- items */

void mf_probe_syscall(struct mf_lab *lab);
void mf_probe_device(struct mf_lab *lab);
void mf_probe_user_mode(struct mf_lab *lab);

void mf_probe_feature(struct mf_lab *lab);

void mf_probe_register(struct mf_lab *lab);
void mf_probe_unregister(struct mf_lab *lab);
void mf_probe_wake(struct mf_lab *lab);
void mf_probe_copy(struct mf_lab *lab);
void mf_probe_zeropage(struct mf_lab *lab);
void mf_probe_writeprotect(struct mf_lab *lab);
void mf_probe_continue(struct mf_lab *lab);
void mf_probe_poison(struct mf_lab *lab);
void mf_probe_move(struct mf_lab *lab);

void mf_probe_move_same_space(struct mf_lab *lab);
void mf_probe_move_task(struct mf_lab *lab);
void mf_probe_move_cross_give(struct mf_lab *lab);
void mf_probe_move_cross_take(struct mf_lab *lab);
void mf_probe_move_thp(struct mf_lab *lab);
void mf_probe_move_busy(struct mf_lab *lab);
void mf_probe_copy_cross(struct mf_lab *lab);

void mf_probe_copy_wakes(struct mf_lab *lab);
void mf_probe_copy_exist(struct mf_lab *lab);
void mf_probe_close_reads_zero(struct mf_lab *lab);
void mf_probe_poison_sigbus(struct mf_lab *lab);
void mf_probe_sigbus_mode(struct mf_lab *lab);
void mf_probe_thread_id(struct mf_lab *lab);
void mf_probe_wp_anon(struct mf_lab *lab);
void mf_probe_minor_shmem(struct mf_lab *lab);
void mf_probe_hugetlb_missing(struct mf_lab *lab);

void mf_probe_event_remove(struct mf_lab *lab);
void mf_probe_event_remap(struct mf_lab *lab);
void mf_probe_event_unmap(struct mf_lab *lab);
void mf_probe_event_fork(struct mf_lab *lab);

void mf_probe_pidfd(struct mf_lab *lab);
void mf_probe_memfd_seal(struct mf_lab *lab);
void mf_probe_process_vm_readv(struct mf_lab *lab);
void mf_probe_dontneed_locked(struct mf_lab *lab);
void mf_probe_populate_write(struct mf_lab *lab);
void mf_probe_pagemap_scan(struct mf_lab *lab);
void mf_probe_fixed_noreplace(struct mf_lab *lab);

/* true: one of [addr, addr + len) is mapped by a huge page; -errno if it cannot be asked */
int mf_pagemap_huge(const void *addr, size_t len);

#endif /* MF_UFFD_PROBE_H */
