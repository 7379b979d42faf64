/*
 * sinks.h - carries signed checkpoints out of the host: the only defence against whoever runs it.
 * layer: ledger
 *
 *   file:/PATH                      appended and synced, an empty line behind each
 *   syslog:/PATH                    RFC 5424 to a unix socket (datagrams), as /dev/log
 *   syslog://ADDRESS[:514]          RFC 5424 over UDP (RFC 5426); a numeric address
 *   syslog+tcp://HOST[:601]         RFC 5424 over TCP, octet-counted (RFC 6587)
 *   http://HOST/PATH, https://...   POST of the checkpoint; any 2xx is "taken"
 *   witness+https://HOST/PREFIX#VKEY, witness+http://...
 *                                   a C2SP tlog-witness with this key of type 4: gets a proof that
 *                                   the log only grew; its cosignature goes under the checkpoint
 *
 * Each sink gets the newest checkpoint, as soon as it has dealt with the one before: a checkpoint
 * covers all before it, so a slow sink misses some and lags by one. What fails is tried again with
 * a growing delay. Witnesses are asked in rounds: all about the same checkpoint, then, when each
 * has answered or failed, about the newest of that moment. Nothing here blocks: files are written
 * by a thread of their own, since a mount from elsewhere may stand still.
 */
#ifndef CONSENTD_SINKS_H
#define CONSENTD_SINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define SINKS_MAX           8
#define SINK_URL_MAX        512
#define SINK_TIMEOUT_MS     10000 /* of one attempt */
#define SINK_BACKOFF_MS     500   /* first delay; doubles up to SINK_BACKOFF_MAX_MS */
#define SINK_BACKOFF_MAX_MS 60000

struct loop;
struct merkle_proof;
struct note_key;
struct sinks;

/* What witnesses need of the log, and give it. */
struct sinks_ops {
    /* That the tree of `size` leaves begins with that of `old` ones; 0 < old < size. */
    bool (*prove)(void *owner, uint64_t old, uint64_t size, struct merkle_proof *out);
    /* A witness's line for this checkpoint of `size` leaves; it is verified. */
    void (*on_cosigned)(void *owner, uint64_t size, struct str note, const struct note_key *witness,
                        struct str line);
    /* Nobody else signs that checkpoint: all witnesses have answered, or failed. */
    void (*on_asked)(void *owner, uint64_t size);
};

/* Whether a URL is one of the forms above; false and what would be right. */
MUST_USE bool sink_url_ok(struct str url, struct fault *f);

/* The path that a "file:" writes to, for whoever sets rights; NULL for others. */
const char *sink_file_of(const char *url);

/* urls are copied; ca_pem: whom https trusts, empty: the system's store. NULL and *f. */
MUST_USE struct sinks *sinks_new(struct loop *loop, const char *const *urls, size_t cnt,
                                 struct str ca_pem, struct fault *f);

/* Before the first sinks_push; ops live as long as the sinks. */
void sinks_serve(struct sinks *s, const struct sinks_ops *ops, void *owner);
void sinks_free(struct sinks *s); /* what is under way is left; NULL is fine */

/* A new checkpoint of `size` leaves. */
void sinks_push(struct sinks *s, uint64_t size, struct str note);

/*
 * The end of what each file sink holds, for the ledger's start: a host that was put back from a
 * backup finds there what it signed later. Waits SINK_RECALL_MS at most for all of them; one that
 * stands still is told in the log and passed over, a file that is not there has an empty text.
 */
#define SINK_RECALL_LEN 65536
#define SINK_RECALL_MS  3000
typedef void (*sinks_recall_fn)(void *arg, const char *url, struct str text);
void sinks_recall(const char *const *urls, size_t cnt, sinks_recall_fn fn, void *arg);

/* Once a second: tries again, gives up on what hangs, and counts. */
void sinks_tick(struct sinks *s);

#endif
