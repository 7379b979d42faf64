/*
 * ledger_restart.c - the end of a log that can't be continued, and the beginning of the next one
 * (restarts.h).
 *
 * Leaves go on behind everything that was ever signed or shipped. The new log begins with what is
 * still known of the leaves before: the journal's commitments, else the old log's entries, else a
 * mark that says that there was one. Nothing of the old log is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "consentd/clock.h"
#include "consentd/file.h"
#include "consentd/log.h"
#include "consentd/mem.h"
#include "consentd/metrics.h"
#include "earlier_priv.h"
#include "ledger_priv.h"

#define ASIDE_MAX   99
#define LIST_MAX    65536        /* bytes of a list of logs */
#define SIGNED_COPY "checkpoint" /* beside the month keys: what a lost journal can't take along */

/* --- names -------------------------------------------------------------------------------- */

/* A copy of the list, which a lost journal can't take along. */
static void keep_list(const struct ledger *l)
{
    struct fault f = {{0}};

    if (!restarts_write(l->state_dir, &l->restarts, &f))
        log_warn("log.copy", "reason=\"%s\"", f.text);
}

bool ledger_restart_names(struct ledger *l)
{
    l->log_node = restarts_node(&l->restarts);
    metric_set(METRIC_LOG_RESTARTS, l->restarts.cnt);
    return !l->log_wanted || earlier_keys(l, l->log_node, l->log_keys);
}

/* The folder of a log that is not today's, named by its node. Heap. */
static char *folder_of(const struct ledger *l, unsigned node)
{
    char name[16];

    (void)snprintf(name, sizeof(name), "tlog-%u", node);
    return file_resolve(l->dir, name);
}

/* --- both copies of the list are bad ---------------------------------------------------------- */

/* Nothing here tells which numbers are taken, so that none is signed under by chance. */
static void say_cure(const struct ledger *l, struct fault *f)
{
    struct fault why = *f;

    fault_set(f,
              "%.400s; %.200s/restarts is no copy of it, and no log here tells its number: put one "
              "of the two back from a backup, or move both away and set another ledger.node, under "
              "which a new log begins",
              why.text, l->state_dir);
}

/* Leaves that were signed under a number, in whatever place; false: it was never used. */
static bool was_used(const struct ledger *l, unsigned node, uint64_t *size_out)
{
    char *own = folder_of(l, node), *today = file_resolve(l->dir, "tlog");
    const char *const places[] = {own, today, l->state_dir};
    bool used = access(own, F_OK) == 0; /* also when nothing in it can be read */
    struct merkle_tree tree;

    for (unsigned i = 0; i < COUNT_OF(places); i++) {
        if (!l->log_wanted || earlier_node(l, places[i]) != node ||
            !earlier_checkpoint(l, node, places[i], &tree))
            continue;
        used = true;
        *size_out = tree.size > *size_out ? tree.size : *size_out;
    }
    free(today);
    free(own);
    return used;
}

/* What was there stays for whoever wants to look at it. */
static void keep_bad(const char *folder)
{
    char *path = file_resolve(folder, "restarts"), *bad = file_resolve(folder, "restarts.bad");
    struct fault f = {{0}};
    struct buf text;

    buf_init(&text, LIST_MAX);
    if (file_read(path, LIST_MAX, &text, NULL) &&
        !file_write_atomic(bad, text.data, text.len, 0640, &f))
        log_warn("log.copy", "reason=\"%s\"", f.text);
    buf_free(&text);
    free(bad);
    free(path);
}

/*
 * Every log that there ever was left its folder, or its newest checkpoint here or beside the month
 * keys: behind the highest number of these nothing was signed. A new log begins there. Where the
 * earlier ones began is what the ones before had signed.
 */
static bool begin_above(struct ledger *l, struct fault *f)
{
    unsigned logs = l->node < RESTARTS_STEP ? RESTARTS_MAX + 1 : 1, known = 0;
    uint64_t from = 0, sizes[RESTARTS_MAX + 1] = {0};
    uint64_t now_ms = clock_wall_ms(), next = journal_next_leaf(l->journal);
    struct fault why = *f;

    for (unsigned i = 0; i < logs; i++)
        if (was_used(l, l->node + i * RESTARTS_STEP, &sizes[i]))
            known = i + 1;
    if (known == 0) {
        say_cure(l, f);
        return false;
    }
    l->restarts = (struct log_restarts){.first = l->node};
    for (unsigned i = 1; i < known; i++) {
        from = sizes[i - 1] > from ? sizes[i - 1] : from;
        l->restarts.items[l->restarts.cnt] =
            (struct log_restart){restarts_next(&l->restarts), from, now_ms};
        l->restarts.cnt++;
    }
    next = from > next ? from : next;
    next = sizes[known - 1] > next ? sizes[known - 1] : next;
    keep_bad(l->dir);
    keep_bad(l->state_dir);
    if (!restarts_add(l->dir, &l->restarts, next, now_ms, f))
        return false;
    keep_list(l);
    log_error("log.restarted",
              "node=%u earlier=%u leaves=%llu reason=\"both copies of the list of logs are bad: "
              "%.400s\"",
              restarts_node(&l->restarts), restarts_node_at(&l->restarts, known - 1),
              (unsigned long long)next, why.text);
    return true;
}

/*
 * The longer list counts: the other one came from a backup, or its folder was lost. One that can't
 * be read is made again from the other; when neither can, a new log begins.
 */
bool ledger_restart_read(struct ledger *l, struct fault *f)
{
    struct log_restarts copy;
    struct fault why = {{0}};
    bool copied = restarts_read(l->state_dir, l->node, &copy, &why);

    if (!copied)
        copy.cnt = 0;
    if (!restarts_read(l->dir, l->node, &l->restarts, f)) {
        if (copy.cnt == 0)
            return begin_above(l, f);
        why = *f;
        copied = false;
        l->restarts.cnt = 0;
    }
    if (!copied)
        log_error("log.list", "reason=\"%s\" cure=\"made again from the other copy\"", why.text);
    if (copy.cnt < l->restarts.cnt)
        keep_list(l);
    if (copy.cnt <= l->restarts.cnt)
        return true;
    l->restarts = copy;
    return restarts_write(l->dir, &l->restarts, f);
}

/* Something else has the name of a log's folder: it gets one that is free, and stays. */
static bool set_aside(const char *path, struct fault *f)
{
    size_t room = strlen(path) + sizeof(".aside-00");
    char *to = mem_alloc(room);
    int error = EEXIST;

    for (unsigned i = 1; i <= ASIDE_MAX && (error == EEXIST || error == ENOTEMPTY); i++) {
        (void)snprintf(to, room, "%s.aside-%u", path, i);
        error = renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0 ? 0 : errno;
    }
    if (error == 0)
        log_error("log.aside", "file=\"%s\" as=\"%s\" reason=\"a log needs its name\"", path, to);
    else
        fault_set(f, "%s: in the way, and cannot be set aside: %s", path, strerrordesc_np(error));
    free(to);
    return error == 0;
}

static bool move(const char *from, const char *to, struct fault *f)
{
    if (access(from, F_OK) != 0 || rename(from, to) == 0)
        return true;
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR)
        return set_aside(to, f) && move(from, to, f);
    fault_set_errno(f, "%s: cannot become %s", from, to);
    return false;
}

/*
 * The folder of today's name gets the one of its node. Where there is one already and it goes on
 * longer, as after a backup was put back over it, that one stays, and this is set aside.
 */
static bool move_old(const struct ledger *l, unsigned node, struct fault *f)
{
    char *from = file_resolve(l->dir, "tlog");
    char *to = folder_of(l, node);
    struct merkle_tree here = {0}, there = {0};
    bool ok;

    if (!earlier_checkpoint(l, node, from, &here))
        here.size = 0;
    ok = earlier_checkpoint(l, node, to, &there) && there.size >= here.size ? set_aside(from, f)
                                                                            : move(from, to, f);
    free(from);
    free(to);
    return ok;
}

/*
 * Whose log `tlog` is, 0: nobody's. Where its checkpoint can't be read, the copy of the newest one
 * tells: it is of the log before while the new one has signed nothing.
 */
static unsigned whose(const struct ledger *l, const char *path)
{
    unsigned node = earlier_node(l, path);
    char *file = file_resolve(path, "checkpoint");

    if (node == 0 && l->restarts.cnt > 0 && access(file, F_OK) == 0 &&
        earlier_node(l, l->state_dir) == restarts_node_at(&l->restarts, l->restarts.cnt - 1))
        node = restarts_node_at(&l->restarts, l->restarts.cnt - 1);
    free(file);
    return node;
}

/*
 * The log in `tlog` is of another node: a restart was cut short, the folder came from a backup, or
 * ledger.node was changed. When it is changed back, the log of that node goes on. What can't be
 * moved stays and is not signed (ledger_log_open): consent is recorded all the same.
 */
void ledger_restart_finish(const struct ledger *l)
{
    unsigned today = restarts_node(&l->restarts);
    char *path = file_resolve(l->dir, "tlog");
    char *own = folder_of(l, today);
    unsigned node = l->log_wanted ? whose(l, path) : 0;
    struct fault f = {{0}};
    bool ok = node == 0 || node == today || move_old(l, node, &f);

    if (ok && l->log_wanted && access(path, F_OK) != 0 && earlier_node(l, own) == today)
        ok = move(own, path, &f);
    if (!ok)
        log_error("log.move", "error=\"%s\"", f.text);
    free(own);
    free(path);
}

/* --- what was signed, kept outside the journal ----------------------------------------------- */

void ledger_restart_keep(const struct ledger *l, struct str note)
{
    char *path = file_resolve(l->state_dir, SIGNED_COPY);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    /* no sync: one that a power failure tears is not believed, and nothing else is lost */
    if (fd < 0 || !file_write_all(fd, note.ptr, note.len))
        log_warn("log.copy", "file=%s reason=\"cannot write\"", path);
    if (fd >= 0)
        (void)close(fd);
    free(path);
}

bool ledger_restart_kept(const struct ledger *l, struct merkle_tree *out)
{
    struct buf text;
    bool ok;

    buf_init(&text, NOTE_CHECKPOINT_MAX);
    ok = tlog_checkpoint(l->state_dir, l->log_keys, l->log_key_cnt, &text, out, NULL);
    buf_free(&text);
    return ok;
}

/* --- the next log ---------------------------------------------------------------------------- */

/* Every number that was ever signed or shipped stays taken. */
static bool pass_over(struct ledger *l, uint64_t next, struct fault *f)
{
    uint64_t had = journal_next_leaf(l->journal);

    if (next <= had)
        return true;
    ledger_missing(l, had, next, "they were signed or shipped");
    if (journal_skip_to(l->journal, next, clock_wall_ms()))
        return true;
    fault_set(f, "the journal can't be continued behind them");
    return false;
}

/* Numbers below that were given under an earlier name, whether or not the journal has them. */
bool ledger_restart_skip(struct ledger *l, struct fault *f)
{
    return l->restarts.cnt == 0 || pass_over(l, l->restarts.items[l->restarts.cnt - 1].from, f);
}

/*
 * The list comes first: whatever is not done when the process stops, the next start does, by
 * ledger_restart_finish, ledger_restart_skip and ledger_log_open.
 */
static bool begin_next(struct ledger *l, uint64_t next, struct fault *f)
{
    if (!restarts_add(l->dir, &l->restarts, next, clock_wall_ms(), f))
        return false;
    keep_list(l);
    return ledger_restart_names(l) && pass_over(l, next, f) &&
           move_old(l, restarts_node_at(&l->restarts, l->restarts.cnt - 1), f) &&
           ledger_log_begin(l, f);
}

bool ledger_restart(struct ledger *l, uint64_t size, const struct fault *why)
{
    uint8_t node = restarts_next(&l->restarts);
    uint64_t next = journal_next_leaf(l->journal);
    struct fault f = {{0}};

    if (node == 0 || !l->log_wanted)
        return false;
    next = size > next ? size : next;
    next = l->signed_size > next ? l->signed_size : next;
    tlog_free(l->log);
    l->log = NULL;
    l->signed_size = 0;
    l->kept = l->recalled = (struct merkle_tree){0}; /* of the log that ends */
    if (!begin_next(l, next, &f)) {
        log_error("log.restart", "node=%u error=\"%s\"", node, f.text);
        tlog_free(l->log);
        l->log = NULL;
        return false;
    }
    log_error("log.restarted", "node=%u earlier=%u leaves=%llu reason=\"%s\"", node,
              restarts_node_at(&l->restarts, l->restarts.cnt - 1), (unsigned long long)next,
              why->text);
    return true;
}
