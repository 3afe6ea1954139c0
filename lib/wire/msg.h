/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The messages of a hand-over, as bytes and as structs. No sockets here, so that the
 * decoder can be fuzzed. docs/protocol.md is the specification.
 *
 * A frame is a 32-byte header and a payload; all integers are little-endian. The payload
 * of every message but PAGE is a list of TLVs (u16 type, u16 flags, u32 length, value
 * padded to 8 bytes). Unknown TLVs are skipped unless their CRITICAL flag is set; unknown
 * frame types are an error.
 */
#ifndef MF_WIRE_MSG_H
#define MF_WIRE_MSG_H

#include "base/types.h"

#define MF_WIRE_MAGIC 0x5952464du /* "MFRY" */
#define MF_WIRE_VERSION_MIN 1
#define MF_WIRE_VERSION_MAX 1

#define MF_WIRE_HEADER_BYTES 32
/* Largest payload of a control frame; of a PAGE frame. A longer one is refused unread. */
#define MF_WIRE_MAX_CONTROL (64 * 1024)
#define MF_WIRE_MAX_PAGE (2 * 1024 * 1024 + 4096)

#define MF_WIRE_NAME_MAX 64  /* with the NUL */
#define MF_WIRE_TEXT_MAX 512 /* with the NUL */
#define MF_WIRE_REGIONS_PER_FRAME 256
#define MF_WIRE_FDS_PER_FRAME 200 /* the kernel's limit is 253 */
#define MF_WIRE_MAX_REGIONS ((u32)1 << 20)
#define MF_WIRE_BLOB_BYTES (32 * 1024) /* of data in a BLOB: this much always fits */

enum mf_wire_type {
	MF_MSG_HELLO = 1,     /* D->S  who I am, which versions, token */
	MF_MSG_WELCOME = 2,   /* S->D  epoch, timeouts, counts; fd: shared page */
	MF_MSG_REGIONS = 3,   /* S->D  some of the regions (repeated until all are told);
			       *       fds: memfds of those that have one, in order */
	MF_MSG_MAPPED = 4,    /* D->S  where each region lies here; fds: uffd, the ferry's
			       *       bell, the guard's bell */
	MF_MSG_READY = 5,     /* S->D  ferry runs; fd: its pidfd */
	MF_MSG_QUIESCE = 6,   /* D->S  stop and save */
	MF_MSG_STATE = 7,     /* S->D  length; fd: sealed memfd with the blob */
	MF_MSG_FDS = 8,	      /* S->D  names; fds in the same order (repeated) */
	MF_MSG_COMMITTED = 9, /* D->S  after the compare-and-swap */
	MF_MSG_ABORT = 10,    /* both  errno and text: this attempt is over */

	/* TCP only */
	MF_MSG_URGENT = 16,   /* D->S  first frame of the second connection: epoch, token */
	MF_MSG_COMMIT = 17,   /* D->S  asks for the commit; answered by COMMITTED */
	MF_MSG_PAGE_REQ = 18, /* D->S  a fault: region, offset, length */
	MF_MSG_PAGE = 19,     /* S->D  fixed part, then the bytes */
	MF_MSG_ACK = 20,      /* D->S  region, offset, length have been placed */
	MF_MSG_BLOB = 21,     /* S->D  a piece of the state */
	MF_MSG_DRAINED = 22,  /* S->D  everything was sent */
};

/* ---------------------------------------------------------------- header */

struct mf_wire_header {
	u16 version;
	u16 type;
	u32 len; /* of the payload */
	u64 epoch;
	u64 seq;
};

/* @buf has MF_WIRE_HEADER_BYTES. */
void mf_wire_put_header(u8 *buf, const struct mf_wire_header *h);
/*
 * 0; -EPROTO: not a memferry frame (magic, reserved bits) or an unknown type; -EMSGSIZE:
 * len over the type's maximum; -EPROTONOSUPPORT: version out of range (HELLO is exempt:
 * it carries its own range).
 */
int mf_wire_get_header(const u8 *buf, size_t n, struct mf_wire_header *ret_h);

/* -------------------------------------------------------------- messages */

struct mf_msg_hello {
	u16 ver_min, ver_max;
	u32 page_size;
	u64 features; /* MF_WIRE_FEAT_* that the sender can do */
	char app[MF_WIRE_NAME_MAX];
	bool has_token;
	u8 token[16];
};

struct mf_msg_welcome {
	u16 version;
	u32 page_size;
	u64 features; /* what both will use */
	u64 epoch;
	u32 timeout_ms;
	u32 n_regions;
	u32 app_version;
	s32 source_pid;
	u64 memory_needed; /* bytes that will arrive at most (populated), for limit checks */
	char app[MF_WIRE_NAME_MAX];
	char cgroup[MF_WIRE_TEXT_MAX]; /* memory cgroup of the source, "" unknown */
};

#define MF_WIRE_FEAT_XMOVE ((u64)1 << 0) /* UFFDIO_MOVE across spaces */

enum mf_wire_region_kind {
	MF_WIRE_ANON = 1,
	MF_WIRE_HUGETLB = 2,
	MF_WIRE_SHARED_FD = 3,
};

#define MF_WIRE_REGION_RELOCATABLE ((u32)1 << 0)
#define MF_WIRE_REGION_THP ((u32)1 << 1)   /* madvise(HUGEPAGE) */
#define MF_WIRE_REGION_NOTHP ((u32)1 << 2) /* madvise(NOHUGEPAGE) */
#define MF_WIRE_REGION_LOCKED ((u32)1 << 3)
#define MF_WIRE_REGION_NORESERVE ((u32)1 << 4)
#define MF_WIRE_REGION_DONTFORK ((u32)1 << 5)
#define MF_WIRE_REGION_DONTDUMP ((u32)1 << 6)

struct mf_msg_region {
	u32 index;
	u32 kind; /* enum mf_wire_region_kind */
	u32 flags;
	u32 prot; /* PROT_READ | PROT_WRITE | PROT_EXEC */
	u64 addr;
	u64 len;
	u64 page_size;
	u64 fd_offset; /* SHARED_FD */
	char name[MF_WIRE_NAME_MAX];
};

struct mf_msg_regions {
	u32 count; /* at most MF_WIRE_REGIONS_PER_FRAME */
	struct mf_msg_region region[MF_WIRE_REGIONS_PER_FRAME];
};

struct mf_msg_mapped {
	u32 count; /* of regions in this frame; index ascending */
	u32 more;  /* 1: another MAPPED frame follows (fds come with the last) */
	u32 placement;
	u32 index[MF_WIRE_REGIONS_PER_FRAME];
	u64 addr[MF_WIRE_REGIONS_PER_FRAME];
};

struct mf_msg_ready {
	s32 ferry_pid;
};

struct mf_msg_state {
	u64 len;
	u32 n_fds;
};

struct mf_msg_fds {
	u32 count; /* at most MF_WIRE_FDS_PER_FRAME */
	char name[MF_WIRE_FDS_PER_FRAME][MF_WIRE_NAME_MAX];
};

struct mf_msg_abort {
	s32 error; /* positive errno of the sender's platform: 1 .. 4095 */
	char text[MF_WIRE_TEXT_MAX];
};

struct mf_msg_urgent {
	bool has_token;
	u8 token[16];
};

struct mf_msg_page_req {
	u32 region;
	u32 flags;
	u64 offset;
	u64 len;
};

struct mf_msg_ack {
	u32 region;
	u64 offset;
	u64 len;
};

#define MF_WIRE_PAGE_ZERO ((u32)1 << 0)	  /* no bytes follow: a run of zeros (hole) */
#define MF_WIRE_PAGE_POISON ((u32)1 << 1) /* no bytes follow: contents are lost */
#define MF_WIRE_PAGE_URGENT ((u32)1 << 2) /* answers a PAGE_REQ */

#define MF_WIRE_PAGE_FIXED_BYTES 32

struct mf_msg_page { /* fixed layout: region, flags, offset, len, crc, 0 */
	u32 region;
	u32 flags;
	u64 offset;
	u64 len;
	u32 crc; /* CRC32C of the bytes that follow */
};

struct mf_msg_blob {
	u64 offset;
	u32 crc;
	u32 len;	/* of data */
	const u8 *data; /* decode: points into the payload */
};

/*
 * Encoders write header and payload into @buf (@size bytes) and return the frame's
 * length, or -EMSGSIZE if it does not fit, -EINVAL if the struct itself is impossible.
 * Header fields version/epoch/seq come from @h (type and len are filled in).
 * Decoders take the payload only. They never trust a length or a count, and return 0;
 * -EBADMSG: truncated, contradictory or out of range; -EPROTO: a required field is missing
 * or a critical TLV is unknown; after either *ret_m holds nothing of use. All strings come
 * back NUL-terminated. Names are 1 to 63 printable ASCII characters; control characters of
 * texts are replaced. REGIONS and FDS frames have at least one item; a MAPPED frame may be
 * empty if there are no regions. What spans frames (indices, counts, overlaps, checksums
 * of BLOB and PAGE) is the receiver's to check.
 */
#define MF_WIRE_CODEC(name)                                                                    \
	int mf_wire_encode_##name(u8 *buf, size_t size, const struct mf_wire_header *h,        \
				  const struct mf_msg_##name *m);                              \
	int mf_wire_decode_##name(const u8 *payload, size_t len, struct mf_msg_##name *ret_m)

MF_WIRE_CODEC(hello);
MF_WIRE_CODEC(welcome);
MF_WIRE_CODEC(regions);
MF_WIRE_CODEC(mapped);
MF_WIRE_CODEC(ready);
MF_WIRE_CODEC(state);
MF_WIRE_CODEC(fds);
MF_WIRE_CODEC(abort);
MF_WIRE_CODEC(urgent);
MF_WIRE_CODEC(page_req);
MF_WIRE_CODEC(ack);
/*
 * The fixed part only; m.len counts the bytes that follow it (none with ZERO or POISON).
 * The decoder reads MF_WIRE_PAGE_FIXED_BYTES of @payload; its @len is that of the header,
 * so that a frame too short or too long for its page is refused before more is read.
 */
MF_WIRE_CODEC(page);
MF_WIRE_CODEC(blob);

/* QUIESCE, COMMITTED, COMMIT, DRAINED: no payload. */
int mf_wire_encode_empty(u8 *buf, size_t size, const struct mf_wire_header *h, u16 type);

/* 1 to 63 printable ASCII characters, and terminated within MF_WIRE_NAME_MAX bytes */
bool mf_wire_name_ok(const char *name);

/* "HELLO" ...; "?" for an unknown type */
const char *mf_wire_type_name(u16 type);

/* CRC32C (Castagnoli), starting value 0. */
u32 mf_crc32c(u32 crc, const void *data, size_t len);

#endif /* MF_WIRE_MSG_H */
