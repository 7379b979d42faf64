/*
 * redis_sentinel.h - who is the master now: a list of sentinels and what is asked of them.
 */
#ifndef LEDGER_REDIS_SENTINEL_H
#define LEDGER_REDIS_SENTINEL_H

#include "consentd/endpoint.h"
#include "consentd/fault.h"
#include "consentd/redis.h"

#define SENTINELS_MAX     8
#define SENTINEL_NAME_MAX 128 /* bytes of a master's name */

struct sentinels {
    struct endpoint hosts[SENTINELS_MAX];
    unsigned cnt, at; /* at: whom to ask next */
    unsigned asked;   /* in vain, since one answered */
    bool tls;         /* rediss+sentinel: sentinels and master alike */
    char name[SENTINEL_NAME_MAX + 1];
};

bool sentinel_is_url(struct str url);

/*
 * redis+sentinel://[user[:password]@]host[:26379],host.../name. The user info is the master's.
 * False and what is wrong.
 */
MUST_USE bool sentinel_parse(struct str url, struct sentinels *out, struct str *user_info_out,
                             struct fault *f);

/* The words of the question; the answer gives the master's address. */
#define SENTINEL_WORDS 3
void sentinel_question(const struct sentinels *s, struct str out[SENTINEL_WORDS]);
MUST_USE bool sentinel_answer(const struct sentinels *s, const struct resp *reply,
                              struct endpoint *out);

#endif
