/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/maps.h"
#include "base/sys.h"

#define LEN ((size_t)4 << 20)

static char *map_flags(int prot, int flags)
{
	char *p = mmap(NULL, LEN, prot, flags, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static char *map_anon(void)
{
	return map_flags(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
}

struct found {
	u32 n;
	struct mf_vma vma[64];
};

static int collect(const struct mf_vma *vma, void *arg)
{
	struct found *f = arg;

	if (f->n < ARRAY_SIZE(f->vma))
		f->vma[f->n] = *vma;
	f->n++;
	return 0;
}

/* The one mapping that has [p, p + LEN). */
static struct mf_vma look(void *p, bool flags)
{
	struct found f = { 0 };
	u64 start = (uintptr_t)p;

	assert_int_equal((flags ? mf_maps_walk_flags : mf_maps_walk)(start, start + LEN,
								     collect, &f),
			 0);
	assert_int_equal(f.n, 1);
	assert_true(f.vma[0].start <= start && f.vma[0].end >= start + LEN);
	return f.vma[0];
}

static void assert_flag(void *p, u32 flag)
{
	struct mf_vma v = look(p, true);

	assert_int_equal(v.flags & (MF_VMA_LOCKED | MF_VMA_HUGETLB | MF_VMA_THP | MF_VMA_NOTHP |
				    MF_VMA_DONTFORK | MF_VMA_NORESERVE | MF_VMA_DONTDUMP |
				    MF_VMA_UFFD | MF_VMA_SPECIAL | MF_VMA_STACK),
			 flag);
	assert_int_equal(v.kernel_page_size, 4096);
	assert_int_equal(v.prot, PROT_READ | PROT_WRITE);
	assert_int_equal(munmap(p, LEN), 0);
}

static void plain(void **state)
{
	char *p = map_anon();
	struct mf_vma v = look(p, false);

	assert_int_equal(v.flags, 0);
	assert_int_equal(v.prot, PROT_READ | PROT_WRITE);
	assert_int_equal(v.inode, 0);
	assert_string_equal(v.name, "");
	assert_flag(p, 0);
}

static void protections(void **state)
{
	char *p = map_anon();

	for (int prot = 0; prot < 8; prot++) {
		assert_int_equal(mprotect(p, LEN, prot), 0);
		assert_int_equal(look(p, false).prot, prot);
	}
	munmap(p, LEN);
}

static void advised(void **state)
{
	static const struct {
		int advice;
		u32 flag;
	} rows[] = {
		{ MADV_HUGEPAGE, MF_VMA_THP },
		{ MADV_NOHUGEPAGE, MF_VMA_NOTHP },
		{ MADV_DONTFORK, MF_VMA_DONTFORK },
		{ MADV_DONTDUMP, MF_VMA_DONTDUMP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *p = map_anon();

		if (madvise(p, LEN, rows[i].advice)) {
			assert_int_equal(errno, EINVAL); /* a kernel without huge pages */
			print_message("# madvise %d is not known here\n", rows[i].advice);
			munmap(p, LEN);
			continue;
		}
		assert_flag(p, rows[i].flag);
	}
}

static void locked(void **state)
{
	char *p = map_anon();

	/* not mlock(): sanitizers make it do nothing */
	if (mf_sys_mlock2(p, LEN, 0)) {
		print_message("# RLIMIT_MEMLOCK is too small\n");
		munmap(p, LEN);
		skip();
	}
	assert_flag(p, MF_VMA_LOCKED);
}

static void noreserve(void **state)
{
	assert_flag(map_flags(PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE),
		    MF_VMA_NORESERVE);
}

static void grows_down(void **state)
{
	char *p =
		map_flags(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN);

	assert_flag(p, MF_VMA_STACK);
}

static void shared_memfd(void **state)
{
	int fd = memfd_create("cargo", MFD_CLOEXEC);
	struct stat st;
	struct mf_vma v;
	char *p;

	assert_int_equal(ftruncate(fd, 2 * LEN), 0);
	assert_int_equal(fstat(fd, &st), 0);
	p = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, LEN);
	assert_ptr_not_equal(p, MAP_FAILED);
	v = look(p, false);
	assert_int_equal(v.flags, MF_VMA_SHARED | MF_VMA_FILE);
	assert_int_equal(v.prot, PROT_READ);
	assert_int_equal(v.offset, LEN);
	assert_int_equal(v.inode, st.st_ino);
	assert_string_equal(v.name, "/memfd:cargo (deleted)");
	munmap(p, LEN);
	close(fd);
}

static void hugetlb(void **state)
{
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE, -1, 0);
	struct mf_vma v;

	if (p == MAP_FAILED) {
		print_message("# no hugetlb pages of 2 MiB here\n");
		skip();
	}
	v = look(p, true);
	assert_true(v.flags & MF_VMA_HUGETLB);
	assert_false(v.flags & MF_VMA_SHARED);
	assert_int_equal(v.kernel_page_size, 2 << 20);
	munmap(p, LEN);
}

/* Neighbours that differ in protection, then a gap: what overlaps, in order, no more. */
static void ranges(void **state)
{
	char *p = map_anon();
	const u64 a = (uintptr_t)p, step = LEN / 4;
	struct found f = { 0 };

	assert_int_equal(mprotect(p + step, step, PROT_READ), 0);
	assert_int_equal(munmap(p + 2 * step, step), 0);
	assert_int_equal(mprotect(p + 3 * step, step, PROT_NONE), 0);

	assert_int_equal(mf_maps_walk(a + step - 1, a + 3 * step + 1, collect, &f), 0);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.vma[0].end, a + step);
	assert_int_equal(f.vma[1].start, a + step);
	assert_int_equal(f.vma[1].end, a + 2 * step);
	assert_int_equal(f.vma[1].prot, PROT_READ);
	assert_int_equal(f.vma[2].start, a + 3 * step);
	assert_int_equal(f.vma[2].prot, PROT_NONE);

	f.n = 0;
	assert_int_equal(mf_maps_walk(a + step, a + 2 * step, collect, &f), 0);
	assert_int_equal(f.n, 1);
	f.n = 0;
	assert_int_equal(mf_maps_walk(a + 2 * step, a + 3 * step, collect, &f), 0);
	assert_int_equal(mf_maps_walk(a, a, collect, &f), 0);
	assert_int_equal(mf_maps_walk_flags(a + 2 * step, a + 3 * step, collect, &f), 0);
	assert_int_equal(f.n, 0);
	munmap(p, LEN);
}

static int stop_at_second(const struct mf_vma *vma, void *arg)
{
	return ++*(int *)arg == 2 ? -EUCLEAN : 0;
}

static void stopped(void **state)
{
	int n = 0;

	assert_int_equal(mf_maps_walk(0, UINT64_MAX, stop_at_second, &n), -EUCLEAN);
	assert_int_equal(n, 2);
	n = 0;
	assert_int_equal(mf_maps_walk_flags(0, UINT64_MAX, stop_at_second, &n), -EUCLEAN);
	assert_int_equal(n, 2);
}

struct order {
	u64 last_end, pages;
	u32 n;
};

static int check_order(const struct mf_vma *vma, void *arg)
{
	struct order *o = arg;

	if (vma->start < o->last_end || vma->end <= vma->start)
		return -EUCLEAN;
	o->last_end = vma->end;
	o->pages += (vma->end - vma->start) / 4096;
	o->n++;
	return 0;
}

/*
 * Many mappings with names of very different lengths: lines fall across the ends of reads
 * everywhere, and one is longer than the whole line buffer.
 */
static void many_lines(void **state)
{
	enum { MAPS = 600, PAGE = 4096 };
	char name[250];
	char *area = mmap(NULL, 2 * MAPS * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct order o = { 0 };
	u64 start = (uintptr_t)area;

	assert_ptr_not_equal(area, MAP_FAILED);
	for (size_t i = 0; i < MAPS; i++) {
		int fd;

		/* each newline in a name is four bytes in maps */
		memset(name, i % 100 == 99 ? '\n' : 'n', sizeof(name));
		name[i % 100 == 99 ? 240 : i % 240] = '\0';
		fd = memfd_create(name, MFD_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, PAGE), 0);
		assert_ptr_equal(mmap(area + 2 * i * PAGE, PAGE, PROT_READ,
				      MAP_SHARED | MAP_FIXED, fd, 0),
				 area + 2 * i * PAGE);
		close(fd);
	}
	assert_int_equal(mf_maps_walk(start, start + 2 * MAPS * PAGE, check_order, &o), 0);
	assert_int_equal(o.n, 2 * MAPS);
	assert_true(o.pages >= 2 * MAPS);
	o = (struct order){ 0 };
	assert_int_equal(mf_maps_walk_flags(start, start + 2 * MAPS * PAGE, check_order, &o),
			 0);
	assert_int_equal(o.n, 2 * MAPS);
	munmap(area, 2 * MAPS * PAGE);
}

static void long_names_are_cut(void **state)
{
	char name[200];
	struct mf_vma v;
	int fd;
	char *p;

	memset(name, 'q', sizeof(name));
	name[199] = '\0';
	fd = memfd_create(name, MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, LEN), 0);
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	v = look(p, true);
	assert_int_equal(strlen(v.name), sizeof(v.name) - 1);
	assert_memory_equal(v.name, "/memfd:qqq", 10);
	assert_int_equal(v.flags & (MF_VMA_SHARED | MF_VMA_FILE), MF_VMA_FILE);
	munmap(p, LEN);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain),	cmocka_unit_test(protections),
		cmocka_unit_test(advised),	cmocka_unit_test(locked),
		cmocka_unit_test(noreserve),	cmocka_unit_test(grows_down),
		cmocka_unit_test(shared_memfd), cmocka_unit_test(hugetlb),
		cmocka_unit_test(ranges),	cmocka_unit_test(stopped),
		cmocka_unit_test(many_lines),	cmocka_unit_test(long_names_are_cut),
	};

	return cmocka_run_group_tests_name("maps", tests, NULL, NULL);
}
