/*
 * sinks_priv.h - one sink, and the parts that deliver by file, by syslog and by HTTP.
 */
#ifndef LEDGER_SINKS_PRIV_H
#define LEDGER_SINKS_PRIV_H

#include <sys/socket.h>

#include "consentd/buf.h"
#include "consentd/endpoint.h"
#include "consentd/note.h"
#include "consentd/sinks.h"

enum sink_kind {
    SINK_FILE = 0,
    SINK_SYSLOG_UNIX,
    SINK_SYSLOG_UDP,
    SINK_SYSLOG_TCP,
    SINK_HTTP,
    SINK_WITNESS
};

struct conn;
struct tls_client;
struct file_writer;

/* What a URL says. */
struct sink_target {
    enum sink_kind kind;
    char path[SINK_URL_MAX];  /* of the file, the socket, the request */
    struct endpoint endpoint; /* TCP, HTTP */
    struct note_key witness;
    struct sockaddr_storage addr; /* UDP */
    socklen_t addr_len;
};

MUST_USE bool sink_parse(struct str url, struct sink_target *out, struct fault *f);

struct sink {
    struct loop *loop;
    struct tls_client *tls; /* borrowed; NULL: plain */
    char url[SINK_URL_MAX];
    struct sink_target to;
    struct buf note;     /* the checkpoint that it gets next, or gets */
    uint64_t size;       /* its leaves */
    uint64_t newest;     /* leaves of the newest that there is */
    uint64_t sending;    /* leaves of the one under way; 0: none */
    uint64_t taken;      /* leaves of the newest that arrived */
    uint64_t pushed_ms;  /* monotonic: since when something newer than `taken` waits; 0: nothing */
    uint64_t started_ms; /* monotonic: of the attempt under way */
    uint64_t retry_ms, backoff_ms;
    bool troubled;               /* the last attempt failed; said once */
    struct conn *conn;           /* owned; TCP and HTTP */
    int fd;                      /* datagrams; -1: none */
    struct buf head;             /* HTTP: the answer so far */
    struct buf sent;             /* witness: the checkpoint that it was asked about */
    uint64_t old;                /* witness: leaves of the tree that it has */
    bool told;                   /* witness: it has said so in this attempt */
    const struct sinks_ops *ops; /* NULL: nobody makes proofs */
    void *owner;
    struct file_writer *writer; /* owned; files */
};

/* The attempt is over; a failure says why. */
void sink_done(struct sink *s, bool ok, const char *why);

/* Starts an attempt with s->note; sink_done follows, at once or later. */
void sink_syslog_send(struct sink *s);
void sink_http_send(struct sink *s);
void sink_file_send(struct sink *s);
void sink_witness_send(struct sink *s);

/* The thread's word on the attempt, asked for once a second. */
void sink_file_poll(struct sink *s);
void sink_file_free(struct file_writer *w);

/* One RFC 5424 message that holds the checkpoint, appended. */
MUST_USE bool sink_syslog_message(struct str note, struct buf *out);

#endif
