/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tcp_handover [--only TEXT]
 *
 * What is particular to a hand-over over TCP: the state in pieces, no descriptors, the second
 * connection and strangers on it, frames that were damaged, cut, repeated or held up on
 * their way, and peers that do not follow the protocol. What a hand-over must do on any
 * transport is tested by kill_matrix, drain_changes and region_kinds with MF_RIG_TCP set.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handover_rig.h"
#include "tcp_proxy.h"
#include "wire/msg.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define BYTES (32 * MIB)
#define BOUND_MS 20000
#define TIMEOUT_MS 1000
#define SEED 11

/* Shared by the processes of a test. */
struct scene {
	int port;
	int proxy_port;
	u32 proxied; /* the proxy has done it */
	u32 stop;
	u32 resumed, handed_over, damaged;
	int waited; /* mf_source_wait() */
	char source_error[600];
	u8 token[MF_TOKEN_BYTES];
	char why[600]; /* what is wrong, by the process that found it */
};

struct test {
	const char *name;
	int (*successor)(struct scene *s);
	size_t state; /* bytes that the source saves */
	u32 source_flags;
	bool with_fd;	 /* the source has a descriptor to hand over */
	bool with_memfd; /* and a region on a memfd */
	bool relocatable;
	struct proxy_plan proxy;
	/* how it must end */
	u32 resumed;
	u32 handed_over;
	int waited;
	const char *source_error; /* part of it */
};

static const struct test *now;

static int say(struct scene *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof(s->why), fmt, ap);
	va_end(ap);
	return -1;
}

/* ------------------------------------------------------------------ source */

static u8 state_byte(size_t i)
{
	return (u8)((i * 2654435761u) >> 13);
}

static int on_save(void *arg, struct mf_state *state)
{
	u8 *data = malloc(now->state + 1);
	size_t i;
	int r;

	for (i = 0; i < now->state; i++)
		data[i] = state_byte(i);
	r = mf_state_put(state, data, now->state);
	free(data);
	if (!r && now->with_fd)
		r = mf_state_fd(state, "saved", 0);
	return r;
}

static int declare(struct mf_source *src)
{
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	int fd, r;

	if (p == MAP_FAILED)
		return -ENOMEM;
	rig_fill(RIG_BASE, BYTES, SEED);
	r = mf_source_region(src, "arena", p, BYTES,
			     now->relocatable ? MF_REGION_RELOCATABLE : 0);
	if (!r && now->with_fd)
		r = mf_source_fd(src, "plain", 0);
	if (r || !now->with_memfd)
		return r;
	fd = memfd_create("tcp", MFD_CLOEXEC);
	if (ftruncate(fd, MIB))
		return -errno;
	p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return mf_source_region_fd(src, "file", p, MIB, fd, 0, 0);
}

static bool memory_right(void)
{
	struct rig_count c = { .right = 0 };

	rig_check(RIG_BASE, BYTES, SEED, &c);
	return c.right == BYTES / PAGE;
}

static void serve(struct scene *s, struct mf_source *src)
{
	struct pollfd p = { .fd = mf_source_pollfd(src), .events = POLLIN };
	int r = MF_IDLE;

	while (r >= 0 && r != MF_HANDED_OVER && !mf_load(&s->stop)) {
		mf_source_token(src, s->token);
		poll(&p, 1, 10);
		r = mf_source_dispatch(src);
		if (r != MF_RESUMED && r >= 0)
			continue;
		snprintf(s->source_error, sizeof(s->source_error), "%s", mf_error());
		s->damaged |= !memory_right();
		mf_store(&s->resumed, s->resumed + 1);
	}
	if (r != MF_HANDED_OVER)
		return;
	mf_store(&s->handed_over, 1);
	s->waited = mf_source_wait(src, 10000);
}

static void source_main(struct scene *s)
{
	struct mf_source_opts o = { .size = sizeof(o),
				    .app = "tcp",
				    .timeout_ms = TIMEOUT_MS,
				    .save = on_save,
				    .flags = now->source_flags };
	struct mf_source *src;

	if (mf_source_new(&o, &src) || declare(src) ||
	    mf_source_listen(src, "tcp:127.0.0.1:0")) {
		say(s, "source: %s", mf_error());
		_exit(1);
	}
	mf_source_token(src, s->token);
	mf_store(&s->port, mf_source_port(src));
	serve(s, src);
	mf_source_free(src);
	_exit(0);
}

/* --------------------------------------------------------------- successor */

static int attach_as(struct scene *s, const char *app, const u8 *token,
		     struct mf_successor **ret)
{
	struct mf_successor_opts o = {
		.size = sizeof(o), .app = app, .timeout_ms = TIMEOUT_MS, .token = token
	};
	char address[64];

	snprintf(address, sizeof(address), "tcp:127.0.0.1:%d",
		 s->proxy_port ? s->proxy_port : s->port);
	return mf_successor_attach(address, &o, ret);
}

static int attach(struct scene *s, struct mf_successor **ret)
{
	return attach_as(s, "tcp", NULL, ret);
}

static int check_state(struct scene *s, const u8 *data, size_t len)
{
	size_t i;

	if (len != now->state)
		return say(s, "state of %zu bytes, %zu were saved", len, now->state);
	for (i = 0; i < len; i++)
		if (data[i] != state_byte(i))
			return say(s, "state differs at byte %zu", i);
	return 0;
}

/* Every page is right, or, if @lost, right or poisoned. */
static int check_memory(struct scene *s, bool lost)
{
	struct rig_count c = { .right = 0 };

	rig_check(RIG_BASE, BYTES, SEED, &c);
	if (!c.zero && !c.wrong && c.right + c.poisoned == BYTES / PAGE && !c.poisoned == !lost)
		return 0;
	return say(s, "%llu right, %llu zero, %llu wrong, %llu poisoned",
		   (unsigned long long)c.right, (unsigned long long)c.zero,
		   (unsigned long long)c.wrong, (unsigned long long)c.poisoned);
}

static int commit(struct scene *s, struct mf_successor *suc)
{
	const void *data;
	size_t len;
	int r = mf_successor_state(suc, &data, &len);

	if (r)
		return say(s, "state: %d %s", r, mf_error());
	if (check_state(s, data, len))
		return -1;
	r = mf_successor_commit(suc);
	return r ? say(s, "commit: %d %s", r, mf_error()) : 0;
}

static int complete(struct scene *s, struct mf_successor *suc)
{
	int r = mf_successor_wait(suc, 10000);

	if (r)
		return say(s, "wait: %d %s", r, mf_error());
	r = check_memory(s, false);
	mf_successor_free(suc);
	return r;
}

static int take_over(struct scene *s)
{
	struct mf_successor *suc;
	int r = attach(s, &suc);

	if (r)
		return say(s, "attach: %d %s", r, mf_error());
	return commit(s, suc) ? -1 : complete(s, suc);
}

static int take_over_touching(struct scene *s)
{
	struct mf_successor *suc;
	u64 at, rnd = 5;
	int i;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	if (commit(s, suc))
		return -1;
	for (i = 0; i < 500; i++) {
		rnd = rnd * 6364136223846793005ull + 1442695040888963407ull;
		at = RIG_BASE + (rnd >> 20) % (BYTES / 8) * 8;
		if (*(volatile u64 *)at != (rig_is_hole(at, SEED) ? 0 : rig_word(at, SEED)))
			return say(s, "wrong at %#llx", (unsigned long long)at);
		if (i % 50 == 0)
			mf_successor_hint(suc, (void *)mf_align_down(at, PAGE), 3 * PAGE);
	}
	return complete(s, suc);
}

static int no_descriptors(struct scene *s)
{
	struct mf_successor *suc;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	if (commit(s, suc))
		return -1;
	if (mf_successor_fd(suc, "plain") != -ENOENT || !strstr(mf_error(), "tcp"))
		return say(s, "a plain descriptor: %s", mf_error());
	if (mf_successor_fd(suc, "saved") != -ENOENT || !strstr(mf_error(), "tcp"))
		return say(s, "a saved descriptor: %s", mf_error());
	return complete(s, suc);
}

static int refused_file(struct scene *s)
{
	struct mf_successor *suc;
	int r = attach(s, &suc);

	if (r != -EOPNOTSUPP || !strstr(mf_error(), "region file"))
		return say(s, "attach gave %d, %s", r, mf_error());
	return 0;
}

static int relocated(struct scene *s)
{
	struct mf_successor *suc;
	void *addr;
	size_t len;
	u64 i;

	if (mmap((void *)RIG_BASE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED ||
	    attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	if (mf_successor_map(suc, "arena", MF_MAP_RELOCATE, &addr, &len) ||
	    (u64)addr == RIG_BASE)
		return say(s, "map: %s", mf_error());
	if (commit(s, suc))
		return -1;
	for (i = 0; i < BYTES; i += 8)
		if (*(volatile u64 *)((u64)addr + i) !=
		    (rig_is_hole(RIG_BASE + i, SEED) ? 0 : rig_word(RIG_BASE + i, SEED)))
			return say(s, "wrong at offset %#llx", (unsigned long long)i);
	if (mf_successor_wait(suc, 10000))
		return say(s, "wait: %s", mf_error());
	mf_successor_free(suc);
	return 0;
}

static int tokens(struct scene *s)
{
	u8 wrong[MF_TOKEN_BYTES] = { 1, 2, 3 }, good[MF_TOKEN_BYTES];
	struct mf_successor *suc;
	int r = attach_as(s, "tcp", wrong, &suc);

	if (r != -EACCES)
		return say(s, "wrong token: %d %s", r, mf_error());
	r = attach_as(s, "tcp", NULL, &suc);
	if (r != -EACCES)
		return say(s, "no token: %d %s", r, mf_error());
	memcpy(good, s->token, sizeof(good));
	r = attach_as(s, "tcp", good, &suc);
	if (r)
		return say(s, "good token: %d %s", r, mf_error());
	mf_successor_free(suc); /* gives up: the source resumes, and the token is used up */
	r = attach_as(s, "tcp", good, &suc);
	if (r != -EACCES)
		return say(s, "used-up token: %d %s", r, mf_error());
	rig_sleep_ms(100);
	memcpy(good, s->token, sizeof(good));
	r = attach_as(s, "tcp", good, &suc);
	if (r)
		return say(s, "next token: %d %s", r, mf_error());
	return commit(s, suc) ? -1 : complete(s, suc);
}

static int wrong_app(struct scene *s)
{
	struct mf_successor *suc;
	int r = attach_as(s, "another", NULL, &suc);

	if (r != -ENODATA)
		return say(s, "attach gave %d, %s", r, mf_error());
	return take_over(s);
}

static int two_at_once(struct scene *s)
{
	struct mf_successor *one, *two;
	int r;

	if (attach(s, &one))
		return say(s, "attach: %s", mf_error());
	r = attach(s, &two);
	if (r != -EBUSY)
		return say(s, "the second attach gave %d, %s", r, mf_error());
	return commit(s, one) ? -1 : complete(s, one);
}

/* --------------------------------------------------------------- strangers */

static int raw_connect(struct scene *s)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons((u16)s->port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval bound = { .tv_sec = 5 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound));
	return connect(fd, (struct sockaddr *)&sin, sizeof(sin)) ? -1 : fd;
}

/* The errno that the source's ABORT brings; 0: it closed without one. */
static int read_abort(int fd)
{
	u8 buf[4096];
	struct mf_wire_header h;
	struct mf_msg_abort m;
	size_t have = 0;
	ssize_t n;

	while ((n = recv(fd, buf + have, sizeof(buf) - have, 0)) > 0)
		have += (size_t)n;
	close(fd);
	if (have < MF_WIRE_HEADER_BYTES || mf_wire_get_header(buf, have, &h) ||
	    h.type != MF_MSG_ABORT ||
	    mf_wire_decode_abort(buf + MF_WIRE_HEADER_BYTES, h.len, &m))
		return 0;
	return m.error;
}

static int hello(u8 *buf, u16 ver_min, u16 ver_max)
{
	struct mf_wire_header h = { .version = ver_max };
	struct mf_msg_hello m = {
		.ver_min = ver_min, .ver_max = ver_max, .page_size = 4096, .app = "tcp"
	};

	return mf_wire_encode_hello(buf, 4096, &h, &m);
}

static int other_version(struct scene *s)
{
	u8 buf[4096];
	int fd = raw_connect(s), n = hello(buf, 77, 78), r;

	if (fd < 0 || send(fd, buf, (size_t)n, 0) != n)
		return say(s, "cannot connect");
	r = read_abort(fd);
	if (r != EPROTONOSUPPORT)
		return say(s, "version 77 was answered with %d", r);
	return take_over(s);
}

/* What is no frame of this protocol, or one too long, or not the one that is due. */
static int garbage(struct scene *s)
{
	static const u16 lengths[] = { 1, 31, 32, 33, 64, 1000 };
	struct mf_wire_header h = { .version = 1, .type = MF_MSG_PAGE, .len = 2 << 20 };
	u8 buf[4096];
	size_t i, k;
	int fd;

	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (k = 0; k < lengths[i]; k++)
			buf[k] = (u8)(k * 37 + i);
		fd = raw_connect(s);
		if (fd < 0 || send(fd, buf, lengths[i], MSG_NOSIGNAL) < 0)
			return say(s, "cannot connect");
		shutdown(fd, SHUT_WR);
		read_abort(fd);
	}
	mf_wire_put_header(buf, &h); /* a page, of two megabytes, as the first frame */
	fd = raw_connect(s);
	if (send(fd, buf, MF_WIRE_HEADER_BYTES, MSG_NOSIGNAL) < 0)
		return say(s, "cannot send");
	read_abort(fd); /* comes back, or the time limit of the socket is over */
	return take_over(s);
}

/* Strangers on the port while somebody is attached: silent, false, and a false URGENT. */
static int strangers(struct scene *s)
{
	struct mf_wire_header h = { .version = 1, .epoch = 4711 };
	struct mf_msg_urgent m = { .has_token = false };
	struct mf_successor *suc;
	u8 buf[4096];
	int fd[7], i, n;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	for (i = 0; i < 7; i++)
		fd[i] = raw_connect(s);
	n = mf_wire_encode_urgent(buf, sizeof(buf), &h, &m);
	if (send(fd[5], buf, (size_t)n, MSG_NOSIGNAL) != n ||
	    send(fd[6], "GET / HTTP/1.0\r\n\r\nwhatever else there may be", 44, MSG_NOSIGNAL) <
		    0)
		return say(s, "cannot send");
	if (read_abort(fd[5]) || read_abort(fd[6]))
		return say(s, "a stranger was answered");
	if (commit(s, suc))
		return -1;
	for (i = 0; i < 5; i++)
		close(fd[i]);
	return complete(s, suc);
}

/* -------------------------------------------------------- a man in the middle */

/* Whatever was done on the way, it is noticed, and nothing wrong is ever seen. */
static int lose(struct scene *s, const char *because)
{
	struct mf_successor *suc;
	int r;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	if (commit(s, suc))
		return -1;
	r = mf_successor_wait(suc, 10000);
	if (r != -EOWNERDEAD || !strstr(mf_error(), because))
		return say(s, "wait gave %d, %s", r, mf_error());
	if (!mf_load(&s->proxied))
		return say(s, "the proxy has done nothing");
	r = check_memory(s, true);
	mf_successor_free(suc);
	return r;
}

static int lose_by_checksum(struct scene *s)
{
	return lose(s, "checksum");
}

static int lose_by_close(struct scene *s)
{
	return lose(s, "ended");
}

static int lose_by_silence(struct scene *s)
{
	return lose(s, "nothing for too long");
}

static int lose_by_nonsense(struct scene *s)
{
	return lose(s, "protocol");
}

/* A page that was asked for comes damaged: the thread that waits for it gets SIGBUS. */
static int sigbus_by_checksum(struct scene *s)
{
	struct mf_successor *suc;
	int r;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	if (commit(s, suc))
		return -1;
	/* of many pages some are asked for before they come by themselves */
	for (r = 0; r < 2000 && !mf_load(&s->proxied); r++)
		rig_sigbus(RIG_BASE + BYTES - (u64)(1 + r * 3) * PAGE);
	r = mf_successor_wait(suc, 10000);
	if (r != -EOWNERDEAD || !strstr(mf_error(), "checksum"))
		return say(s, "wait gave %d, %s", r, mf_error());
	r = check_memory(s, true);
	mf_successor_free(suc);
	return r;
}

static int state_fails(struct scene *s, int error)
{
	struct mf_successor *suc;
	const void *data;
	size_t len;
	int r;

	if (attach(s, &suc))
		return say(s, "attach: %s", mf_error());
	r = mf_successor_state(suc, &data, &len);
	if (r != error)
		return say(s, "state gave %d, %s", r, mf_error());
	mf_successor_free(suc);
	return 0;
}

static int damaged_state(struct scene *s)
{
	return state_fails(s, -EBADMSG);
}

static int cut_state(struct scene *s)
{
	return state_fails(s, -EOWNERDEAD);
}

/* The source has said yes, but we did not hear it: we must not run. */
static int lost_answer(struct scene *s)
{
	struct mf_successor *suc;
	const void *data;
	size_t len;
	int r;

	if (attach(s, &suc) || mf_successor_state(suc, &data, &len))
		return say(s, "%s", mf_error());
	r = mf_successor_commit(suc);
	if (r != -EOWNERDEAD || !strstr(mf_error(), "must not run"))
		return say(s, "commit gave %d, %s", r, mf_error());
	mf_successor_free(suc);
	return 0;
}

/* --------------------------------------------------------------------- run */

#define ON_PAGE .type = MF_MSG_PAGE, .nth = 5, .at = 1000

static const struct test tests[] = {
	{ "no state", take_over, .handed_over = 1 },
	{ "state of 3 MB", take_over, .state = 3000001, .handed_over = 1 },
	{ "random touches and hints", take_over_touching, .handed_over = 1 },
	{ "descriptors stay behind", no_descriptors, .with_fd = true, .handed_over = 1 },
	{ "a file is refused", refused_file, .with_memfd = true, .resumed = 1,
	  .source_error = "region file" },
	{ "another address", relocated, .relocatable = true, .handed_over = 1 },
	{ "tokens", tokens, .source_flags = MF_SOURCE_TOKEN, .resumed = 4, .handed_over = 1 },
	{ "wrong application", wrong_app, .resumed = 1, .handed_over = 1 },
	{ "two at once", two_at_once, .handed_over = 1 },
	{ "another version", other_version, .resumed = 1, .handed_over = 1 },
	{ "garbage", garbage, .resumed = 7, .handed_over = 1 },
	{ "strangers on the port", strangers, .handed_over = 1 },
	{ "an honest proxy", take_over_touching, .proxy = { .to_port = -1 }, .handed_over = 1 },
	{ "a page damaged", lose_by_checksum, .proxy = { ON_PAGE, .deed = PROXY_FLIP },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "a requested page damaged", sigbus_by_checksum,
	  .proxy = { .type = MF_MSG_PAGE, .urgent = true, .at = 99, .deed = PROXY_FLIP },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "a page header damaged", lose_by_nonsense,
	  .proxy = { .type = MF_MSG_PAGE, .nth = 3, .at = 1, .deed = PROXY_FLIP },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "a page twice", lose_by_nonsense, .proxy = { ON_PAGE, .deed = PROXY_TWICE },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "cut between pages", lose_by_close, .proxy = { ON_PAGE, .deed = PROXY_CUT },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "cut within a page", lose_by_close, .proxy = { ON_PAGE, .deed = PROXY_HALF },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "held up", lose_by_silence, .proxy = { ON_PAGE, .deed = PROXY_STALL },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "an acknowledgement damaged", lose_by_close,
	  .proxy = { .type = MF_MSG_ACK, .to_source = true, .at = 8, .deed = PROXY_FLIP },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "acknowledgements cut", lose_by_close,
	  .proxy = { .type = MF_MSG_ACK, .to_source = true, .deed = PROXY_CUT },
	  .handed_over = 1, .waited = -EOWNERDEAD },
	{ "state damaged", damaged_state, .state = 100000,
	  .proxy = { .type = MF_MSG_BLOB, .nth = 2, .at = 500, .deed = PROXY_FLIP },
	  .resumed = 1 },
	{ "state cut", cut_state, .state = 100000,
	  .proxy = { .type = MF_MSG_BLOB, .nth = 2, .deed = PROXY_HALF }, .resumed = 1 },
	{ "commit not asked", lost_answer,
	  .proxy = { .type = MF_MSG_COMMIT, .to_source = true, .deed = PROXY_CUT },
	  .resumed = 1 },
	{ "commit not answered", lost_answer,
	  .proxy = { .type = MF_MSG_COMMITTED, .deed = PROXY_CUT }, .handed_over = 1,
	  .waited = -EOWNERDEAD },
};

static pid_t start(struct scene *s, void (*fn)(struct scene *))
{
	pid_t pid = fork();

	if (pid == 0) {
		fn(s);
		_exit(0);
	}
	return pid;
}

static void proxy_main(struct scene *s)
{
	struct proxy_plan plan = now->proxy;
	int port;

	plan.to_port = s->port;
	plan.ret_done = &s->proxied;
	port = proxy_start(&plan);
	mf_store(&s->proxy_port, port);
	for (;;)
		pause();
}

static void successor_main(struct scene *s)
{
	_exit(now->successor(s) ? 1 : 0);
}

static bool await_port(int *port)
{
	u64 end = rig_now_ms() + BOUND_MS;

	while (!mf_load(port) && rig_now_ms() < end)
		rig_sleep_ms(1);
	return mf_load(port) > 0;
}

static int verdict(struct scene *s, int status)
{
	if (*s->why)
		return -1;
	if (status)
		return say(s, "the successor ended with status %#x", (unsigned int)status);
	if (s->damaged)
		return say(s, "the source's memory has changed");
	if (s->resumed != now->resumed || s->handed_over != now->handed_over)
		return say(s, "the source resumed %u times, handed over %u times: %s",
			   s->resumed, s->handed_over, s->source_error);
	if (s->waited != now->waited)
		return say(s, "mf_source_wait() gave %d", s->waited);
	if (now->source_error && !strstr(s->source_error, now->source_error))
		return say(s, "the source says: %s", s->source_error);
	return 0;
}

static int play(struct scene *s)
{
	pid_t source, proxy = 0, successor;
	int status = -1, source_status;
	bool hangs;

	source = start(s, source_main);
	if (!await_port(&s->port))
		return say(s, "the source does not start");
	if (now->proxy.type || now->proxy.to_port) {
		proxy = start(s, proxy_main);
		if (!await_port(&s->proxy_port))
			return say(s, "the proxy does not start");
	}
	successor = start(s, successor_main);
	hangs = !rig_await_exit(successor, BOUND_MS, &status);
	rig_sleep_ms(now->resumed && !now->handed_over ? 50 : 0);
	mf_store(&s->stop, 1);
	if (!rig_await_exit(source, BOUND_MS, &source_status))
		return say(s, "the source hangs");
	if (proxy) {
		kill(proxy, SIGKILL);
		rig_await_exit(proxy, BOUND_MS, &source_status);
	}
	if (hangs)
		return say(s, "the successor hangs");
	if (!rig_alone(3000))
		return say(s, "somebody is left behind");
	return verdict(s, status);
}

static bool run(const struct test *t)
{
	struct scene *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	u64 begin = rig_now_ms();
	bool good;

	now = t;
	fflush(stdout);
	good = play(s) == 0;
	if (!good)
		printf("# %s: %s\n", t->name, s->why);
	printf("%sok - %s (%llu ms)\n", good ? "" : "not ", t->name,
	       (unsigned long long)(rig_now_ms() - begin));
	munmap(s, sizeof(*s));
	return good;
}

int main(int argc, char **argv)
{
	const char *only = argc == 3 && !strcmp(argv[1], "--only") ? argv[2] : NULL;
	int failed = 0;
	size_t i;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (!only || strstr(tests[i].name, only))
			failed += !run(&tests[i]);
	return failed ? 1 : 0;
}
