/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Successors that do not keep to the protocol, that have no right, that come in crowds. Each
 * is refused with a text that names the trouble; the source goes on and can be taken over.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer.h"
#include "uffd/open.h"
#include "uffd/op.h"

#define BYTES (2ull << 20)
#define TIMEOUT_MS 400

static struct mf_msg_hello good_hello(void)
{
	struct mf_msg_hello m = { .ver_min = MF_WIRE_VERSION_MIN,
				  .ver_max = MF_WIRE_VERSION_MAX,
				  .page_size = 4096 };

	strcpy(m.app, "rig");
	return m;
}

static int send_hello(struct peer *p, const struct mf_msg_hello *m)
{
	struct mf_wire_header h = peer_header(p);

	return peer_put(p, mf_wire_encode_hello(p->buf, PEER_ROOM, &h, m), NULL, 0);
}

/* As far as WELCOME and REGIONS; false if it is not let. */
static bool be_welcome(struct peer *p, struct rig *rig)
{
	struct mf_msg_hello m = good_hello();
	struct mf_msg_welcome w;
	struct mf_wire_header h;

	if (!peer_connect(p, rig, SOCK_SEQPACKET) || send_hello(p, &m) ||
	    peer_get_past(p, MF_MSG_WELCOME, &h) != MF_MSG_WELCOME ||
	    mf_wire_decode_welcome(p->buf + MF_WIRE_HEADER_BYTES, h.len, &w))
		return false;
	p->epoch = w.epoch;
	mf_close_all(p->fds, p->n_fds);
	return peer_get_past(p, MF_MSG_REGIONS, &h) == MF_MSG_REGIONS;
}

/* A userfaultfd with the region registered, as a successor would have it. */
static int real_uffd(void)
{
	int uffd = -1;
	void *p = mmap((void *)RIG_BASE, BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (mf_uffd_create(0, 0, 0, &uffd, NULL) ||
	    mf_op_register(uffd, (u64)p, BYTES, UFFDIO_REGISTER_MODE_MISSING, NULL))
		return -1;
	return uffd;
}

static int send_mapped(struct peer *p, u64 addr, u32 index, const int *fds, size_t n)
{
	struct mf_wire_header h = peer_header(p);
	static struct mf_msg_mapped m;

	m = (struct mf_msg_mapped){ .count = 1 };
	m.index[0] = index;
	m.addr[0] = addr;
	return peer_put(p, mf_wire_encode_mapped(p->buf, PEER_ROOM, &h, &m), fds, n);
}

static int send_good_mapped(struct peer *p)
{
	int fds[4] = { real_uffd(), eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK),
		       open("/proc/self/pagemap", O_RDONLY) };
	int r = send_mapped(p, RIG_BASE, 0, fds, 4);

	mf_close_all(fds, 4);
	return r;
}

/* ------------------------------------------------ bad successors, one by one */

static void send_bytes(struct rig *rig, const void *bytes, size_t len)
{
	struct peer p;
	struct mf_wire_header h;

	if (peer_connect(&p, rig, SOCK_SEQPACKET) &&
	    send(p.sock, bytes, len, MSG_NOSIGNAL) >= 0)
		peer_get(&p, &h, 1000);
	close(p.sock);
}

static void http(struct rig *rig)
{
	static const char text[] =
		"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

	send_bytes(rig, text, sizeof(text) - 1);
}

static void noise(struct rig *rig)
{
	u8 bytes[3000];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(rig_word(i, 99) >> 16);
	send_bytes(rig, bytes, sizeof(bytes));
}

static void one_byte(struct rig *rig)
{
	send_bytes(rig, "x", 1);
}

static void oversized(struct rig *rig)
{
	u8 *big = calloc(1, PEER_ROOM + 4096);

	send_bytes(rig, big, PEER_ROOM + 4096);
	free(big);
}

static void stream(struct rig *rig)
{
	struct peer p;

	peer_connect(&p, rig, SOCK_STREAM); /* the kernel refuses that itself */
	close(p.sock);
}

static void hello_with(struct rig *rig, void (*spoil)(struct mf_msg_hello *))
{
	struct mf_msg_hello m = good_hello();
	struct mf_wire_header h;
	struct peer p;

	spoil(&m);
	if (peer_connect(&p, rig, SOCK_SEQPACKET) && !send_hello(&p, &m))
		peer_get(&p, &h, 1000);
	close(p.sock);
}

static void future_version(struct mf_msg_hello *m)
{
	m->ver_min = m->ver_max = MF_WIRE_VERSION_MAX + 7;
}

static void other_app(struct mf_msg_hello *m)
{
	strcpy(m->app, "somebody-else");
}

static void other_pages(struct mf_msg_hello *m)
{
	m->page_size = 65536;
}

static void version_apart(struct rig *rig)
{
	hello_with(rig, future_version);
}

static void app_apart(struct rig *rig)
{
	hello_with(rig, other_app);
}

static void pages_apart(struct rig *rig)
{
	hello_with(rig, other_pages);
}

static void truncated_hello(struct rig *rig)
{
	struct mf_msg_hello m = good_hello();
	struct mf_wire_header h;
	struct peer p;
	int n;

	if (peer_connect(&p, rig, SOCK_SEQPACKET)) {
		h = peer_header(&p);
		n = mf_wire_encode_hello(p.buf, PEER_ROOM, &h, &m);
		send(p.sock, p.buf, (size_t)n - 8, MSG_NOSIGNAL);
		peer_get(&p, &h, 1000);
	}
	close(p.sock);
}

static void hello_twice(struct rig *rig)
{
	struct mf_msg_hello m = good_hello();
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig) && !send_hello(&p, &m))
		peer_get_past(&p, MF_MSG_ABORT, &h);
	close(p.sock);
}

static void repeated_number(struct rig *rig)
{
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig)) {
		p.seq = 0;
		send_good_mapped(&p);
		peer_get_past(&p, MF_MSG_ABORT, &h);
	}
	close(p.sock);
}

static void other_epoch(struct rig *rig)
{
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig)) {
		p.epoch ^= 0x100;
		send_good_mapped(&p);
		peer_get_past(&p, MF_MSG_ABORT, &h);
	}
	close(p.sock);
}

static void quiesce_too_soon(struct rig *rig)
{
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig)) {
		h = peer_header(&p);
		peer_put(&p, mf_wire_encode_empty(p.buf, PEER_ROOM, &h, MF_MSG_QUIESCE), NULL,
			 0);
		peer_get_past(&p, MF_MSG_ABORT, &h);
	}
	close(p.sock);
}

static void mapped_with(struct rig *rig, u64 addr, u32 index, const int *fds, size_t n)
{
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig)) {
		send_mapped(&p, addr, index, fds, n);
		peer_get_past(&p, MF_MSG_ABORT, &h);
	}
	close(p.sock);
}

static void no_descriptors(struct rig *rig)
{
	mapped_with(rig, RIG_BASE, 0, NULL, 0);
}

static void wrong_kinds(struct rig *rig)
{
	int fds[4] = { 1, 1, 1, 1 };

	mapped_with(rig, RIG_BASE, 0, fds, 4);
}

static void too_many_descriptors(struct rig *rig)
{
	int fds[60], i;

	for (i = 0; i < 60; i++)
		fds[i] = 1;
	mapped_with(rig, RIG_BASE, 0, fds, 60);
}

static void mapped_elsewhere(struct rig *rig)
{
	mapped_with(rig, RIG_BASE + (1 << 20), 0, NULL, 0);
}

static void mapped_impossibly(struct rig *rig)
{
	mapped_with(rig, ~0ull - 4095, 0, NULL, 0);
}

static void mapped_unknown(struct rig *rig)
{
	mapped_with(rig, RIG_BASE, 77, NULL, 0);
}

/* Everything right, but the userfaultfd is of a space in which nothing is registered. */
static void useless_uffd(struct rig *rig)
{
	int fds[4] = { -1, eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK),
		       open("/proc/self/pagemap", O_RDONLY) };

	if (!mf_uffd_create(0, 0, 0, &fds[0], NULL))
		mapped_with(rig, RIG_BASE, 0, fds, 4);
	mf_close_all(fds, 4);
}

static void silent(struct rig *rig)
{
	struct peer p;

	peer_connect(&p, rig, SOCK_SEQPACKET);
	rig_sleep_ms(TIMEOUT_MS * 2);
	close(p.sock);
}

static void silent_after_welcome(struct rig *rig)
{
	struct peer p;

	be_welcome(&p, rig);
	rig_sleep_ms(TIMEOUT_MS * 2);
	close(p.sock);
}

static void silent_after_ready(struct rig *rig)
{
	struct mf_wire_header h;
	struct peer p;

	if (be_welcome(&p, rig) && !send_good_mapped(&p))
		peer_get_past(&p, MF_MSG_READY, &h);
	rig_sleep_ms(TIMEOUT_MS * 2);
	close(p.sock);
}

static bool get_state(struct peer *p, struct rig *rig)
{
	struct mf_wire_header h;

	if (!be_welcome(p, rig) || send_good_mapped(p) ||
	    peer_get_past(p, MF_MSG_READY, &h) != MF_MSG_READY)
		return false;
	h = peer_header(p);
	peer_put(p, mf_wire_encode_empty(p->buf, PEER_ROOM, &h, MF_MSG_QUIESCE), NULL, 0);
	return peer_get_past(p, MF_MSG_STATE, &h) == MF_MSG_STATE;
}

static void silent_in_blackout(struct rig *rig)
{
	struct peer p;

	if (get_state(&p, rig))
		rig_sleep_ms(TIMEOUT_MS * 2);
	close(p.sock);
}

/* COMMITTED is only a hint: without the swap of the word nothing is committed. */
static void lying_about_commit(struct rig *rig)
{
	struct mf_wire_header h;
	struct peer p;

	if (get_state(&p, rig)) {
		h = peer_header(&p);
		peer_put(&p, mf_wire_encode_empty(p.buf, PEER_ROOM, &h, MF_MSG_COMMITTED), NULL,
			 0);
		rig_sleep_ms(TIMEOUT_MS * 2);
	}
	close(p.sock);
}

static void noise_in_blackout(struct rig *rig)
{
	struct peer p;

	if (get_state(&p, rig)) {
		send(p.sock, "what?", 5, MSG_NOSIGNAL);
		rig_sleep_ms(100);
	}
	close(p.sock);
}

static void leave_at_once(struct rig *rig)
{
	struct peer p;
	int i;

	for (i = 0; i < 3000; i++) {
		peer_connect(&p, rig, SOCK_SEQPACKET);
		close(p.sock);
	}
}

static void leave_after_hello(struct rig *rig)
{
	struct mf_msg_hello m = good_hello();
	struct peer p;
	int i;

	for (i = 0; i < 500; i++) {
		if (peer_connect(&p, rig, SOCK_SEQPACKET))
			send_hello(&p, &m);
		close(p.sock);
	}
}

static void other_user(struct rig *rig)
{
	struct peer p;
	struct mf_msg_hello m = good_hello();
	struct mf_wire_header h;

	/* even where the file's mode would let it */
	chmod(rig->path, 0666);
	if (setgid(65534) || setuid(65534))
		_exit(1);
	if (peer_connect(&p, rig, SOCK_SEQPACKET)) {
		send_hello(&p, &m);
		peer_get(&p, &h, 1000);
	}
	close(p.sock);
}

struct bad_successor {
	const char *name;
	void (*act)(struct rig *rig);
	const char *text; /* what the source says; NULL: nothing need be said */
};

static const struct bad_successor bad_successors[] = {
	{ "HTTP", http, "does not speak this protocol" },
	{ "noise", noise, "does not speak this protocol" },
	{ "one byte", one_byte, "does not speak this protocol" },
	{ "oversized frame", oversized, "cannot receive" },
	{ "a stream", stream, NULL },
	{ "no common version", version_apart, "no common protocol version" },
	{ "another application", app_apart, "somebody-else" },
	{ "other page size", pages_apart, "page sizes" },
	{ "truncated frame", truncated_hello, "length is wrong" },
	{ "HELLO twice", hello_twice, "HELLO out of turn" },
	{ "repeated number", repeated_number, "where 1 was due" },
	{ "another epoch", other_epoch, "another hand-over" },
	{ "QUIESCE too soon", quiesce_too_soon, "QUIESCE out of turn" },
	{ "MAPPED without descriptors", no_descriptors, "descriptors of the wrong kind" },
	{ "descriptors of wrong kinds", wrong_kinds, "descriptors of the wrong kind" },
	{ "too many descriptors", too_many_descriptors, "descriptors of the wrong kind" },
	{ "mapped elsewhere", mapped_elsewhere, "mapped region arena elsewhere" },
	{ "mapped past the end", mapped_impossibly, "impossible" },
	{ "an unknown region", mapped_unknown, "a region that there is not" },
	{ "a useless userfaultfd", useless_uffd, "silent" },
	{ "silence", silent, "silent" },
	{ "silence after WELCOME", silent_after_welcome, "silent" },
	{ "silence after READY", silent_after_ready, "silent" },
	{ "silence in the blackout", silent_in_blackout, "did not commit within" },
	{ "COMMITTED without a commit", lying_about_commit, "commit" },
	{ "noise in the blackout", noise_in_blackout, "does not speak this protocol" },
	{ "3000 connections", leave_at_once, NULL },
	{ "500 greetings", leave_after_hello, NULL },
	{ "another user", other_user, "one user only" },
};

/* --------------------------------------------------------------------- run */

static int report(const char *name, int r, const struct rig *rig)
{
	if (r)
		printf("# %s: source %d '%s'; successor %d '%s'\n", name, rig->src.result,
		       rig->src.error, rig->suc.result, rig->suc.error);
	printf("%sok - %s\n", r ? "not " : "", name);
	fflush(stdout);
	return r != 0;
}

static int in_child(struct rig *rig, void (*act)(struct rig *rig), int timeout_ms)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		act(rig);
		_exit(0);
	}
	if (rig_await_exit(pid, timeout_ms, &status))
		return status;
	kill(pid, SIGKILL);
	return -1;
}

/* The source has noticed, says why, and is what it was. */
static int check_source(struct rig *rig, const char *text)
{
	const struct rig_side *s = &rig->src;
	u64 end = rig_now_ms() + TIMEOUT_MS * 4;

	if (!text)
		return 0;
	while (!mf_load(&s->resumed) && rig_now_ms() < end)
		usleep(1000);
	return s->resumed && strstr(s->error, text) && s->fds_after == s->fds_before &&
			       s->count.right == BYTES / 4096
		       ? 0
		       : -1;
}

static int run_bad_successor(struct rig *rig, const struct bad_successor *b)
{
	char why[900];
	int r;

	mf_store(&rig->src.resumed, 0);
	r = in_child(rig, b->act, 10000);
	if (!r)
		r = check_source(rig, b->text);
	if (!r && !rig_take_over(rig, why, sizeof(why))) {
		printf("# %s\n", why);
		r = -1;
	}
	return report(b->name, r, rig);
}

static int bad_successors_all(const char *only)
{
	const struct rig_plan plan = { .bytes = BYTES, .timeout_ms = TIMEOUT_MS, .seed = 2 };
	int failed = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad_successors); i++) {
		struct rig *rig = rig_new(&plan);

		if (only && !strstr(bad_successors[i].name, only))
			goto next;
		rig_start_source(rig);
		rig_await(rig, RIG_OFFER, 5000);
		failed += run_bad_successor(rig, &bad_successors[i]);
		mf_store(&rig->stop, 1);
		if (!rig_alone(5000)) {
			printf("not ok - %s leaves somebody behind\n", bad_successors[i].name);
			failed++;
			kill(rig->src.pid, SIGKILL);
			rig_alone(1000);
		}
next:
		rig_free(rig);
	}
	return failed;
}

/* ------------------------------------------------------------------ tokens */

static u8 shown[MF_TOKEN_BYTES];
static struct token_page {
	u8 token[MF_TOKEN_BYTES];
	u32 use; /* 0: none, 1: a wrong one, 2: the first, again, 3: the present one */
} * tokens;

static void publish_token(struct rig *rig, struct mf_source *src)
{
	mf_source_token(src, tokens->token);
}

static void use_token(struct rig *rig, struct mf_successor_opts *o)
{
	if (tokens->use == 0)
		return;
	if (tokens->use == 3)
		memcpy(shown, tokens->token, sizeof(shown));
	if (tokens->use == 1)
		memset(shown, 0x5a, sizeof(shown));
	o->token = shown;
}

static int give_up_early(struct rig *rig, struct mf_successor *s)
{
	return 0; /* attached is enough: the token is used up, the object is freed */
}

static int try_token(struct rig *rig, u32 use, int want)
{
	int status;

	tokens->use = use;
	mf_store(&rig->src.resumed, 0);
	rig_start_successor(rig);
	if (!rig_await_exit(rig->suc.pid, 5000, &status) || status || rig->suc.result != want)
		return -1;
	return check_source(rig, want ? "token" : "gave up");
}

static int run_tokens(void)
{
	static const struct rig_hooks hooks = { .listening = publish_token,
						.resumed = publish_token,
						.before_attach = use_token,
						.successor = give_up_early };
	const struct rig_plan plan = { .bytes = BYTES,
				       .timeout_ms = TIMEOUT_MS,
				       .seed = 2,
				       .hooks = &hooks,
				       .source_flags = MF_SOURCE_TOKEN };
	struct rig *rig = rig_new(&plan);
	int r;

	tokens = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	rig_start_source(rig);
	rig_await(rig, RIG_OFFER, 5000);
	memcpy(shown, tokens->token, sizeof(shown));
	r = try_token(rig, 0, -EACCES);
	if (!r)
		r = try_token(rig, 1, -EACCES);
	memcpy(shown, tokens->token, sizeof(shown));
	if (!r)
		r = try_token(rig, 2, 0);
	if (!r)
		r = try_token(rig, 2, -EACCES); /* replayed */
	if (!r)
		r = try_token(rig, 3, 0);
	mf_store(&rig->stop, 1);
	rig_alone(3000);
	r = report("tokens: missing, wrong, replayed", r, rig);
	rig_free(rig);
	return r;
}

/* ------------------------------------------------------------------ crowds */

/* A second successor while one is attached; a third while the memory is still arriving. */
static int run_two_at_once(void)
{
	const struct rig_plan plan = { .bytes = 32 << 20, .timeout_ms = 3000, .seed = 2 };
	struct rig *rig = rig_new(&plan);
	struct mf_successor_opts o = { .size = sizeof(o), .app = "rig" };
	struct mf_successor *s;
	int r, status;

	rig->hold = RIG_ATTACHED;
	rig_start_source(rig);
	rig_await(rig, RIG_OFFER, 5000);
	rig_start_successor(rig);
	rig_await(rig, RIG_ATTACHED, 5000);
	r = mf_successor_attach(rig->path, &o, &s);
	if (r != -EBUSY)
		printf("# the second gets %d %s\n", r, mf_error());
	r = r == -EBUSY ? 0 : -1;
	rig_release(rig);
	if (!rig_await_exit(rig->suc.pid, 10000, &status) || status || rig->suc.result)
		r = -1;
	rig_alone(3000);
	r = report("two at once", r, rig);
	rig_free(rig);
	return r;
}

/* The successor offers at once what has not arrived yet. */
static int offer_again(struct rig *rig, struct mf_successor *s)
{
	struct mf_source_opts so = { .size = sizeof(so), .app = "rig", .timeout_ms = 1000 };
	struct mf_successor_opts o = { .size = sizeof(o), .app = "rig", .timeout_ms = 1000 };
	struct mf_source *next;
	struct mf_successor *third;
	struct pollfd p = { .events = POLLIN };
	char path[140];
	pid_t pid;
	int status, r, i;

	if (rig_take(rig, s))
		return -1;
	kill(rig->ferry_pid, SIGSTOP); /* time-outs are long here */
	snprintf(path, sizeof(path), "%s.next", rig->path);
	r = mf_source_new(&so, &next);
	if (!r)
		r = mf_source_region(next, "arena", (void *)RIG_BASE, rig->plan.bytes, 0);
	if (!r)
		r = mf_source_listen(next, path);
	if (r)
		return rig_say(rig, "%s", mf_error());
	pid = fork();
	if (pid == 0)
		_exit(mf_successor_attach(path, &o, &third) == -EBUSY ? 0 : 1);
	p.fd = mf_source_pollfd(next);
	for (i = 0; i < 10 && poll(&p, 1, 200) > 0; i++)
		if (mf_source_dispatch(next) == MF_RESUMED)
			break;
	waitpid(pid, &status, 0);
	kill(rig->ferry_pid, SIGCONT);
	mf_source_free(next);
	if (status)
		return rig_say(rig, "the third gets another answer: %#x", status);
	return rig_all_right(rig, s, RIG_BASE, rig->plan.bytes);
}

static int run_still_arriving(void)
{
	static const struct rig_hooks hooks = { .successor = offer_again };
	const struct rig_plan plan = { .bytes = 32 << 20,
				       .timeout_ms = 3000,
				       .seed = 2,
				       .flags = RIG_SLOW,
				       .hooks = &hooks };
	struct rig *rig = rig_new(&plan);
	int r = 0, status;

	rig_start_source(rig);
	rig_await(rig, RIG_OFFER, 5000);
	rig_start_successor(rig);
	if (!rig_await_exit(rig->suc.pid, 15000, &status) || status || rig->suc.result)
		r = -1;
	rig_alone(3000);
	r = report("offered on while it is arriving", r, rig);
	rig_free(rig);
	return r;
}

/* Out of descriptors the source goes on, and takes a successor when there are some again. */
static void use_up_fds(struct rig *rig, struct mf_source *src)
{
	struct rlimit lim = { rig_count_fds() + 1, 4096 };

	setrlimit(RLIMIT_NOFILE, &lim);
	while (dup(2) >= 0)
		;
}

static void have_fds_again(struct rig *rig)
{
	struct rlimit lim = { 4096, 4096 };

	prlimit(rig->src.pid, RLIMIT_NOFILE, &lim, NULL);
}

static int run_no_fds(void)
{
	static const struct rig_hooks hooks = { .listening = use_up_fds };
	const struct rig_plan plan = {
		.bytes = BYTES, .timeout_ms = TIMEOUT_MS, .seed = 2, .hooks = &hooks
	};
	struct rig *rig = rig_new(&plan);
	char why[900] = "";
	int status, r = -1;

	rig_start_source(rig);
	rig_await(rig, RIG_OFFER, 5000);
	rig_start_successor(rig);
	if (rig_await_exit(rig->suc.pid, 5000, &status) && rig->suc.result == -ETIMEDOUT)
		r = 0;
	have_fds_again(rig);
	rig_sleep_ms(300);
	if (!r && !rig_take_over(rig, why, sizeof(why)))
		r = -1;
	if (r)
		printf("# %s\n", why);
	mf_store(&rig->stop, 1);
	if (!rig_alone(3000)) {
		kill(rig->src.pid, SIGKILL);
		rig_alone(1000);
		r = -1;
	}
	r = report("no descriptors left in the source", r, rig);
	rig_free(rig);
	return r;
}

int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	int failed;

	if (geteuid() != 0) {
		printf("needs root, to be another user, too\n");
		return 77;
	}
	failed = bad_successors_all(only);
	if (only)
		return failed ? 1 : 0;
	failed += run_tokens();
	failed += run_two_at_once();
	failed += run_still_arriving();
	failed += run_no_fds();
	return failed ? 1 : 0;
}
