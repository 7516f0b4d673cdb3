/* A stream socket's two ends on standard input and output: `vsock connect PORT` to the host, `vsock listen PORT` for one peer. */

#include "runtime.h"

enum { AF_VSOCK = 40, SOCK_STREAM = 1, SHUT_WR = 1, POLLIN = 1, CID_HOST = 2 };
static const uint32_t CID_ANY = 0xffffffff;

struct sockaddr_vm {
    uint16_t family, reserved;
    uint32_t port, cid;
    uint8_t flags, zero[3];
};

struct pollfd {
    int fd;
    short events, revents;
};

static char buffer[1 << 16];

static void write_all(int fd, const char *from, long count)
{
    while (count > 0) {
        long written = CALL3(write, fd, from, count);
        REQUIRE(written > 0);
        from += written;
        count -= written;
    }
}

/* Everything from standard input to the peer, then the end of that; everything of the peer's to standard output, up to its end. */
static void relay(int peer)
{
    struct pollfd fds[2] = {{.fd = peer, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        REQUIRE(CALL5(ppoll, fds, 2, 0, 0, 0) > 0);
        if (fds[0].revents) {
            long count = CALL3(read, peer, buffer, sizeof buffer);
            REQUIRE(count >= 0);
            if (count == 0)
                fds[0].fd = -1;
            write_all(1, buffer, count);
        }
        if (fds[1].revents) {
            long count = CALL3(read, 0, buffer, sizeof buffer);
            REQUIRE(count >= 0);
            write_all(peer, buffer, count);
            if (count == 0) {
                REQUIRE(CALL2(shutdown, peer, SHUT_WR) == 0);
                fds[1].fd = -1;
            }
        }
    }
}

int run(int arguments, char **names)
{
    REQUIRE(arguments == 3);
    int fd = (int)CALL3(socket, AF_VSOCK, SOCK_STREAM, 0);
    REQUIRE(fd >= 0);
    struct sockaddr_vm address = {.family = AF_VSOCK, .port = (uint32_t)number_of(names[2])};
    if (names[1][0] == 'c') {
        address.cid = CID_HOST;
        long error = CALL3(connect, fd, &address, sizeof address);
        if (error) {
            put_number("refused", (uint64_t)-error);
            return 1;
        }
        relay(fd);
    } else {
        address.cid = CID_ANY;
        REQUIRE(CALL3(bind, fd, &address, sizeof address) == 0);
        REQUIRE(CALL2(listen, fd, 1) == 0);
        int peer = (int)CALL3(accept, fd, 0, 0);
        REQUIRE(peer >= 0);
        relay(peer);
    }
    return 0;
}
