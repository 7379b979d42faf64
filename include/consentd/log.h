/*
 * log.h - one logfmt line per event on a file descriptor.
 *
 *   log_info("rules.swapped", "set=%s revision=%u", name, revision);
 *   ts=2026-11-24T00:27:45.123Z level=info proc=worker/2 event=rules.swapped set=hubspot …
 *
 * The event name is stable, dotted, lower case and searchable. Levels: error = an
 * operator must act; warn = something was refused or degraded; info = a state
 * changed; debug = off in production, its arguments are not evaluated.
 *
 * No personal data: addresses go through log_peer(), keys and tokens live in struct
 * secret, for which there is no formatter. Text that a peer chose goes through
 * log_text(), which quotes and escapes it.
 *
 * One event may be written LOG_BURST times per second; what is dropped is counted
 * and said with the first line of the next second (suppressed=N).
 */
#ifndef CONSENTD_LOG_H
#define CONSENTD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/str.h"

struct sockaddr;

#define LOG_LINE_MAX 2048 /* bytes of one line; the end of a longer one is cut */
#define LOG_BURST    50   /* lines per second and event name */
#define LOG_PEER_MAX 64   /* room for log_peer's text with NUL */
#define LOG_TEXT_MAX 256  /* room for log_text's text with NUL */

enum log_level {
    LOG_LEVEL_ERROR = 0,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

/* proc ("worker/2") is copied. Before the first call: level info, fd 2, no name. */
void log_open(const char *proc, enum log_level level, int fd);

/* Changes the level alone. */
void log_set_level(enum log_level level);

/* "error", "warn", "info", "debug"; false for another word. */
MUST_USE bool log_level_parse(struct str s, enum log_level *out);

/* True when a line of this level would be written. */
bool log_is_on(enum log_level level);

/* Writes one line with one write(2). fmt may be "". Use the macros below. */
void log_write(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Level and event, then a format as printf's; info and debug evaluate nothing when off. */
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  LOG_IF(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) LOG_IF(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Behind log_info and log_debug. */
#define LOG_IF(level, ...) (log_is_on(level) ? log_write(level, __VA_ARGS__) : (void)0)

/* "203.0.113.0/24", "2001:db8:1::/48", "unix"; returns out. */
const char *log_peer(const struct sockaddr *sa, char out[LOG_PEER_MAX]);

/* Quoted, escaped, cut with "…": safe to put behind "key=". Returns out. */
const char *log_text(struct str s, char out[LOG_TEXT_MAX]);

/* Bytes that must not be printed. There is no formatter for it on purpose. */
struct secret {
    uint8_t *bytes; /* owned by whoever made it; wiped before it is freed */
    size_t len;
};

#endif
