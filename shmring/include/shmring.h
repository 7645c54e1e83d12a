/* A link of shmring for programs in C: the memory of a ring, what is done with it, and the
 * messages by which two holders of a pipe agree on one. What each field means is told in
 * src/layout.rs and src/handshake.rs; a test compares this file with both. C11, Linux, and
 * a processor with little-endian integers.
 *
 * A link is a socket, whose hang-up is the neighbour's end, a doorbell each way, and a ring
 * each way. All that the neighbour can write is read once, checked and then used. */
#ifndef SHMRING_H
#define SHMRING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- The memory of a ring: one sealed memfd, a header and then the records. ---- */

#define SHMRING_MAGIC "SHMRING" /* with the zero behind it */
#define SHMRING_VERSION 1
#define SHMRING_HEADER_LEN 4096
#define SHMRING_RECORD_HEADER 8
#define SHMRING_LABEL_LEN 32

/* Who a side is and what it counted, for `stdpkt ls`. */
struct shmring_side {
    _Atomic uint64_t frames, bytes, drops, stalls, wakeups;
    _Atomic uint32_t pid, label_len;
    char label[SHMRING_LABEL_LEN];
};

struct shmring_header {
    char magic[8];
    uint32_t version, max_frame;
    uint64_t capacity, pipe_dev, pipe_ino;
    _Alignas(128) _Atomic uint64_t tail; /* bytes ever published */
    _Atomic uint32_t producer_closed;
    _Atomic uint32_t row; /* 0: nothing is told of the producer's place in a row */
    _Alignas(128) _Atomic uint64_t head; /* bytes ever released */
    _Atomic uint32_t consumer_closed;
    _Alignas(128) _Atomic uint32_t consumer_waiting;
    _Alignas(128) _Atomic uint32_t producer_waiting;
    _Alignas(128) struct shmring_side producer;
    _Alignas(128) struct shmring_side consumer;
    _Alignas(128) _Atomic uint64_t taken; /* for who goes on with the consumer's end */
};

/* ---- The messages, over sockets that keep them apart. ---- */

#define SHMRING_HANDSHAKE_MAGIC "shmring\n"
#define SHMRING_HANDSHAKE_VERSION 2
#define SHMRING_ALIVE "alive?\n" /* with the zero behind it */

enum shmring_kind {
    SHMRING_HELLO = 1,
    SHMRING_WELCOME,
    SHMRING_READY,
    SHMRING_REFUSE,
    SHMRING_COME,
    SHMRING_KNOCK,
    SHMRING_TURNED_AWAY
};
enum shmring_role { SHMRING_READER = 1, SHMRING_WRITER, SHMRING_EITHER };

struct shmring_message {
    char magic[8];
    uint32_t version, kind, role, channel, duplex, max_frame;
    uint64_t capacity, features;
    uint32_t reason, label_len;
    char label[SHMRING_LABEL_LEN];
};

struct shmring_knock {
    char magic[8];
    uint32_t version, kind, role, zero;
    uint64_t nonce;
};

/* Most descriptors with a message: the pipe, the doorbell, two rings. */
#define SHMRING_FDS 4

/* Sends a message with `count` descriptors, to a gate where `to` is one: as sendmsg(2). */
static inline ssize_t shmring_send(int socket, const struct sockaddr_un *to, const void *bytes,
                                   size_t len, const int *fds, size_t count) {
    char control[CMSG_SPACE(SHMRING_FDS * sizeof(int))] = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (to) {
        message.msg_name = (void *)(uintptr_t)to;
        message.msg_namelen = offsetof(struct sockaddr_un, sun_path) + 25;
    }
    if (count > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

/* Receives one and as many descriptors as came, the others -1: as recvmsg(2). */
static inline ssize_t shmring_receive(int socket, void *bytes, size_t len, int fds[SHMRING_FDS]) {
    char control[CMSG_SPACE(SHMRING_FDS * sizeof(int))];
    struct iovec part = {bytes, len};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof control};
    for (int i = 0; i < SHMRING_FDS; i++) fds[i] = -1;
    const ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (rights && rights->cmsg_type == SCM_RIGHTS)
        memcpy(fds, CMSG_DATA(rights), rights->cmsg_len - CMSG_LEN(0));
    return got;
}

/* The gate of the holder with this nonce: a zero, which makes it abstract, and 24 letters. */
static inline struct sockaddr_un shmring_gate(uint64_t nonce) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, 25, "shmring/%016llx", (unsigned long long)nonce);
    return name;
}

/* ---- An end of a ring. ---- */

struct shmring_end {
    struct shmring_header *shared; /* mapped: header and records, then the records again */
    uint64_t capacity;             /* both as agreed in the handshake */
    uint32_t max_frame;
    int bell;      /* an eventfd of our own that the neighbour's doorbell watches */
    uint64_t mine; /* a producer's tail, a consumer's head */
    uint64_t seen; /* the other index, when it was last looked at and checked */
};

static inline uint64_t shmring_record_len(uint64_t len) {
    return (SHMRING_RECORD_HEADER + len + 7) & ~UINT64_C(7);
}

static inline char *shmring_record(const struct shmring_end *ring, uint64_t position) {
    return (char *)ring->shared + SHMRING_HEADER_LEN + (position & (ring->capacity - 1));
}

/* Maps a ring that came with a WELCOME: 0, or -1 with EPROTO where it is not what was
 * agreed. What is sealed can be neither cut off under us nor made to differ. */
static inline int shmring_map(struct shmring_end *ring, int memfd,
                              const struct shmring_message *agreed, int bell) {
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    const int flags = MAP_SHARED | MAP_FIXED, both = PROT_READ | PROT_WRITE;
    const uint64_t once = SHMRING_HEADER_LEN + agreed->capacity;
    struct stat stat;
    *ring = (struct shmring_end){NULL, agreed->capacity, agreed->max_frame, bell, 0, 0};
    if (fstat(memfd, &stat) < 0 || stat.st_size != (off_t)once ||
        (fcntl(memfd, F_GET_SEALS) & seals) != seals ||
        (agreed->capacity & (agreed->capacity - 1)) != 0 ||
        2 * shmring_record_len(agreed->max_frame) > agreed->capacity)
        return errno = EPROTO, -1;
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *at = mmap(NULL, once + agreed->capacity, PROT_NONE, anonymous, -1, 0);
    if (at == MAP_FAILED || mmap(at, once, both, flags, memfd, 0) == MAP_FAILED ||
        mmap(at + once, agreed->capacity, both, flags, memfd, SHMRING_HEADER_LEN) == MAP_FAILED)
        return -1;
    ring->shared = (struct shmring_header *)(void *)at;
    return 0;
}

/* Wakes the neighbour if it sleeps. The fence is between our index and its flag: of two
 * sides, one sees what the other has written, so none sleeps for ever. */
static inline void shmring_wake(const struct shmring_end *ring, _Atomic uint32_t *waiting) {
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(waiting, memory_order_relaxed) != 0) {
        const uint64_t one = 1;
        atomic_store_explicit(waiting, 0, memory_order_relaxed);
        (void)!write(ring->bell, &one, sizeof one);
    }
}

/* Sends a frame: 0, or -1 with EMSGSIZE, EAGAIN (no room), EPIPE (nobody reads any more),
 * EPROTO (the neighbour breaks the rules, and the link has to be closed). */
static inline int shmring_put(struct shmring_end *ring, const void *frame, uint32_t len) {
    struct shmring_header *shared = ring->shared;
    const uint64_t record = shmring_record_len(len);
    if (len > ring->max_frame) return errno = EMSGSIZE, -1;
    if (atomic_load_explicit(&shared->consumer_closed, memory_order_acquire) != 0)
        return errno = EPIPE, -1;
    if (ring->capacity - (ring->mine - ring->seen) < record) {
        const uint64_t head = atomic_load_explicit(&shared->head, memory_order_acquire);
        if (head - ring->seen > ring->mine - ring->seen) return errno = EPROTO, -1;
        ring->seen = head;
        if (ring->capacity - (ring->mine - head) < record) return errno = EAGAIN, -1;
    }
    char *at = shmring_record(ring, ring->mine);
    atomic_store_explicit((_Atomic uint64_t *)(void *)at, len, memory_order_relaxed);
    memcpy(at + SHMRING_RECORD_HEADER, frame, len);
    ring->mine += record;
    atomic_fetch_add_explicit(&shared->producer.frames, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared->producer.bytes, len, memory_order_relaxed);
    atomic_store_explicit(&shared->tail, ring->mine, memory_order_release);
    shmring_wake(ring, &shared->consumer_waiting);
    return 0;
}

/* Takes a frame: its length, or -1 with EAGAIN (none yet), EPIPE (none any more), EMSGSIZE
 * (more than `size`; it stays the next one), EPROTO. */
static inline int64_t shmring_get(struct shmring_end *ring, void *frame, uint64_t size) {
    struct shmring_header *shared = ring->shared;
    if (ring->seen == ring->mine) {
        /* In this order: nothing is published after the flag. */
        const bool closed =
            atomic_load_explicit(&shared->producer_closed, memory_order_acquire) != 0;
        const uint64_t tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
        if (tail - ring->mine > ring->capacity || tail % 8 != 0) return errno = EPROTO, -1;
        ring->seen = tail;
        if (tail == ring->mine) return errno = closed ? EPIPE : EAGAIN, -1;
    }
    const char *at = shmring_record(ring, ring->mine);
    const uint64_t len =
        atomic_load_explicit((_Atomic uint64_t *)(void *)at, memory_order_relaxed);
    if (len > ring->max_frame || shmring_record_len(len) > ring->seen - ring->mine)
        return errno = EPROTO, -1;
    if (len > size) return errno = EMSGSIZE, -1;
    memcpy(frame, at + SHMRING_RECORD_HEADER, len);
    ring->mine += shmring_record_len(len);
    atomic_fetch_add_explicit(&shared->consumer.frames, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&shared->consumer.bytes, len, memory_order_relaxed);
    atomic_store_explicit(&shared->head, ring->mine, memory_order_release);
    if (ring->seen - ring->mine <= ring->capacity / 2)
        shmring_wake(ring, &shared->producer_waiting);
    return (int64_t)len;
}

/* Before a consumer sleeps until its doorbell or socket is readable: false when a frame, or
 * the end, has come meanwhile. */
static inline bool shmring_arm_get(struct shmring_end *ring) {
    struct shmring_header *shared = ring->shared;
    atomic_store_explicit(&shared->consumer_waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&shared->tail, memory_order_acquire) == ring->mine &&
           atomic_load_explicit(&shared->producer_closed, memory_order_acquire) == 0;
}

/* The same before a producer sleeps; it is woken when half the ring is free. */
static inline bool shmring_arm_put(struct shmring_end *ring) {
    struct shmring_header *shared = ring->shared;
    atomic_store_explicit(&shared->producer_waiting, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return ring->mine - atomic_load_explicit(&shared->head, memory_order_acquire) >
               ring->capacity / 2 &&
           atomic_load_explicit(&shared->consumer_closed, memory_order_acquire) == 0;
}

/* No more frames: those that were sent still arrive. */
static inline void shmring_close_put(struct shmring_end *ring) {
    atomic_store_explicit(&ring->shared->producer_closed, 1, memory_order_release);
    shmring_wake(ring, &ring->shared->consumer_waiting);
}

#endif
