/*
 * config_check.c - what no single key can say: names that meet, paths that begin
 * right, defaults made of other keys. And the measures as people write them.
 */
#include <stdlib.h>
#include <string.h>

#include "config_priv.h"
#include "consentd/b64.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/map.h"

#define CHECKPOINT_MAX 4096
#define NAME_LABEL     "consentd.log-name.v1"

struct unit {
    const char *name;
    uint64_t factor;
};

static bool read_units(struct str s, const struct unit *units, size_t cnt, uint64_t *out)
{
    size_t digits = 0;
    uint64_t value;

    while (digits < s.len && ascii_is_digit(s.ptr[digits]))
        digits++;
    struct str unit = str_slice(s, digits, s.len);
    for (size_t i = 0; i < cnt; i++) {
        if (!str_eq_c(unit, units[i].name))
            continue;
        if (!str_to_u64(str_slice(s, 0, digits), UINT64_MAX / units[i].factor, &value))
            return false;
        *out = value * units[i].factor;
        return true;
    }
    return false;
}

bool config_duration(struct str s, uint64_t *ms_out)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000},
    };

    return read_units(s, units, COUNT_OF(units), ms_out);
}

bool config_size(struct str s, uint64_t *bytes_out)
{
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30},
    };

    return read_units(s, units, COUNT_OF(units), bytes_out);
}

/* Where a site's member is, for an error. */
struct site_at {
    struct json_at list, site;
};

static void find_site(const struct json_at *root, size_t i, struct site_at *out)
{
    if (json_at_get(root, "sites", &out->list))
        out->site = json_at_index(&out->list, i);
}

/* Where a key of a site is, or the site where it has its default. */
static struct json_at at_key(const struct json_at *site, const char *key)
{
    struct json_at child;

    return json_at_get(site, key, &child) ? child : *site;
}

static bool is_host_char(char c)
{
    return ascii_is_digit(c) || (c >= 'a' && c <= 'z') || c == '-' || c == '.' || c == '_';
}

/* "[2001:db8::1]": the brackets, and what may be between them. */
static bool is_ipv6(struct str s)
{
    if (s.len < 4 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < s.len; i++) {
        char c = s.ptr[i];

        if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'f') && c != ':' && c != '.')
            return false;
    }
    return true;
}

static bool is_host(struct str s)
{
    if (is_ipv6(s))
        return true;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_host_char(s.ptr[i]))
            return false;
    }
    return s.len > 0 && s.len <= 253 && s.ptr[s.len - 1] != '.';
}

static bool check_hosts(const struct config_site *site, const struct json_at *at, struct map *seen,
                        struct fault *f)
{
    struct json_at list = at_key(at, "hosts");

    for (size_t i = 0; i < site->hosts.cnt; i++) {
        struct str host = str_c(site->hosts.items[i]);
        struct json_at item = json_at_index(&list, i);

        if (!is_host(host))
            return json_at_fault(&item, f,
                                 "\"%s\" is no host name: expected it in lower case, without "
                                 "scheme, port or dot at the end",
                                 host.ptr);
        if (!map_put(seen, host, seen))
            return json_at_fault(&item, f, "\"%s\" is listed twice", host.ptr);
    }
    return true;
}

/* A cookie for a domain that is not above the host is refused by browsers (RFC 6265 5.3). */
static bool is_above(struct str domain, struct str host)
{
    return str_eq(domain, host) ||
           (str_ends(host, domain) && host.ptr[host.len - domain.len - 1] == '.');
}

static bool check_cookie_domain(const struct config_site *site, const struct json_at *at,
                                struct fault *f)
{
    struct str domain = str_c(site->cookie_domain);
    struct json_at key = at_key(at, "cookie_domain");
    struct str last = str_slice(domain, (size_t)(str_find_last_char(domain, '.') + 1), domain.len);

    if (domain.ptr == NULL)
        return true;
    if (!is_host(domain) || domain.ptr[0] == '.' || domain.ptr[0] == '[' ||
        (last.len > 0 && ascii_is_digit(last.ptr[0])))
        return json_at_fault(&key, f,
                             "\"%s\" is no domain: expected one such as \"example.com\", "
                             "without a dot in front",
                             domain.ptr);
    for (size_t i = 0; i < site->hosts.cnt; i++) {
        if (!is_above(domain, str_c(site->hosts.items[i])))
            return json_at_fault(&key, f,
                                 "browsers refuse a cookie of \"%s\" from \"%s\", which is not "
                                 "below it: it needs a site of its own",
                                 domain.ptr, site->hosts.items[i]);
    }
    return true;
}

/* It is a part of addresses, cookies and markup: nothing that means something in these. */
static bool is_prefix(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alnum(s.ptr[i]) && strchr("/._-~", s.ptr[i]) == NULL)
            return false;
    }
    return s.len >= 3 && s.len <= 64 && s.ptr[0] == '/' && s.ptr[1] != '/' &&
           s.ptr[s.len - 1] == '/';
}

/* "204" or "200-399" */
static bool read_status(struct str text, unsigned *low_out, unsigned *high_out)
{
    struct str low;
    uint64_t from, to;

    if (!str_cut(&text, '-', &low) || !str_to_u64(low, 599, &from) || from < 200)
        return false;
    to = from;
    if (text.ptr != NULL && (!str_to_u64(text, 599, &to) || to < from))
        return false;
    *low_out = (unsigned)from;
    *high_out = (unsigned)to;
    return true;
}

/* The target of a check is written as it is: nothing that could end it early. */
static bool is_target(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
            return false;
    }
    return s.len > 0 && s.len <= 1024 && s.ptr[0] == '/';
}

static bool finish_health(struct config_site *site, const struct json_at *at, struct fault *f)
{
    struct config_health *h = &site->health;

    if (!read_status(str_c(h->status), &h->status_low, &h->status_high))
        return json_at_fault(at, f,
                             "health.status: \"%s\" is no status; expected one such as \"204\" "
                             "or a range such as \"200-399\"",
                             h->status);
    if (h->path != NULL && !is_target(str_c(h->path)))
        return json_at_fault(at, f, "health.path: must begin with \"/\" and have no spaces");
    if (h->host == NULL)
        h->host = site->hosts.items[0];
    else if (!is_host(str_c(h->host)))
        return json_at_fault(at, f, "health.host: \"%s\" is no host name", h->host);
    return true;
}

static bool is_cookie_name(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_alnum(s.ptr[i]) && s.ptr[i] != '_' && s.ptr[i] != '-')
            return false;
    }
    return s.len > 0 && s.len <= 64 && ascii_is_alnum(s.ptr[0]) && !str_eq_fold_c(s, "consent");
}

/* Origins that differ, and one of them for everyday. */
static bool finish_origins(struct config_site *site, const struct json_at *at, struct fault *f)
{
    bool usable = false;

    for (size_t i = 0; i < site->origin_cnt; i++) {
        struct config_origin *o = (struct config_origin *)(uintptr_t)&site->origins[i];

        for (size_t k = 0; k < i; k++) {
            if (strcmp(o->url, site->origins[k].url) == 0)
                return json_at_fault(at, f, "origins: %s is listed twice; give it a weight",
                                     o->url);
        }
        if (o->max_connections == 0)
            o->max_connections = site->origin_connections;
        usable = usable || (!o->backup && o->weight > 0);
    }
    if (!usable)
        return json_at_fault(at, f, "origins: one must be no backup and have a weight above 0");
    if (site->sticky_cookie != NULL && !is_cookie_name(str_c(site->sticky_cookie)))
        return json_at_fault(
            at, f,
            "sticky_cookie: expected a letter or digit, then only these, _ and -, at most 64 "
            "in all, and not \"consent\"");
    return true;
}

static bool check_site(struct config_site *site, const struct json_at *at, struct map *hosts,
                       struct map *names, struct fault *f)
{
    struct json_at name = at_key(at, "name"), prefix = at_key(at, "prefix");

    if (!map_put(names, str_c(site->name), names))
        return json_at_fault(&name, f, "a second site named \"%s\"", site->name);
    if (!is_prefix(str_c(site->prefix)))
        return json_at_fault(&prefix, f,
                             "expected letters, digits and . _ - ~ between \"/\" and \"/\", "
                             "as \"/.consent/\"");
    return check_hosts(site, at, hosts, f) && check_cookie_domain(site, at, f) &&
           finish_origins(site, at, f) && finish_health(site, at, f);
}

static bool check_sites(const struct config *c, const struct json_at *root, struct fault *f)
{
    struct map *hosts = map_new(), *names = map_new();
    bool ok = true;

    for (size_t i = 0; ok && i < c->site_cnt; i++) {
        struct site_at where;
        find_site(root, i, &where);
        ok =
            check_site((struct config_site *)(uintptr_t)&c->sites[i], &where.site, hosts, names, f);
    }
    map_free(hosts, NULL);
    map_free(names, NULL);
    return ok;
}

/* A path relative to the folder of the configuration. */
static const char *resolved(const struct config *c, const char *name)
{
    char *path = file_resolve(c->memory->dir, name);
    const char *kept = arena_copy(&c->memory->arena, path, strlen(path));

    free(path);
    return kept;
}

/* A part of Redis' keys and of lines in checkpoints. */
static bool is_log_name(struct str name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.ptr[i] <= ' ' || name.ptr[i] > '~' || strchr("+:{}*?[]\"\\", name.ptr[i]) != NULL)
            return false;
    return name.len > 0 && name.len < 254;
}

/* What stands in front of "/consent/NODE" in the checkpoint of this folder; NULL: there is none. */
static const char *named_by(const struct config *c, const char *folder)
{
    char *path = arena_printf(&c->memory->arena, "%s/checkpoint", folder);
    const char *name = NULL;
    struct str rest, line;
    ptrdiff_t end = -1;
    struct buf text;

    buf_init(&text, CHECKPOINT_MAX);
    if (file_read(path, CHECKPOINT_MAX, &text, NULL)) {
        rest = buf_str(&text);
        end = str_cut(&rest, '\n', &line) ? str_find(line, STR("/consent/")) : -1;
    }
    if (end > 0)
        name = arena_copy(&c->memory->arena, line.ptr, (size_t)end);
    buf_free(&text);
    return name != NULL && is_log_name(str_c(name)) ? name : NULL;
}

/*
 * The log's name when none is given: that of the log that there is, so that another first host
 * begins no other log; the copy of its checkpoint in state_dir tells it when the journal was lost.
 * The first name is made from the first host, which it does not show, since it stands in clear in
 * Redis and in every backup of it.
 */
static const char *default_name(const struct config *c)
{
    const char *host = c->sites[0].hosts.items[0];
    const char *const folders[] = {
        arena_printf(&c->memory->arena, "%s/tlog", c->ledger.journal),
        arena_printf(&c->memory->arena, "%s/tlog-%u", c->ledger.journal, c->ledger.node),
        c->state_dir};
    struct crypto_hash hash;
    uint8_t digest[32];
    char text[17];

    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        const char *name = named_by(c, folders[i]);

        if (name != NULL)
            return name;
    }
    crypto_sha256_init(&hash);
    crypto_sha256_update(&hash, NAME_LABEL, sizeof(NAME_LABEL));
    crypto_sha256_update(&hash, host, strlen(host));
    crypto_sha256_final(&hash, digest);
    hex_encode(text, digest, 8);
    return arena_printf(&c->memory->arena, "log-%s", text);
}

bool config_finish(struct config *c, const struct json_at *root, struct fault *f)
{
    if (!check_sites(c, root, f))
        return false;
    if (strcmp(c->access_log, "off") == 0)
        c->access_log = NULL;
    else if (strcmp(c->access_log, "stderr") != 0)
        c->access_log = resolved(c, c->access_log);
    c->log_file = strcmp(c->log_file, "stderr") == 0 ? NULL : resolved(c, c->log_file);
    if (c->ledger.journal == NULL)
        c->ledger.journal = arena_printf(&c->memory->arena, "%s/journal", c->state_dir);
    if (c->ledger.name == NULL)
        c->ledger.name = default_name(c);
    if (c->admin.socket == NULL)
        c->admin.socket = arena_printf(&c->memory->arena, "%s/admin.sock", c->state_dir);
    return c->ledger.journal != NULL && c->admin.socket != NULL;
}

const struct config_site *config_site_of(const struct config *c, struct str host)
{
    for (size_t i = 0; i < c->site_cnt; i++) {
        for (size_t j = 0; j < c->sites[i].hosts.cnt; j++) {
            if (str_eq_c(host, c->sites[i].hosts.items[j]))
                return &c->sites[i];
        }
    }
    return NULL;
}
