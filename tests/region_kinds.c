/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every kind of memory that can be declared, handed over and looked at page by page; and how
 * much RAM both processes have together meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handover_rig.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define HUGE (2 * MIB)
#define PLAIN (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

static int map_and_fill(struct rig *rig, u64 at, size_t len, int flags, int prot)
{
	void *p = mmap((void *)at, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, -1,
		       0);

	if (p != (void *)at)
		return -errno;
	rig_fill(at, len, rig->plan.seed);
	return mprotect(p, len, prot) ? -errno : 0;
}

static int one(struct rig *rig, struct mf_source *src, u64 at, size_t len, int flags, int prot)
{
	int r = map_and_fill(rig, at, len, flags, prot);

	return r ? r : mf_source_region(src, "arena", (void *)at, len, 0);
}

static int take_and_check(struct rig *rig, struct mf_successor *s)
{
	return rig_take(rig, s) ? -1 : rig_all_right(rig, s, rig->plan.base, rig->plan.bytes);
}

/* ------------------------------------------------------------------- kinds */

static int declare_small(struct rig *rig, struct mf_source *src)
{
	return one(rig, src, rig->plan.base, rig->plan.bytes, PLAIN, PROT_READ | PROT_WRITE);
}

static int declare_thp(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)rig->plan.base, rig->plan.bytes, PROT_READ | PROT_WRITE,
		       PLAIN | MAP_FIXED_NOREPLACE, -1, 0);

	madvise(p, rig->plan.bytes, MADV_HUGEPAGE);
	rig_fill(rig->plan.base, rig->plan.bytes, rig->plan.seed);
	return mf_source_region(src, "arena", p, rig->plan.bytes, 0);
}

static int declare_locked(struct rig *rig, struct mf_source *src)
{
	int r = map_and_fill(rig, rig->plan.base, rig->plan.bytes, PLAIN,
			     PROT_READ | PROT_WRITE);

	if (!r && mlock((void *)rig->plan.base, rig->plan.bytes))
		return -errno;
	return r ? r
		 : mf_source_region(src, "arena", (void *)rig->plan.base, rig->plan.bytes, 0);
}

static int declare_memfd(struct rig *rig, struct mf_source *src)
{
	int fd = memfd_create("arena", MFD_CLOEXEC), r;
	void *p;

	if (fd < 0 || ftruncate(fd, (off_t)(rig->plan.bytes + MIB)))
		return -errno;
	p = mmap((void *)rig->plan.base, rig->plan.bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED_NOREPLACE, fd, (off_t)MIB);
	rig_fill(rig->plan.base, rig->plan.bytes, rig->plan.seed);
	r = mf_source_region_fd(src, "arena", p, rig->plan.bytes, fd, MIB, 0);
	close(fd);
	return r;
}

static int declare_huge(struct rig *rig, struct mf_source *src, u64 step)
{
	u64 at, off;
	void *p = mmap((void *)rig->plan.base, rig->plan.bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB |
			       MAP_FIXED_NOREPLACE,
		       -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	for (at = rig->plan.base; at < rig->plan.base + rig->plan.bytes; at += step)
		for (off = 0; off < HUGE; off += 8)
			*(u64 *)(at + off) = rig_word(at + off, rig->plan.seed);
	return mf_source_region(src, "arena", p, rig->plan.bytes, 0);
}

/* Every other huge page is a hole. */
static int declare_hugetlb(struct rig *rig, struct mf_source *src)
{
	return declare_huge(rig, src, 2 * HUGE);
}

static int declare_hugetlb_full(struct rig *rig, struct mf_source *src)
{
	return declare_huge(rig, src, HUGE);
}

static int check_huge_words(struct rig *rig, struct mf_successor *s)
{
	u64 at, off, want;

	for (at = rig->plan.base; at < rig->plan.base + rig->plan.bytes; at += HUGE)
		for (off = 0; off < HUGE; off += 8) {
			want = rig_word(at + off, rig->plan.seed);
			if ((at - rig->plan.base) / HUGE % 2)
				want = rig->plan.hooks->declare == declare_hugetlb ? 0 : want;
			if (*(u64 *)(at + off) != want)
				return rig_say(rig, "wrong at +%#llx",
					       (unsigned long long)(at + off - rig->plan.base));
		}
	return mf_successor_wait(s, 20000) ? rig_say(rig, "wait: %s", mf_error()) : 0;
}

static int check_hugetlb(struct rig *rig, struct mf_successor *s)
{
	return rig_take(rig, s) ? -1 : check_huge_words(rig, s);
}

static int declare_readonly(struct rig *rig, struct mf_source *src)
{
	return one(rig, src, rig->plan.base, rig->plan.bytes, PLAIN, PROT_READ);
}

static int declare_none(struct rig *rig, struct mf_source *src)
{
	return one(rig, src, rig->plan.base, rig->plan.bytes, PLAIN, PROT_NONE);
}

/* The contents of memory without any right are contents all the same. */
static int check_none(struct rig *rig, struct mf_successor *s)
{
	if (rig_take(rig, s))
		return -1;
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (mprotect((void *)rig->plan.base, rig->plan.bytes, PROT_READ | PROT_WRITE))
		return rig_say(rig, "mprotect: %s", strerror(errno));
	return rig_range_right(rig, rig->plan.base, rig->plan.bytes);
}

/* Two mappings that the kernel does not join, declared as one region. */
static int declare_two_mappings(struct rig *rig, struct mf_source *src)
{
	size_t half = rig->plan.bytes / 2;
	int r = map_and_fill(rig, rig->plan.base, half, PLAIN, PROT_READ | PROT_WRITE);

	if (!r)
		r = map_and_fill(rig, rig->plan.base + half, half, PLAIN,
				 PROT_READ | PROT_WRITE);
	madvise((void *)rig->plan.base, half, MADV_HUGEPAGE);
	madvise((void *)(rig->plan.base + half), half, MADV_DONTDUMP);
	return r ? r
		 : mf_source_region(src, "arena", (void *)rig->plan.base, rig->plan.bytes, 0);
}

#define MANY 2000
#define STRIDE (4 * PAGE)

static int declare_many(struct rig *rig, struct mf_source *src)
{
	char name[20];
	int i, r = 0;

	for (i = 0; i < MANY && !r; i++) {
		u64 at = rig->plan.base + (u64)i * STRIDE;

		r = map_and_fill(rig, at, 3 * PAGE, PLAIN, PROT_READ | PROT_WRITE);
		snprintf(name, sizeof(name), "r%d", i);
		if (!r)
			r = mf_source_region(src, name, (void *)at, 3 * PAGE, 0);
	}
	return r;
}

static int check_many(struct rig *rig, struct mf_successor *s)
{
	int i;

	if (rig_take(rig, s))
		return -1;
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	for (i = 0; i < MANY; i++)
		if (rig_range_right(rig, rig->plan.base + (u64)i * STRIDE, 3 * PAGE))
			return -1;
	return 0;
}

/* --------------------------------------------------------------- 64 GiB, empty */

#define VAST (64 * GIB)

static int declare_vast(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)rig->plan.base, VAST, PROT_READ | PROT_WRITE,
		       PLAIN | MAP_FIXED_NOREPLACE, -1, 0);
	u64 at;

	if (p == MAP_FAILED)
		return -errno;
	for (at = rig->plan.base; at < rig->plan.base + VAST; at += GIB)
		*(u64 *)at = rig_word(at, rig->plan.seed);
	return mf_source_region(src, "arena", p, VAST, 0);
}

static u64 status_kb(pid_t pid, const char *key)
{
	char path[40], line[200];
	u64 kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kb = strtoull(line + strlen(key), NULL, 10);
	if (f)
		fclose(f);
	return kb;
}

static int check_vast(struct rig *rig, struct mf_successor *s)
{
	u64 start = rig_now_ms(), at, took, kb, tables;

	if (rig_take(rig, s))
		return -1;
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	took = rig_now_ms() - start;
	kb = status_kb(getpid(), "RssAnon:");
	tables = status_kb(getpid(), "VmPTE:");
	for (at = rig->plan.base; at < rig->plan.base + VAST; at += GIB / 2)
		if (*(u64 *)at != (at % GIB ? 0 : rig_word(at, rig->plan.seed)))
			return rig_say(rig, "wrong at +%#llx",
				       (unsigned long long)(at - rig->plan.base));
	printf("# 64 GiB with 64 pages: %llu ms, %llu KiB resident, %llu KiB page tables\n",
	       (unsigned long long)took, (unsigned long long)kb, (unsigned long long)tables);
	fflush(stdout);
	if (took > 5000 || kb > 32 * 1024 || tables > 32 * 1024)
		return rig_say(rig, "%llu ms, %llu KiB, tables %llu KiB",
			       (unsigned long long)took, (unsigned long long)kb,
			       (unsigned long long)tables);
	return 0;
}

/* -------------------------------------------------------------------- main */

struct test {
	const char *name;
	struct rig_hooks hooks;
	size_t bytes;
	u64 shift; /* of the address */
};

static const struct test tests[] = {
	{ "small pages", { declare_small, .successor = take_and_check }, 32 * MIB },
	{ "huge pages", { declare_thp, .successor = take_and_check }, 64 * MIB },
	{ "locked", { declare_locked, .successor = take_and_check }, 16 * MIB },
	{ "memfd", { declare_memfd, .successor = take_and_check }, 16 * MIB },
	{ "read only", { declare_readonly, .successor = take_and_check }, 16 * MIB },
	{ "no right at all", { declare_none, .successor = check_none }, 8 * MIB },
	{ "one page", { declare_small, .successor = take_and_check }, PAGE },
	{ "not aligned to 2 MiB",
	  { declare_small, .successor = take_and_check },
	  10 * MIB + 5 * PAGE,
	  3 * PAGE },
	{ "huge pages, not aligned",
	  { declare_thp, .successor = take_and_check },
	  21 * MIB + 5 * PAGE,
	  7 * PAGE },
	{ "two mappings", { declare_two_mappings, .successor = take_and_check }, 16 * MIB },
	{ "2000 regions", { declare_many, .successor = check_many }, MANY *STRIDE },
	{ "64 GiB, nearly empty", { declare_vast, .successor = check_vast }, PAGE },
};

static int finish(struct rig *rig, const char *name)
{
	int status = -1, r = 0;

	if (!rig_await_exit(rig->suc.pid, 40000, &status) || status || rig->suc.result ||
	    !rig->suc.finished) {
		printf("# %s: status %#x, %d: %s; source: %s\n", name, status, rig->suc.result,
		       rig->suc.error, rig->src.error);
		r = -1;
	}
	mf_store(&rig->stop, 1);
	if (!rig_alone(r ? 500 : 5000)) {
		printf("# %s: somebody is left behind\n", name);
		kill(rig->src.pid, SIGKILL);
		kill(rig->suc.pid, SIGKILL);
		rig_alone(2000);
		r = -1;
	}
	return r;
}

static int run(const struct test *t)
{
	const struct rig_plan plan = { .bytes = t->bytes,
				       .base = RIG_BASE + t->shift,
				       .timeout_ms = 5000,
				       .seed = 9,
				       .hooks = &t->hooks };
	struct rig *rig = rig_new(&plan);
	int r;

	rig_start_source(rig);
	if (rig_await(rig, RIG_OFFER, 10000))
		rig_start_successor(rig);
	else
		snprintf(rig->suc.error, sizeof(rig->suc.error), "the source does not start");
	r = finish(rig, t->name);
	printf("%sok - %s\n", r ? "not " : "", t->name);
	fflush(stdout);
	rig_free(rig);
	return r != 0;
}

/* ----------------------------------------------------------------- hugetlb */

#define POOL "/proc/sys/vm/nr_hugepages"

static long pool(long set)
{
	FILE *f = fopen(POOL, set >= 0 ? "we" : "re");
	long n = -1;

	if (!f)
		return -1;
	if (set >= 0)
		n = fprintf(f, "%ld\n", set) > 0 ? set : -1;
	else if (fscanf(f, "%ld", &n) != 1)
		n = -1;
	return fclose(f) ? -1 : n;
}

/* Not a single one is to spare: refused with a reason, and never read as zeros. */
static int refuse_hugetlb(struct rig *rig, struct mf_successor *s)
{
	const void *blob;
	size_t len;
	int r = mf_successor_state(s, &blob, &len);

	if (r != -ENOMEM || !strstr(mf_error(), "vm.nr_hugepages"))
		return rig_say(rig, "%d: %s", r, mf_error());
	mf_store(&rig->stop, 1);
	return 0;
}

/*
 * The pages that seemed to spare are taken by somebody else meanwhile: the drain waits for
 * them. The kernel's answer for that is misleading, and must not be believed.
 */
static int starve_hugetlb(struct rig *rig, struct mf_successor *s)
{
	const void *blob;
	size_t len;
	void *p = MAP_FAILED;

	if (mf_successor_state(s, &blob, &len))
		return rig_say(rig, "%s", mf_error());
	p = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB | MAP_POPULATE, -1,
		 0);
	if (p == MAP_FAILED)
		return rig_say(rig, "no huge pages to take away");
	if (mf_successor_commit(s))
		return rig_say(rig, "%s", mf_error());
	if (mf_successor_wait(s, 300) != -ETIMEDOUT)
		return rig_say(rig, "it arrived without memory");
	munmap(p, 2 * HUGE);
	mf_store(&rig->suc.committed, 1);
	return check_huge_words(rig, s);
}

/* The pool belongs to the whole machine: what another test does to it is no failure. */
static int with_pool(const struct test *t, long spare)
{
	long before = pool(-1), want = (long)(t->bytes / HUGE) + spare;
	int r = 0;

	if (before != 0 || pool(want) < 0 || pool(-1) != want)
		printf("ok - %s # SKIP no pool of huge pages for it alone\n", t->name);
	else
		r = run(t);
	if (before == 0)
		pool(0);
	return r;
}

static int run_hugetlb(void)
{
	static const struct test tests_huge[] = {
		{ "hugetlb", { declare_hugetlb, .successor = check_hugetlb }, 16 * MIB },
		{ "hugetlb, none to spare",
		  { declare_hugetlb, .successor = refuse_hugetlb },
		  16 * MIB },
		{ "hugetlb, taken away",
		  { declare_hugetlb_full, .successor = starve_hugetlb },
		  16 * MIB },
	};

	return with_pool(&tests_huge[0], 8) + with_pool(&tests_huge[1], 0) +
	       with_pool(&tests_huge[2], 2);
}

/* --------------------------------------------------------------------- RAM */

#define LARGE GIB
#define SKEW_KB 2048

static u64 of_source(const struct rig *rig)
{
	u64 kb = status_kb(rig->src.pid, "RssAnon:");

	/* when the source has gone, its ferry task has the memory */
	return kb || rig->ferry_pid <= 0 ? kb : status_kb(rig->ferry_pid, "RssAnon:");
}

/*
 * What both have at one moment. Gigabytes a second pass between them, so a look that took too
 * long says nothing: 0 then.
 */
static u64 together(const struct rig *rig)
{
	u64 before = of_source(rig), suc = status_kb(rig->suc.pid, "RssAnon:");

	return before - of_source(rig) > SKEW_KB ? 0 : before + suc;
}

static int ram(u32 flags, const char *name)
{
	const struct rig_plan plan = {
		.bytes = LARGE, .timeout_ms = 10000, .seed = 1, .flags = flags
	};
	const u64 limit = LARGE / 100 / 1024 + 16 * 1024;
	struct rig *rig = rig_new(&plan);
	u64 before, now, peak = 0, looks = 0;
	int r;

	rig_start_source(rig);
	if (!rig_await(rig, RIG_OFFER, 60000))
		printf("# the source does not start\n");
	before = together(rig);
	rig->hold = RIG_DRAINED;
	rig_start_successor(rig);
	while (!mf_load(&rig->at[RIG_DRAINED]) && !mf_load(&rig->suc.finished)) {
		now = together(rig);
		peak = now > peak ? now : peak;
		looks += now > 0;
		usleep(200);
	}
	rig_release(rig);
	r = finish(rig, name);
	printf("# %s: %llu KiB before, peak %llu KiB: %lld KiB more, %llu allowed, "
	       "%llu looks\n",
	       name, (unsigned long long)before, (unsigned long long)peak,
	       (long long)(peak - before), (unsigned long long)limit,
	       (unsigned long long)looks);
	if (!r && (peak > before + limit || looks < 20 || rig->suc.count.right != LARGE / PAGE))
		r = -1;
	printf("%sok - %s\n", r ? "not " : "", name);
	rig_free(rig);
	return r != 0;
}

int main(int argc, char **argv)
{
	int failed = 0;
	size_t i;

	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		/* a file cannot go over TCP: that is refused, and tested elsewhere */
		if (getenv("MF_RIG_TCP") && !strcmp(tests[i].name, "memfd"))
			continue;
		if (argc < 2 || strstr(tests[i].name, argv[1]))
			failed += run(&tests[i]);
	}
	if (argc < 2 || strstr("hugetlb", argv[1]))
		failed += run_hugetlb();
	if (argc < 2 || strstr("RAM", argv[1])) {
		failed += ram(0, "RAM, small pages");
		failed += ram(RIG_THP, "RAM, huge pages");
	}
	return failed ? 1 : 0;
}
