/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/mman.h>
#include <signal.h>

#include "ferry/ring.h"
#include "uffd/op.h"

#include "base/faultpath.h"

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Between two looks at whether the other side is alive. */
#define MF_RING_TICK_NS (20 * (s64)MF_NSEC_PER_MSEC)
#define MF_RING_KILL_NS (10 * (s64)MF_NSEC_PER_SEC)
#define MF_FERRY_TICK_NS (500 * (s64)MF_NSEC_PER_MSEC)

enum slot_state {
	SLOT_FREE = 0,
	SLOT_POSTED,
	SLOT_RUNNING,
	SLOT_DONE,
	SLOT_CANCELLED,
};

static inline void fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static bool dead(int pidfd, s64 timeout_ns)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return mf_sys_ppoll(&p, 1, timeout_ns) > 0;
}

/* ------------------------------------------------------ the monitor's side */

void mf_ring_init(struct mf_ring *ring, struct mf_ring_page *page, int ferry_pidfd, u32 spin_ns)
{
	ring->page = page;
	ring->pidfd = ferry_pidfd;
	ring->lock = 0;
	ring->next = 0;
	ring->spin_ns = spin_ns;
}

/* Held for a few stores only, and by threads of our own process only. */
static void lock(struct mf_ring *ring)
{
	if (mf_cas32(&ring->lock, 0, 1))
		return;
	while (__atomic_exchange_n(&ring->lock, 2, __ATOMIC_ACQUIRE))
		mf_sys_futex_wait(&ring->lock, 2, MF_RING_TICK_NS);
}

static void unlock(struct mf_ring *ring)
{
	if (__atomic_exchange_n(&ring->lock, 0, __ATOMIC_RELEASE) == 2)
		mf_sys_futex_wake(&ring->lock, 1);
}

static struct mf_ring_slot *fill_next(struct mf_ring *ring, const struct mf_ring_order *order)
{
	struct mf_ring_slot *slot = &ring->page->slot[ring->next % MF_RING_SLOTS];

	if (mf_load(&slot->state) != SLOT_FREE)
		return NULL;
	ring->next++;
	slot->order = *order;
	slot->result = 0;
	slot->waiting = 0;
	mf_store(&slot->state, SLOT_POSTED);
	return slot;
}

static void ring_bell(struct mf_ring_page *page)
{
	__atomic_fetch_add(&page->bell, 1, __ATOMIC_RELEASE);
	fence(); /* see the race in ring.h */
	if (__atomic_load_n(&page->asleep, __ATOMIC_RELAXED))
		mf_sys_futex_wake(&page->bell, 1);
}

int mf_ring_post(struct mf_ring *ring, const struct mf_ring_order *order, u32 *ret_ticket)
{
	struct mf_ring_slot *slot;

	lock(ring);
	slot = fill_next(ring, order);
	unlock(ring);
	if (!slot)
		return dead(ring->pidfd, 0) ? -ESRCH : -EAGAIN;
	ring_bell(ring->page);
	*ret_ticket = (u32)(slot - ring->page->slot);
	return 0;
}

/* Until the slot is DONE, the ferry dead, or it is @end. */
static int await_done(struct mf_ring *ring, struct mf_ring_slot *slot, u64 end)
{
	u64 spin_end = mf_now_ns() + ring->spin_ns, now;
	u32 state;

	for (;;) {
		state = mf_load(&slot->state);
		if (state == SLOT_DONE)
			return 0;
		now = mf_now_ns();
		if (now >= end)
			return -ETIMEDOUT;
		if (now < spin_end) {
			mf_cpu_relax();
			continue;
		}
		__atomic_store_n(&slot->waiting, 1, __ATOMIC_RELAXED);
		fence();
		mf_sys_futex_wait(&slot->state, state,
				  (s64)mf_min((u64)MF_RING_TICK_NS, end - now));
		/* it may have finished its last order before it died */
		if (dead(ring->pidfd, 0))
			return mf_load(&slot->state) == SLOT_DONE ? 0 : -ESRCH;
	}
}

/*
 * What it does to the memory when we no longer look would be anybody's guess: end it, and
 * the memory tells the truth. SIGKILL also ends a wait inside the kernel for somebody to
 * read the event of its discard.
 */
static int kill_ferry(struct mf_ring *ring)
{
	mf_sys_pidfd_send_signal(ring->pidfd, SIGKILL);
	return dead(ring->pidfd, MF_RING_KILL_NS) ? -ESRCH : -EINPROGRESS;
}

int mf_ring_wait(struct mf_ring *ring, u32 ticket, s64 timeout_ns, s64 *ret_result)
{
	struct mf_ring_slot *slot = &ring->page->slot[ticket % MF_RING_SLOTS];
	int r = await_done(ring, slot, mf_now_ns() + (u64)timeout_ns);

	if (r == -ETIMEDOUT) {
		if (mf_cas32(&slot->state, SLOT_POSTED, SLOT_CANCELLED))
			return -ETIMEDOUT;
		r = await_done(ring, slot, mf_now_ns() + (u64)timeout_ns);
		if (r == -ETIMEDOUT)
			return kill_ferry(ring);
	}
	if (r)
		return r;
	*ret_result = slot->result;
	mf_store(&slot->state, SLOT_FREE);
	return 0;
}

int mf_ring_call(struct mf_ring *ring, const struct mf_ring_order *order, s64 timeout_ns,
		 s64 *ret_result)
{
	u64 end = mf_now_ns() + (u64)timeout_ns;
	u32 ticket;
	int r;

	while ((r = mf_ring_post(ring, order, &ticket)) == -EAGAIN) {
		if (mf_now_ns() >= end)
			return -ETIMEDOUT;
		if (dead(ring->pidfd, (s64)MF_NSEC_PER_MSEC / 10))
			return -ESRCH;
	}
	return r ? r : mf_ring_wait(ring, ticket, timeout_ns, ret_result);
}

/* -------------------------------------------------------- the ferry's side */

/* Wholly inside one of the ranges that were agreed on. */
static bool allowed(const struct mf_ferry *f, u64 start, u64 len)
{
	u32 i;

	if (mf_range_bad(start, len))
		return false;
	for (i = 0; i < f->n_ranges; i++)
		if (start >= f->range[i].start && start + len <= f->range[i].end)
			return true;
	return false;
}

/* A locked mapping refuses DONTNEED, and older kernels know only that: try both. */
static s64 do_drop(const struct mf_ferry *f, const struct mf_ring_order *o)
{
	long r;

	if (!allowed(f, o->addr, o->len))
		return -EPERM;
	r = mf_sys_madvise((void *)o->addr, o->len, MADV_DONTNEED);
	if (r == -EINVAL)
		r = mf_sys_madvise((void *)o->addr, o->len, MADV_DONTNEED_LOCKED);
	return r;
}

static s64 do_move(const struct mf_ferry *f, const struct mf_ring_order *o)
{
	u64 done;
	long r;

	if (!allowed(f, o->addr, o->len) || !allowed(f, o->arg, o->len))
		return -EPERM;
	if (f->uffd < 0)
		return -EBADF;
	if (o->flags & ~(MF_UFFDIO_MOVE_MODE_DONTWAKE | MF_UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES))
		return -EINVAL;
	r = mf_op_move(f->uffd, o->addr, o->arg, o->len, o->flags, &done);
	return done ? (s64)done : r;
}

static s64 obey(const struct mf_ferry *f, const struct mf_ring_order *o)
{
	switch (o->op) {
	case MF_RING_NOP:
	case MF_RING_EXIT:
		return 0;
	case MF_RING_DROP:
		return do_drop(f, o);
	case MF_RING_MOVE:
		return do_move(f, o);
	default:
		return -ENOSYS;
	}
}

/* Once, into our own memory: what was checked is what is done. */
static void read_order(const struct mf_ring_order *theirs, struct mf_ring_order *ours)
{
	ours->op = __atomic_load_n(&theirs->op, __ATOMIC_RELAXED);
	ours->flags = __atomic_load_n(&theirs->flags, __ATOMIC_RELAXED);
	ours->addr = __atomic_load_n(&theirs->addr, __ATOMIC_RELAXED);
	ours->len = __atomic_load_n(&theirs->len, __ATOMIC_RELAXED);
	ours->arg = __atomic_load_n(&theirs->arg, __ATOMIC_RELAXED);
}

static void finish(struct mf_ring_slot *slot, s64 result)
{
	slot->result = result;
	mf_store(&slot->state, SLOT_DONE);
	fence(); /* see the race in ring.h */
	if (__atomic_load_n(&slot->waiting, __ATOMIC_RELAXED))
		mf_sys_futex_wake(&slot->state, 1);
}

/* Sleep until the bell is no longer @bell, or a tick has passed. */
static void sleep_on_bell(struct mf_ring_page *page, u32 bell)
{
	__atomic_store_n(&page->asleep, 1, __ATOMIC_RELAXED);
	fence(); /* see the race in ring.h */
	mf_sys_futex_wait(&page->bell, bell, MF_FERRY_TICK_NS);
	__atomic_store_n(&page->asleep, 0, __ATOMIC_RELAXED);
}

/* The state of @slot once it has something for us; SLOT_FREE: the monitor is dead. */
static u32 await_order(const struct mf_ferry *f, struct mf_ring_slot *slot)
{
	u64 spin_end = mf_now_ns() + f->spin_ns;
	u32 bell, state;

	for (;;) {
		bell = mf_load(&f->page->bell);
		state = mf_load(&slot->state);
		if (state == SLOT_POSTED || state == SLOT_CANCELLED)
			return state;
		if (mf_now_ns() < spin_end) {
			mf_cpu_relax();
			continue;
		}
		if (f->monitor_pidfd >= 0 && dead(f->monitor_pidfd, 0))
			return SLOT_FREE;
		sleep_on_bell(f->page, bell);
	}
}

int mf_ferry_loop(void *ferry)
{
	const struct mf_ferry *f = ferry;
	struct mf_ring_order order;
	struct mf_ring_slot *slot;
	u32 turn = 0;

	for (;;) {
		slot = &f->page->slot[turn % MF_RING_SLOTS];
		if (await_order(f, slot) == SLOT_FREE)
			return MF_FERRY_ORPHANED;
		turn++;
		if (!mf_cas32(&slot->state, SLOT_POSTED, SLOT_RUNNING)) {
			mf_store(&slot->state, SLOT_FREE);
			continue;
		}
		read_order(&slot->order, &order);
		finish(slot, obey(f, &order));
		if (order.op == MF_RING_EXIT)
			return MF_FERRY_EXITED;
	}
}
