/*
 * admin_role.c - the admin process: switches rule sets for the operator.
 *
 *   operator ──socket──▶ admin ──rules.json──▶ disk, then ──IPC_RULES──▶ master ──▶ workers
 *                          ◀──────────────── IPC_RULES_DONE ◀──────────────────────────┘
 *
 * One request per connection, a line of words; the answer is "ok" or "error REASON" in a line, what
 * was asked for behind it, and the end of the connection:
 *
 *   state                         the state as JSON, with its history
 *   list                          every set with its mode
 *   set NAME MODE [SITE]          answered when the workers confirmed, or after CONFIRM_MS
 *   rollback REVISION             likewise
 *
 * Who asks is what the kernel says about the socket's other end. The file is written before anybody
 * is told: a change that was answered survives a crash.
 */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "consentd/bundle.h"
#include "consentd/clock.h"
#include "consentd/config.h"
#include "consentd/conn.h"
#include "consentd/file.h"
#include "consentd/ipc.h"
#include "consentd/listener.h"
#include "consentd/log.h"
#include "consentd/loop.h"
#include "consentd/mem.h"
#include "consentd/rules_state.h"
#include "proc_priv.h"

#define LINE_MAX_LEN 512          /* bytes of a request */
#define ANSWER_MAX   (9u << 20)   /* bytes of an answer: the state with room */
#define CONFIRM_MS   2000         /* for all workers to take a change */
#define LINGER_MS    2000         /* for the client to read its answer */
#define MESSAGE_MAX  (60u * 1024) /* longer states travel in a memory file */
#define SESSIONS_MAX 16           /* operators at a time */

struct admin;

struct session {
    struct admin *admin;
    struct conn *conn; /* owned; NULL: this place is free */
    uint64_t request;  /* waits for this confirmation; 0: for none */
    struct timer timeout;
    char who[RULES_STATE_WHO_MAX], from[RULES_STATE_WHO_MAX];
};

struct admin {
    struct child_env env;
    struct live live;
    struct rules_state *state;
    struct ipc *master;
    struct listener *listener;
    struct session sessions[SESSIONS_MAX];
    uint64_t last_request;
    char *state_path; /* owned */
};

/* --- answers ---------------------------------------------------------------- */

static void answer(struct session *s, struct str text)
{
    struct conn *conn = s->conn;
    bool sent = conn_queue(conn, text.ptr, text.len);

    s->conn = NULL;
    s->request = 0;
    timer_clear(&s->timeout);
    if (sent)
        conn_close_flush(conn, LINGER_MS);
    else
        conn_close(conn);
}

static void answer_error(struct session *s, const char *why)
{
    char text[FAULT_TEXT_MAX + 16];

    snprintf(text, sizeof(text), "error %s\n", why);
    answer(s, str_c(text));
}

static void answer_done(struct session *s, unsigned confirmed, unsigned workers)
{
    char text[128];

    snprintf(text, sizeof(text), "ok\nrevision %llu, in force in %u of %u workers\n",
             (unsigned long long)rules_state_revision(s->admin->state), confirmed, workers);
    answer(s, str_c(text));
}

static void on_timeout(void *arg)
{
    struct session *s = arg;

    if (s->request == 0)
        answer_error(s, "no complete request came");
    else
        answer_error(s, "the change is recorded, but not every worker has confirmed it yet");
}

/* --- changes ------------------------------------------------------------------ */

static bool send_state(struct admin *a, struct str text)
{
    struct ipc_rules head = {.revision = rules_state_revision(a->state),
                             .request = a->last_request};
    struct bundle *bundle;
    struct buf message;
    bool ok;
    int fd;

    buf_init(&message, sizeof(head) + MESSAGE_MAX);
    ok = buf_append(&message, &head, sizeof(head));
    if (text.len <= MESSAGE_MAX) {
        ok = ok && buf_append_str(&message, text) &&
             ipc_send(a->master, IPC_RULES, message.data, message.len, -1);
    } else {
        bundle = bundle_new();
        fd = bundle_add(bundle, STR(":rules"), text) ? bundle_seal(bundle, NULL) : -1;
        ok = ok && fd >= 0 && ipc_send(a->master, IPC_RULES, message.data, message.len, fd);
        bundle_free(bundle);
    }
    buf_free(&message);
    return ok;
}

/* The new state to disk and to the master; on failure the old one stays. */
static bool commit(struct admin *a, struct rules_state *next, struct fault *f)
{
    struct rules_state *old = a->state;
    struct buf text;
    bool ok;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    ok = rules_state_write(next, &text) &&
         file_write_atomic(a->state_path, text.data, text.len, 0600, f);
    if (ok) {
        a->state = next;
        a->last_request++;
        if (a->master == NULL || !send_state(a, buf_str(&text)))
            log_error("rules.unsent", "revision=%llu",
                      (unsigned long long)rules_state_revision(next));
    }
    rules_state_free(ok ? old : next);
    buf_free(&text);
    return ok;
}

static struct rules_state *copy_state(const struct admin *a, struct fault *f)
{
    struct rules_state *copy = NULL;
    struct buf text;

    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (rules_state_write(a->state, &text))
        copy = rules_state_parse(a->state_path, buf_str(&text), f);
    buf_free(&text);
    return copy;
}

static bool change_set(struct admin *a, struct rules_state *next, char *const words[4],
                       const struct rules_author *author, struct fault *f)
{
    enum rules_choice choice;

    if (words[1] == NULL || words[2] == NULL) {
        fault_set(f, "set needs a rule set and a mode");
        return false;
    }
    if (rules_find(a->live.rules, str_c(words[1])) < 0) {
        fault_set(f, "there is no rule set \"%s\"", words[1]);
        return false;
    }
    if (!rules_choice_parse(str_c(words[2]), &choice)) {
        fault_set(f, "\"%s\" is no mode: enforce, report, off or config", words[2]);
        return false;
    }
    if (words[3] != NULL && rules_find_site(a->live.rules, str_c(words[3])) < 0) {
        fault_set(f, "there is no site \"%s\"", words[3]);
        return false;
    }
    return rules_state_set(next, words[1], words[3], choice, author, f);
}

static bool change_back(struct rules_state *next, const char *revision,
                        const struct rules_author *author, struct fault *f)
{
    uint64_t number = 0;

    if (revision == NULL || !str_to_u64(str_c(revision), UINT64_MAX, &number)) {
        fault_set(f, "rollback needs the number of a revision");
        return false;
    }
    return rules_state_rollback(next, number, author, f);
}

static void do_change(struct session *s, char *const words[4])
{
    struct admin *a = s->admin;
    const struct rules_author author = {.at_ms = clock_wall_ms(), .who = s->who, .from = s->from};
    struct fault f = {0};
    struct rules_state *next = copy_state(a, &f);
    bool ok = next != NULL;

    if (ok && strcmp(words[0], "set") == 0)
        ok = change_set(a, next, words, &author, &f);
    else if (ok)
        ok = change_back(next, words[1], &author, &f);
    if (!ok)
        rules_state_free(next);
    if (!ok || !commit(a, next, &f)) {
        answer_error(s, f.text);
        return;
    }
    log_info("rules.changed", "revision=%llu who=%s from=\"%s\"",
             (unsigned long long)rules_state_revision(a->state), s->who, s->from);
    s->request = a->last_request;
    timer_set(&s->timeout, CONFIRM_MS);
}

/* --- questions ------------------------------------------------------------------ */

static bool list_set(const struct admin *a, const struct ruleset *set, struct buf *out)
{
    const struct config *c = a->env.config;
    char list[CATEGORY_LIST_MAX];
    bool ok = buf_printf(out, "%-32s %-8s %-20s %s", set->id,
                         rules_choice_name(rules_state_choice(a->state, set->id, NULL)),
                         categories_list(rules_categories(a->live.rules), set->categories, list),
                         set->name);

    for (size_t i = 0; i < c->site_cnt && ok; i++) {
        enum rules_choice choice = rules_state_choice(a->state, set->id, c->sites[i].name);

        if (choice != rules_state_choice(a->state, set->id, NULL))
            ok = buf_printf(out, " [%s: %s]", c->sites[i].name, rules_choice_name(choice));
    }
    return ok && buf_append_char(out, '\n');
}

static bool list_all(const struct admin *a, struct buf *out)
{
    bool ok = buf_printf(out, "ok\n%-32s %-8s %-20s %s\n", "SET", "MODE", "CATEGORY", "NAME");

    for (size_t i = 0; i < rules_set_cnt(a->live.rules) && ok; i++) {
        if (rules_set_site(a->live.rules, i) == RULES_OWN_SITE_NONE)
            ok = list_set(a, rules_set(a->live.rules, i), out);
    }
    return ok;
}

static void do_question(struct session *s, bool list)
{
    struct buf out;
    bool ok;

    buf_init(&out, ANSWER_MAX);
    if (list)
        ok = list_all(s->admin, &out);
    else
        ok = buf_append_c(&out, "ok\n") && rules_state_write(s->admin->state, &out);
    if (ok)
        answer(s, buf_str(&out));
    else
        answer_error(s, "the answer is too long");
    buf_free(&out);
}

/* --- connections ---------------------------------------------------------------- */

static void do_line(struct session *s, char *line)
{
    char *words[4] = {NULL};
    char *rest = line, *word;
    size_t cnt = 0;

    while (cnt < COUNT_OF(words) && (word = strsep(&rest, " ")) != NULL)
        words[cnt++] = word;
    if (rest != NULL)
        answer_error(s, "too many words");
    else if (strcmp(words[0], "list") == 0 || strcmp(words[0], "state") == 0)
        do_question(s, words[0][0] == 'l');
    else if (strcmp(words[0], "set") == 0 || strcmp(words[0], "rollback") == 0)
        do_change(s, words);
    else
        answer_error(s, "unknown request");
}

static size_t on_data(void *owner, const uint8_t *data, size_t len)
{
    struct session *s = owner;
    const uint8_t *end = memchr(data, '\n', len);
    char line[LINE_MAX_LEN + 1];
    size_t line_len = end != NULL ? (size_t)(end - data) : len;

    if (s->request != 0)
        return len; /* one request per connection */
    if (line_len > LINE_MAX_LEN) {
        answer_error(s, "the request is too long");
        return len;
    }
    if (end == NULL)
        return 0;
    memcpy(line, data, line_len);
    line[line_len] = '\0';
    do_line(s, line);
    return len;
}

static void on_closed(void *owner, enum conn_why why)
{
    struct session *s = owner;

    UNUSED(why);
    timer_clear(&s->timeout);
    s->conn = NULL;
    s->request = 0;
}

static void note_peer(struct session *s, int fd)
{
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t len = sizeof(cred);
    const struct passwd *user = NULL;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
        user = getpwuid(cred.uid);
    snprintf(s->who, sizeof(s->who), "%s", user != NULL ? user->pw_name : "unknown");
    snprintf(s->from, sizeof(s->from), "local uid %u pid %d", (unsigned)cred.uid, (int)cred.pid);
}

static void on_accept(void *owner, int fd, const struct sockaddr *peer, socklen_t len)
{
    static const struct conn_ops ops = {.on_data = on_data, .on_closed = on_closed};
    struct admin *a = owner;

    UNUSED(peer);
    UNUSED(len);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &a->sessions[i];

        if (s->conn != NULL)
            continue;
        note_peer(s, fd);
        s->conn = conn_accept(a->env.loop, fd, NULL, &ops, s);
        timer_set(&s->timeout, CONFIRM_MS);
        return;
    }
    close(fd);
}

/* --- the master -------------------------------------------------------------------- */

static void on_confirmed(struct admin *a, const struct ipc_rules_done *done)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *s = &a->sessions[i];

        if (s->conn != NULL && s->request == done->request && done->confirmed >= done->workers)
            answer_done(s, done->confirmed, done->workers);
    }
}

static void on_master_msg(void *owner, uint16_t type, const void *data, size_t len, int fd)
{
    struct admin *a = owner;
    struct ipc_rules_done done;

    if (fd >= 0)
        close(fd); /* the link to the ledger: this role asks it nothing yet */
    if (type == IPC_RULES_DONE && len == sizeof(done)) {
        memcpy(&done, data, sizeof(done));
        on_confirmed(a, &done);
    } else if (type == IPC_DRAIN) {
        loop_stop(a->env.loop);
    }
}

static void on_master_closed(void *owner)
{
    struct admin *a = owner;

    ipc_free(a->master);
    a->master = NULL;
    loop_stop(a->env.loop);
}

/* --- start ---------------------------------------------------------------------------- */

static bool read_state(struct admin *a, struct fault *f)
{
    struct buf text;
    bool ok = true;

    a->state_path = file_resolve(a->env.config->state_dir, "rules.json");
    buf_init(&text, RULES_STATE_TEXT_MAX);
    if (access(a->state_path, F_OK) == 0)
        ok = file_read(a->state_path, RULES_STATE_TEXT_MAX, &text, f);
    if (ok)
        a->state = rules_state_parse(a->state_path, buf_str(&text), f);
    buf_free(&text);
    return a->state != NULL;
}

/* root and the run user may connect, and the group of the configuration. */
static void open_to_group(const struct config *c, const char *path)
{
    const struct group *group = c->admin.group != NULL ? getgrnam(c->admin.group) : NULL;

    if (chmod(path, group != NULL ? 0660 : 0600) != 0 ||
        (group != NULL && chown(path, (uid_t)-1, group->gr_gid) != 0))
        log_warn("admin.socket.group", "path=%s", path);
}

static bool listen_there(struct admin *a, struct fault *f)
{
    const struct config *c = a->env.config;
    char *path = c->admin.socket != NULL ? mem_strdup(c->admin.socket)
                                         : file_resolve(c->state_dir, "admin.sock");
    char address[256];
    int fd;

    snprintf(address, sizeof(address), "unix:%s", path);
    fd = listener_bind(address, f);
    if (fd >= 0) {
        open_to_group(c, path);
        a->listener = listener_new(a->env.loop, fd, on_accept, a);
    }
    free(path);
    return fd >= 0;
}

int admin_main(unsigned slot)
{
    static const struct ipc_ops ops = {.on_msg = on_master_msg, .on_closed = on_master_closed};
    struct admin *a = mem_new(struct admin);
    struct fault why = {0};
    int result = -1;

    child_begin(&a->env, IPC_ROLE_ADMIN, slot);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        a->sessions[i].admin = a;
        timer_init(&a->sessions[i].timeout, a->env.loop, on_timeout, &a->sessions[i]);
    }
    if (live_init(&a->live, a->env.config, a->env.bundle, &why) && read_state(a, &why) &&
        listen_there(a, &why)) {
        a->master = ipc_new(a->env.loop, PROC_FD_MASTER, &ops, a);
        if (ipc_send(a->master, IPC_READY, NULL, 0, -1))
            result = loop_run(a->env.loop);
    } else {
        log_error("process.refused", "reason=\"%s\"", why.text);
    }
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        timer_clear(&a->sessions[i].timeout);
        if (a->sessions[i].conn != NULL)
            conn_close(a->sessions[i].conn);
    }
    listener_free(a->listener);
    ipc_free(a->master);
    rules_state_free(a->state);
    free(a->state_path);
    live_fini(&a->live);
    child_end(&a->env);
    free(a);
    return result == 0 ? 0 : 1;
}
