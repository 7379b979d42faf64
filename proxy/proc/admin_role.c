/*
 * admin_role.c - the admin process: the operators' socket from the master, rules to it,
 * records to the ledger.
 */
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "consentd/admin.h"
#include "consentd/bundle.h"
#include "consentd/config.h"
#include "consentd/crypto.h"
#include "consentd/erased.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/keyring.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/note.h"
#include "proc_priv.h"

#define LOG_KEYS_MAX 16 /* active and older ones */

struct admin_role {
    struct child_env env;
    struct live live;
    struct admin *admin; /* made when the rule state has come */
    struct ipc *master, *ledger;
    char *rules_path;
    struct note_key log_keys[LOG_KEYS_MAX];
    bool draining; /* the master wants us gone */
};

static void on_ledger_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct admin_role *r = owner;

    if (fd >= 0)
        close(fd);
    admin_ledger_message(r->admin, type, data, len);
}

static void on_ledger_closed(void *owner)
{
    struct admin_role *r = owner;

    admin_set_ledger(r->admin, NULL);
    ipc_free(r->ledger);
    r->ledger = NULL;
}

static void set_ledger(struct admin_role *r, int fd)
{
    static const struct ipc_ops ops = {.on_msg = on_ledger_msg, .on_closed = on_ledger_closed};

    if (r->ledger != NULL)
        on_ledger_closed(r);
    r->ledger = ipc_new(r->env.loop, fd, &ops, r);
    admin_set_ledger(r->admin, r->ledger);
}

/* To the master; in a bundle when it is larger than a message. */
static void on_rules(void *owner, uint64_t revision, uint64_t request, struct str text)
{
    struct admin_role *r = owner;

    if (r->master == NULL || !rules_send(r->master, revision, request, text))
        log_error("rules.unsent", "revision=%llu", (unsigned long long)revision);
}

static void on_change(void *owner, enum ipc_change what)
{
    struct admin_role *r = owner;
    uint16_t type = what == IPC_CHANGE_UPGRADE ? IPC_UPGRADE : IPC_RELOAD;

    if (r->master == NULL || !ipc_send(r->master, type, NULL, 0, -1))
        log_error("reload.unsent", "");
}

static void on_worker(struct admin_role *r, const void *data, size_t len)
{
    struct ipc_worker worker;

    if (len != sizeof(worker))
        return;
    memcpy(&worker, data, sizeof(worker));
    admin_worker(r->admin, (pid_t)worker.pid);
}

static void on_outcome(struct admin_role *r, const void *data, size_t len)
{
    struct ipc_outcome outcome;

    if (len < sizeof(outcome))
        return;
    memcpy(&outcome, data, sizeof(outcome));
    admin_set_outcome(r->admin, &outcome,
                      str_make((const char *)data + sizeof(outcome), len - sizeof(outcome)));
}

/* A change that was recorded is carried through before this process goes. */
static void on_idle(void *owner)
{
    struct admin_role *r = owner;

    if (r->draining)
        loop_stop(r->env.loop);
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct admin_role *r = owner;
    struct ipc_rules_done done;

    if (type == IPC_PEER && fd >= 0) {
        set_ledger(r, fd);
        return;
    }
    if (type == IPC_LISTEN && fd >= 0) {
        struct ipc_listen head = {0};

        memcpy(&head, data, len < sizeof(head) ? len : sizeof(head));
        if (head.index == ADMIN_LISTEN_WATCH)
            admin_watch(r->admin, fd);
        else
            admin_listen(r->admin, fd);
        return;
    }
    bool known = child_take(&r->env, type, data, len, fd);
    if (fd >= 0)
        close(fd);
    if (type == IPC_RULES_DONE && len == sizeof(done)) {
        memcpy(&done, data, sizeof(done));
        admin_rules_done(r->admin, &done);
    } else if (type == IPC_WORKER) {
        on_worker(r, data, len);
    } else if (type == IPC_OUTCOME) {
        on_outcome(r, data, len);
    } else if (type == IPC_DRAIN) {
        r->draining = true;
        if (!admin_is_busy(r->admin))
            loop_stop(r->env.loop);
    } else if (type == IPC_START) {
        if (!ipc_send(r->master, IPC_READY, NULL, 0, -1))
            loop_stop(r->env.loop);
    } else if (!known) {
        log_warn("ipc.unexpected", "type=%u", type);
    }
}

static void on_master_closed(void *owner)
{
    struct admin_role *r = owner;

    ipc_free(r->master);
    r->master = NULL;
    loop_stop(r->env.loop);
}

/*
 * One admin at a time owns the rule state: on a reload the new one waits here until the old one
 * has carried its last change through. The lock ends with the process.
 */
static bool lock_state(const struct admin_role *r, struct fault *f)
{
    char *path = file_resolve(r->env.config->state_dir, "rules.lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && flock(fd, LOCK_EX) == 0;

    if (!ok)
        fault_set_errno(f, "%s: cannot be locked", path);
    free(path);
    return ok;
}

static gid_t group_of(const char *name)
{
    const struct group *group = name != NULL ? getgrnam(name) : NULL;

    return group != NULL ? group->gr_gid : (gid_t)-1;
}

/* The keys of :vkeys, at most LOG_KEYS_MAX. */
static unsigned read_log_keys(const struct admin_role *r, struct note_key *keys)
{
    struct str text, line;
    unsigned cnt = 0;

    if (!bundle_get(r->env.bundle, STR(":vkeys"), &text))
        return 0;
    while (cnt < LOG_KEYS_MAX && text.len > 0 && str_cut(&text, '\n', &line))
        cnt += note_vkey_parse(line, &keys[cnt], NULL);
    return cnt;
}

static bool read_idx_key(const struct admin_role *r, uint8_t out[32], struct fault *f)
{
    struct keyring *ring = NULL;
    const struct key *idx;
    struct str text;

    if (bundle_get(r->env.bundle, STR(":keys"), &text))
        ring = keyring_parse(r->env.config->keys, text, f);
    idx = ring != NULL ? keyring_active(ring, KEY_IDX) : NULL;
    if (idx != NULL)
        memcpy(out, idx->bytes, 32);
    keyring_free(ring);
    return idx != NULL;
}

static void take_file(const struct admin_role *r, const char *name, struct str *out)
{
    if (name != NULL && !bundle_get(r->env.bundle, str_c(name), out))
        *out = str_c("");
}

/* Everything that the records need; texts stay in the bundle and the configuration. */
static struct admin *make_admin(struct admin_role *r, struct str rules, struct fault *f)
{
    const struct config *c = r->env.config;
    char *keks = file_resolve(c->state_dir, "keks.json");
    char *erased = file_resolve(c->state_dir, ERASED_NAME);
    struct admin_store_setup store = {.keks_path = keks,
                                      .erased_path = erased,
                                      .journal = c->ledger.journal,
                                      .site = c->ledger.name,
                                      .node = (uint8_t)c->ledger.node,
                                      .redis_url = str_c(c->ledger.redis)};
    struct admin_setup setup = {
        .rules_path = r->rules_path,
        .rules = r->live.rules,
        .rules_text = rules,
        .on_rules = on_rules,
        .on_change = on_change,
        .on_idle = on_idle,
        .config = c,
        .origins = r->env.origins,
        .origins_rows = r->env.origins_rows,
        .policies = r->live.policies,
        .groups = {group_of("consentd"), group_of(c->admin.group), group_of(admin_audit_group(c))},
        .store = &store,
        .log_keys = r->log_keys,
        .log_key_cnt = read_log_keys(r, r->log_keys),
        .owner = r,
    };
    struct admin *made = NULL;

    take_file(r, c->ledger.redis_password_file, &store.redis_password);
    take_file(r, c->ledger.redis_ca, &store.redis_ca);
    while (store.redis_password.len > 0 &&
           ascii_is_space(store.redis_password.ptr[store.redis_password.len - 1]))
        store.redis_password.len--;
    if (store.redis_password.len > 0)
        store.redis_user = STR("consentd"); /* conf/redis-ledger.conf */
    if (read_idx_key(r, store.idx_key, f))
        made = admin_new(r->env.loop, &setup, f);
    crypto_wipe(store.idx_key, sizeof(store.idx_key));
    free(keks);
    free(erased);
    return made;
}

/* The admin owns the file, so it reads it itself: what a predecessor wrote is there. */
static bool start(struct admin_role *r, struct fault *f)
{
    struct buf text;
    bool ok = true;

    if (!lock_state(r, f))
        return false;
    r->rules_path = file_resolve(r->env.config->state_dir, "rules.json");
    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (access(r->rules_path, F_OK) == 0)
        ok = file_read(r->rules_path, RULES_STATE_TEXT_MAX, &text, f);
    if (ok && live_init(&r->live, r->env.config, r->env.bundle, f))
        r->admin = make_admin(r, buf_str(&text), f);
    buf_free(&text);
    return r->admin != NULL;
}

int admin_main(unsigned slot)
{
    static const struct ipc_ops ops = {.on_msg = on_master_msg, .on_closed = on_master_closed};
    struct admin_role *r = mem_new(struct admin_role);
    struct fault why = {0};
    int result = -1;

    child_begin(&r->env, IPC_ROLE_ADMIN, slot);
    if (start(r, &why) && child_sandbox(&r->env, &why)) {
        r->master = ipc_new(r->env.loop, PROC_FD_MASTER, &ops, r);
        result = loop_run(r->env.loop);
    } else {
        log_error("process.refused", "reason=\"%s\"", why.text);
    }
    if (r->admin != NULL)
        admin_set_ledger(r->admin, NULL);
    ipc_free(r->ledger);
    ipc_free(r->master);
    admin_free(r->admin);
    live_fini(&r->live);
    child_end(&r->env);
    free(r->rules_path);
    free(r);
    return result == 0 ? 0 : 1;
}
