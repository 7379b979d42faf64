/*
 * material.c - one configuration and every file it names, read once, as bundles.
 *
 * A key reaches only the role that needs it: workers get token keys and the TLS keys,
 * the ledger its index and log keys and the Redis password, the admin what it takes to read
 * records: the index key, the Redis password, and the public halves of the log keys.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/b64.h"
#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/file.h"
#include "consentd/keyring.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "consentd/origin_stats.h"
#include "consentd/policy.h"
#include "consentd/server.h"
#include "consentd/tls_ctx.h"
#include "proc_priv.h"

#define FILE_MAX (8u << 20) /* bytes of one file that a configuration names */
#define KEY_MAX  96         /* bytes of a key's place, as "sites[3].policy" */

#define FOR(role) (1u << IPC_ROLE_##role)
#define FOR_ALL   (FOR(WORKER) | FOR(LEDGER) | FOR(ADMIN))

struct loading {
    struct material *material;
    struct bundle *bundles[PROC_ROLES];
    const char *path; /* of the configuration */
    const char *dir;  /* of the rule sets, while they are read */
    struct fault *fault;
};

static bool put(struct loading *l, const char *name, struct str data, unsigned roles)
{
    for (unsigned role = 1; role < PROC_ROLES; role++) {
        if ((roles & 1u << role) != 0 && !bundle_add(l->bundles[role], str_c(name), data)) {
            fault_set(l->fault, "%s: the files together are too large", name);
            return false;
        }
    }
    return true;
}

/* What is wrong with a file is told with the key that names it (NULL: the caller does). */
static bool of_key(struct loading *l, const char *key, bool ok)
{
    if (!ok && key != NULL)
        fault_prefix(l->fault, "%s: %s", l->path, key);
    return ok;
}

static void warn_of_readers(const char *path)
{
    struct stat st;

    if (path != NULL && stat(path, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        log_warn("secret.readable",
                 "file=\"%s\" mode=%04o reason=\"all users may read it; expected "
                 "0640 or 0600\"",
                 path, (unsigned)(st.st_mode & 07777));
}

static bool put_file(struct loading *l, const char *key, const char *path, unsigned roles)
{
    struct buf text;

    if (path == NULL)
        return true;
    buf_init(&text, FILE_MAX);
    bool ok = of_key(l, key, file_read(path, FILE_MAX, &text, l->fault)) &&
              put(l, path, buf_str(&text), roles);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return ok;
}

/* One that has a secret is the users' own affair, but whoever lets all read it is told. */
static bool put_secret(struct loading *l, const char *key, const char *path, unsigned roles)
{
    warn_of_readers(path);
    return put_file(l, key, path, roles);
}

/* A file that comes and goes: its absence is no fault. */
static bool put_if_there(struct loading *l, const char *key, const char *path, unsigned roles)
{
    return path == NULL || access(path, F_OK) != 0 || put_file(l, key, path, roles);
}

static bool put_rule_file(void *arg, const char *name)
{
    struct loading *l = arg;
    char *path = file_resolve(l->dir, name);
    bool ok = put_file(l, NULL, path, FOR(WORKER) | FOR(ADMIN));

    free(path);
    return ok;
}

static bool put_rules(struct loading *l, const struct config *c)
{
    char *dir = file_resolve(c->rules, "sets");

    l->dir = dir;
    bool ok = of_key(l, "rules", file_each(dir, ".json", put_rule_file, l, l->fault));
    free(dir);
    return ok;
}

static bool put_keys_for(struct loading *l, const struct keyring *ring, unsigned uses,
                         unsigned roles)
{
    struct buf text;

    buf_init(&text, KEYRING_TEXT_MAX);
    bool ok = keyring_export(ring, uses, &text) && put(l, ":keys", buf_str(&text), roles);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return ok;
}

/*
 * What the keys of TLS session tickets come from: the same in all workers, so that a visitor's
 * next connection resumes in any of them, and new with each set of them.
 */
static bool put_ticket_secret(struct loading *l)
{
    uint8_t key[TLS_TICKET_SECRET_LEN];
    bool ok;

    crypto_random(key, sizeof(key));
    ok = put(l, ":tickets", str_make(key, sizeof(key)), FOR(WORKER));
    crypto_wipe(key, sizeof(key));
    return ok;
}

/* The public halves of the log's keys, the active one first, a line each: for the admin. */
static bool put_log_keys(struct loading *l, const struct config *c, const struct keyring *ring)
{
    const struct key *active = keyring_active(ring, KEY_LOG);
    struct note_key key;
    struct buf origin, text;
    bool ok = true;

    buf_init(&origin, NOTE_NAME_MAX);
    buf_init(&text, 64u * 1024);
    ok = note_origin(c->ledger.name, c->ledger.node, &origin) &&
         (active == NULL || (note_key_of(buf_str(&origin), active->bytes, &key) &&
                             note_vkey_print(&key, &text) && buf_append_char(&text, '\n')));
    for (size_t i = 0; ok && i < keyring_cnt(ring); i++) {
        const struct key *k = keyring_at(ring, i);

        if (k->use == KEY_LOG && k->state == KEY_VERIFY)
            ok = note_key_of(buf_str(&origin), k->bytes, &key) && note_vkey_print(&key, &text) &&
                 buf_append_char(&text, '\n');
    }
    ok = ok && put(l, ":vkeys", buf_str(&text), FOR(ADMIN));
    if (!ok)
        fault_set(l->fault, "%s: the keys of the log can't be used", c->keys);
    buf_free(&origin);
    buf_free(&text);
    return ok;
}

static bool put_keys(struct loading *l, const struct config *c)
{
    struct keyring *ring = NULL;
    struct buf text;
    bool ok = false;

    warn_of_readers(c->keys);
    buf_init(&text, KEYRING_TEXT_MAX);
    if (of_key(l, "keys", file_read(c->keys, KEYRING_TEXT_MAX, &text, l->fault)))
        ring = keyring_parse(c->keys, buf_str(&text), l->fault);
    if (ring != NULL &&
        (keyring_active(ring, KEY_TOK) == NULL || keyring_active(ring, KEY_IDX) == NULL))
        fault_set(l->fault, "%s: needs an active key for \"tok\" and one for \"idx\"", c->keys);
    else if (ring != NULL)
        ok = put_keys_for(l, ring, 1u << KEY_TOK | 1u << KEY_UNSUB, FOR(WORKER)) &&
             put_keys_for(l, ring, 1u << KEY_IDX | 1u << KEY_LOG, FOR(LEDGER)) &&
             put_keys_for(l, ring, 1u << KEY_IDX, FOR(ADMIN)) && put_log_keys(l, c, ring);
    keyring_free(ring);
    if (text.data != NULL)
        crypto_wipe(text.data, text.len);
    buf_free(&text);
    return ok;
}

static bool put_site(struct loading *l, const struct config_site *site, size_t i)
{
    char policy[KEY_MAX], ca[KEY_MAX];

    (void)snprintf(policy, sizeof(policy), "sites[%zu].policy", i);
    (void)snprintf(ca, sizeof(ca), "sites[%zu].origin_ca", i);
    return put_file(l, policy, site->policy, FOR_ALL) &&
           put_file(l, ca, site->origin_ca, FOR(WORKER));
}

static bool put_certs(struct loading *l, const struct config_tls *tls, size_t i)
{
    char key[KEY_MAX];

    for (size_t j = 0; j < tls->cert_cnt; j++) {
        (void)snprintf(key, sizeof(key), "listen[%zu].tls.certificates[%zu]", i, j);
        if (!put_file(l, key, tls->certs[j].cert, FOR(WORKER)) ||
            !put_secret(l, key, tls->certs[j].key, FOR(WORKER)) ||
            !put_if_there(l, key, tls->certs[j].ocsp, FOR(WORKER)))
            return false;
    }
    return true;
}

static bool put_sites(struct loading *l, const struct config *c)
{
    for (size_t i = 0; i < c->site_cnt; i++) {
        if (!put_site(l, &c->sites[i], i))
            return false;
    }
    for (size_t i = 0; i < c->listen_cnt; i++) {
        if (!put_certs(l, &c->listens[i].tls, i))
            return false;
    }
    return true;
}

/* The configuration itself: its text, and what it takes to read it again. */
static bool put_config(struct loading *l, const char *path)
{
    struct buf text;
    char *full = realpath(path, NULL);

    if (full == NULL) {
        fault_set_errno(l->fault, "%s: cannot open", path);
        return false;
    }
    char *dir = file_dir_of(full);
    buf_init(&text, CONFIG_TEXT_MAX);
    bool ok = file_read(full, CONFIG_TEXT_MAX, &text, l->fault);
    if (ok)
        l->material->config = config_parse(path, dir, buf_str(&text), l->fault);
    ok = l->material->config != NULL && put(l, ":config", buf_str(&text), FOR_ALL) &&
         put(l, ":config.path", str_c(path), FOR_ALL) && put(l, ":config.dir", str_c(dir), FOR_ALL);
    buf_free(&text);
    free(dir);
    free(full);
    return ok;
}

/* The notice documents for the ledger: each once under its hash, and per site which one. */
static bool put_notices(struct loading *l, const struct config *c, const struct live *live)
{
    bool ok = true;

    for (size_t i = 0; i < c->site_cnt && ok; i++) {
        const struct policy *p = live->policies[i];
        char name[sizeof(":notice.") + 64], site[64];

        memcpy(name, ":notice.", 8);
        hex_encode(name + 8, p->doc_hash, 32);
        snprintf(site, sizeof(site), ":notice_of.%zu", i);
        ok = put(l, name, p->document, FOR(LEDGER)) && put(l, site, str_c(name), FOR(LEDGER));
    }
    return ok;
}

/* Makes everything that a worker makes: what passes here starts there. */
static bool rehearse(struct loading *l, const char *path, const struct config *c,
                     const struct bundle *b, struct fault *f)
{
    struct live live;
    struct loop *loop = loop_new();
    bool ok = live_init(&live, c, b, f) && material_check(path, c, &live, f);

    if (ok) {
        struct server_opts opts = {
            .loop = loop,
            .config = c,
            .bundle = b,
            .keyring = live.keyring,
            .policies = live.policies,
            .access_log_fd = -1,
        };
        struct server *server = server_new(&opts, f);
        ok = server != NULL;
        if (ok)
            server_free(server);
    }
    ok = ok && put_notices(l, c, &live);
    live_fini(&live);
    loop_free(loop);
    return ok;
}

static bool seal_all(struct loading *l)
{
    for (unsigned role = 1; role < PROC_ROLES; role++) {
        l->material->bundles[role] = bundle_seal(l->bundles[role], l->fault);
        if (l->material->bundles[role] < 0)
            return false;
    }
    return true;
}

static bool make_origins(struct material *m, struct fault *f)
{
    m->origins = origin_stats_create(m->config, seats_workers(m->config));
    if (m->origins >= 0)
        return true;
    fault_set_errno(f, "no memory for what is known of the origins");
    return false;
}

struct material *material_load(const char *path, struct fault *f)
{
    struct loading l = {.material = mem_new(struct material), .path = path, .fault = f};
    const struct config *c;

    l.material->origins = -1;
    for (unsigned role = 0; role < PROC_ROLES; role++) {
        l.material->bundles[role] = -1;
        l.bundles[role] = bundle_new();
    }
    bool ok = put_config(&l, path);
    c = l.material->config;
    l.material->certs = ok ? certs_look(c) : 0;
    ok = ok && put_keys(&l, c) && put_ticket_secret(&l) && put_sites(&l, c) && put_rules(&l, c) &&
         put_file(&l, "ledger.redis_ca", c->ledger.redis_ca, FOR(LEDGER) | FOR(ADMIN)) &&
         put_file(&l, "ledger.checkpoint_ca", c->ledger.checkpoint_ca, FOR(LEDGER)) &&
         put_secret(&l, "ledger.redis_password_file", c->ledger.redis_password_file,
                    FOR(LEDGER) | FOR(ADMIN)) &&
         rehearse(&l, path, c, l.bundles[IPC_ROLE_WORKER], f) && make_origins(l.material, f) &&
         seal_all(&l);
    for (unsigned role = 0; role < PROC_ROLES; role++)
        bundle_free(l.bundles[role]);
    if (ok)
        return l.material;
    material_free(l.material);
    return NULL;
}

struct material *material_adopt(const struct material *left, struct fault *f)
{
    struct material *m = mem_new(struct material);
    struct str text, path, dir;
    struct bundle *b;

    *m = (struct material){.origins = left->origins, .certs = left->certs};
    memcpy(m->bundles, left->bundles, sizeof(m->bundles));
    b = bundle_open(m->bundles[IPC_ROLE_WORKER], f);
    if (b != NULL && bundle_get(b, STR(":config"), &text) &&
        bundle_get(b, STR(":config.path"), &path) && bundle_get(b, STR(":config.dir"), &dir)) {
        char *path_text = str_dup(path), *dir_text = str_dup(dir);

        m->config = config_parse(path_text, dir_text, text, f);
        free(path_text);
        free(dir_text);
    }
    bundle_free(b);
    if (m->config != NULL && m->certs == 0)
        m->certs = certs_look(m->config); /* a program that did not say: as they are by now */
    if (m->config != NULL)
        return m;
    fault_prefix(f, "what the program before this one left");
    material_free(m);
    return NULL;
}

void material_close(struct material *m)
{
    for (unsigned role = 0; role < PROC_ROLES; role++) {
        if (m->bundles[role] >= 0)
            close(m->bundles[role]);
        m->bundles[role] = -1;
    }
    if (m->origins >= 0)
        close(m->origins);
    m->origins = -1;
}

void material_free(struct material *m)
{
    if (m == NULL)
        return;
    material_close(m);
    config_free(m->config);
    free(m);
}
