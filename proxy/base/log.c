/*
 * log.c - contract in consentd/log.h.
 *
 * A line is put together on the stack and leaves with one write(2), so that lines of
 * several processes on one descriptor do not mix. A failed write is dropped: logging
 * must never stop a worker.
 */
#include "consentd/log.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "consentd/clock.h"

#define THROTTLES 64u /* events counted at a time; a collision shares the budget */

static struct {
    char proc[32];
    enum log_level level;
    int fd;
} log_state = {.level = LOG_LEVEL_INFO, .fd = STDERR_FILENO};

struct throttle {
    const char *event; /* a literal: compared by content, kept by address */
    uint64_t second;
    unsigned lines;
    unsigned suppressed;
};

static const char *const LEVEL_NAMES[] = {"error", "warn", "info", "debug"};

void log_open(const char *proc, enum log_level level, int fd)
{
    snprintf(log_state.proc, sizeof(log_state.proc), "%s", proc);
    log_state.level = level;
    log_state.fd = fd;
}

void log_set_level(enum log_level level)
{
    log_state.level = level;
}

bool log_level_parse(struct str s, enum log_level *out)
{
    for (unsigned i = 0; i < COUNT_OF(LEVEL_NAMES); i++) {
        if (str_eq_c(s, LEVEL_NAMES[i])) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_is_on(enum log_level level)
{
    return level <= log_state.level;
}

/* False when the event has had its lines for this second. */
static bool may_write(const char *event, uint64_t second, unsigned *suppressed_out)
{
    static const uint8_t no_key[16];
    static struct throttle throttles[THROTTLES];
    struct throttle *t = &throttles[str_hash(str_c(event), no_key) % THROTTLES];

    *suppressed_out = 0;
    if (t->second != second || t->event == NULL || strcmp(t->event, event) != 0) {
        *suppressed_out = t->event != NULL && strcmp(t->event, event) == 0 ? t->suppressed : 0;
        *t = (struct throttle){.event = event, .second = second};
    }
    if (t->lines >= LOG_BURST) {
        t->suppressed++;
        return false;
    }
    t->lines++;
    return true;
}

/* Adds n characters' worth, where snprintf may have wanted more than there was. */
static size_t advance(size_t at, int n)
{
    if (n < 0)
        return at;
    return at + (size_t)n < LOG_LINE_MAX - 1 ? at + (size_t)n : LOG_LINE_MAX - 2;
}

/* One event is one line: whatever a formatter let through must not start another. */
static void flatten(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = ' ';
    }
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    char line[LOG_LINE_MAX], when[CLOCK_TEXT_MAX];
    uint64_t now = clock_wall_ms();
    unsigned suppressed;
    va_list args;

    if (!log_is_on(level) || !may_write(event, now / 1000, &suppressed))
        return;
    size_t len = advance(0, snprintf(line, sizeof(line), "ts=%s level=%s proc=%s event=%s ",
                                     clock_format(now, when), LEVEL_NAMES[level],
                                     log_state.proc[0] != '\0' ? log_state.proc : "-", event));
    if (suppressed > 0)
        len = advance(len, snprintf(line + len, sizeof(line) - len, "suppressed=%u ", suppressed));
    va_start(args, fmt);
    len = advance(len, vsnprintf(line + len, sizeof(line) - len, fmt, args));
    va_end(args);
    flatten(line, len);
    while (len > 0 && line[len - 1] == ' ')
        len--;
    line[len++] = '\n';
    if (write(log_state.fd, line, len) < 0)
        return; /* nowhere to say it */
}

const char *log_peer(const struct sockaddr *sa, char out[LOG_PEER_MAX])
{
    char text[INET6_ADDRSTRLEN] = "?";
    unsigned bits = 24;

    if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)) {
        snprintf(out, LOG_PEER_MAX, "%s", sa != NULL && sa->sa_family == AF_UNIX ? "unix" : "-");
        return out;
    }
    if (sa->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, sa, sizeof(in));
        in.sin_addr.s_addr &= htonl(0xffffff00u);
        inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text));
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, sa, sizeof(in6));
        /* a mapped IPv4 address keeps its first 24 of 32 bits, any other its first 48 */
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        size_t keep = mapped ? 15 : 6;
        bits = mapped ? 120 : 48;
        memset(in6.sin6_addr.s6_addr + keep, 0, 16 - keep);
        inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
    }
    snprintf(out, LOG_PEER_MAX, "%s/%u", text, bits);
    return out;
}

const char *log_text(struct str s, char out[LOG_TEXT_MAX])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;

    out[at++] = '"';
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (at + 10 > LOG_TEXT_MAX) { /* an escape, the dots, the quote and the NUL */
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (c == '"' || c == '\\') {
            out[at++] = '\\';
            out[at++] = (char)c;
        } else if (c < 0x20 || c >= 0x7f) {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = hex[c >> 4];
            out[at++] = hex[c & 15];
        } else {
            out[at++] = (char)c;
        }
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}
