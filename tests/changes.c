/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Regions that changed after they were declared, successors that may not or cannot take
 * them: a clear error at both ends, and the source goes on and is taken over afterwards.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover_rig.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define BYTES (32 * MIB)
#define MIDDLE (RIG_BASE + 16 * MIB)

/* ----------------------------------------------------- changes in the source */

static void declare_again(struct rig *rig, struct mf_source *src)
{
	const struct rig_plan *plan = &rig->plan;
	void *p;

	munmap((void *)plan->base, plan->bytes);
	p = mmap((void *)plan->base, plan->bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	rig_fill(plan->base, plan->bytes, plan->seed);
	if (mf_source_region_del(src, "arena") ||
	    mf_source_region(src, "arena", p, plan->bytes, 0))
		abort();
}

static void unmap_all(struct rig *rig, struct mf_source *src)
{
	munmap((void *)rig->plan.base, rig->plan.bytes);
}

static void unmap_part(struct rig *rig, struct mf_source *src)
{
	munmap((void *)MIDDLE, PAGE);
}

static void move_away(struct rig *rig, struct mf_source *src)
{
	mremap((void *)MIDDLE, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED,
	       (void *)0x340000000000ull);
}

static void protect_part(struct rig *rig, struct mf_source *src)
{
	mprotect((void *)MIDDLE, PAGE, PROT_READ);
}

static void protect_back(struct rig *rig, struct mf_source *src)
{
	mprotect((void *)MIDDLE, PAGE, PROT_READ | PROT_WRITE);
}

static void file_over(struct rig *rig, struct mf_source *src)
{
	int fd = open("/proc/self/exe", O_RDONLY);

	mmap((void *)MIDDLE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
	close(fd);
}

static void share_over(struct rig *rig, struct mf_source *src)
{
	mmap((void *)MIDDLE, PAGE, PROT_READ | PROT_WRITE,
	     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* What follows is allowed. */

static void discard_part(struct rig *rig, struct mf_source *src)
{
	madvise((void *)MIDDLE, 4 * MIB, MADV_DONTNEED);
}

static int zeros_in_the_middle(struct rig *rig, struct mf_successor *s)
{
	const u64 *p = (const u64 *)MIDDLE;
	u64 i;

	if (rig_take(rig, s))
		return -1;
	for (i = 0; i < 4 * MIB / 8; i++)
		if (p[i])
			return rig_say(rig, "discarded memory came back");
	if (rig_all_right(rig, s, RIG_BASE, 16 * MIB))
		return -1;
	return rig_range_right(rig, MIDDLE + 4 * MIB, 12 * MIB);
}

/* A child that lives on and shares every page: it keeps what it has. */
static void fork_child(struct rig *rig, struct mf_source *src)
{
	pid_t parent = getpid(), pid = fork();

	if (pid)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent && !mf_load(&rig->at[RIG_DONE]))
		usleep(1000);
	/* the source may have gone, and with it the signal has come, or not yet */
	_exit(0);
}

/* ------------------------------------------------- limits of the successor */

static void limit_as(struct rig *rig, struct mf_successor_opts *o)
{
	struct rlimit lim = { 24 * MIB, RLIM_INFINITY };

	setrlimit(RLIMIT_AS, &lim);
}

static void limit_data(struct rig *rig, struct mf_successor_opts *o)
{
	struct rlimit lim = { 24 * MIB, RLIM_INFINITY };

	setrlimit(RLIMIT_DATA, &lim);
}

static int declare_locked(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p == MAP_FAILED || mlock2(p, BYTES, MLOCK_ONFAULT))
		return -errno;
	rig_fill(RIG_BASE, BYTES, rig->plan.seed);
	return mf_source_region(src, "arena", p, BYTES, 0);
}

static void drop_cap(int cap)
{
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2];

	syscall(SYS_capget, &h, d);
	d[cap / 32].effective &= ~(1u << (cap % 32));
	syscall(SYS_capset, &h, d);
}

static void limit_memlock(struct rig *rig, struct mf_successor_opts *o)
{
	struct rlimit lim = { MIB, MIB };

	setrlimit(RLIMIT_MEMLOCK, &lim);
	drop_cap(CAP_IPC_LOCK);
}

static int declare_fds(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	char name[20];
	int i, r;

	rig_fill(RIG_BASE, BYTES, rig->plan.seed);
	r = mf_source_region(src, "arena", p, BYTES, 0);
	for (i = 0; i < 300 && !r; i++) {
		snprintf(name, sizeof(name), "fd%d", i);
		r = mf_source_fd(src, name, 2);
	}
	return r;
}

static void limit_nofile(struct rig *rig, struct mf_successor_opts *o)
{
	struct rlimit lim = { 100, 100 };

	setrlimit(RLIMIT_NOFILE, &lim);
}

static char group[200]; /* in the driver and its children */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool group_write(const char *file, const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return write_text(path, text);
}

/* A group of 16 MiB; both cgroup versions. */
static bool make_group(void)
{
	static const char *const roots[] = { "/sys/fs/cgroup/memory", "/sys/fs/cgroup" };
	static const char *const limits[] = { "memory.limit_in_bytes", "memory.max" };
	size_t i;

	for (i = 0; i < 2; i++) {
		snprintf(group, sizeof(group), "%s/memferry-test-%d", roots[i], getpid());
		if (mkdir(group, 0755))
			continue;
		if (group_write(limits[i], "16777216"))
			return true;
		rmdir(group);
	}
	return false;
}

static void limit_group(struct rig *rig, struct mf_successor_opts *o)
{
	char pid[20];

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!group_write("cgroup.procs", pid))
		abort();
}

/* -------------------------------------------------------------- permission */

static void become_nobody(void)
{
	if (setgid(65534) || setuid(65534))
		abort();
	prctl(PR_SET_DUMPABLE, 1); /* else /proc/self is root's */
}

static int declare_as_nobody(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	become_nobody();
	rig_fill(RIG_BASE, BYTES, rig->plan.seed);
	return mf_source_region(src, "arena", p, BYTES, 0);
}

static void as_nobody(struct rig *rig, struct mf_successor_opts *o)
{
	become_nobody();
}

static void as_nobody_user_mode(struct rig *rig, struct mf_successor_opts *o)
{
	become_nobody();
	o->flags = MF_SUCCESSOR_USER_MODE_ONLY;
}

/* System calls on absent memory fail then, so it is touched. */
static int touch_all(struct rig *rig, struct mf_successor *s)
{
	u64 at;

	if (rig_take(rig, s))
		return -1;
	for (at = RIG_BASE; at < RIG_BASE + BYTES; at += PAGE)
		if (*(volatile u64 *)at !=
		    (rig_is_hole(at, rig->plan.seed) ? 0 : rig_word(at, rig->plan.seed)))
			return rig_say(rig, "wrong at %#llx", (unsigned long long)at);
	return rig_all_right(rig, s, RIG_BASE, BYTES);
}

static void hide_proc(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/proc", "tmpfs", 0, NULL))
		abort();
}

static void successor_without_proc(struct rig *rig, struct mf_successor_opts *o)
{
	hide_proc();
}

static void source_without_proc(struct rig *rig, struct mf_source *src)
{
	hide_proc();
}

static void proc_is_back(struct rig *rig, struct mf_source *src)
{
	umount("/proc");
}

/* ------------------------------------------------------------------ places */

static void take_address(struct rig *rig, struct mf_successor_opts *o)
{
	mmap((void *)MIDDLE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static int declare_relocatable(struct rig *rig, struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	rig_fill(RIG_BASE, BYTES, rig->plan.seed);
	return mf_source_region(src, "arena", p, BYTES, MF_REGION_RELOCATABLE);
}

static int relocate(struct rig *rig, struct mf_successor *s)
{
	void *p;
	size_t len, i;

	if (mf_successor_map(s, "arena", MF_MAP_RELOCATE, &p, &len))
		return rig_say(rig, "%s", mf_error());
	if (p == (void *)RIG_BASE || len != BYTES)
		return rig_say(rig, "it is where it cannot be");
	if (rig_take(rig, s) || mf_successor_wait(s, 20000))
		return -1;
	for (i = 0; i < len; i += 8)
		if (((u64 *)p)[i / 8] != (rig_is_hole(RIG_BASE + i, rig->plan.seed)
						  ? 0
						  : rig_word(RIG_BASE + i, rig->plan.seed)))
			return rig_say(rig, "wrong at +%#zx", i);
	return 0;
}

static int map_strictly(struct rig *rig, struct mf_successor *s)
{
	void *p;
	size_t len;
	int r = mf_successor_map(s, "arena", MF_MAP_RELOCATE, &p, &len);

	if (r != -EEXIST)
		return rig_say(rig, "mapped, or another error: %d", r);
	rig_say(rig, "%s", mf_error());
	return r;
}

/* -------------------------------------------------------------------- main */

struct test {
	const char *name;
	struct rig_hooks hooks;
	int refused;	    /* 0: goes well; else the successor's -errno, or 1: any */
	const char *why;    /* in the successor's text; NULL: it was not refused */
	const char *source; /* in the source's text; NULL: whatever it says, if anything */
	u32 needs;
};

#define NEEDS_GROUP 1u
#define NOT_ASAN 2u /* an address space limit leaves no room for the shadow */

#define CHANGED(what) .refused = -ESTALE, .why = "has changed", .source = what

static const struct test tests[] = {
	{ "unmapped", { .listening = unmap_all, .resumed = declare_again }, CHANGED("gaps") },
	{ "partly unmapped",
	  { .listening = unmap_part, .resumed = declare_again },
	  CHANGED("gaps") },
	{ "moved", { .listening = move_away, .resumed = declare_again }, CHANGED("gaps") },
	{ "protected",
	  { .listening = protect_part, .resumed = protect_back },
	  CHANGED("protection") },
	{ "a file mapped over it",
	  { .listening = file_over, .resumed = declare_again },
	  CHANGED("file") },
	{ "shared memory mapped over it",
	  { .listening = share_over, .resumed = declare_again },
	  CHANGED("shared") },
	{ "discarded in part",
	  { .listening = discard_part, .successor = zeros_in_the_middle } },
	{ "forked", { .listening = fork_child } },
	{ "RLIMIT_AS",
	  { .before_attach = limit_as },
	  -ENOMEM,
	  "ulimit -v",
	  "ulimit -v",
	  NOT_ASAN },
	{ "RLIMIT_DATA",
	  { .before_attach = limit_data },
	  -ENOMEM,
	  "ulimit -d",
	  "ulimit -d",
	  NOT_ASAN },
	{ "RLIMIT_MEMLOCK",
	  { .declare = declare_locked, .before_attach = limit_memlock },
	  1,
	  "RLIMIT_MEMLOCK",
	  "RLIMIT_MEMLOCK" },
	{ "RLIMIT_NOFILE",
	  { .declare = declare_fds, .before_attach = limit_nofile },
	  -EMFILE,
	  "RLIMIT_NOFILE",
	  "RLIMIT_NOFILE" },
	{ "memory cgroup",
	  { .before_attach = limit_group },
	  -ENOMEM,
	  "memory limit of cgroup",
	  "memory limit of cgroup",
	  NEEDS_GROUP },
	{ "another user", { .before_attach = as_nobody }, -EACCES, "" },
	{ "no right to userfaultfd",
	  { .declare = declare_as_nobody, .before_attach = as_nobody },
	  -EPERM,
	  "userfaultfd" },
	{ "user mode only",
	  { .declare = declare_as_nobody,
	    .before_attach = as_nobody_user_mode,
	    .successor = touch_all } },
	{ "successor without /proc",
	  { .before_attach = successor_without_proc },
	  1,
	  "/proc",
	  "/proc" },
	{ "source without /proc",
	  { .listening = source_without_proc, .resumed = proc_is_back },
	  1,
	  "mappings",
	  "mappings" },
	{ "address taken", { .before_attach = take_address }, -EEXIST, "is taken", "is taken" },
	{ "address taken, not relocatable",
	  { .before_attach = take_address, .successor = map_strictly },
	  -EEXIST,
	  "is taken",
	  "is taken" },
	{ "relocated",
	  { .declare = declare_relocatable,
	    .before_attach = take_address,
	    .successor = relocate } },
};

static int complain(const char *name, const char *what, const struct rig *rig)
{
	printf("# %s: %s; source: %d %s; successor: %d %s\n", name, what, rig->src.result,
	       rig->src.error, rig->suc.result, rig->suc.error);
	return -1;
}

static int check_refused(struct rig *rig, const struct test *t, bool source_hears)
{
	const struct rig_side *d = &rig->suc;
	u64 end = rig_now_ms() + 3000;

	if (!d->result || d->committed)
		return complain(t->name, "it was not refused", rig);
	if (t->refused < 0 && d->result != t->refused)
		return complain(t->name, "refused with another error", rig);
	if (!strstr(d->error, t->why))
		return complain(t->name, "the successor does not say why", rig);
	while (source_hears && !mf_load(&rig->src.resumed) && rig_now_ms() < end)
		usleep(1000);
	if (source_hears && (!rig->src.resumed || !strstr(rig->src.error, t->source)))
		return complain(t->name, "the source does not say why", rig);
	if (d->fds_after && d->fds_after != d->fds_before)
		return complain(t->name, "the successor leaks descriptors", rig);
	return 0;
}

static int check_good(struct rig *rig, const struct test *t, int status)
{
	const struct rig_side *d = &rig->suc;

	if (status || d->result || !d->committed || !d->finished)
		return complain(t->name, "it failed", rig);
	if (!t->hooks.successor && d->count.right != rig->plan.bytes / PAGE)
		return complain(t->name, "not every page is right", rig);
	return 0;
}

static int attempt(struct rig *rig, const struct test *t)
{
	char why[900];
	int status = -1;

	rig_start_source(rig);
	if (!rig_await(rig, RIG_OFFER, 5000))
		return complain(t->name, "the source does not start", rig);
	rig_start_successor(rig);
	if (!rig_await_exit(rig->suc.pid, 20000, &status))
		return complain(t->name, "the successor hangs", rig);
	if (!t->why)
		return check_good(rig, t, status);
	if (check_refused(rig, t, t->source != NULL))
		return -1;
	if (t->hooks.declare == declare_as_nobody) /* the way that the text recommends */
		return 0;
	rig->plan.flags |= RIG_NO_HOOKS;
	return rig_take_over(rig, why, sizeof(why)) ? 0 : complain(t->name, why, rig);
}

static int run(const struct test *t)
{
	struct rig_plan plan = {
		.bytes = BYTES, .timeout_ms = 2000, .seed = 5, .hooks = &t->hooks
	};
	struct rig *rig = rig_new(&plan);
	int r = attempt(rig, t);

	mf_store(&rig->stop, 1);
	if (!rig_alone(r ? 500 : 5000) && !r)
		r = complain(t->name, "somebody is left behind", rig);
	if (r) {
		kill(rig->src.pid, SIGKILL);
		kill(rig->suc.pid, SIGKILL);
		rig_alone(2000);
	}
	rig_free(rig);
	return r;
}

static u32 lacking(void)
{
	u32 no = make_group() ? 0 : NEEDS_GROUP;

#if defined(__SANITIZE_ADDRESS__)
	no |= NOT_ASAN;
#endif
	return no;
}

int main(int argc, char **argv)
{
	u32 no;
	int failed = 0, r;
	size_t i;

	if (geteuid() != 0) {
		printf("needs root, to take rights away from its processes\n");
		return 77;
	}
	no = lacking();
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc > 1 && !strstr(tests[i].name, argv[1]))
			continue;
		if (tests[i].needs & no) {
			printf("ok - %s # SKIP not possible here\n", tests[i].name);
			continue;
		}
		r = run(&tests[i]);
		printf("%sok - %s\n", r ? "not " : "", tests[i].name);
		fflush(stdout);
		failed += r != 0;
	}
	rmdir(group);
	return failed ? 1 : 0;
}
