/* A client for the network loads: `net ADDRESS PORT receive|send BYTES`, `net ADDRESS PORT ask TIMES`. */

#include "runtime.h"

enum { INTERNET = 2, STREAM = 1, TCP = 6, NO_DELAY = 1, BUFFER = 1 << 16, QUESTION = 64 };

static char buffer[BUFFER];

static uint32_t address_of(const char *text)
{
    uint32_t address = 0;
    for (int i = 0; i < 4; i++) {
        address |= (uint32_t)number_of(text) << (8 * i);
        while (*text && *text++ != '.')
            ;
    }
    return address;
}

static long connect_to(const char *address, uint64_t port)
{
    struct {
        uint16_t family, port;
        uint32_t address;
        uint64_t padding;
    } name = {INTERNET, (uint16_t)(port >> 8 | port << 8), address_of(address), 0};
    int on = 1;
    long socket = CALL3(socket, INTERNET, STREAM, 0);
    REQUIRE(socket >= 0);
    REQUIRE(CALL3(connect, socket, &name, sizeof name) == 0);
    REQUIRE(CALL5(setsockopt, socket, TCP, NO_DELAY, &on, sizeof on) == 0);
    return socket;
}

static void receive(long socket, uint64_t bytes)
{
    while (bytes) {
        long got = CALL3(read, socket, buffer, bytes < BUFFER ? bytes : BUFFER);
        REQUIRE(got > 0);
        bytes -= (uint64_t)got;
    }
}

static void send(long socket, uint64_t bytes)
{
    while (bytes) {
        long sent = CALL3(write, socket, buffer, bytes < BUFFER ? bytes : BUFFER);
        REQUIRE(sent > 0);
        bytes -= (uint64_t)sent;
    }
}

int run(int count, char **arguments)
{
    REQUIRE(count == 5);
    long socket = connect_to(arguments[1], number_of(arguments[2]));
    char what = arguments[3][0];
    uint64_t amount = number_of(arguments[4]);
    struct {
        uint64_t what, amount;
    } greeting = {(uint64_t)what, amount};
    REQUIRE(CALL3(write, socket, &greeting, sizeof greeting) == sizeof greeting);
    if (what == 'r') {
        receive(socket, amount);
    } else if (what == 's') {
        send(socket, amount);
        receive(socket, 1);
    } else {
        for (; amount; amount--) {
            send(socket, QUESTION);
            receive(socket, QUESTION);
        }
    }
    return 0;
}
