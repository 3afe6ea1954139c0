/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "space.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define ZRAM_DEV "/dev/zram0"
#define ZRAM_SYS "/sys/block/zram0/"
#define HUGE_COUNT "/proc/sys/vm/nr_hugepages"
#define HUGE_WANTED 4

static bool swap_is_ours;
static long huge_before = -1;

const char *kind_name(enum kind kind)
{
	static const char *const names[KINDS] = {
		"4K",
		"THP",
		"mlocked",
		"forked, child lives",
		"forked, child dead",
		"swapped",
		"hole",
		"holes",
		"hugetlb",
	};

	return names[kind];
}

bool kind_has_page(enum kind kind, u64 i)
{
	return kind != KIND_HOLE && (kind != KIND_HOLES || i % 2 == 0);
}

/* -------------------------------------------------------------- contents */

/* No two words of any two pages are alike. */
static u64 word(u32 seed, u64 page, u64 j)
{
	u64 x = ((u64)seed << 40 | page << 12 | j) + 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void fill(const struct space *s)
{
	u64 i, j, *p;

	for (i = 0; i < SPACE_PAGES; i++) {
		if (!kind_has_page(s->kind, i))
			continue;
		p = (u64 *)(s->addr + i * MF_PAGE_SIZE);
		for (j = 0; j < MF_PAGE_SIZE / 8; j++)
			p[j] = word(s->seed, i, j);
	}
}

bool page_right(const u8 *page, enum kind kind, u32 seed, u64 i)
{
	const u64 *p = (const u64 *)page;
	bool zero = !kind_has_page(kind, i);
	u64 j;

	for (j = 0; j < MF_PAGE_SIZE / 8; j++)
		if (p[j] != (zero ? 0 : word(seed, i, j)))
			return false;
	return true;
}

long space_first_wrong(const u8 *addr, enum kind kind, u32 seed)
{
	u64 i;

	for (i = 0; i < SPACE_PAGES; i++)
		if (!page_right(addr + i * MF_PAGE_SIZE, kind, seed, i))
			return (long)i;
	return -1;
}

/* -------------------------------------------------------------- presence */

static bool swapped_out(int pagemap, u64 addr)
{
	u64 e[SPACE_PAGES], i;

	if (pread(pagemap, e, sizeof(e), (off_t)(addr / MF_PAGE_SIZE * 8)) != sizeof(e))
		return false;
	for (i = 0; i < SPACE_PAGES; i++)
		if ((e[i] >> 62) != 1)
			return false;
	return true;
}

void space_present(int pagemap, u64 addr, u64 bits[SPACE_WORDS])
{
	u64 e[SPACE_PAGES] = { 0 }, i;

	memset(bits, 0, SPACE_WORDS * sizeof(bits[0]));
	if (pread(pagemap, e, sizeof(e), (off_t)(addr / MF_PAGE_SIZE * 8)) < 0)
		abort();
	for (i = 0; i < SPACE_PAGES; i++)
		if (e[i] >> 62)
			bits[i / 64] |= (u64)1 << (i % 64);
}

u64 bits_count(const u64 bits[SPACE_WORDS])
{
	u64 n = 0, i;

	for (i = 0; i < SPACE_WORDS; i++)
		n += (u64)__builtin_popcountll(bits[i]);
	return n;
}

bool bit_of(const u64 *bits, u64 i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

u64 pages_here(const u8 *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	u64 bits[SPACE_WORDS];

	space_present(fd, (u64)addr, bits);
	close(fd);
	return bits_count(bits);
}

/* -------------------------------------------------------------- mappings */

static u8 *map_aligned(void)
{
	u8 *p = mmap(NULL, 2 * SPACE_LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	u8 *a;

	if (p == MAP_FAILED)
		return NULL;
	a = (u8 *)mf_align_up((u64)p, SPACE_LEN);
	if (a > p)
		munmap(p, (size_t)(a - p));
	if (a + SPACE_LEN < p + 2 * SPACE_LEN)
		munmap(a + SPACE_LEN, (size_t)(p + SPACE_LEN - a));
	return a;
}

static const char *map_hugetlb(struct space *s)
{
	s->addr = mmap(NULL, SPACE_LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (s->addr != MAP_FAILED)
		return NULL;
	s->addr = NULL;
	return "no huge pages (vm.nr_hugepages)";
}

const char *space_map(struct space *s, enum kind kind)
{
	*s = (struct space){ .kind = kind };
	if (kind == KIND_HUGETLB)
		return map_hugetlb(s);
	s->addr = map_aligned();
	if (!s->addr)
		return "no memory";
	madvise(s->addr, SPACE_LEN, kind == KIND_THP ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	/* without populating: a registered range would wait for pages for ever */
	if (kind == KIND_MLOCKED && mlock2(s->addr, SPACE_LEN, MLOCK_ONFAULT))
		return "not allowed to mlock 2 MiB (RLIMIT_MEMLOCK)";
	return NULL;
}

static const char *make_forked(struct space *s)
{
	pid_t pid = fork();

	if (pid < 0)
		return "cannot fork";
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	if (s->kind == KIND_FORKED) {
		s->sharer = pid;
		return NULL;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return NULL;
}

static const char *make_swapped(struct space *s)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), i;
	bool out = false;

	for (i = 0; i < 20 && !out; i++) {
		if (madvise(s->addr, SPACE_LEN, MADV_PAGEOUT))
			break;
		out = swapped_out(fd, (u64)s->addr);
		if (!out)
			usleep(10000);
	}
	close(fd);
	return out ? NULL : "pages do not go to swap (is there any? root can use zram)";
}

const char *space_make(struct space *s, enum kind kind, u32 seed)
{
	const char *why = space_map(s, kind);

	if (why)
		return why;
	s->seed = seed;
	fill(s);
	switch (kind) {
	case KIND_THP:
		if (madvise(s->addr, SPACE_LEN, MADV_COLLAPSE))
			return "no transparent huge page to be had";
		return NULL;
	case KIND_MLOCKED:
		return mlock(s->addr, SPACE_LEN) ? "not allowed to mlock 2 MiB" : NULL;
	case KIND_FORKED:
	case KIND_FORKED_DEAD:
		return make_forked(s);
	case KIND_SWAPPED:
		return make_swapped(s);
	default:
		return NULL;
	}
}

void space_drop(struct space *s)
{
	if (s->sharer > 0) {
		kill(s->sharer, SIGKILL);
		waitpid(s->sharer, NULL, 0);
	}
	if (s->addr)
		munmap(s->addr, SPACE_LEN);
	s->addr = NULL;
	s->sharer = 0;
}

/* ----------------------------------------------------------- the machine */

static long read_number(const char *path)
{
	char buf[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return n > 0 ? atol(buf) : -1;
}

static bool write_number(const char *path, long value)
{
	char buf[32];
	int fd = open(path, O_WRONLY | O_CLOEXEC), len;
	bool ok;

	if (fd < 0)
		return false;
	len = snprintf(buf, sizeof(buf), "%ld", value);
	ok = write(fd, buf, (size_t)len) == len;
	close(fd);
	return ok;
}

/* The header that mkswap(8) writes: version 1 in the first page, a signature at its end. */
static bool write_swap_header(u64 bytes)
{
	u8 page[4096] = { 0 };
	u32 info[2] = { 1, (u32)(bytes / sizeof(page) - 1) };
	int fd = open(ZRAM_DEV, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	memcpy(page + 1024, info, sizeof(info));
	memcpy(page + sizeof(page) - 10, "SWAPSPACE2", 10);
	ok = pwrite(fd, page, sizeof(page), 0) == sizeof(page) && fsync(fd) == 0;
	close(fd);
	return ok;
}

static bool swap_is_on(void)
{
	char line[256];
	FILE *f = fopen("/proc/swaps", "re");
	int n = 0;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f))
		n++;
	fclose(f);
	return n > 1;
}

void machine_prepare(void)
{
	u64 bytes = 64 * MF_MIB;

	huge_before = read_number(HUGE_COUNT);
	if (huge_before >= 0 && !write_number(HUGE_COUNT, huge_before + HUGE_WANTED))
		huge_before = -1;
	if (swap_is_on() || read_number(ZRAM_SYS "disksize") != 0)
		return;
	if (!write_number(ZRAM_SYS "disksize", (long)bytes))
		return;
	swap_is_ours = true;
	if (write_swap_header(bytes))
		swapon(ZRAM_DEV, 0);
}

void machine_restore(void)
{
	if (huge_before >= 0)
		write_number(HUGE_COUNT, huge_before);
	if (!swap_is_ours)
		return;
	swapoff(ZRAM_DEV);
	write_number(ZRAM_SYS "reset", 1);
}
