/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sources that do not keep to the protocol. The successor comes back in time, with an error
 * that names the trouble, and keeps nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "handover/shared.h"
#include "handover/state.h"
#include "peer.h"

#define BYTES (2ull << 20)
#define TIMEOUT_MS 400

struct bad_source {
	const char *name;
	int (*act)(struct peer *p); /* after HELLO came; how far it goes */
	int result;		    /* of the successor; 1: any error */
	const char *text;
};

static int send_welcome(struct peer *p, u32 n_regions, int fd)
{
	struct mf_msg_welcome m = { .version = 1,
				    .page_size = 4096,
				    .epoch = 0x77,
				    .timeout_ms = 1000,
				    .n_regions = n_regions,
				    .source_pid = getpid() };
	struct mf_wire_header h = peer_header(p);

	strcpy(m.app, "rig");
	p->epoch = 0x77;
	return peer_put(p, mf_wire_encode_welcome(p->buf, PEER_ROOM, &h, &m), &fd, fd >= 0);
}

static int good_welcome(struct peer *p, u32 n_regions)
{
	struct mf_shared *sh;
	int fd;

	return mf_shared_create(0x77, &fd, &sh) ? -1 : send_welcome(p, n_regions, fd);
}

static struct mf_msg_region some_region(u32 index)
{
	struct mf_msg_region r = { .index = index,
				   .kind = MF_WIRE_ANON,
				   .addr = RIG_BASE + (u64)index * BYTES,
				   .len = BYTES,
				   .page_size = 4096,
				   .prot = PROT_READ | PROT_WRITE };

	/* the first is the one that the rig maps */
	snprintf(r.name, sizeof(r.name), index ? "arena%u" : "arena", index);
	return r;
}

static int send_region(struct peer *p, const struct mf_msg_region *r)
{
	static struct mf_msg_regions m;
	struct mf_wire_header h = peer_header(p);

	m.count = 1;
	m.region[0] = *r;
	return peer_put(p, mf_wire_encode_regions(p->buf, PEER_ROOM, &h, &m), NULL, 0);
}

static int says_nothing(struct peer *p)
{
	rig_sleep_ms(TIMEOUT_MS * 2);
	return 0;
}

static int says_noise(struct peer *p)
{
	return (int)send(p->sock, "220 ready\r\n", 11, MSG_NOSIGNAL);
}

static int hangs_up(struct peer *p)
{
	return 0;
}

static int welcome_without_fd(struct peer *p)
{
	return send_welcome(p, 1, -1);
}

static int welcome_unsealed(struct peer *p)
{
	int fd = memfd_create("loose", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	return ftruncate(fd, (off_t)MF_SHARED_BYTES) ? -1 : send_welcome(p, 1, fd);
}

static int welcome_too_small(struct peer *p)
{
	int fd = memfd_create("small", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (ftruncate(fd, 4096) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -1;
	return send_welcome(p, 1, fd);
}

static int welcome_not_a_file(struct peer *p)
{
	return send_welcome(p, 1, 0);
}

static int welcome_of_another_epoch(struct peer *p)
{
	struct mf_shared *sh;
	int fd;

	return mf_shared_create(0x99, &fd, &sh) ? -1 : send_welcome(p, 1, fd);
}

static int absurd_count(struct peer *p)
{
	return good_welcome(p, 0x7fffffff);
}

static int wrong_index(struct peer *p)
{
	struct mf_msg_region r = some_region(3);

	return good_welcome(p, 1) ? -1 : send_region(p, &r);
}

static int fd_region_without_fd(struct peer *p)
{
	struct mf_msg_region r = some_region(0);

	r.kind = MF_WIRE_SHARED_FD;
	return good_welcome(p, 1) ? -1 : send_region(p, &r);
}

static int overlapping(struct peer *p)
{
	struct mf_msg_region r = some_region(0);

	if (good_welcome(p, 2) || send_region(p, &r))
		return -1;
	r = some_region(1);
	r.addr = RIG_BASE + 4096;
	return send_region(p, &r);
}

static int over_our_code(struct peer *p)
{
	struct mf_msg_region r = some_region(0);

	r.addr = mf_align_down((u64)over_our_code, 4096); /* the same after a fork */
	return good_welcome(p, 1) ? -1 : send_region(p, &r);
}

static int past_the_end(struct peer *p)
{
	struct mf_msg_region r = some_region(0);

	r.addr = ~0ull - 4095;
	r.len = 2ull << 40;
	return good_welcome(p, 1) ? -1 : send_region(p, &r);
}

static int regions_missing(struct peer *p)
{
	good_welcome(p, 2);
	rig_sleep_ms(TIMEOUT_MS * 2);
	return 0;
}

static int ready_with_eventfd(struct peer *p)
{
	struct mf_msg_region r = some_region(0);
	struct mf_msg_ready m = { .ferry_pid = 1 };
	struct mf_wire_header h;
	int fd = eventfd(0, 0);

	if (good_welcome(p, 1) || send_region(p, &r) || peer_get_past(p, MF_MSG_MAPPED, &h) < 0)
		return -1;
	h = peer_header(p);
	return peer_put(p, mf_wire_encode_ready(p->buf, PEER_ROOM, &h, &m), &fd, 1);
}

static bool be_ready(struct peer *p)
{
	struct mf_msg_region r = some_region(0);
	struct mf_msg_ready m = { .ferry_pid = getpid() };
	struct mf_wire_header h;
	int fd = (int)mf_sys_pidfd_open(getpid());

	if (good_welcome(p, 1) || send_region(p, &r) || peer_get_past(p, MF_MSG_MAPPED, &h) < 0)
		return false;
	h = peer_header(p);
	return !peer_put(p, mf_wire_encode_ready(p->buf, PEER_ROOM, &h, &m), &fd, 1) &&
	       peer_get_past(p, MF_MSG_QUIESCE, &h) == MF_MSG_QUIESCE;
}

static int never_quiesces(struct peer *p)
{
	be_ready(p);
	rig_sleep_ms(TIMEOUT_MS * 3);
	return 0;
}

static int send_state(struct peer *p, u64 len, u32 n_fds, int seals)
{
	struct mf_msg_state m = { .len = len, .n_fds = n_fds };
	struct mf_wire_header h;
	int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (!be_ready(p) || ftruncate(fd, 4096) || fcntl(fd, F_ADD_SEALS, seals))
		return -1;
	h = peer_header(p);
	return peer_put(p, mf_wire_encode_state(p->buf, PEER_ROOM, &h, &m), &fd, 1);
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static int state_unsealed(struct peer *p)
{
	return send_state(p, 4096, 0, F_SEAL_GROW);
}

static int state_too_long(struct peer *p)
{
	return send_state(p, 1ull << 40, 0, ALL_SEALS);
}

static int state_without_its_fds(struct peer *p)
{
	send_state(p, 4096, 5, ALL_SEALS);
	rig_sleep_ms(TIMEOUT_MS * 2);
	return 0;
}

static const struct bad_source bad_sources[] = {
	{ "silence", says_nothing, -ETIMEDOUT, "did not answer" },
	{ "noise", says_noise, 1, "does not speak this protocol" },
	{ "hanging up", hangs_up, -EOWNERDEAD, "closed the connection" },
	{ "WELCOME without a descriptor", welcome_without_fd, -EPROTO, "0 descriptors" },
	{ "an unsealed shared page", welcome_unsealed, -EPROTO, "not sealed" },
	{ "a small shared page", welcome_too_small, -EPROTO, "wrong size" },
	{ "no file at all", welcome_not_a_file, -EPROTO, "not sealed" },
	{ "a shared page of another epoch", welcome_of_another_epoch, -EPROTO,
	  "another version" },
	{ "two billion regions", absurd_count, 1, "" },
	{ "regions out of order", wrong_index, -EPROTO, "regions" },
	{ "a file region without its file", fd_region_without_fd, -EPROTO, "no descriptor" },
	{ "overlapping regions", overlapping, 1, "" },
	{ "a region over our code", over_our_code, -EEXIST, "is taken" },
	{ "a region past the end", past_the_end, 1, "" },
	{ "missing regions", regions_missing, -ETIMEDOUT, "did not answer" },
	{ "READY without a pidfd", ready_with_eventfd, -EPROTO, "READY" },
	{ "no STATE", never_quiesces, -ETIMEDOUT, "did not answer" },
	{ "an unsealed state", state_unsealed, -EPROTO, "not sealed" },
	{ "a state longer than its file", state_too_long, -EPROTO, "wrong size" },
	{ "descriptors that do not come", state_without_its_fds, -ETIMEDOUT, "did not answer" },
};

/* --------------------------------------------------------------------- run */

static void bad_source_main(struct rig *rig, const struct bad_source *b)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	static struct peer p;
	struct mf_wire_header h;
	int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	strncpy(sun.sun_path, rig->path, sizeof(sun.sun_path) - 1);
	if (bind(sock, (struct sockaddr *)&sun, sizeof(sun)) || listen(sock, 1))
		_exit(1);
	rig_reach(rig, RIG_OFFER);
	p.sock = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
	peer_get_past(&p, MF_MSG_HELLO, &h);
	b->act(&p);
	if (b->act == hangs_up)
		_exit(0);
	/* hear it out: its ABORT, or that it goes */
	while (peer_get(&p, &h, 3000) >= 0 && h.type != MF_MSG_ABORT)
		;
	_exit(0);
}

static int run_bad_source(const struct bad_source *b)
{
	const struct rig_plan plan = { .bytes = BYTES, .timeout_ms = TIMEOUT_MS, .seed = 2 };
	struct rig *rig = rig_new(&plan);
	int status = -1, r = -1;
	pid_t pid = fork();
	u64 start;

	if (pid == 0)
		bad_source_main(rig, b);
	rig_await(rig, RIG_OFFER, 5000);
	start = rig_now_ms();
	rig_start_successor(rig);
	if (rig_await_exit(rig->suc.pid, 10000, &status) && status == 0)
		r = rig->suc.result && (b->result == 1 || rig->suc.result == b->result) &&
				    *rig->suc.error && strstr(rig->suc.error, b->text) &&
				    rig->suc.fds_after == rig->suc.fds_before &&
				    rig_now_ms() - start < TIMEOUT_MS * 4
			    ? 0
			    : -1;
	else
		kill(rig->suc.pid, SIGKILL);
	if (!rig_alone(5000)) {
		kill(pid, SIGKILL);
		rig_alone(1000);
		r = -1;
	}
	if (r)
		printf("# %s: successor %d '%s'\n", b->name, rig->suc.result, rig->suc.error);
	printf("%sok - %s\n", r ? "not " : "", b->name);
	fflush(stdout);
	rig_free(rig);
	return r != 0;
}

int main(int argc, char **argv)
{
	int failed = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad_sources); i++)
		if (argc < 2 || strstr(bad_sources[i].name, argv[1]))
			failed += run_bad_source(&bad_sources[i]);
	return failed ? 1 : 0;
}
