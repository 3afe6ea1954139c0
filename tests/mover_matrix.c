/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every kind of memory by every route: what comes out, byte for byte on both sides. A page
 * is only ever looked at where pagemap says that it is, so nothing here can read a missing
 * page and take its zeros for contents.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ferry/task.h"
#include "foreign.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define KERNEL_SERIES (MF_UFFD_FEATURE_MOVE_CROSS_MM | MF_UFFD_FEATURE_MOVE_TAKE)

enum way {
	WAY_GIVE_MOVE,
	WAY_TAKE_MOVE,
	WAY_GIVE_COPY,
	WAY_GIVE_XMOVE,
	WAY_TAKE_FERRY,
	WAY_TAKE_XMOVE,
};

struct row {
	enum way way;
	enum kind src;
	enum kind dst;
	int outcome; /* MF_MOVED: of the whole; else what stops it before anything is done */
};

static const char *const way_names[] = {
	"move give", "move take", "copy give", "xmove give", "ferry take", "xmove take",
};

static const struct row rows[] = {
	{ WAY_GIVE_MOVE, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_THP, KIND_THP, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_THP, KIND_4K, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_MLOCKED, KIND_MLOCKED, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_MLOCKED, KIND_4K, -EINVAL },
	{ WAY_GIVE_MOVE, KIND_FORKED, KIND_4K, MF_BUSY },
	/* the last sharer could have it, but learns so only when it writes to it */
	{ WAY_GIVE_MOVE, KIND_FORKED_DEAD, KIND_4K, MF_BUSY },
	{ WAY_GIVE_MOVE, KIND_SWAPPED, KIND_4K, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_HOLE, KIND_4K, MF_HOLE },
	{ WAY_GIVE_MOVE, KIND_HOLES, KIND_4K, MF_MOVED },
	{ WAY_GIVE_MOVE, KIND_HUGETLB, KIND_HUGETLB, -EINVAL },

	{ WAY_TAKE_MOVE, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_THP, KIND_THP, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_MLOCKED, KIND_MLOCKED, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_FORKED, KIND_4K, MF_BUSY },
	{ WAY_TAKE_MOVE, KIND_FORKED_DEAD, KIND_4K, MF_BUSY },
	{ WAY_TAKE_MOVE, KIND_SWAPPED, KIND_4K, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_HOLE, KIND_4K, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_HOLES, KIND_4K, MF_MOVED },
	{ WAY_TAKE_MOVE, KIND_HUGETLB, KIND_HUGETLB, -EINVAL },

	{ WAY_GIVE_COPY, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_THP, KIND_THP, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_MLOCKED, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_4K, KIND_MLOCKED, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_FORKED, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_FORKED_DEAD, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_SWAPPED, KIND_4K, MF_MOVED },
	/* the zeros of a hole in unregistered memory are its contents */
	{ WAY_GIVE_COPY, KIND_HOLE, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_HOLES, KIND_4K, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_HUGETLB, KIND_HUGETLB, MF_MOVED },
	{ WAY_GIVE_COPY, KIND_HUGETLB, KIND_4K, MF_MOVED },

	{ WAY_TAKE_FERRY, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_THP, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_MLOCKED, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_FORKED, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_FORKED_DEAD, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_SWAPPED, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_HOLE, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_HOLES, KIND_4K, MF_MOVED },
	{ WAY_TAKE_FERRY, KIND_HUGETLB, KIND_4K, MF_MOVED },

	/* what holds with the kernel series; without it every row is a refusal */
	{ WAY_GIVE_XMOVE, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_GIVE_XMOVE, KIND_THP, KIND_THP, MF_MOVED },
	{ WAY_GIVE_XMOVE, KIND_FORKED, KIND_4K, MF_BUSY },
	{ WAY_GIVE_XMOVE, KIND_SWAPPED, KIND_4K, MF_MOVED },
	{ WAY_GIVE_XMOVE, KIND_HOLE, KIND_4K, MF_HOLE },
	{ WAY_GIVE_XMOVE, KIND_HOLES, KIND_4K, MF_MOVED },
	{ WAY_TAKE_XMOVE, KIND_4K, KIND_4K, MF_MOVED },
	{ WAY_TAKE_XMOVE, KIND_THP, KIND_THP, MF_MOVED },
	{ WAY_TAKE_XMOVE, KIND_FORKED, KIND_4K, MF_BUSY },
	{ WAY_TAKE_XMOVE, KIND_SWAPPED, KIND_4K, MF_MOVED },
	{ WAY_TAKE_XMOVE, KIND_HOLES, KIND_4K, MF_MOVED },
};

static void need(const char *why)
{
	if (!why)
		return;
	print_message("# skipped: %s\n", why);
	skip();
}

static u32 new_seed(void)
{
	static u32 seed = 1000;

	return ++seed;
}

static u64 kind_pages(enum kind kind)
{
	u64 i, n = 0;

	for (i = 0; i < SPACE_PAGES; i++)
		n += kind_has_page(kind, i);
	return n;
}

/* A userfaultfd of this process over @s. */
static int own_uffd(const struct space *s, int uffd)
{
	u64 wanted = MF_UFFD_FEATURE_MOVE | MF_UFFD_FEATURE_MISSING_HUGETLBFS;

	if (uffd < 0 && mf_uffd_create(0, wanted, 0, &uffd, NULL))
		fail_msg("%s", mf_error());
	assert_int_equal(mf_op_register(uffd, (u64)s->addr, SPACE_LEN,
					UFFDIO_REGISTER_MODE_MISSING, NULL),
			 0);
	return uffd;
}

/* Exactly the pages of @bits are here, each with what belongs there. */
static void check_here(const u8 *addr, const struct row *row, u32 seed, const u64 *bits)
{
	u64 i;

	for (i = 0; i < SPACE_PAGES; i++)
		if (bit_of(bits, i) && !page_right(addr + i * MF_PAGE_SIZE, row->src, seed, i))
			fail_msg("page %lu did not arrive as it was", (unsigned long)i);
	for (i = 0; i < SPACE_PAGES; i++)
		if (bit_of(bits, i) != kind_has_page(row->src, i))
			fail_msg("page %lu %s", (unsigned long)i,
				 bit_of(bits, i) ? "appeared from nowhere" : "is not here");
}

static void check_arrived(const u8 *addr, const struct row *row, u32 seed)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	u64 bits[SPACE_WORDS];

	space_present(fd, (u64)addr, bits);
	close(fd);
	check_here(addr, row, seed, bits);
}

/* ------------------------------------------------------------------- give */

struct gift {
	struct mf_mover m;
	u64 dst, src;
	u64 bytes, holes; /* what became of it */
	int outcome;	  /* MF_MOVED, or what stopped it */
};

/* As a caller would: go on behind what is done, step over holes. Also a task function. */
static int __attribute__((no_sanitize("address", "undefined"))) give_all(void *arg)
{
	struct gift *g = arg;
	u64 at = 0, done;
	int r;

	while (at < SPACE_LEN) {
		r = mf_mover_give(&g->m, g->dst + at, g->src + at, SPACE_LEN - at, 0, &done);
		g->bytes += done;
		at += done;
		if (r == MF_HOLE) {
			g->holes++;
			at += MF_PAGE_SIZE;
		} else if (r != MF_MOVED && r != MF_PARTLY) {
			g->outcome = r;
			return 0;
		}
	}
	g->outcome = g->bytes ? MF_MOVED : MF_HOLE;
	return 0;
}

static void check_gift(const struct gift *g, const struct row *row, enum mf_route route)
{
	bool copied = route == MF_ROUTE_COPY;
	u64 pages = row->outcome != MF_MOVED ? 0 : copied ? SPACE_PAGES : kind_pages(row->src);
	u64 i;

	assert_int_equal(g->outcome, row->outcome);
	assert_int_equal(g->bytes, pages * MF_PAGE_SIZE);
	for (i = 0; i < MF_ROUTES; i++)
		assert_int_equal(g->m.pages[i], i == route ? pages : 0);
	if (row->outcome == MF_MOVED && !copied)
		assert_int_equal(g->holes, SPACE_PAGES - pages);
}

static void run_give_move(const struct row *row)
{
	struct mf_mover_caps caps = { .same_space = true, .move = true };
	struct gift g = { 0 };
	struct space src, dst;
	u32 seed = new_seed();

	need(space_make(&src, row->src, seed));
	need(space_map(&dst, row->dst));
	mf_mover_pick(&g.m, &caps);
	g.m.uffd = own_uffd(&dst, -1);
	g.src = (u64)src.addr;
	g.dst = (u64)dst.addr;
	give_all(&g);
	check_gift(&g, row, MF_ROUTE_MOVE);
	if (row->outcome == MF_MOVED) {
		assert_int_equal(pages_here(src.addr), 0);
		check_arrived(dst.addr, row, seed);
	} else {
		assert_int_equal(pages_here(dst.addr), 0);
		check_arrived(src.addr, row, seed);
	}
	close(g.m.uffd);
	space_drop(&src);
	space_drop(&dst);
}

/* By a task, as the hand-over does it: another process, our memory, their userfaultfd. */
static void give_by_task(struct gift *g)
{
	struct mf_task_opts o = {
		.size = sizeof(o),
		.keep_fds = &g->m.uffd,
		.n_keep_fds = 1,
	};
	struct mf_task *t;
	int status = -1;

	assert_int_equal(mf_task_start(give_all, g, &o, &t), 0);
	assert_int_equal(mf_task_wait(t, 10000, &status), 0);
	assert_int_equal(status, 0);
	mf_task_free(t);
}

static void check_receiver(struct foreign *f, const struct row *row, u32 seed,
			   const struct space *src, enum mf_route route)
{
	u64 bits[SPACE_WORDS];

	space_present(f->pagemap, (u64)f->addr, bits);
	if (row->outcome != MF_MOVED) {
		assert_int_equal(bits_count(bits), 0);
		check_arrived(src->addr, row, seed);
		return;
	}
	if (route == MF_ROUTE_COPY) { /* ours stays, and is what it was */
		assert_int_equal(bits_count(bits), SPACE_PAGES);
		assert_int_equal(space_first_wrong(src->addr, row->src, seed), -1);
	} else {
		assert_int_equal(bits_count(bits), kind_pages(row->src));
		assert_int_equal(pages_here(src->addr), 0);
	}
}

/* The receiver's own view; its kind is that of its mapping, so the comparison is here. */
static void check_contents(struct foreign *f, const struct row *row, u32 seed)
{
	static u8 page[4096];
	u64 bits[SPACE_WORDS], i;

	space_present(f->pagemap, (u64)f->addr, bits);
	for (i = 0; i < SPACE_PAGES; i++) {
		if (!bit_of(bits, i))
			continue;
		assert_int_equal(pread(f->mem, page, sizeof(page),
				       (off_t)(u64)(f->addr + i * MF_PAGE_SIZE)),
				 sizeof(page));
		if (!page_right(page, row->src, seed, i))
			fail_msg("page %lu did not arrive as it was", (unsigned long)i);
	}
}

static void run_give_abroad(const struct row *row, const struct mf_mover_caps *caps)
{
	struct foreign_opts o = { .kind = row->dst, .uffd_features = KERNEL_SERIES };
	struct gift g = { 0 };
	struct space src;
	struct foreign f;
	u32 seed = new_seed();

	need(space_make(&src, row->src, seed));
	need(foreign_start(&f, &o));
	mf_mover_pick(&g.m, caps);
	g.m.uffd = f.uffd;
	g.src = (u64)src.addr;
	g.dst = (u64)f.addr;
	give_by_task(&g);
	check_gift(&g, row, g.m.give);
	check_receiver(&f, row, seed, &src, g.m.give);
	check_contents(&f, row, seed);
	/* it does not hang on what it has, and the process itself sees the same bytes */
	if (row->outcome == MF_MOVED && kind_pages(row->src) == SPACE_PAGES)
		assert_int_equal(foreign_do(&f, FOREIGN_VERIFY, seed), -1);
	foreign_stop(&f);
	space_drop(&src);
}

static void run_give_copy(const struct row *row)
{
	struct mf_mover_caps caps = { .move = true };

	run_give_abroad(row, &caps);
}

/* ------------------------------------------------------------------- take */

static void run_take_move(const struct row *row)
{
	struct mf_mover_caps caps = { .same_space = true, .move = true };
	struct mf_mover m = { .uffd = -1 };
	struct space src, dst;
	u32 seed = new_seed();
	u64 bits[8];

	need(space_make(&src, row->src, seed));
	need(space_map(&dst, row->dst));
	mf_mover_pick(&m, &caps);
	m.uffd = own_uffd(&src, -1);
	own_uffd(&dst, m.uffd);
	assert_int_equal(mf_mover_take(&m, (u64)dst.addr, (u64)src.addr, SPACE_LEN, bits),
			 row->outcome);
	if (row->outcome == MF_MOVED) {
		assert_int_equal(pages_here(src.addr), 0);
		check_here(dst.addr, row, seed, bits);
		check_arrived(dst.addr, row, seed);
	} else {
		assert_int_equal(bits_count(bits), 0);
		assert_int_equal(pages_here(dst.addr), 0);
		check_arrived(src.addr, row, seed);
	}
	assert_int_equal(m.pages[MF_ROUTE_MOVE], bits_count(bits));
	close(m.uffd);
	space_drop(&src);
	space_drop(&dst);
}

static void mover_of(struct mf_mover *m, struct foreign *f)
{
	*m = (struct mf_mover){
		.uffd = f->uffd,
		.mem = f->mem,
		.pagemap = f->pagemap,
		.ring = &f->ring,
	};
}

/* The child that shares the pages keeps what it has. */
static void check_sharer(struct foreign *f, const struct row *row, u32 seed)
{
	static u8 copy[SPACE_LEN];
	char path[64];
	int fd;

	if (f->sharer <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/mem", f->sharer);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, copy, SPACE_LEN, (off_t)(u64)f->addr), SPACE_LEN);
	close(fd);
	assert_int_equal(space_first_wrong(copy, row->src, seed), -1);
}

/* What was taken goes back, what was a hole is told to be one. */
static void give_back(struct mf_mover *m, struct foreign *f, const u8 *from, const u64 *bits)
{
	u64 i, done, there = (u64)f->addr;

	if (bits_count(bits) == SPACE_PAGES) { /* in one piece: it may be one huge page */
		assert_int_equal(mf_mover_give(m, there, (u64)from, SPACE_LEN, 0, &done), 0);
		return;
	}
	for (i = 0; i < SPACE_PAGES; i++) {
		u64 off = i * MF_PAGE_SIZE;

		if (bit_of(bits, i))
			assert_int_equal(mf_mover_give(m, there + off, (u64)from + off,
						       MF_PAGE_SIZE, 0, &done),
					 MF_MOVED);
		else
			assert_int_equal(mf_op_zeropage(f->uffd, there + off, MF_PAGE_SIZE, 0,
							&done),
					 0);
	}
}

static void check_taken(struct foreign *f, const struct row *row, u32 seed, const u8 *here,
			const u64 *bits)
{
	u64 there[SPACE_WORDS];

	space_present(f->pagemap, (u64)f->addr, there);
	if (row->outcome == MF_MOVED) {
		assert_int_equal(bits_count(there), 0);
		check_here(here, row, seed, bits);
	} else {
		assert_int_equal(bits_count(bits), 0);
		assert_int_equal(bits_count(there), kind_pages(row->src));
		check_contents(f, row, seed);
	}
}

static void run_take_abroad(const struct row *row, const struct mf_mover_caps *caps)
{
	struct foreign_opts o = {
		.kind = row->src,
		.populated = true,
		.ferry = true,
		.uffd_features = KERNEL_SERIES,
		.spin_ns = 20000,
	};
	struct mf_mover m;
	struct foreign f;
	struct space dst;
	u64 bits[8];

	o.seed = new_seed();
	need(space_map(&dst, row->dst));
	need(foreign_start(&f, &o));
	mover_of(&m, &f);
	mf_mover_pick(&m, caps);
	assert_int_equal(mf_mover_take(&m, (u64)dst.addr, (u64)f.addr, SPACE_LEN, bits),
			 row->outcome);
	assert_int_equal(m.pages[m.take], bits_count(bits));
	check_taken(&f, row, o.seed, dst.addr, bits);
	check_sharer(&f, row, o.seed);
	if (row->outcome == MF_MOVED) {
		m.give = MF_ROUTE_COPY;
		give_back(&m, &f, dst.addr, bits);
	}
	assert_int_equal(foreign_do(&f, FOREIGN_VERIFY, o.seed), -1);
	assert_int_equal(foreign_do(&f, FOREIGN_POKE, 0), 0);
	foreign_stop(&f);
	space_drop(&dst);
}

static void run_take_ferry(const struct row *row)
{
	struct mf_mover_caps caps = { .move = true, .ferry = true };

	run_take_abroad(row, &caps);
}

/* ------------------------------------------------------------------ xmove */

static u64 features_on_offer(void)
{
	u64 have = 0;
	int fd;

	if (mf_uffd_create(0, KERNEL_SERIES | MF_UFFD_FEATURE_MOVE, 0, &fd, &have))
		fail_msg("%s", mf_error());
	close(fd);
	return have;
}

/*
 * A kernel without the series refuses, touches nothing, and the route is never picked on
 * what such a kernel offers.
 */
static void run_xmove_refused(const struct row *row, bool take)
{
	struct mf_mover_caps caps = { .move = true, .ferry = true };
	struct mf_mover m = { .give = MF_ROUTE_XMOVE, .take = MF_ROUTE_XMOVE };
	struct foreign_opts o = { .kind = KIND_4K, .populated = take };
	struct space ours;
	struct foreign f;
	u64 bits[8], done;

	o.seed = new_seed();
	if (take)
		o.kind = row->src;
	need(take ? space_map(&ours, KIND_4K) : space_make(&ours, row->src, o.seed));
	need(foreign_start(&f, &o));
	m.uffd = f.uffd;
	if (take)
		assert_int_equal(mf_mover_take(&m, (u64)ours.addr, (u64)f.addr, SPACE_LEN,
					       bits),
				 -EINVAL);
	else
		assert_int_equal(mf_mover_give(&m, (u64)f.addr, (u64)ours.addr, SPACE_LEN, 0,
					       &done),
				 -EINVAL);
	space_present(f.pagemap, (u64)f.addr, bits);
	assert_int_equal(bits_count(bits), take ? kind_pages(row->src) : 0);
	assert_int_equal(pages_here(ours.addr), take ? 0 : kind_pages(row->src));
	if (take)
		check_contents(&f, row, o.seed);
	else
		check_arrived(ours.addr, row, o.seed);
	mf_mover_pick(&m, &caps);
	assert_int_equal(m.give, MF_ROUTE_COPY);
	assert_int_equal(m.take, MF_ROUTE_FERRY);
	foreign_stop(&f);
	space_drop(&ours);
}

static void run_xmove(const struct row *row)
{
	struct mf_mover_caps caps = { .xmove = true };
	bool take = row->way == WAY_TAKE_XMOVE;

	if ((features_on_offer() & KERNEL_SERIES) != KERNEL_SERIES)
		run_xmove_refused(row, take);
	else if (take)
		run_take_abroad(row, &caps);
	else
		run_give_abroad(row, &caps);
}

/* ------------------------------------------------------------------- rows */

static void test_row(void **state)
{
	const struct row *row = *state;

	switch (row->way) {
	case WAY_GIVE_MOVE:
	case WAY_TAKE_MOVE:
		if (!(features_on_offer() & MF_UFFD_FEATURE_MOVE))
			need("no UFFDIO_MOVE on this kernel");
		if (row->way == WAY_GIVE_MOVE)
			run_give_move(row);
		else
			run_take_move(row);
		break;
	case WAY_GIVE_COPY:
		run_give_copy(row);
		break;
	case WAY_TAKE_FERRY:
		run_take_ferry(row);
		break;
	case WAY_GIVE_XMOVE:
	case WAY_TAKE_XMOVE:
		run_xmove(row);
		break;
	}
}

int main(void)
{
	static struct CMUnitTest tests[ARRAY_SIZE(rows)];
	static char names[ARRAY_SIZE(rows)][80];
	int failed;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(names[i], sizeof(names[i]), "%s: %s to %s", way_names[rows[i].way],
			 kind_name(rows[i].src), kind_name(rows[i].dst));
		tests[i].name = names[i];
		tests[i].test_func = test_row;
		tests[i].initial_state = (void *)&rows[i];
	}
	machine_prepare();
	failed = cmocka_run_group_tests_name("mover matrix", tests, NULL, NULL);
	machine_restore();
	return failed;
}
