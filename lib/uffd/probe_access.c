/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a userfaultfd can be had, and who or what refuses it. The attempts decide the
 * state; what the kernel tells about this process (seccomp, capabilities, the sysctl)
 * only explains a refusal.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "uffd/probe.h"

#define CAP_SYS_PTRACE_BIT 19
#define PROC_BYTES 4096

struct facts {
	bool seccomp_filter; /* a filter is installed on this process */
	bool cap_ptrace;
	bool user_ns;	  /* not the initial one: capabilities do not reach userfaultfd */
	int unprivileged; /* vm.unprivileged_userfaultfd, -1: no such sysctl */
};

/* The beginning of a small file as a string, "" if it cannot be read. */
static void slurp(const char *path, char *buf, size_t size)
{
	long fd = mf_sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	long n = 0, r;

	buf[0] = '\0';
	if (fd < 0)
		return;
	while (n < (long)size - 1) {
		r = mf_sys_read((int)fd, buf + n, size - 1 - (size_t)n);
		if (r <= 0)
			break;
		n += r;
	}
	buf[n] = '\0';
	mf_sys_close((int)fd);
}

/* Reads a number behind blanks and moves *p past it; 0 if there is none. */
static u64 next_number(const char **p, unsigned int base)
{
	u64 v = 0;
	int digit;

	*p += strspn(*p, " \t");
	for (;; (*p)++) {
		if (**p >= '0' && **p <= '9')
			digit = **p - '0';
		else if (base == 16 && **p >= 'a' && **p <= 'f')
			digit = **p - 'a' + 10;
		else
			return v;
		v = v * base + (u64)digit;
	}
}

static u64 number_after(const char *text, const char *key, unsigned int base)
{
	const char *p = strstr(text, key);

	if (!p)
		return 0;
	p += strlen(key);
	return next_number(&p, base);
}

/* The initial user namespace maps all ids to themselves. */
static bool in_user_ns(const char *uid_map)
{
	u64 inside = next_number(&uid_map, 10);
	u64 outside = next_number(&uid_map, 10);
	u64 count = next_number(&uid_map, 10);

	return inside != 0 || outside != 0 || count != 0xffffffffu;
}

static void learn(struct facts *facts)
{
	char buf[PROC_BYTES];

	slurp("/proc/self/status", buf, sizeof(buf));
	facts->seccomp_filter = number_after(buf, "\nSeccomp:", 10) == 2;
	facts->cap_ptrace = number_after(buf, "\nCapEff:", 16) >> CAP_SYS_PTRACE_BIT & 1;
	slurp("/proc/sys/vm/unprivileged_userfaultfd", buf, sizeof(buf));
	facts->unprivileged = buf[0] ? (int)number_after(buf, "", 10) : -1;
	slurp("/proc/self/uid_map", buf, sizeof(buf));
	facts->user_ns = buf[0] && in_user_ns(buf);
}

/* Is there any trace of userfaultfd in this kernel, other than the system call? */
static bool kernel_has_it(const struct facts *facts)
{
	char misc[PROC_BYTES];

	if (facts->unprivileged >= 0)
		return true;
	slurp("/proc/misc", misc, sizeof(misc));
	return strstr(misc, " userfaultfd\n") != NULL;
}

static void usable(struct mf_lab *lab, long fd, enum mf_lab_access access, const char *how)
{
	u64 offer = 0;
	long r = mf_op_api((int)fd, 0, &offer, NULL);

	mf_sys_close((int)fd);
	if (r) {
		mf_lab_failed(lab, "a descriptor came, but UFFDIO_API", r);
		return;
	}
	if (lab->probe->access < (u32)access)
		lab->probe->access = access;
	lab->probe->offer = offer;
	lab->probe->offer_known = 1;
	mf_lab_say(lab, MF_SUPPORTED, "%s gave a descriptor, UFFDIO_API offers %#llx", how,
		   (unsigned long long)offer);
}

static void by_filter(struct mf_lab *lab, const char *what, long err)
{
	mf_lab_say(lab, MF_DENIED,
		   "%s: %s, from the seccomp filter that this process runs under", what,
		   mf_errno_text((int)err));
	mf_lab_advise(lab,
		      "allow the system call userfaultfd in the seccomp profile (docker run "
		      "--security-opt seccomp=PROFILE, SystemCallFilter=userfaultfd for "
		      "a systemd service), or use /dev/userfaultfd, which needs no such "
		      "call: see access.dev");
}

static void no_such_call(struct mf_lab *lab, const struct facts *facts)
{
	bool has = kernel_has_it(facts);

	if (has && facts->seccomp_filter) {
		by_filter(lab, "userfaultfd()", -ENOSYS);
	} else if (has) {
		mf_lab_say(lab, MF_UNKNOWN,
			   "userfaultfd(): ENOSYS, though the kernel's /proc shows that it has "
			   "it, and no seccomp filter is installed: something else stands in "
			   "for the kernel here");
	} else if (facts->seccomp_filter) {
		mf_lab_say(lab, MF_UNKNOWN,
			   "userfaultfd(): ENOSYS, and a seccomp filter is installed: either "
			   "the kernel or the filter said so");
		mf_lab_advise(lab, "run the probe outside of the container or service");
	} else {
		lab->probe->no_userfaultfd = 1;
		mf_lab_say(lab, MF_MISSING,
			   "userfaultfd(): ENOSYS, no seccomp filter is "
			   "installed");
		mf_lab_advise(lab, "run a kernel built with CONFIG_USERFAULTFD=y");
	}
}

/* Not root, or root of a container's own user namespace. */
static void by_sysctl(struct mf_lab *lab, const struct facts *facts)
{
	mf_lab_say(lab, MF_DENIED,
		   "userfaultfd(): EPERM: vm.unprivileged_userfaultfd is %d and %s",
		   facts->unprivileged,
		   facts->cap_ptrace ? "CAP_SYS_PTRACE of a user namespace does not count"
				     : "this process has no CAP_SYS_PTRACE");
	mf_lab_advise(
		lab,
		"any one of: run it as root%s; setcap cap_sys_ptrace+ep PROGRAM; sysctl -w "
		"vm.unprivileged_userfaultfd=1; access to /dev/userfaultfd (see "
		"access.dev). access.user_mode_only tells what goes without",
		facts->user_ns ? " outside of the user namespace" : "");
}

static void by_module(struct mf_lab *lab, const char *what, long err)
{
	mf_lab_say(lab, MF_DENIED,
		   "%s: %s, and neither vm.unprivileged_userfaultfd nor a seccomp filter "
		   "explains it",
		   what, mf_errno_text((int)err));
	mf_lab_advise(lab, "look for a denial by a security module (SELinux, AppArmor, BPF) in "
			   "the audit log and allow userfaultfd there");
}

/*
 * A filter refuses the call whatever its flags; the sysctl lets UFFD_USER_MODE_ONLY
 * through. So a second attempt tells them apart.
 */
static void not_permitted(struct mf_lab *lab, const struct facts *facts, long err)
{
	long fd = mf_lab_bare(MF_LAB_BY_USER_MODE);

	if (fd >= 0)
		mf_sys_close((int)fd);
	if (fd < 0 && facts->seccomp_filter)
		by_filter(lab, "userfaultfd()", err);
	else if (facts->unprivileged == 0 && (!facts->cap_ptrace || facts->user_ns))
		by_sysctl(lab, facts);
	else
		by_module(lab, "userfaultfd()", err);
}

void mf_probe_syscall(struct mf_lab *lab)
{
	struct facts facts = {};
	long fd = mf_lab_bare(MF_LAB_BY_SYSCALL);

	if (fd >= 0) {
		usable(lab, fd, MF_LAB_BY_SYSCALL, "userfaultfd(O_CLOEXEC | O_NONBLOCK)");
		return;
	}
	learn(&facts);
	if (fd == -ENOSYS)
		no_such_call(lab, &facts);
	else if (fd == -EPERM || fd == -EACCES)
		not_permitted(lab, &facts, fd);
	else
		mf_lab_failed(lab, "userfaultfd()", fd);
}

void mf_probe_user_mode(struct mf_lab *lab)
{
	struct facts facts = {};
	long fd = mf_lab_bare(MF_LAB_BY_USER_MODE);

	if (fd >= 0) {
		usable(lab, fd, MF_LAB_BY_USER_MODE, "userfaultfd(UFFD_USER_MODE_ONLY)");
		return;
	}
	learn(&facts);
	if (fd == -ENOSYS)
		no_such_call(lab, &facts);
	else if (fd == -EINVAL)
		mf_lab_say(lab, MF_MISSING,
			   "userfaultfd(UFFD_USER_MODE_ONLY): EINVAL, the kernel does not know "
			   "the flag");
	else if ((fd == -EPERM || fd == -EACCES) && facts.seccomp_filter)
		by_filter(lab, "userfaultfd(UFFD_USER_MODE_ONLY)", fd);
	else if (fd == -EPERM && facts.unprivileged == 0 &&
		 (!facts.cap_ptrace || facts.user_ns))
		/* the sysctl was asked before the flags were, in kernels without the flag */
		mf_lab_say(lab, MF_UNKNOWN,
			   "userfaultfd(UFFD_USER_MODE_ONLY): EPERM: either the kernel does "
			   "not know the flag, or a security module refuses it");
	else if (fd == -EPERM || fd == -EACCES)
		by_module(lab, "userfaultfd(UFFD_USER_MODE_ONLY)", fd);
	else
		mf_lab_failed(lab, "userfaultfd(UFFD_USER_MODE_ONLY)", fd);
}

/* ---- /dev/userfaultfd */

#define DEVICE "/dev/userfaultfd"

static void no_device(struct mf_lab *lab)
{
	char misc[PROC_BYTES], *at, *p;
	unsigned int minor = 0;

	slurp("/proc/misc", misc, sizeof(misc));
	at = strstr(misc, " userfaultfd\n");
	if (!at) {
		mf_lab_say(lab, MF_MISSING,
			   "there is no " DEVICE ", and /proc/misc lists no such device");
		return;
	}
	for (p = at; p > misc && p[-1] != '\n'; p--)
		;
	minor = (unsigned int)number_after(p, "", 10);
	mf_lab_say(lab, MF_DENIED,
		   "/proc/misc lists the device, but there is no " DEVICE " here");
	mf_lab_advise(lab,
		      "in a container: docker run --device " DEVICE "; otherwise: mknod " DEVICE
		      " c 10 %u",
		      minor);
}

static void device_refused(struct mf_lab *lab, long err)
{
	struct stat st = {};
	long r = mf_sys(__NR_newfstatat, AT_FDCWD, DEVICE, &st, 0, 0);

	if (err == -EACCES && r == 0) {
		mf_lab_say(lab, MF_DENIED,
			   "opening " DEVICE ": %s; its mode is %04o, owner %u:%u",
			   mf_errno_text((int)err), st.st_mode & 07777, st.st_uid, st.st_gid);
		mf_lab_advise(
			lab,
			"as root: setfacl -m u:%ld:rw " DEVICE "; or for good, in "
			"/etc/udev/rules.d/60-userfaultfd.rules: KERNEL==\"userfaultfd\", "
			"GROUP=\"uffd\", MODE=\"0660\" (and groupadd uffd)",
			mf_sys(__NR_geteuid, 0, 0, 0, 0, 0));
		return;
	}
	mf_lab_say(lab, MF_DENIED, "opening " DEVICE ": %s", mf_errno_text((int)err));
	mf_lab_advise(lab,
		      "if a container's device policy forbids it: docker run --device " DEVICE
		      ", or DeviceAllow=" DEVICE " rw for a systemd service; else look "
		      "in the audit log");
}

void mf_probe_device(struct mf_lab *lab)
{
	long dev = mf_sys_openat(AT_FDCWD, DEVICE, O_RDWR | O_CLOEXEC, 0);
	long fd;

	if (dev == -ENOENT) {
		no_device(lab);
		return;
	}
	if (dev == -EACCES || dev == -EPERM) {
		device_refused(lab, dev);
		return;
	}
	if (dev < 0) {
		mf_lab_failed(lab, "opening " DEVICE, dev);
		return;
	}
	fd = mf_sys_ioctl((int)dev, USERFAULTFD_IOC_NEW, (void *)(O_CLOEXEC | O_NONBLOCK));
	mf_sys_close((int)dev);
	if (fd >= 0)
		usable(lab, fd, MF_LAB_BY_DEVICE, "USERFAULTFD_IOC_NEW on " DEVICE);
	else
		mf_lab_failed(lab, "USERFAULTFD_IOC_NEW on " DEVICE, fd);
}
