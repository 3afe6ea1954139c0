/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What an application may do with its memory while that is still arriving: move,
 * grow, unmap, protect, lock, fork, exec, close everything. Whatever it does, a page has the
 * contents that it would have had if it had been there from the start.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "drain_tests.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define ELSEWHERE 0x300000000000ull

/*
 * Hold the ferry: nothing arrives until it is let go. The rig's time-outs are long here, so
 * that nobody declares it lost.
 */
static void hold_ferry(struct rig *rig)
{
	kill(rig->ferry_pid, SIGSTOP);
}

static void let_ferry(struct rig *rig)
{
	kill(rig->ferry_pid, SIGCONT);
}

/* Commit, and nothing arrives before let_ferry(). */
static int take_held(struct rig *rig, struct mf_successor *s)
{
	int r = rig_take(rig, s);

	if (!r)
		hold_ferry(rig);
	return r;
}

/* ------------------------------------------------------------------ mremap */

static u64 base_of(struct rig *rig)
{
	return rig->plan.base;
}

/* The same words as at @from, now at @at. */
static bool moved_right(struct rig *rig, u64 at, u64 from, size_t len)
{
	u64 off, want;

	for (off = 0; off < len; off += 8) {
		want = rig_is_hole(from + off, rig->plan.seed)
			       ? 0
			       : rig_word(from + off, rig->plan.seed);
		if (*(u64 *)(at + off) != want)
			return false;
	}
	return true;
}

static bool is_mapped(u64 addr)
{
	u8 byte;
	struct iovec to = { &byte, 1 }, from = { (void *)addr, 1 };

	return process_vm_readv(getpid(), &to, 1, &from, 1, 0) == 1;
}

/* Pieces from all over the region go elsewhere while the ferry works. */
static int move_pieces(struct rig *rig, struct mf_successor *s)
{
	u64 i, from, to;

	if (rig_take(rig, s))
		return -1;
	for (i = 0; i < 60; i++) {
		from = base_of(rig) + (60 - i) * MIB + 12 * PAGE;
		to = ELSEWHERE + i * 2 * MIB;
		if (mremap((void *)from, MIB / 2, MIB / 2, MREMAP_MAYMOVE | MREMAP_FIXED,
			   (void *)to) != (void *)to)
			return rig_say(rig, "mremap: %s", strerror(errno));
	}
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	for (i = 0; i < 60; i++) {
		from = base_of(rig) + (60 - i) * MIB + 12 * PAGE;
		if (!moved_right(rig, ELSEWHERE + i * 2 * MIB, from, MIB / 2))
			return rig_say(rig, "piece %llu is wrong", (unsigned long long)i);
		if (is_mapped(from))
			return rig_say(rig, "its old place is still there");
		if (rig_range_right(rig, from + MIB / 2, MIB / 2 - 12 * PAGE))
			return -1;
	}
	return 0;
}

/* A piece goes on top of another that has not arrived: that one must not come back. */
static int move_over(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 40 * MIB, to = base_of(rig) + 20 * MIB;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)from, 8 * MIB, 8 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to) !=
	    (void *)to)
		return rig_say(rig, "mremap: %s", strerror(errno));
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (!moved_right(rig, to, from, 8 * MIB))
		return rig_say(rig, "the piece is wrong");
	if (rig_range_right(rig, base_of(rig), 20 * MIB))
		return -1;
	return rig_range_right(rig, base_of(rig) + 48 * MIB, BYTES - 48 * MIB);
}

static int move_keeping(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 32 * MIB;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)from, 16 * MIB, 16 * MIB,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		   (void *)ELSEWHERE) != (void *)ELSEWHERE)
		return rig_say(rig, "mremap: %s", strerror(errno));
	if (!all_zero(from, 4 * MIB))
		return rig_say(rig, "the old place is not empty while draining");
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (!moved_right(rig, ELSEWHERE, from, 16 * MIB))
		return rig_say(rig, "the new place is wrong");
	if (!all_zero(from, 16 * MIB))
		return rig_say(rig, "the old place is not empty");
	return rig_range_right(rig, base_of(rig), 32 * MIB);
}

/* Longer where it lies: what was added is empty, now and when nobody serves faults. */
static int grow_in_place(struct rig *rig, struct mf_successor *s)
{
	u64 end = base_of(rig) + BYTES;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)base_of(rig), BYTES, BYTES + 4 * MIB, 0) != (void *)base_of(rig))
		return rig_say(rig, "mremap: %s", strerror(errno));
	if (!all_zero(end, MIB))
		return rig_say(rig, "what was added is not empty");
	if (rig_all_right(rig, s, base_of(rig), BYTES))
		return -1;
	if (!all_zero(end + MIB, 3 * MIB))
		return rig_say(rig, "what was added is not empty after the drain");
	return 0;
}

static int grow_moving(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 48 * MIB;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)from, 16 * MIB, 24 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
		   (void *)ELSEWHERE) != (void *)ELSEWHERE)
		return rig_say(rig, "mremap: %s", strerror(errno));
	if (!all_zero(ELSEWHERE + 16 * MIB, 2 * MIB))
		return rig_say(rig, "what was added is not empty");
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (!all_zero(ELSEWHERE + 18 * MIB, 6 * MIB))
		return rig_say(rig, "what was added is not empty after the drain");
	if (!moved_right(rig, ELSEWHERE, from, 16 * MIB))
		return rig_say(rig, "what was moved is wrong");
	return rig_range_right(rig, base_of(rig), 48 * MIB);
}

static int shrink(struct rig *rig, struct mf_successor *s)
{
	if (take_held(rig, s))
		return -1;
	if (mremap((void *)base_of(rig), BYTES, 40 * MIB, 0) != (void *)base_of(rig))
		return rig_say(rig, "mremap: %s", strerror(errno));
	let_ferry(rig);
	if (rig_all_right(rig, s, base_of(rig), 40 * MIB))
		return -1;
	return is_mapped(base_of(rig) + 40 * MIB) ? rig_say(rig, "the rest is still there") : 0;
}

/* Back and forth until the ferry cannot follow: the end has a reason. */
static int move_too_often(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 40 * MIB, i;

	if (take_held(rig, s))
		return -1;
	let_ferry(rig);
	for (i = 0; i < 2000; i++) {
		u64 to = i % 2 ? from : ELSEWHERE, at = i % 2 ? ELSEWHERE : from;

		if (mremap((void *)at, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)to) !=
		    (void *)to)
			return rig_say(rig, "mremap: %s", strerror(errno));
	}
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	return moved_right(rig, from, from, MIB) ? 0 : rig_say(rig, "the piece is wrong");
}

/* ---------------------------------------------------------- unmap, protect */

static int unmap_parts(struct rig *rig, struct mf_successor *s)
{
	u64 at;
	void *p;

	if (take_held(rig, s))
		return -1;
	for (at = base_of(rig); at < base_of(rig) + BYTES; at += 4 * MIB) {
		munmap((void *)at, MIB);
		p = mmap((void *)at, MIB / 2, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (p != (void *)at)
			return rig_say(rig, "mmap: %s", strerror(errno));
	}
	let_ferry(rig);
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	for (at = base_of(rig); at < base_of(rig) + BYTES; at += 4 * MIB) {
		if (!all_zero(at, MIB / 2) || is_mapped(at + MIB / 2))
			return rig_say(rig, "something came to where nothing was");
		if (rig_range_right(rig, at + MIB, 3 * MIB))
			return -1;
	}
	return 0;
}

/* A file over a part of it: the rest is let go of all the same. */
static int map_file_over(struct rig *rig, struct mf_successor *s)
{
	u64 at = base_of(rig) + 30 * MIB;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	void *p;

	if (take_held(rig, s))
		return -1;
	p = mmap((void *)at, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
	close(fd);
	let_ferry(rig);
	if (p != (void *)at || rig_all_right(rig, s, base_of(rig), 30 * MIB))
		return -1;
	if (memcmp(p, "\177ELF", 4))
		return rig_say(rig, "the file was overwritten");
	/* every page, also the holes, which nobody serves any more */
	return rig_range_right(rig, at + PAGE, BYTES - 30 * MIB - PAGE);
}

static int protect_stripes(struct rig *rig, struct mf_successor *s)
{
	u64 at, i = 0;

	if (take_held(rig, s))
		return -1;
	for (at = base_of(rig); at < base_of(rig) + BYTES; at += 21 * PAGE, i++)
		if (mprotect((void *)at, 3 * PAGE, i % 2 ? PROT_READ : PROT_NONE))
			return rig_say(rig, "mprotect: %s", strerror(errno));
	let_ferry(rig);
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (mprotect((void *)base_of(rig), BYTES, PROT_READ | PROT_WRITE))
		return rig_say(rig, "mprotect: %s", strerror(errno));
	return rig_range_right(rig, base_of(rig), BYTES);
}

/* The same, and the ferry is killed before anything arrives: nothing may read as zero. */
static int protect_and_lose(struct rig *rig, struct mf_successor *s)
{
	struct rig_count c = { .right = 0 };
	u64 at;

	if (take_held(rig, s))
		return -1;
	for (at = base_of(rig); at < base_of(rig) + BYTES; at += 50 * PAGE)
		mprotect((void *)at, 3 * PAGE, PROT_READ);
	munmap((void *)(base_of(rig) + 30 * MIB), MIB);
	kill(rig->ferry_pid, SIGKILL);
	if (mf_successor_wait(s, 20000) != -EOWNERDEAD)
		return rig_say(rig, "it was not lost");
	rig_check(base_of(rig), BYTES, rig->plan.seed, &c);
	if (c.zero || c.wrong)
		return rig_say(rig, "%llu pages read as zeros", (unsigned long long)c.zero);
	return c.poisoned ? 0 : rig_say(rig, "nothing is poisoned");
}

/* Moved away, and then lost. */
static int move_and_lose(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 60 * MIB, at, got = 0;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)from, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)ELSEWHERE) !=
	    (void *)ELSEWHERE)
		return rig_say(rig, "mremap: %s", strerror(errno));
	kill(rig->ferry_pid, SIGKILL);
	if (mf_successor_wait(s, 20000) != -EOWNERDEAD)
		return rig_say(rig, "it was not lost");
	for (at = 0; at < MIB; at += PAGE) {
		if (!is_mapped(ELSEWHERE + at))
			continue; /* poisoned */
		got++;
		if (!moved_right(rig, ELSEWHERE + at, from + at, PAGE))
			return rig_say(rig, "a page reads as what it is not");
	}
	return got == MIB / PAGE ? rig_say(rig, "nothing is poisoned") : 0;
}

/* -------------------------------------------------------------- fork, exec */

/* What a child finds at @addr: 0 unmapped or poisoned, 1 the right page, 2 anything else. */
static int child_sees(struct rig *rig, u64 addr)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (!is_mapped(addr))
			_exit(0);
		_exit(rig_range_right(rig, addr, PAGE) ? 2 : 1);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 3;
	return WEXITSTATUS(status);
}

static u64 data_page(struct rig *rig, u64 at)
{
	while (rig_is_hole(at, rig->plan.seed))
		at += PAGE;
	return at;
}

static int fork_children(struct rig *rig, struct mf_successor *s)
{
	u64 page = data_page(rig, base_of(rig) + 50 * MIB);
	int seen;

	if (take_held(rig, s))
		return -1;
	seen = child_sees(rig, page);
	let_ferry(rig);
	if (seen != 0)
		return rig_say(rig, "a child during the drain sees %d", seen);
	if (rig_all_right(rig, s, base_of(rig), BYTES))
		return -1;
	seen = child_sees(rig, page);
	return seen == 1 ? 0 : rig_say(rig, "a child after the drain sees %d", seen);
}

/* Poison must not turn into zeros in a child, not even where no page had ever arrived. */
static int fork_after_loss(struct rig *rig, struct mf_successor *s)
{
	int seen;

	if (take_held(rig, s))
		return -1;
	kill(rig->ferry_pid, SIGKILL);
	if (mf_successor_wait(s, 20000) != -EOWNERDEAD)
		return rig_say(rig, "it was not lost");
	seen = child_sees(rig, data_page(rig, base_of(rig) + 50 * MIB));
	return seen == 0 ? 0 : rig_say(rig, "a child after the loss sees %d", seen);
}

/* Parts that were moved are seen by children again, too. */
static int fork_after_move(struct rig *rig, struct mf_successor *s)
{
	u64 from = base_of(rig) + 60 * MIB;
	int status;
	pid_t pid;

	if (rig_take(rig, s))
		return -1;
	if (mremap((void *)from, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)ELSEWHERE) !=
	    (void *)ELSEWHERE)
		return rig_say(rig, "mremap: %s", strerror(errno));
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	pid = fork();
	if (pid == 0)
		_exit(is_mapped(ELSEWHERE) && moved_right(rig, ELSEWHERE, from, MIB) ? 0 : 1);
	waitpid(pid, &status, 0);
	return status ? rig_say(rig, "the child sees something else") : 0;
}

/* Another program in its place: ferry and guard come to an end. */
static int exec_away(struct rig *rig, struct mf_successor *s)
{
	if (rig_take(rig, s))
		return -1;
	execl("/bin/true", "true", (char *)NULL);
	return rig_say(rig, "execl: %s", strerror(errno));
}

static int close_everything(struct rig *rig, struct mf_successor *s)
{
	if (take_held(rig, s))
		return -1;
	syscall(SYS_close_range, 3u, ~0u, 0u);
	let_ferry(rig);
	if (rig_all_right(rig, s, base_of(rig), BYTES))
		_exit(1);
	mf_store(&rig->suc.finished, 1);
	_exit(0); /* what is closed cannot be freed */
}

static int close_and_lose(struct rig *rig, struct mf_successor *s)
{
	struct rig_count c = { .right = 0 };

	if (take_held(rig, s))
		return -1;
	syscall(SYS_close_range, 3u, ~0u, 0u);
	kill(rig->ferry_pid, SIGKILL);
	if (mf_successor_wait(s, 20000) != -EOWNERDEAD)
		_exit(rig_say(rig, "it was not lost: %s", mf_error()) ? 1 : 0);
	rig_check(base_of(rig), BYTES, rig->plan.seed, &c);
	if (c.zero || c.wrong || !c.poisoned)
		rig_say(rig, "pages read as zeros");
	mf_store(&rig->suc.finished, 1);
	_exit(c.zero || c.wrong || !c.poisoned ? 1 : 0);
}

/* ------------------------------------------------------------------ advice */

static int huge_and_populate(struct rig *rig, struct mf_successor *s)
{
	u64 b = base_of(rig);

	if (rig_take(rig, s))
		return -1;
	madvise((void *)b, BYTES, MADV_HUGEPAGE);
	madvise((void *)(b + 4 * MIB), 4 * MIB, MADV_COLLAPSE);
	if (madvise((void *)(b + 48 * MIB), 4 * MIB, MADV_POPULATE_READ) && errno != EINVAL)
		return rig_say(rig, "populate: %s", strerror(errno));
	if (madvise((void *)(b + 52 * MIB), 4 * MIB, MADV_POPULATE_WRITE) && errno != EINVAL)
		return rig_say(rig, "populate: %s", strerror(errno));
	madvise((void *)(b + 20 * MIB), 4 * MIB, MADV_COLLAPSE);
	return rig_all_right(rig, s, b, BYTES);
}

static int lock_later(struct rig *rig, struct mf_successor *s)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &lim);
	if (rig_take(rig, s))
		return -1;
	if (mlock((void *)(base_of(rig) + 16 * MIB), 16 * MIB))
		return rig_say(rig, "mlock: %s", strerror(errno));
	if (mlockall(MCL_CURRENT))
		return rig_say(rig, "mlockall: %s", strerror(errno));
	return rig_all_right(rig, s, base_of(rig), BYTES);
}

/* ---------------------------------------------------------------------- io */

static int read_through_proc(struct rig *rig, struct mf_successor *s)
{
	u64 at = data_page(rig, base_of(rig) + 33 * MIB), word = 0;
	int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);

	if (rig_take(rig, s))
		return -1;
	/* the kernel does not wait in faults there: an error while it is absent, never zeros */
	if (pread(fd, &word, 8, (off_t)at) == 8 && word != rig_word(at, rig->plan.seed))
		return rig_say(rig, "/proc/self/mem reads %#llx", (unsigned long long)word);
	if (rig_all_right(rig, s, base_of(rig), BYTES))
		return -1;
	if (pread(fd, &word, 8, (off_t)at) != 8 || word != rig_word(at, rig->plan.seed))
		return rig_say(rig, "/proc/self/mem reads %#llx", (unsigned long long)word);
	close(fd);
	return 0;
}

static int read_direct(struct rig *rig, struct mf_successor *s)
{
	char path[] = "/var/tmp/memferry-direct.XXXXXX";
	static u8 page[4096] __attribute__((aligned(4096)));
	u64 at = base_of(rig) + 35 * MIB;
	int fd = mkostemp(path, O_CLOEXEC), direct;
	ssize_t n;

	memset(page, 0x77, sizeof(page));
	if (fd < 0 || write(fd, page, PAGE) != (ssize_t)PAGE || fsync(fd))
		return rig_say(rig, "no file");
	direct = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(path);
	close(fd);
	if (rig_take(rig, s))
		return -1;
	if (direct >= 0) { /* not every file system has it */
		n = read(direct, (void *)at, PAGE);
		if (n != (ssize_t)PAGE || memcmp((void *)at, page, PAGE))
			return rig_say(rig, "direct read: %zd", n);
		close(direct);
	} else {
		memcpy((void *)at, page, PAGE);
	}
	if (mf_successor_wait(s, 20000))
		return rig_say(rig, "wait: %s", mf_error());
	if (memcmp((void *)at, page, PAGE))
		return rig_say(rig, "the page was overwritten by its old contents");
	if (rig_range_right(rig, base_of(rig), 35 * MIB))
		return -1;
	return rig_range_right(rig, at + PAGE, BYTES - 35 * MIB - PAGE);
}

static int write_from_absent(struct rig *rig, struct mf_successor *s)
{
	u64 at = base_of(rig) + 45 * MIB;
	static u64 buf[MIB / 8];
	int fd = memfd_create("sink", MFD_CLOEXEC);

	if (rig_take(rig, s))
		return -1;
	if (write(fd, (void *)at, MIB) != (ssize_t)MIB ||
	    pread(fd, buf, MIB, 0) != (ssize_t)MIB)
		return rig_say(rig, "write: %s", strerror(errno));
	if (memcmp(buf, (void *)at, MIB) || !moved_right(rig, (u64)buf, at, MIB))
		return rig_say(rig, "something else was written");
	close(fd);
	return rig_all_right(rig, s, base_of(rig), BYTES);
}

#define FAULTERS 16

static void *fault_along(void *arg)
{
	struct rig *rig = arg;
	u64 rnd = (u64)pthread_self(), n, at, bad = 0;

	for (n = 0; n < 500; n++) {
		at = data_page(rig,
			       base_of(rig) + next_random(&rnd) % (BYTES / 2 / PAGE) * PAGE);
		bad += *(volatile u64 *)at != rig_word(at, rig->plan.seed);
	}
	return (void *)bad;
}

static int many_faulters(struct rig *rig, struct mf_successor *s)
{
	pthread_t t[FAULTERS];
	void *bad;
	u64 sum = 0, i;

	if (rig_take(rig, s))
		return -1;
	for (i = 0; i < FAULTERS; i++)
		pthread_create(&t[i], NULL, fault_along, rig);
	for (i = 0; i < FAULTERS; i++) {
		pthread_join(t[i], &bad);
		sum += (u64)bad;
	}
	if (sum)
		return rig_say(rig, "%llu wrong words", (unsigned long long)sum);
	return rig_all_right(rig, s, base_of(rig), BYTES);
}

/* -------------------------------------------------------------------- main */

static const struct drain_test tests[] = {
	{ "move pieces", move_pieces, 2 },
	{ "move over what has not arrived", move_over, 2 },
	{ "move and keep", move_keeping, 2 },
	{ "grow in place", grow_in_place },
	{ "grow and move", grow_moving },
	{ "shrink", shrink },
	{ "move too often", move_too_often, 1, true },
	{ "unmap parts and map anew", unmap_parts },
	{ "map a file over a part", map_file_over },
	{ "protect stripes", protect_stripes },
	{ "protect stripes, then lose", protect_and_lose },
	{ "move, then lose", move_and_lose },
	{ "fork", fork_children },
	{ "fork after a loss", fork_after_loss },
	{ "fork after a move", fork_after_move },
	{ "exec", exec_away, 1, true },
	{ "close everything", close_everything },
	{ "close everything, then lose", close_and_lose },
	{ "huge pages, populate", huge_and_populate },
	{ "lock", lock_later },
	{ "read through /proc/self/mem", read_through_proc },
	{ "direct read into an absent page", read_direct },
	{ "write from absent pages", write_from_absent },
	{ "many threads", many_faulters },
};

int main(int argc, char **argv)
{
	return drain_tests_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
