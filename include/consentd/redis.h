/*
 * redis.h - one pipelined link to Redis over our own `conn`.
 *
 * The formatter and the reply reader are hiredis's, the transport is ours: TCP, unix
 * socket and TLS with certificate check behave alike. The link dials, authenticates,
 * watches its own replies (hiredis has no command timeout) and dials again with a
 * growing delay. Commands are answered in order.
 *
 *   redis://HOST[:6379]   rediss://HOST[:6379] (TLS)   unix:/path/to.sock
 *   redis+sentinel://HOST[:26379],HOST.../NAME   rediss+sentinel://... (TLS to all of them)
 *
 * With sentinels each dial asks one of them, in turn, who the master called NAME is; a master that
 * was demoted is left by its user, who finds it to be none and resets the link.
 *
 * Names begin with rlink_ and resp_: `redis` is the library's prefix.
 */
#ifndef CONSENTD_REDIS_H
#define CONSENTD_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/fault.h"
#include "consentd/str.h"

#define RLINK_WINDOW         512         /* commands in flight */
#define RLINK_WATCHDOG_MS    2000        /* oldest command without a reply: the link is dead */
#define RLINK_QUEUE_MAX      (16u << 20) /* bytes waiting to be sent */
#define RLINK_ARGS_MAX       5120        /* arguments of one command */
#define RLINK_BACKOFF_MS     100         /* first delay; doubles up to RLINK_BACKOFF_MAX_MS */
#define RLINK_BACKOFF_MAX_MS 5000

struct loop;
struct rlink;
struct resp; /* one reply; belongs to the link and is gone when the callback returns */

enum resp_type { RESP_NIL = 0, RESP_ERROR, RESP_STATUS, RESP_STRING, RESP_INT, RESP_ARRAY };

enum resp_type resp_type(const struct resp *v); /* NULL: RESP_NIL */
int64_t resp_int(const struct resp *v);         /* 0 unless RESP_INT */
struct str resp_str(const struct resp *v);      /* string, status or error text; else empty */
size_t resp_cnt(const struct resp *v);          /* elements of an array; else 0 */
const struct resp *resp_at(const struct resp *v, size_t i); /* NULL behind the end */

/* The reply to one command; NULL when the link went down before it came. */
typedef void (*rlink_fn)(void *arg, const struct resp *reply);

/* Everything is copied. */
struct rlink_config {
    struct str url;
    struct str user;     /* empty: the default user */
    struct str password; /* empty: no AUTH */
    struct str ca_pem;   /* rediss: whom to trust; empty: the system's store */
    const char *name;    /* CLIENT SETNAME */
};

/* Whether a URL is one of the forms above; false and what would be right. */
MUST_USE bool rlink_url_ok(struct str url, struct fault *f);

struct rlink_ops {
    void (*on_up)(void *owner);                    /* connected and authenticated */
    void (*on_down)(void *owner, const char *why); /* every command's callback has had NULL */
};

/* Dials at once (in the background). NULL and *f: the URL or the certificates are wrong. */
MUST_USE struct rlink *rlink_new(struct loop *loop, const struct rlink_config *cfg,
                                 const struct rlink_ops *ops, void *owner, struct fault *f);

/* The loop that it runs on. */
struct loop *rlink_loop(const struct rlink *l);

/* No callback is called any more. Legal inside a callback. NULL is fine. */
void rlink_free(struct rlink *l);

bool rlink_is_up(const struct rlink *l);
unsigned rlink_in_flight(const struct rlink *l);

/*
 * Sends one command; fn gets its reply. False: down, window full or queue full;
 * fn is not called then.
 */
MUST_USE bool rlink_command(struct rlink *l, const struct str *argv, size_t argc, rlink_fn fn,
                            void *arg);

/* Drops the connection and dials again after a delay (a reply that must not be). */
void rlink_reset(struct rlink *l, const char *why);

/* Forgets the delay: what was connected has proven to work. */
void rlink_settled(struct rlink *l);

#endif
