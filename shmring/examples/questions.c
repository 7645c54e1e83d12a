/* One side of a pair, as questions.rs, without Rust: asks, and prints the answers.
 *
 *     cc -I shmring/include -o target/questions shmring/examples/questions.c
 *     target/questions | cargo run -p stdpkt-shmring --example answers
 *
 * It writes the pipe and takes the rings that the reader makes. The messages are in
 * src/handshake.rs. */
#include "shmring.h"
#include <err.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>

/* What cannot fail in a way that one could do something about. */
static int sure(ssize_t result, const char *what) {
    if (result < 0) err(1, "%s", what);
    return (int)result;
}

/* Sleeps until something has come; ends with the neighbour. */
static void rest(int socket, int doorbell) {
    struct pollfd fds[] = {{socket, POLLIN, 0}, {doorbell, POLLIN, 0}};
    struct epoll_event none;
    sure(poll(fds, 2, -1), "poll");
    epoll_wait(doorbell, &none, 1, 0); /* it was heard; nothing is ever read of it */
    if (fds[0].revents) {
        char asked[sizeof SHMRING_ALIVE];
        int reply[SHMRING_FDS];
        if (shmring_receive(socket, asked, sizeof asked, reply) <= 0) exit(0);
        shmring_send(reply[0], NULL, asked, sizeof asked, NULL, 0); /* yes */
        close(reply[0]);
    }
}

int main(void) {
    /* We show ourselves on the pipe by a lock, at the place that our gate is called by. */
    uint64_t nonce;
    sure(getrandom(&nonce, sizeof nonce, 0), "getrandom");
    nonce = (uint64_t)getpid() << 40 | (nonce >> 24 & ~UINT64_C(3));
    const int pipe = sure(open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC), "stdout");
    const int knocks = sure(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    struct sockaddr_un name = shmring_gate(nonce);
    sure(bind(knocks, (void *)&name, offsetof(struct sockaddr_un, sun_path) + 25), "bind");
    struct flock us = {.l_type = F_WRLCK, .l_start = (off_t)nonce, .l_len = SHMRING_WRITER};
    sure(fcntl(pipe, F_OFD_SETLK, &us), "lock");

    /* A reader that is there has a lock, too, and we knock; one that comes knocks at ours. */
    struct flock seen = {.l_type = F_WRLCK};
    struct shmring_message message = {.kind = 0};
    struct shmring_knock knock = {SHMRING_HANDSHAKE_MAGIC, SHMRING_HANDSHAKE_VERSION,
                                  SHMRING_KNOCK, SHMRING_WRITER, 0, nonce};
    int pair[2], fds[SHMRING_FDS], link;
    sure(fcntl(pipe, F_OFD_GETLK, &seen), "lock");
    if (seen.l_type == F_RDLCK && seen.l_len == SHMRING_READER) {
        sure(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
        name = shmring_gate((uint64_t)seen.l_start);
        sure(shmring_send(knocks, &name, &knock, sizeof knock, &pair[1], 1), "knock");
        close(pair[1]);
        link = pair[0];
        shmring_receive(link, &message, sizeof message, fds);
        if (message.kind != SHMRING_COME) errx(1, "nobody opens");
    } else {
        sure(shmring_receive(knocks, &knock, sizeof knock, fds), "knock");
        link = fds[0];
    }

    /* What we would like, the pipe as a proof that we hold it, and our doorbell: an epoll
     * instance, so that the eventfd behind it stays ours alone. */
    const int bell = sure(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
    struct epoll_event rung = {.events = EPOLLIN | EPOLLET};
    int ours[] = {pipe, sure(epoll_create1(EPOLL_CLOEXEC), "epoll")};
    sure(epoll_ctl(ours[1], EPOLL_CTL_ADD, bell, &rung), "epoll");
    message = (struct shmring_message){SHMRING_HANDSHAKE_MAGIC, SHMRING_HANDSHAKE_VERSION,
        SHMRING_HELLO, SHMRING_WRITER, 0, 1, 65600, 1 << 20, 0, 0, 9, "questions"};
    sure(shmring_send(link, NULL, &message, sizeof message, ours, 2), "hello");
    shmring_receive(link, &message, sizeof message, fds);
    if (message.kind != SHMRING_WELCOME || fds[3] < 0) errx(1, "turned down");
    struct shmring_end out, in;
    sure(shmring_map(&out, fds[2], &message, bell), "ring");
    sure(shmring_map(&in, fds[3], &message, bell), "ring");
    message.kind = SHMRING_READY;
    message.role = SHMRING_WRITER;
    sure(shmring_send(link, NULL, &message, sizeof message, NULL, 0), "ready");
    close(pipe), close(knocks); /* nobody else is to come */

    static const char *const asked[] = {"one", "two", "three"};
    for (int i = 0; i < 3; i++) {
        char answer[65600];
        int64_t len;
        while (shmring_put(&out, asked[i], (uint32_t)strlen(asked[i])) < 0)
            errno != EAGAIN ? err(1, "put") : shmring_arm_put(&out) ? rest(link, fds[1]) : (void)0;
        while ((len = shmring_get(&in, answer, sizeof answer)) < 0)
            errno != EAGAIN ? err(1, "get") : shmring_arm_get(&in) ? rest(link, fds[1]) : (void)0;
        fprintf(stderr, "%s: %.*s\n", asked[i], (int)len, answer);
    }
    shmring_close_put(&out);
}
