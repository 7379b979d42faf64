/*
 * config.h - the configuration as a tree of structs.
 *
 * One table (proxy/base/config_keys.c) has a row per key: name, type, range, default
 * and one line of doc. The reader, the errors, `consentctl config reference` and the
 * test that conf/consentd.json names every key all come from it.
 *
 * Errors name file, line and path, say what would be right, and for an unknown key the
 * nearest known one. Paths of files are absolute here: relative ones are resolved
 * against the configuration file's folder. Durations are milliseconds, sizes bytes.
 *
 * Immutable after loading. All strings and arrays belong to the config and live until
 * config_free(); an optional string that is not set is NULL.
 */
#ifndef CONSENTD_CONFIG_H
#define CONSENTD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "consentd/attr.h"
#include "consentd/buf.h"
#include "consentd/fault.h"
#include "consentd/log.h"
#include "consentd/str.h"

#define CONFIG_TEXT_MAX (4u << 20) /* bytes of a configuration file */

/* Lists: `items` has cnt elements and is NULL when cnt is 0. */
struct config_texts {
    const char *const *items;
    size_t cnt;
};

struct config_limits {                          /* "limits": what one peer may ask of us */
    uint64_t header_size;                       /* bytes of one request or response head */
    unsigned fields;                            /* header fields in one head */
    uint64_t target;                            /* bytes of a request target */
    uint64_t body_size;                         /* bytes of a request body; 0: any number */
    unsigned connections;                       /* client connections per worker */
    unsigned requests;                          /* at work at once, per worker */
    unsigned connections_per_address;           /* of them; 0: any number */
    unsigned requests_per_second;               /* of one address and worker; 0: any number */
    unsigned request_burst;                     /* of one address, above that rate */
    unsigned rights_per_second, rights_burst;   /* the same, of pages about one's own records */
    unsigned choices_per_second, choices_burst; /* the same, of choices and withdrawals */
    uint64_t request_header_timeout_ms;         /* first byte to end of head */
    uint64_t body_timeout_ms;                   /* silence within a request body */
    uint64_t keepalive_timeout_ms;              /* silence between two requests */
    uint64_t send_timeout_ms;                   /* no byte taken by a client we send to */
    uint64_t upload_rate;                       /* bytes a second that a body comes with; 0: any */
    uint64_t download_rate;                     /* the same of answers that wait for the client */
    uint64_t inline_script;                     /* bytes of one inline script that are looked at */
    uint64_t tag;                               /* bytes of one HTML tag */
    unsigned pcre_match_limit;                  /* steps of one regular expression match */
};

struct config_cert {  /* "listen[].tls.certificates[]" */
    const char *cert; /* PEM file: the chain, leaf first */
    const char *key;  /* PEM file */
    const char *ocsp; /* DER file that somebody renews; NULL: nothing is stapled */
};

enum config_tls_version { CONFIG_TLS_1_3 = 0, CONFIG_TLS_1_2 };

struct config_tls { /* "listen[].tls" */
    const struct config_cert *certs;
    size_t cert_cnt;
    enum config_tls_version min_version;
    uint64_t ticket_rotation_ms; /* session tickets get a new key so often */
    uint64_t hsts_ms;            /* RFC 6797: max-age; 0: no such field is added */
};

struct config_listen {   /* "listen[]" */
    const char *address; /* "0.0.0.0:443", "[::]:443", "unix:/path" */
    bool redirect_https; /* "redirect": "https": answer 308 to https and nothing else */
    bool proxy_protocol; /* a PROXY header comes first on each connection */
    bool http2;          /* with tls: offered by ALPN */
    const char *acme;    /* folder of http-01 challenges, or "origin"; NULL: none */
    bool h2c;            /* without tls: with prior knowledge (RFC 9113 3.3) */
    bool has_tls;        /* a "tls" object was given */
    struct config_tls tls;
};

struct config_ledger {             /* "ledger" */
    const char *journal;           /* folder of the segments */
    uint64_t journal_retention_ms; /* kept at least so long after Redis has them */
    uint64_t record_retention_ms;  /* a month may be dropped so long after its end; 0: never */
    uint64_t backup_retention_ms;  /* how long backups are kept: what a receipt promises */
    uint64_t segment_size;         /* bytes of one segment */
    const char *name;              /* "<site>" in Redis keys and the log's origin line */
    unsigned node;                 /* 1-255; part of every token */
    const char *redis;             /* URL; NULL: the journal alone is the store */
    struct config_texts checkpoint_sinks; /* where signed checkpoints go: sinks.h */
    const char *checkpoint_ca;            /* PEM file for https sinks; NULL: the system's */
    const char *redis_ca;                 /* PEM file for rediss:// */
    const char *redis_password_file;
};

struct config_admin {        /* "admin" */
    const char *socket;      /* path of the unix socket; NULL: state_dir/admin.sock */
    const char *group;       /* group that may do everything; NULL: only root and the run user */
    const char *audit_group; /* group that may read the ledger; NULL: consentd-audit, if any */
    const char *listen;      /* TCP address of health and metrics alone; NULL: none */
    bool listen_public;      /* which need not be a loopback one */
};

/* "forwarded_field": where trusted proxies name the client */
enum config_forwarded { CONFIG_X_FORWARDED_FOR = 0, CONFIG_FORWARDED };

/* "access_log_format" */
enum config_log_format { CONFIG_LOG_COMBINED = 0, CONFIG_LOG_JSON };

/* What happens to a cookie that no rule set knows. */
enum config_unknown { CONFIG_UNKNOWN_DENY = 0, CONFIG_UNKNOWN_ALLOW };

/* Mode of a rule set on one site. */
enum config_mode { CONFIG_MODE_ENFORCE = 0, CONFIG_MODE_REPORT, CONFIG_MODE_OFF };

/* "html_encoding": how rewritten HTML is asked for and sent. */
enum config_encoding {
    CONFIG_ENCODING_AUTO = 0, /* identity from near origins, encoded again for the client */
    CONFIG_ENCODING_IDENTITY, /* always uncompressed to the client */
};

struct config_set_mode { /* one member of "sites[].rule_sets" */
    const char *set;
    enum config_mode mode;
};

enum config_balance { CONFIG_ROUND_ROBIN = 0, CONFIG_LEAST_CONNECTIONS };

/* "all_down": what a visitor gets while no origin is up */
enum config_all_down { CONFIG_ALL_DOWN_TRY = 0, CONFIG_ALL_DOWN_REFUSE };

struct config_origin { /* "sites[].origins[]" */
    const char *url;
    unsigned weight;          /* 0: only visitors whose cookie names it */
    bool backup;              /* only while no other is up */
    unsigned max_connections; /* per worker; never 0 after loading */
};

struct config_health { /* "sites[].health" */
    unsigned failures; /* in a row, within window_ms, take an origin out; 0: never */
    uint64_t window_ms, pause_ms, slow_start_ms;
    const char *path;   /* of active checks; NULL: there are none */
    const char *host;   /* never NULL after loading */
    const char *status; /* "200-399" */
    unsigned status_low, status_high;
    uint64_t interval_ms, timeout_ms;
    unsigned rise, fall;
};

struct config_site {           /* "sites[]" */
    const char *name;          /* for logs, errors and consentctl */
    struct config_texts hosts; /* lower case; the first is the site id in tokens */
    const struct config_origin *origins;
    size_t origin_cnt;
    enum config_balance balance;
    enum config_all_down all_down;
    struct config_health health;
    const char *sticky_cookie; /* its name; NULL: visitors are not tied to an origin */
    const char *origin_ca;     /* PEM file for https origins; NULL: the system's */
    const char *policy;        /* file */
    const char *prefix;        /* begins and ends with "/" */
    const char *cookie_domain; /* shares the consent with its subdomains; NULL: host only */
    enum config_unknown unknown_cookies;
    enum config_encoding html_encoding;
    const struct config_set_mode *rule_sets;
    size_t rule_set_cnt;
    const char *rules_json;        /* "rules": the site's own, as JSON text ("[]" when none) */
    unsigned rules_line;           /* line of "rules" in the file, for errors; 0 when absent */
    bool shared_cache;             /* rewritten HTML may be stored by shared caches */
    bool banner;                   /* inject the banner */
    struct config_texts languages; /* of the banner; the first is the fallback; none: all known */
    bool signals;                  /* consent mode of Google's and Microsoft's tags */
    bool guard;                    /* put the companion script into pages */
    bool preserve_host;            /* the origin sees the visitor's Host */
    bool allow_cleartext_consent;  /* give the cookie without TLS, not only on loopback */
    uint64_t connect_timeout_ms;
    uint64_t response_timeout_ms;    /* request sent to response head, and silence in a body */
    uint64_t origin_idle_timeout_ms; /* a kept origin connection is closed after this */
    unsigned origin_connections;     /* per worker and origin */
    unsigned origin_queue;           /* per worker: requests waiting for one of these */
    uint64_t queue_timeout_ms;
    uint64_t max_age_ms; /* life of a decision */
};

struct config {
    const char *path;             /* as given, for messages */
    unsigned workers;             /* 0: one per core */
    const char *user;             /* NULL: consentd if it exists, else nobody */
    const char *group;            /* NULL: the user's */
    bool sandbox;                 /* seccomp and Landlock in every child */
    const char *state_dir;        /* rules.json, keks.json, sockets */
    const char *keys;             /* file */
    const char *rules;            /* folder that has sets/ */
    struct config_texts resolver; /* name servers; none: /etc/resolv.conf */
    uint64_t drain_timeout_ms;
    enum log_level log_level;
    const char *log_file;   /* NULL: standard error */
    const char *access_log; /* NULL: off; "stderr"; else a path */
    enum config_log_format access_log_format;
    struct config_texts trusted_proxies; /* networks whose word on the client is believed */
    enum config_forwarded forwarded_field;
    struct config_limits limits;
    const struct config_listen *listens;
    size_t listen_cnt;
    struct config_ledger ledger;
    struct config_admin admin;
    const struct config_site *sites;
    size_t site_cnt;
    struct config_memory *memory; /* private: owns all of the above */
};

/* Parses text; `name` is for messages, `dir` for relative paths. Reads no file. */
MUST_USE struct config *config_parse(const char *name, const char *dir, struct str text,
                                     struct fault *f);

/* Reads and parses a file. */
MUST_USE struct config *config_load(const char *path, struct fault *f);

/* NULL is fine. */
void config_free(struct config *c);

/* The site that serves host (canonical: lower case, no port), or NULL. */
const struct config_site *config_site_of(const struct config *c, struct str host);

/* One row of the table, as people see it. */
struct config_doc {
    const char *path;          /* "sites[].connect_timeout" */
    const char *type;          /* "duration" */
    const char *range;         /* "100ms to 10m", "" when free */
    const char *default_value; /* "5s"; NULL: required; "" : unset */
    const char *doc;           /* one line */
};

/* Calls fn for each key in the order of the table. */
void config_each_key(void (*fn)(void *arg, const struct config_doc *doc), void *arg);

/* The reference as text: every key with type, range, default and doc. */
MUST_USE bool config_reference(struct buf *out);

/* "15s", "250ms", "2m", "1h", "180d" to milliseconds; "64KiB", "2MiB", "512" to bytes. */
MUST_USE bool config_duration(struct str s, uint64_t *ms_out);
MUST_USE bool config_size(struct str s, uint64_t *bytes_out);

#endif
