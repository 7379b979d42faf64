/*
 * handover.c - the master's state between two programs; contract in upgrade_priv.h.
 *
 * Written by one version and read by another: members are looked up by name, and what is not
 * there is an error that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/buf.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/json.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/memfile.h"
#include "consentd/metrics.h"
#include "upgrade_priv.h"

#define NAME "the master's state" /* in errors */

/* --- writing --------------------------------------------------------------------- */

static json_t *listens_json(const struct master *m)
{
    json_t *list = json_array();

    for (size_t i = 0; i < m->listen_cnt + m->listen_kept; i++)
        json_array_append_new(list, json_pack("{s:s, s:i}", "address", m->listens[i].address, "fd",
                                              m->listens[i].fd));
    return list;
}

/* The seat it has, or had in the program before this one while this is on trial. */
static int seat_no(const struct master *m, const struct child *c)
{
    if (upgrade_on_trial(m))
        return c->seat_no;
    return c->seat != NULL ? (int)(c->seat - m->seats) : -1;
}

static json_t *children_json(const struct master *m)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        const struct child *c = &m->children[i];

        if (c->pid == 0)
            continue;
        json_array_append_new(
            list, json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:I}", "slot",
                            (int)c->slot, "pid", (int)c->pid, "role", (int)c->role, "state",
                            (int)c->state, "fd", c->ipc != NULL ? ipc_fd(c->ipc) : -1, "seat",
                            seat_no(m, c), "generation", (json_int_t)c->generation, "started_ms",
                            (json_int_t)c->started_ms, "drain_ms", (json_int_t)c->drain_ms,
                            "requests_before", (json_int_t)c->requests_before));
    }
    return list;
}

static const struct material *material_of(const struct master *m)
{
    return upgrade_on_trial(m) ? &m->upgrade->old : m->material;
}

static json_t *material_json(const struct master *m)
{
    const struct material *from = material_of(m);
    json_t *list = json_array();

    for (unsigned role = 0; role < PROC_ROLES; role++)
        json_array_append_new(list, json_integer(from->bundles[role]));
    return json_pack("{s:o, s:i, s:I}", "bundles", list, "origins", from->origins, "certs",
                     (json_int_t)(upgrade_on_trial(m) ? from->certs : m->certs_loaded));
}

/* What the program that goes on from this state is to watch. */
static const struct listening *watch_of(const struct master *m)
{
    return upgrade_on_trial(m) && m->watch_moved ? &m->watch_before : &m->watch;
}

/* null: there is none. */
static json_t *watch_json(const struct master *m)
{
    const struct listening *watch = watch_of(m);

    if (watch->address == NULL)
        return json_null();
    return json_pack("{s:s, s:i}", "address", watch->address, "fd", watch->fd);
}

static json_t *metrics_state(const struct master *m)
{
    char layout[24];
    struct buf text;
    json_t *sums = NULL;

    (void)snprintf(layout, sizeof(layout), "%016llx", (unsigned long long)metrics_layout());
    buf_init(&text, 1u << 20);
    if (metrics_json(&text))
        sums = json_load_text("metrics", buf_str(&text), 0, NULL);
    buf_free(&text);
    return json_pack("{s:i, s:s, s:i, s:o?}", "fd", m->metrics_fd, "layout", layout, "slots",
                     PROC_SLOTS, "sums", sums);
}

static json_t *state_json(const struct master *m, const char *failed)
{
    const struct upgrade *u = m->upgrade;

    return json_pack(
        "{s:i, s:s, s:s, s:i, s:s?, s:I, s:I, s:o, s:{s:s, s:i}, s:o, s:o, s:o, s:o, s:[I,i,i]}",
        "ipc", IPC_VERSION, "version", CONSENTD_VERSION, "binary", u->binary, "old_exe",
        failed == NULL ? u->old_exe : -1, "failed", failed, "generation", (json_int_t)m->generation,
        "changes", (json_int_t)m->outcome.number, "listen", listens_json(m), "admin", "path",
        m->admin_socket, "fd", m->admin_fd, "watch", watch_json(m), "material", material_json(m),
        "children", children_json(m), "metrics", metrics_state(m), "rules",
        (json_int_t)m->rules_request, (int)m->rules_asked, (int)m->rules_confirmed);
}

/* Nobody changes it between the check of the new program and its start. */
static int sealed(const char *text)
{
    size_t len = strlen(text);
    int fd = memfile_new("consentd-handover");

    if (fd < 0)
        return -1;
    errno = EFBIG;
    if (len <= HANDOVER_MAX && file_write_all(fd, text, len) && memfile_seal(fd))
        return fd;
    close(fd);
    return -1;
}

int handover_write(const struct master *m, const char *failed, struct fault *f)
{
    json_t *state = state_json(m, failed);
    char *text = state != NULL ? json_dumps(state, JSON_INDENT(1)) : NULL;
    int fd = text != NULL ? sealed(text) : -1;

    if (fd < 0)
        fault_set_errno(f, NAME " cannot be written");
    free(text);
    json_decref(state);
    return fd;
}

static void keep(int fd, bool on)
{
    if (fd >= 0)
        (void)fcntl(fd, F_SETFD, on ? 0 : FD_CLOEXEC);
}

void handover_keep(const struct master *m, bool on)
{
    for (size_t i = 0; i < m->listen_cnt + m->listen_kept; i++)
        keep(m->listens[i].fd, on);
    for (unsigned i = 0; i < PROC_SLOTS; i++) {
        if (m->children[i].pid != 0 && m->children[i].ipc != NULL)
            keep(ipc_fd(m->children[i].ipc), on);
    }
    for (unsigned role = 0; role < PROC_ROLES; role++)
        keep(material_of(m)->bundles[role], on);
    keep(material_of(m)->origins, on);
    keep(m->admin_fd, on);
    if (watch_of(m)->address != NULL)
        keep(watch_of(m)->fd, on);
    keep(m->metrics_fd, on);
    keep(m->upgrade->old_exe, on);
}

/* --- reading --------------------------------------------------------------------- */

static bool number(const struct json_at *at, const char *key, int64_t *out, struct fault *f)
{
    struct json_at child;

    if (!json_at_get(at, key, &child))
        return json_at_fault(at, f, "%s is missing", key);
    return json_at_int(&child, -1, INT64_MAX, out, f);
}

json_t *handover_read(int fd, struct fault *f)
{
    json_t *state = NULL;
    struct json_at at;
    int64_t ipc = -1;
    struct buf text;
    ssize_t got;

    if (!memfile_is_sealed(fd)) {
        fault_set(f, NAME ": descriptor %d is no sealed file in memory", fd);
        return NULL;
    }
    buf_init(&text, HANDOVER_MAX);
    uint8_t *room = buf_reserve(&text, HANDOVER_MAX);
    got = room != NULL ? pread(fd, room, HANDOVER_MAX, 0) : -1;
    if (got < 0) {
        fault_set_errno(f, NAME " cannot be read");
    } else {
        buf_commit(&text, (size_t)got);
        state = json_load_text(NAME, buf_str(&text), 0, f);
    }
    buf_free(&text);
    if (state == NULL)
        return NULL;
    at = json_at_root(NAME, str_make("", 0), state);
    if (number(&at, "ipc", &ipc, f) && ipc == IPC_VERSION)
        return state;
    if (ipc != -1)
        fault_set(f,
                  "this version's processes speak another language (%d) than the running ones "
                  "(%lld): stop consentd and start it",
                  IPC_VERSION, (long long)ipc);
    json_decref(state);
    return NULL;
}

/* A descriptor that must be open; it is ours and is closed on the next execution. */
static bool descriptor(const struct json_at *at, const char *key, int *out, struct fault *f)
{
    int64_t fd = -1;

    *out = -1;
    if (!number(at, key, &fd, f))
        return false;
    if (fd > INT32_MAX || (fd >= 0 && fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0))
        return json_at_fault(at, f, "%s: descriptor %lld is not open", key, (long long)fd);
    *out = (int)fd;
    return true;
}

static bool adopt_listens(struct master *m, const struct json_at *root, struct fault *f)
{
    struct json_at list, at;
    struct str address;

    if (!json_at_get(root, "listen", &list) || !json_at_array(&list, f))
        return json_at_fault(root, f, "listen is missing");
    m->listens = mem_calloc(json_at_count(&list) + 1, sizeof(*m->listens));
    for (size_t i = 0; i < json_at_count(&list); i++) {
        at = json_at_index(&list, i);
        if (!json_at_key_str(&at, "address", JSON_NEED, &address, f) ||
            !descriptor(&at, "fd", &m->listens[i].fd, f))
            return false;
        m->listens[i].address = str_dup(address);
        m->listen_cnt++;
    }
    if (!json_at_get(root, "admin", &at) || !json_at_key_str(&at, "path", JSON_NEED, &address, f) ||
        !descriptor(&at, "fd", &m->admin_fd, f))
        return json_at_fault(root, f, "admin is missing");
    m->admin_socket = str_dup(address);
    if (!json_at_get(root, "watch", &at) || json_is_null(at.value))
        return true;
    if (!json_at_key_str(&at, "address", JSON_NEED, &address, f) ||
        !descriptor(&at, "fd", &m->watch.fd, f))
        return false;
    m->watch.address = str_dup(address);
    return true;
}

static bool adopt_child(struct master *m, const struct json_at *at, struct fault *f)
{
    int64_t slot = 0, pid = 0, role = 0, state = 0, generation = 0, started = 0;
    int64_t drain = 0, before = 0, seat = 0;
    struct child as;
    int fd;

    if (!number(at, "slot", &slot, f) || !number(at, "pid", &pid, f) ||
        !number(at, "role", &role, f) || !number(at, "state", &state, f) ||
        !number(at, "generation", &generation, f) || !number(at, "started_ms", &started, f) ||
        !number(at, "drain_ms", &drain, f) || !number(at, "requests_before", &before, f) ||
        !descriptor(at, "fd", &fd, f) || !number(at, "seat", &seat, f))
        return false;
    as = (struct child){.slot = (unsigned)slot,
                        .pid = (pid_t)pid,
                        .role = (enum ipc_role)role,
                        .state = (enum child_state)state,
                        .generation = (uint64_t)generation,
                        .started_ms = (uint64_t)started,
                        .drain_ms = (uint64_t)drain,
                        .requests_before = (uint64_t)before,
                        .seat_no = seat < SEATS_MAX ? (int)seat : -1};
    if (slot < 1 || slot >= PROC_SLOTS || role < IPC_ROLE_WORKER || role >= PROC_ROLES || pid < 1 ||
        state < CHILD_STARTING || state > CHILD_DRAINING || !child_adopt(m, &as, fd))
        return json_at_fault(at, f, "no process of ours");
    return true;
}

static bool adopt_metrics(struct master *m, const struct json_at *root, struct fault *f)
{
    struct json_at at;
    struct str layout;
    char own[24];
    int64_t slots = 0;
    const char *name;
    json_t *value;

    if (!json_at_get(root, "metrics", &at) || !descriptor(&at, "fd", &m->metrics_fd, f) ||
        !json_at_key_str(&at, "layout", JSON_NEED, &layout, f) || !number(&at, "slots", &slots, f))
        return json_at_fault(root, f, "metrics is missing");
    (void)snprintf(own, sizeof(own), "%016llx", (unsigned long long)metrics_layout());
    if (str_eq_c(layout, own) && slots == PROC_SLOTS &&
        metrics_attach(m->metrics_fd, 0, PROC_SLOTS))
        return true;
    close(m->metrics_fd); /* the old children write on in theirs */
    m->metrics_fd = metrics_create(PROC_SLOTS);
    if (m->metrics_fd < 0 || !metrics_attach(m->metrics_fd, 0, PROC_SLOTS)) {
        fault_set_errno(f, "cannot make the counters");
        return false;
    }
    json_object_foreach (json_object_get(at.value, "sums"), name, value)
        metrics_restore(name, json_number_value(value));
    return true;
}

static bool adopt_material(const struct json_at *root, struct material *out, struct fault *f)
{
    struct json_at material, list, at;
    int64_t fd;

    if (!json_at_get(root, "material", &material) || !json_at_get(&material, "bundles", &list) ||
        !json_at_array(&list, f) || !descriptor(&material, "origins", &out->origins, f))
        return json_at_fault(root, f, "material is missing");
    out->certs = (uint64_t)json_integer_value(json_object_get(material.value, "certs"));
    for (size_t role = 0; role < json_at_count(&list) && role < PROC_ROLES; role++) {
        at = json_at_index(&list, role);
        if (!json_at_int(&at, -1, INT32_MAX, &fd, f))
            return false;
        if (fd >= 0 && fcntl((int)fd, F_SETFD, FD_CLOEXEC) != 0)
            return json_at_fault(&at, f, "descriptor %d is not open", (int)fd);
        out->bundles[role] = (int)fd;
    }
    return true;
}

static bool adopt_upgrade(struct master *m, const struct json_at *root, struct fault *f)
{
    struct upgrade *u = m->upgrade;
    int64_t generation = 0, changes = 0;
    struct str version, binary;

    if (!json_at_key_str(root, "version", JSON_NEED, &version, f) ||
        !json_at_key_str(root, "binary", JSON_NEED, &binary, f) ||
        !number(root, "generation", &generation, f) || !number(root, "changes", &changes, f) ||
        !descriptor(root, "old_exe", &u->old_exe, f))
        return false;
    m->generation = (uint64_t)generation;
    m->outcome.number = (uint64_t)changes;
    (void)snprintf(u->from, sizeof(u->from), "%.*s", STR_ARGS(version));
    free(u->binary);
    u->binary = str_dup(binary);
    return true;
}

/* The change of rules that workers were confirming. */
static void adopt_rules(struct master *m, const json_t *state)
{
    const json_t *rules = json_object_get(state, "rules");

    m->rules_request = (uint64_t)json_integer_value(json_array_get(rules, 0));
    m->rules_asked = (unsigned)json_integer_value(json_array_get(rules, 1));
    m->rules_confirmed = (unsigned)json_integer_value(json_array_get(rules, 2));
}

bool handover_adopt(struct master *m, const json_t *state, struct fault *f)
{
    struct json_at root = json_at_root(NAME, str_make("", 0), state), list, at;

    if (!adopt_upgrade(m, &root, f) || !adopt_material(&root, &m->upgrade->old, f) ||
        !adopt_listens(m, &root, f) || !adopt_metrics(m, &root, f))
        return false;
    adopt_rules(m, state);
    if (!json_at_get(&root, "children", &list) || !json_at_array(&list, f))
        return json_at_fault(&root, f, "children is missing");
    for (size_t i = 0; i < json_at_count(&list); i++) {
        at = json_at_index(&list, i);
        if (!adopt_child(m, &at, f))
            return false;
    }
    return true;
}
