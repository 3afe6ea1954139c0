/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "foreign.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "ferry/task.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define ANSWER_MS 5000

struct hello {
	char why[128]; /* "": all is well */
	u64 addr;
	u64 features;
	s32 sharer;
};

struct request {
	u32 cmd;
	u64 arg;
};

/* ----------------------------------------------------- inside the process */

#define HAMMERS 2

/* Each thread counts in words of its own, one a page. */
struct hammer {
	pthread_t thread;
	u32 index;
	bool by_syscall; /* the kernel writes: copy_to_user() into the page */
	u64 count[SPACE_PAGES];
};

static struct space own;
static struct hammer hammers[HAMMERS];
static u32 hammering;

static u64 *hammer_word(const struct hammer *h, u64 page)
{
	return (u64 *)(own.addr + page * MF_PAGE_SIZE + 1024 + 64 * h->index);
}

static void strike(struct hammer *h, int fd, u64 page)
{
	u64 v = ++h->count[page];

	if (!h->by_syscall) {
		__atomic_fetch_add(hammer_word(h, page), 1, __ATOMIC_RELAXED);
		return;
	}
	if (pwrite(fd, &v, sizeof(v), 0) != sizeof(v) ||
	    pread(fd, hammer_word(h, page), sizeof(v), 0) != sizeof(v))
		h->count[page] = ~(u64)0; /* a lost write if there ever was one */
}

static void *hammer(void *arg)
{
	struct hammer *h = arg;
	int fd = memfd_create("hammer", MFD_CLOEXEC);
	u64 rnd = 88172645463325252ull + h->index;

	while (mf_load(&hammering)) {
		rnd ^= rnd << 13;
		rnd ^= rnd >> 7;
		rnd ^= rnd << 17;
		strike(h, fd, rnd % SPACE_PAGES);
	}
	close(fd);
	return NULL;
}

static long start_hammers(void)
{
	u32 i, p;

	for (i = 0; i < HAMMERS; i++) {
		hammers[i].index = i;
		hammers[i].by_syscall = i % 2;
		for (p = 0; p < SPACE_PAGES; p++)
			*hammer_word(&hammers[i], p) = 0;
	}
	hammering = 1;
	for (i = 0; i < HAMMERS; i++)
		if (pthread_create(&hammers[i].thread, NULL, hammer, &hammers[i]))
			return -EAGAIN;
	return 0;
}

/* Words that do not say what was written to them last. */
static long tally(void)
{
	long lost = 0;
	u32 i, p;

	mf_store(&hammering, 0);
	for (i = 0; i < HAMMERS; i++)
		pthread_join(hammers[i].thread, NULL);
	for (i = 0; i < HAMMERS; i++)
		for (p = 0; p < SPACE_PAGES; p++)
			lost += *hammer_word(&hammers[i], p) != hammers[i].count[p];
	return lost;
}

static long writes(void)
{
	u64 n = 0;
	u32 i, p;

	for (i = 0; i < HAMMERS; i++)
		for (p = 0; p < SPACE_PAGES; p++)
			n += hammers[i].count[p];
	return (long)n;
}

static long poke(void)
{
	volatile u8 *b;
	u64 i;

	for (i = 0; i < SPACE_PAGES; i++) {
		b = own.addr + i * MF_PAGE_SIZE + 5;
		*b ^= 0xff;
		*b ^= 0xff;
	}
	return 0;
}

static long serve(const struct request *q)
{
	switch (q->cmd) {
	case FOREIGN_VERIFY:
		return space_first_wrong(own.addr, own.kind, (u32)q->arg);
	case FOREIGN_DISCARD:
		return mf_sys_madvise(own.addr + q->arg * MF_PAGE_SIZE, MF_PAGE_SIZE,
				      MADV_DONTNEED);
	case FOREIGN_SPLIT:
		return mf_sys_madvise(own.addr + q->arg * MF_PAGE_SIZE,
				      (SPACE_PAGES - q->arg) * MF_PAGE_SIZE, MADV_DONTDUMP);
	case FOREIGN_POKE:
		return poke();
	case FOREIGN_HAMMER:
		return start_hammers();
	case FOREIGN_TALLY:
		return tally();
	case FOREIGN_WRITES:
		return writes();
	default:
		return -EINVAL;
	}
}

static const char *register_space(const struct foreign_opts *o, int *ret_uffd,
				  u64 *ret_features)
{
	u64 wanted = o->uffd_features | MF_UFFD_FEATURE_MISSING_HUGETLBFS |
		     MF_UFFD_FEATURE_WP_HUGETLBFS_SHMEM;
	u64 mode = UFFDIO_REGISTER_MODE_MISSING;

	if (mf_uffd_create(0, wanted, 0, ret_uffd, ret_features))
		return mf_error();
	if (o->ferry)
		mode |= UFFDIO_REGISTER_MODE_WP;
	if (mf_op_register(*ret_uffd, (u64)own.addr, SPACE_LEN, mode, NULL))
		return "the kernel does not register such memory";
	return NULL;
}

static const char *start_ferry(const struct foreign_opts *o, struct mf_ring_page *page,
			       int monitor, int *ret_pidfd)
{
	static struct mf_ferry_range range;
	static struct mf_ferry ferry;
	struct mf_task_opts topts = {
		.size = sizeof(topts),
		.name = "mf-test-ferry",
		.keep_fds = &monitor,
		.n_keep_fds = 1,
	};
	struct mf_task *task;

	range = (struct mf_ferry_range){ (u64)own.addr, (u64)own.addr + SPACE_LEN };
	ferry = (struct mf_ferry){
		.page = page,
		.uffd = -1,
		.monitor_pidfd = monitor,
		.spin_ns = o->spin_ns,
		.n_ranges = o->no_consent ? 0 : 1,
		.range = &range,
	};
	if (mf_task_start(mf_ferry_loop, &ferry, &topts, &task))
		return mf_error();
	*ret_pidfd = mf_task_pidfd(task);
	return NULL;
}

static void be_foreign(const struct foreign_opts *o, int sock, int monitor,
		       struct mf_ring_page *page)
{
	struct hello hello = { "" };
	int fds[2] = { -1, -1 };
	struct request q;
	const char *why;
	size_t n;
	s64 answer;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	why = o->populated ? space_make(&own, o->kind, o->seed) : space_map(&own, o->kind);
	if (!why)
		why = register_space(o, &fds[0], &hello.features);
	if (!why && o->ferry)
		why = start_ferry(o, page, monitor, &fds[1]);
	snprintf(hello.why, sizeof(hello.why), "%s", why ? why : "");
	hello.addr = (u64)own.addr;
	hello.sharer = own.sharer;
	n = why ? 0 : o->ferry ? 2 : 1;
	if (mf_fdpass_send(sock, &hello, sizeof(hello), fds, n, ANSWER_MS) < 0)
		_exit(1);
	while (mf_fdpass_recv(sock, &q, sizeof(q), NULL, 0, &n, 600 * 1000) == sizeof(q)) {
		answer = serve(&q);
		mf_fdpass_send(sock, &answer, sizeof(answer), NULL, 0, ANSWER_MS);
	}
	_exit(0);
}

/* --------------------------------------------------------------- from here */

static int open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static const char *receive_hello(struct foreign *f, u32 spin_ns)
{
	static char why[128];
	struct hello hello;
	int fds[2] = { -1, -1 };
	size_t n;

	if (mf_fdpass_recv(f->sock, &hello, sizeof(hello), fds, 2, &n, 20000) != sizeof(hello))
		return "the foreign process did not come up";
	snprintf(why, sizeof(why), "%s", hello.why);
	f->uffd = fds[0];
	f->ferry_pidfd = fds[1];
	f->addr = (u8 *)hello.addr;
	f->features = hello.features;
	f->sharer = hello.sharer;
	f->mem = open_proc(f->pid, "mem");
	f->pagemap = open_proc(f->pid, "pagemap");
	mf_ring_init(&f->ring, f->page, f->ferry_pidfd, spin_ns);
	return why[0] ? why : NULL;
}

const char *foreign_start(struct foreign *f, const struct foreign_opts *opts)
{
	int pair[2], monitor = (int)mf_sys_pidfd_open(getpid());
	const char *why;

	*f = (struct foreign){ .uffd = -1, .ferry_pidfd = -1, .mem = -1, .pagemap = -1 };
	f->page = mmap(NULL, MF_RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	if (f->page == MAP_FAILED ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return "no memory or descriptors";
	f->pid = fork();
	if (f->pid == 0) {
		close(pair[0]);
		be_foreign(opts, pair[1], monitor, f->page);
	}
	close(pair[1]);
	close(monitor);
	f->sock = pair[0];
	why = receive_hello(f, opts->spin_ns);
	if (why)
		foreign_stop(f);
	return why;
}

void foreign_stop(struct foreign *f)
{
	struct pollfd p = { .fd = f->ferry_pidfd, .events = POLLIN };

	/* the ferry first, while its parent can still be told of it */
	if (f->ferry_pidfd >= 0) {
		mf_sys_pidfd_send_signal(f->ferry_pidfd, SIGKILL);
		poll(&p, 1, ANSWER_MS);
	}
	if (f->sharer > 0)
		kill(f->sharer, SIGKILL);
	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	}
	close_fd(&f->sock);
	close_fd(&f->uffd);
	close_fd(&f->ferry_pidfd);
	close_fd(&f->mem);
	close_fd(&f->pagemap);
	munmap(f->page, MF_RING_BYTES);
	f->pid = f->sharer = 0;
}

void foreign_ask(struct foreign *f, enum foreign_cmd cmd, u64 arg)
{
	struct request q = { cmd, arg };

	mf_fdpass_send(f->sock, &q, sizeof(q), NULL, 0, ANSWER_MS);
}

long foreign_answer(struct foreign *f)
{
	s64 answer;
	size_t n;
	int r = mf_fdpass_recv(f->sock, &answer, sizeof(answer), NULL, 0, &n, ANSWER_MS);

	return r == sizeof(answer) ? (long)answer : r < 0 ? r : -EPIPE;
}

long foreign_do(struct foreign *f, enum foreign_cmd cmd, u64 arg)
{
	foreign_ask(f, cmd, arg);
	return foreign_answer(f);
}
