/*
 * config_keys.c - every key of the configuration, in one place.
 *
 * To add a key: a field in consentd/config.h, a row here, a line in conf/consentd.json.
 */
#include "config_priv.h"

#define SEC UINT64_C(1000)
#define MIN (60 * SEC)
#define DAY (24 * 60 * MIN)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define BIG UINT64_C(2147483647)

#define ROW(type, key, field, ...)                                                                 \
    {                                                                                              \
        .name = key, .offset = offsetof(struct type, field), __VA_ARGS__                           \
    }
#define RANGE(kind_, min_, max_, def_, doc_)                                                       \
    .kind = kind_, .min = min_, .max = max_, .def = def_, .doc = doc_
#define PLAIN(kind_, def_, doc_)  .kind = kind_, .def = def_, .doc = doc_
#define WORDS(words_, def_, doc_) .kind = KEY_WORD, .words = words_, .def = def_, .doc = doc_
#define OBJECT(table_, extra_, doc_)                                                               \
    .kind = KEY_OBJECT, .table = &(table_), .extra_offset = extra_, .def = "", .doc = doc_
#define LIST(type, kind_, table_, cnt_, min_, max_, doc_)                                          \
    .kind = kind_, .table = table_, .extra_offset = offsetof(struct type, cnt_), .min = min_,      \
    .max = max_, .def = (min_) > 0 ? NULL : "", .doc = doc_
#define TABLE(name, type)                                                                          \
    static const struct config_table name##_TABLE = {name, COUNT_OF(name), sizeof(struct type)}

static const char *const LEVELS[] = {"error", "warn", "info", "debug", NULL};
static const char *const TLS_VERSIONS[] = {"1.3", "1.2", NULL};
static const char *const REDIRECTS[] = {"off", "https", NULL};
static const char *const UNKNOWN[] = {"deny", "allow", NULL};
static const char *const ENCODINGS[] = {"auto", "identity", NULL};
static const char *const BALANCES[] = {"round_robin", "least_connections", NULL};
static const char *const ALL_DOWN[] = {"try", "refuse", NULL};

static const char *const FIELDS[] = {"x-forwarded-for", "forwarded", NULL};
static const char *const FORMATS[] = {"combined", "json", NULL};

static const struct config_key CERT[] = {
    ROW(config_cert, "cert", cert, PLAIN(KEY_PATH, NULL, "PEM file with the chain, leaf first.")),
    ROW(config_cert, "key", key, PLAIN(KEY_PATH, NULL, "PEM file with the private key.")),
    ROW(config_cert, "ocsp", ocsp,
        PLAIN(KEY_PATH, "", "DER file with the issuer's OCSP response, to be stapled.")),
};
TABLE(CERT, config_cert);

static const struct config_key TLS[] = {
    ROW(config_tls, "certificates", certs,
        LIST(config_tls, KEY_OBJECTS, &CERT_TABLE, cert_cnt, 1, 64,
             "Certificates; SNI chooses, the first is the default.")),
    ROW(config_tls, "min_version", min_version,
        WORDS(TLS_VERSIONS, "1.3", "Oldest TLS version that is spoken.")),
    ROW(config_tls, "ticket_rotation", ticket_rotation_ms,
        RANGE(KEY_DURATION, 1 * SEC, 7 * DAY, "60m",
              "Session tickets get a new key so often; each opens for two more.")),
    ROW(config_tls, "hsts", hsts_ms,
        RANGE(KEY_DURATION, 0, 730 * DAY, "0s",
              "Strict-Transport-Security for so long, unless the origin sends its own; 0: none.")),
};
TABLE(TLS, config_tls);

static const struct config_key LISTEN[] = {
    ROW(config_listen, "address", address,
        PLAIN(KEY_TEXT, NULL, "Where visitors arrive: host:port, [v6]:port or unix:/path.")),
    ROW(config_listen, "redirect", redirect_https,
        WORDS(REDIRECTS, "off",
              "With https: answer 308 to https and nothing else; what a trusted proxy got by https "
              "passes.")),
    ROW(config_listen, "proxy_protocol", proxy_protocol,
        PLAIN(KEY_BOOL, "false",
              "A balancer in front says who the client is (PROXY, v1 or v2). Whoever reaches this "
              "address is believed: let it be the balancer alone.")),
    ROW(config_listen, "http2", http2,
        PLAIN(KEY_BOOL, "true", "With tls: offer HTTP/2 to visitors.")),
    ROW(config_listen, "acme", acme,
        PLAIN(KEY_TEXT, "", "Folder of ACME http-01 challenges, or \"origin\": never redirected.")),
    ROW(config_listen, "h2c", h2c,
        PLAIN(KEY_BOOL, "false", "Without tls: take HTTP/2 from clients that begin with it.")),
    ROW(config_listen, "tls", tls,
        OBJECT(TLS_TABLE, offsetof(struct config_listen, has_tls),
               "Speak TLS here; without it the listener is cleartext.")),
};
TABLE(LISTEN, config_listen);

#define LIMIT(...) ROW(config_limits, __VA_ARGS__)
static const struct config_key LIMITS[] = {
    LIMIT("header_size", header_size,
          RANGE(KEY_SIZE, KIB, 128 * KIB, "64KiB", "Largest request or response head.")),
    LIMIT("fields", fields, RANGE(KEY_UINT, 16, 1000, "200", "Most header fields in one head.")),
    LIMIT("target", target, RANGE(KEY_SIZE, 256, 64 * KIB, "16KiB", "Longest request target.")),
    LIMIT("body_size", body_size,
          RANGE(KEY_SIZE, 0, 1ull << 50, "0B", "Longest request body, else 413; 0: any.")),
    LIMIT("connections", connections,
          RANGE(KEY_UINT, 1, 1000000, "20000", "Most client connections of one worker.")),
    LIMIT("requests", requests,
          RANGE(KEY_UINT, 1, 1000000, "4096", "Most requests at once of one worker.")),
    LIMIT("connections_per_address", connections_per_address,
          RANGE(KEY_UINT, 0, 1000000, "0", "Most of them from one address; 0: any number.")),
    LIMIT("requests_per_second", requests_per_second,
          RANGE(KEY_UINT, 0, 1000000, "0", "Of one address, on average; 0: any number.")),
    LIMIT("request_burst", request_burst,
          RANGE(KEY_UINT, 1, 1000000, "100", "Requests of one address at once, above that rate.")),
    LIMIT("rights_per_second", rights_per_second,
          RANGE(KEY_UINT, 0, 1000000, "1", "The same of pages about visitors' own records.")),
    LIMIT("rights_burst", rights_burst,
          RANGE(KEY_UINT, 1, 1000000, "30", "Requests for these at once, above that rate.")),
    LIMIT("choices_per_second", choices_per_second,
          RANGE(KEY_UINT, 0, 1000000, "10", "The same of choices; each is kept for years.")),
    LIMIT("choices_burst", choices_burst,
          RANGE(KEY_UINT, 1, 1000000, "200", "Choices at once, above that rate.")),
    LIMIT("request_header_timeout", request_header_timeout_ms,
          RANGE(KEY_DURATION, 100, 10 * MIN, "15s", "From the first byte to the end of a head.")),
    LIMIT("body_timeout", body_timeout_ms,
          RANGE(KEY_DURATION, 100, 60 * MIN, "60s", "Longest silence within a request body.")),
    LIMIT("keepalive_timeout", keepalive_timeout_ms,
          RANGE(KEY_DURATION, 100, 60 * MIN, "60s", "Longest silence between two requests.")),
    LIMIT("send_timeout", send_timeout_ms,
          RANGE(KEY_DURATION, 100, 60 * MIN, "60s", "Longest time a client takes no byte.")),
    LIMIT("upload_rate", upload_rate,
          RANGE(KEY_SIZE, 0, MIB, "512B", "Slowest request body, bytes a second; 0: any.")),
    LIMIT("download_rate", download_rate,
          RANGE(KEY_SIZE, 0, MIB, "512B", "Slowest client that is sent to; 0: any.")),
    LIMIT("inline_script", inline_script,
          RANGE(KEY_SIZE, KIB, 64 * MIB, "2MiB", "Largest inline script that is examined.")),
    LIMIT("tag", tag, RANGE(KEY_SIZE, KIB, 4 * MIB, "64KiB", "Largest HTML tag.")),
    LIMIT("pcre_match_limit", pcre_match_limit,
          RANGE(KEY_UINT, 1000, 10000000, "100000", "Most steps of one regular expression.")),
};
TABLE(LIMITS, config_limits);

static const struct config_key LOGS[] = {
    ROW(config, "level", log_level, WORDS(LEVELS, "info", "error, warn, info or debug.")),
    ROW(config, "file", log_file,
        PLAIN(KEY_TEXT, "stderr", "stderr, or a file, which SIGUSR1 opens again.")),
};
TABLE(LOGS, config);

#define LEDGER(...) ROW(config_ledger, __VA_ARGS__)
static const struct config_key LEDGERS[] = {
    LEDGER("backup_retention", backup_retention_ms,
           RANGE(KEY_DURATION, 0, 3650 * DAY, "30d",
                 "How long backups are kept: no erasure is complete before.")),
    LEDGER("checkpoint_ca", checkpoint_ca,
           PLAIN(KEY_PATH, "", "PEM file that https sinks are checked with.")),
    LEDGER("checkpoint_sinks", checkpoint_sinks,
           RANGE(KEY_TEXTS, 0, 8, "",
                 "Outside places for signed checkpoints: file:, syslog:, http:, https:, "
                 "witness+https:.")),
    LEDGER("journal", journal,
           PLAIN(KEY_PATH, "", "Folder of the consent journal; unset: journal in state_dir.")),
    LEDGER("journal_retention", journal_retention_ms,
           RANGE(KEY_DURATION, 0, 3650 * DAY, "7d", "Segments stay so long after Redis has them.")),
    LEDGER("segment_size", segment_size,
           RANGE(KEY_SIZE, MIB, 1024 * MIB, "64MiB", "Size of one journal segment.")),
    LEDGER("name", name,
           PLAIN(KEY_TEXT, "", "Name, in clear in Redis; unset: made from the first host.")),
    LEDGER("node", node, RANGE(KEY_UINT, 1, 255, "1", "Number of this machine in the ledger.")),
    LEDGER("record_retention", record_retention_ms,
           RANGE(KEY_DURATION, 0, 3650 * DAY, "0s",
                 "A month of records may be dropped so long after its end; 0: never.")),
    LEDGER("redis", redis,
           PLAIN(KEY_TEXT, "",
                 "redis://, rediss://, unix:/path, redis+sentinel://hosts/name; unset: none.")),
    LEDGER("redis_ca", redis_ca, PLAIN(KEY_PATH, "", "PEM file that rediss:// is checked with.")),
    LEDGER("redis_password_file", redis_password_file,
           PLAIN(KEY_PATH, "", "File with the Redis password.")),
};
TABLE(LEDGERS, config_ledger);

static const struct config_key ADMIN[] = {
    ROW(config_admin, "socket", socket,
        PLAIN(KEY_PATH, "", "Unix socket of the operators; unset: admin.sock in state_dir.")),
    ROW(config_admin, "group", group, PLAIN(KEY_TEXT, "", "Group that may do everything there.")),
    ROW(config_admin, "audit_group", audit_group,
        PLAIN(KEY_TEXT, "",
              "Group that may read the ledger there; unset: consentd-audit, if any.")),
    ROW(config_admin, "listen", listen,
        PLAIN(KEY_TEXT, "",
              "TCP address where /health and /metrics alone are answered; unset: none.")),
    ROW(config_admin, "listen_public", listen_public,
        PLAIN(KEY_BOOL, "false", "That address may be one that other machines reach.")),
};
TABLE(ADMIN, config_admin);

#define ORIGIN(...) ROW(config_origin, __VA_ARGS__)
static const struct config_key ORIGINS[] = {
    ORIGIN("url", url, PLAIN(KEY_TEXT, NULL, "http://host:port, https://host or unix:/path.")),
    ORIGIN(
        "weight", weight,
        RANGE(KEY_UINT, 0, 1000, "1", "Share of the requests; 0: only visitors it has already.")),
    ORIGIN("backup", backup,
           PLAIN(KEY_BOOL, "false", "Asked only while no other kind of origin is up.")),
    ORIGIN(
        "max_connections", max_connections,
        RANGE(KEY_UINT, 0, 65535, "0", "Most connections of one worker; 0: origin_connections.")),
};
TABLE(ORIGINS, config_origin);

#define HEALTH(...) ROW(config_health, __VA_ARGS__)
static const struct config_key HEALTHS[] = {
    HEALTH("failures", failures,
           RANGE(KEY_UINT, 0, 1000, "3",
                 "Failed requests in a row that take an origin out: no connection, no answer, 502, "
                 "503, 504; 0: never.")),
    HEALTH("window", window_ms,
           RANGE(KEY_DURATION, 100, 60 * MIN, "10s", "They count together within this time.")),
    HEALTH("pause", pause_ms,
           RANGE(KEY_DURATION, 100, 60 * MIN, "10s",
                 "So long it is out; then one request tries whether it is back.")),
    HEALTH("slow_start", slow_start_ms,
           RANGE(KEY_DURATION, 0, 60 * MIN, "0s", "Its share grows over this time when it is.")),
    HEALTH("path", path,
           PLAIN(KEY_TEXT, "", "Every worker asks every origin for this; unset: no checks.")),
    HEALTH("host", host, PLAIN(KEY_TEXT, "", "Host of a check; unset: the site's first host.")),
    HEALTH("status", status,
           PLAIN(KEY_TEXT, "200-399", "What a good check answers: a status or a range.")),
    HEALTH("interval", interval_ms,
           RANGE(KEY_DURATION, 100, 60 * MIN, "5s", "From one check to the next, give or take.")),
    HEALTH("timeout", timeout_ms,
           RANGE(KEY_DURATION, 10, 5 * MIN, "2s", "Longest time of a check.")),
    HEALTH("rise", rise, RANGE(KEY_UINT, 1, 100, "2", "Good checks in a row bring it back.")),
    HEALTH("fall", fall, RANGE(KEY_UINT, 1, 100, "3", "Bad checks in a row take it out.")),
};
TABLE(HEALTHS, config_health);

#define SITE(...) ROW(config_site, __VA_ARGS__)
static const struct config_key SITES[] = {
    SITE("name", name, PLAIN(KEY_TEXT, NULL, "Name for logs and commands.")),
    SITE("hosts", hosts,
         RANGE(KEY_TEXTS, 1, 256, NULL, "Host names; the first identifies the site in tokens.")),
    SITE("origins", origins,
         LIST(config_site, KEY_ITEMS, &ORIGINS_TABLE, origin_cnt, 1, 64,
              "Where the site is: URLs, or objects with more to say.")),
    SITE("balance", balance,
         WORDS(BALANCES, "round_robin", "How origins share requests, by their weights.")),
    SITE("all_down", all_down,
         WORDS(ALL_DOWN, "try",
               "No origin is up: try them all the same, or answer 503 with Retry-After.")),
    SITE("health", health, OBJECT(HEALTHS_TABLE, NO_EXTRA, "When an origin counts as down.")),
    SITE("sticky_cookie", sticky_cookie,
         PLAIN(KEY_TEXT, "", "Cookie that keeps a visitor at one origin; essential, no consent.")),
    SITE("origin_ca", origin_ca, PLAIN(KEY_PATH, "", "PEM file for https origins.")),
    SITE("policy", policy, PLAIN(KEY_PATH, NULL, "The machine-readable privacy policy.")),
    SITE("prefix", prefix, PLAIN(KEY_TEXT, "/.consent/", "Paths that belong to consentd.")),
    SITE("unknown_cookies", unknown_cookies,
         WORDS(UNKNOWN, "allow", "What happens to a cookie no rule set knows.")),
    SITE("rule_sets", rule_sets,
         LIST(config_site, KEY_MODES, NULL, rule_set_cnt, 0, 1024,
              "Rule set to enforce, report or off; unnamed ones are enforced.")),
    SITE("rules", rules_json, PLAIN(KEY_RAW, "", "The site's own rule sets; they win.")),
    SITE("cookie_domain", cookie_domain, PLAIN(KEY_TEXT, "", "Share consent with subdomains.")),
    SITE("shared_cache", shared_cache,
         PLAIN(KEY_BOOL, "false", "Let shared caches store rewritten HTML.")),
    SITE("banner", banner, PLAIN(KEY_BOOL, "true", "Inject the banner into pages.")),
    SITE("languages", languages,
         RANGE(KEY_TEXTS, 0, 32, "",
               "Languages of the banner, the fallback first; none: all known.")),
    SITE("signals", signals,
         PLAIN(KEY_BOOL, "true", "Tell Google's and Microsoft's tags what is granted.")),
    SITE("guard", guard, PLAIN(KEY_BOOL, "true", "Put the companion script into pages.")),
    SITE("connect_timeout", connect_timeout_ms,
         RANGE(KEY_DURATION, 10, 5 * MIN, "5s", "Longest time to connect to an origin.")),
    SITE("response_timeout", response_timeout_ms,
         RANGE(KEY_DURATION, 10, 60 * MIN, "60s", "Longest silence of an origin.")),
    SITE("origin_idle_timeout", origin_idle_timeout_ms,
         RANGE(KEY_DURATION, 10, 60 * MIN, "15s", "Idle origin connections close after this.")),
    SITE("origin_connections", origin_connections,
         RANGE(KEY_UINT, 1, 65535, "512", "Most connections of one worker to one origin.")),
    SITE("origin_queue", origin_queue,
         RANGE(KEY_UINT, 0, 65535, "1024",
               "Requests of one worker that wait for a connection; more: 503 with Retry-After.")),
    SITE("queue_timeout", queue_timeout_ms,
         RANGE(KEY_DURATION, 10, 5 * MIN, "5s", "Longest time they wait; then the same.")),
    SITE("preserve_host", preserve_host,
         PLAIN(KEY_BOOL, "true", "The origin sees the visitor's Host.")),
    SITE("html_encoding", html_encoding,
         WORDS(ENCODINGS, "auto", "How rewritten HTML is sent: as the client accepts, or plain.")),
    SITE("max_age", max_age_ms, RANGE(KEY_DURATION, MIN, 400 * DAY, "180d", "Life of a decision.")),
    SITE("allow_cleartext_consent", allow_cleartext_consent,
         PLAIN(KEY_BOOL, "false", "Give the consent cookie without TLS.")),
};
TABLE(SITES, config_site);

#define TOP(...) ROW(config, __VA_ARGS__)
static const struct config_key ROOT[] = {
    TOP("workers", workers, RANGE(KEY_AUTO, 1, 128, "auto", "Worker processes; auto: per core.")),
    TOP("user", user, PLAIN(KEY_TEXT, "", "User to run as; unset: consentd, else nobody.")),
    TOP("group", group, PLAIN(KEY_TEXT, "", "Group to run as; unset: the user's.")),
    TOP("sandbox", sandbox,
        PLAIN(KEY_BOOL, "true", "Each role gives up the system calls and files it does not need.")),
    TOP("state_dir", state_dir, PLAIN(KEY_PATH, "/var/lib/consentd", "Folder of the state.")),
    TOP("keys", keys, PLAIN(KEY_PATH, NULL, "Key file (consentctl keys init).")),
    TOP("rules", rules, PLAIN(KEY_PATH, "/usr/share/consentd/rules", "Folder that has sets/.")),
    TOP("resolver", resolver,
        RANGE(KEY_TEXTS, 0, 8, "",
              "Name servers as address[:port]; unset: those of /etc/resolv.conf.")),
    TOP("drain_timeout", drain_timeout_ms,
        RANGE(KEY_DURATION, 0, 60 * MIN, "30s", "Longest time old workers may finish.")),
    {.name = "log",
     .kind = KEY_OBJECT,
     .table = &LOGS_TABLE,
     .def = "",
     .extra_offset = NO_EXTRA,
     .doc = "The program's log."},
    TOP("access_log", access_log,
        PLAIN(KEY_TEXT, "off", "One line per request: off, stderr or a file.")),
    TOP("access_log_format", access_log_format,
        WORDS(FORMATS, "combined", "How such a line looks: combined, or one JSON object.")),
    TOP("trusted_proxies", trusted_proxies,
        RANGE(KEY_TEXTS, 0, 256, "", "Networks whose word on the client's address is believed.")),
    TOP("forwarded_field", forwarded_field,
        WORDS(FIELDS, "x-forwarded-for", "The field in which they name it.")),
    TOP("limits", limits, OBJECT(LIMITS_TABLE, NO_EXTRA, "What one peer may ask of us.")),
    TOP("listen", listens,
        LIST(config, KEY_OBJECTS, &LISTEN_TABLE, listen_cnt, 1, 64, "Listening sockets.")),
    TOP("ledger", ledger, OBJECT(LEDGERS_TABLE, NO_EXTRA, "Where consent is recorded.")),
    TOP("admin", admin, OBJECT(ADMIN_TABLE, NO_EXTRA, "The operators' interface.")),
    TOP("sites", sites, LIST(config, KEY_OBJECTS, &SITES_TABLE, site_cnt, 1, 256, "The sites.")),
};

const struct config_table CONFIG_ROOT = {ROOT, COUNT_OF(ROOT), sizeof(struct config)};
